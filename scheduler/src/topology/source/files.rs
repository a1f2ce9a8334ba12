//! A delay matrix and its metadata from disk: the Python scheduler's pair of files, a CSV with names, or a bare TSV with metadata.

use placement::topology::matrix::{Matrix, MatrixError};
use placement::units::Micros;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What is wrong with the files; the text names the file, and where it can, line and column.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Matrix { path: PathBuf, source: MatrixError },
    #[error("{}: {source}", path.display())]
    Metadata { path: PathBuf, source: MetadataError },
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("{0}; expected a JSON object, node name -> row of the matrix: {{\"edge-1\": 0}}")]
    Json(String),
    #[error("node {node:?} has row {row}; the matrix has {rows} rows, 0 to {}", rows - 1)]
    NoSuchRow { node: String, row: String, rows: usize },
    #[error("node {node:?} has {value}; expected the number of a row, from 0, or the name of one")]
    NotARow { node: String, value: String },
    #[error("the matrix carries no names; topology.metadata must name a JSON file, node name -> row")]
    Needed,
}

/// The matrix by node name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRows {
    /// Node -> row. A node that is not here is lost: its pairs are unmeasured.
    rows: BTreeMap<String, usize>,
    matrix: Matrix,
}

impl FileRows {
    /// Joins a matrix with the text of its metadata; without metadata the matrix' own names count.
    pub fn new(matrix: Matrix, metadata: Option<&str>) -> Result<FileRows, MetadataError> {
        let own: BTreeMap<String, usize> = matrix.names.iter().flatten().cloned().zip(0..).collect();
        let rows = match metadata {
            None if own.is_empty() => return Err(MetadataError::Needed),
            None => own,
            Some(text) => {
                let object: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|error| MetadataError::Json(error.to_string()))?;
                let row = |(node, value): (String, Value)| Ok((node.clone(), row(node, &value, &own, matrix.len())?));
                object.into_iter().map(row).collect::<Result<_, _>>()?
            }
        };
        Ok(FileRows { rows, matrix })
    }

    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// Every unordered pair of different nodes. Of the two directions the larger counts; nodes that share a row are as far apart as that row's diagonal.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str, Micros)> {
        self.rows.iter().enumerate().flat_map(move |(i, (a, &row_a))| {
            self.rows.iter().skip(i + 1).map(move |(b, &row_b)| {
                let rtt_us = if row_a == row_b { self.matrix.directed_us(row_a, row_b) } else { self.matrix.rtt_us(row_a, row_b) };
                (a.as_str(), b.as_str(), Micros(rtt_us))
            })
        })
    }
}

/// One entry of the metadata: a row's number, or its name in a matrix that has names.
fn row(node: String, value: &Value, names: &BTreeMap<String, usize>, rows: usize) -> Result<usize, MetadataError> {
    match value {
        Value::Number(number) => number
            .as_u64()
            .and_then(|row| usize::try_from(row).ok())
            .filter(|row| *row < rows)
            .ok_or_else(|| MetadataError::NoSuchRow { node, row: number.to_string(), rows }),
        Value::String(name) => names.get(name).copied().ok_or_else(|| MetadataError::NoSuchRow { node, row: format!("{name:?}"), rows }),
        other => Err(MetadataError::NotARow { node, value: other.to_string() }),
    }
}

/// Reads both files.
pub fn read(matrix: &Path, metadata: Option<&Path>) -> Result<FileRows, FileError> {
    let text = |path: &Path| fs::read_to_string(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source });
    let parsed = Matrix::parse(&text(matrix)?).map_err(|source| FileError::Matrix { path: matrix.to_owned(), source })?;
    let described = metadata.map(text).transpose()?;
    let blamed = metadata.unwrap_or(matrix).to_owned();
    FileRows::new(parsed, described.as_deref()).map_err(|source| FileError::Metadata { path: blamed, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON: &str = "0 4 31\n4 0 28\n30 28 0\n";

    fn check(matrix: &str, metadata: Option<&str>, expected: Result<&str, &str>) {
        let found = FileRows::new(Matrix::parse(matrix).unwrap(), metadata).map_err(|error| error.to_string());
        let pairs = |rows: FileRows| rows.pairs().map(|(a, b, rtt)| format!("{a} {b} {rtt}")).collect::<Vec<_>>().join(", ");
        assert_eq!(found.map(pairs), expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn metadata_names_the_rows_and_the_larger_direction_counts() {
        check(PYTHON, Some(r#"{"a": 0, "b": 1, "dc": 2}"#), Ok("a b 4 ms, a dc 31 ms, b dc 28 ms"));
        check(PYTHON, Some(r#"{"b": 1, "dc": 2}"#), Ok("b dc 28 ms"));
        check("r,a,b\na,3,240\nb,241,2", None, Ok("a b 241 ms"));
        check("r,x,y\nx,3,240\ny,241,2", Some(r#"{"a": "x", "b": "y", "c": "x"}"#), Ok("a b 241 ms, a c 3 ms, b c 241 ms"));
    }

    #[test]
    fn mistakes_name_the_node() {
        check(PYTHON, None, Err("the matrix carries no names; topology.metadata must name a JSON file, node name -> row"));
        check(PYTHON, Some(r#"{"a": 3}"#), Err(r#"node "a" has row 3; the matrix has 3 rows, 0 to 2"#));
        check(PYTHON, Some(r#"{"a": -1}"#), Err(r#"node "a" has row -1; the matrix has 3 rows, 0 to 2"#));
        check(PYTHON, Some(r#"{"a": "x"}"#), Err(r#"node "a" has row "x"; the matrix has 3 rows, 0 to 2"#));
        check(PYTHON, Some(r#"{"a": []}"#), Err(r#"node "a" has []; expected the number of a row, from 0, or the name of one"#));
        let broken = FileRows::new(Matrix::parse(PYTHON).unwrap(), Some("{\n\"a\" 0}")).unwrap_err().to_string();
        assert!(broken.contains("line 2 column 5") && broken.contains("expected a JSON object"), "{broken}");
    }

    #[test]
    fn errors_of_reading_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("delays.txt");
        let message = |error: FileError| error.to_string();
        assert_eq!(message(read(&path, None).unwrap_err()), format!("cannot read {}", path.display()));
        fs::write(&path, "0 1\n1 zero\n").unwrap();
        assert!(message(read(&path, None).unwrap_err()).starts_with(&format!("{}: line 2, column 2: \"zero\"", path.display())));
        fs::write(&path, "0 1\n1 0\n2 2\n").unwrap();
        assert!(message(read(&path, None).unwrap_err()).contains("not square"));
    }
}

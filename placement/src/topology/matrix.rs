//! Delay matrices as text, in the three shapes people have them in:
//!
//! * the Python scheduler's: whitespace-separated numbers, `#` starts a comment;
//! * headerless TSV (PlanetLab): the same grammar, so the same parser;
//! * CSV with a header row and a header column of names (AWS, IBM Cloud).
//!
//! All are RTTs in milliseconds, decimal or integer. Values are kept as integer microseconds, rounded **up**: a bound must never
//! admit by rounding. Both directions and the diagonal stay as written; [`Matrix::rtt_us`] applies the product's rule (the larger
//! direction counts, a node to itself is 0).

/// The longest RTT that is taken for a measurement, in milliseconds: one hour is a broken file, not a network.
pub const MAX_RTT_MS: f64 = 3_600_000.0;

/// A square matrix of RTTs, row = from, column = to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Names of rows and columns, in order; `None` where the text carries none.
    pub names: Option<Vec<String>>,
    /// Row-major RTTs in microseconds, `len() * len()` of them, as written (also the diagonal).
    pub rtt_us: Vec<u32>,
    len: usize,
}

/// What is wrong with the text of a matrix. Lines and columns count from 1; a column is a field, not a character.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum MatrixError {
    #[error("the delay matrix is empty; expected N lines of N numbers, in milliseconds")]
    Empty,
    #[error("line {line}, column {column}: {text:?} is no number; expected an RTT in milliseconds")]
    NotANumber { line: usize, column: usize, text: String },
    #[error("line {line}, column {column}: {text} is no RTT; expected 0 to 3600000 milliseconds")]
    OutOfRange { line: usize, column: usize, text: String },
    #[error("line {line} has {found} values, the first line has {expected}; every line needs one per node")]
    RowLength { line: usize, expected: usize, found: usize },
    #[error("the delay matrix is not square: {rows} lines of {columns} values")]
    NotSquare { rows: usize, columns: usize },
    #[error(
        "line {line}: row is named {found:?}, but column {column} is named {expected:?}; rows and columns need the same names in the same order"
    )]
    NameMismatch { line: usize, column: usize, expected: String, found: String },
    #[error("line {line}, column {column}: name {name:?} occurs twice")]
    DuplicateName { line: usize, column: usize, name: String },
    #[error("line {line}, column {column}: a name is missing")]
    MissingName { line: usize, column: usize },
}

impl Matrix {
    /// Number of rows, which is the number of columns.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows; a parsed matrix always has some.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The RTT written in row `from`, column `to`, in microseconds.
    pub fn directed_us(&self, from: usize, to: usize) -> u32 {
        self.rtt_us[from * self.len + to]
    }

    /// The RTT between two nodes in microseconds: the larger of both directions, 0 to itself.
    pub fn rtt_us(&self, a: usize, b: usize) -> u32 {
        if a == b { 0 } else { self.directed_us(a, b).max(self.directed_us(b, a)) }
    }

    /// Reads either grammar: comma-separated with header row and column, or bare numbers between white space.
    pub fn parse(text: &str) -> Result<Matrix, MatrixError> {
        match data_lines(text).next() {
            None => Err(MatrixError::Empty),
            Some((_, line)) if line.contains(',') => Self::parse_csv(text),
            Some(_) => Self::parse_numbers(text),
        }
    }

    /// Numbers between blanks or tabs, one line per row, `#` comments: the Python scheduler's matrix and PlanetLab's TSV.
    pub fn parse_numbers(text: &str) -> Result<Matrix, MatrixError> {
        let mut rtt_us = Vec::new();
        let mut columns = None;
        let mut rows = 0;
        for (line, content) in data_lines(text) {
            let before = rtt_us.len();
            for (index, field) in content.split_whitespace().enumerate() {
                rtt_us.push(parse_ms(field, line, index + 1)?);
            }
            check_row(&mut columns, rtt_us.len() - before, line)?;
            rows += 1;
        }
        Self::square(None, rtt_us, rows, columns.unwrap_or(0))
    }

    /// A header row and a header column of names around the numbers; the top left field is free text.
    pub fn parse_csv(text: &str) -> Result<Matrix, MatrixError> {
        let mut lines = data_lines(text);
        let (header_line, header) = lines.next().ok_or(MatrixError::Empty)?;
        let names: Vec<String> = header.split(',').skip(1).map(|field| unquote(field).to_owned()).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            let column = index + 2;
            if name.is_empty() {
                return Err(MatrixError::MissingName { line: header_line, column });
            }
            if !seen.insert(name.as_str()) {
                return Err(MatrixError::DuplicateName { line: header_line, column, name: name.clone() });
            }
        }
        let mut rtt_us = Vec::with_capacity(names.len() * names.len());
        let mut rows = 0;
        for (line, content) in lines {
            let mut fields = content.split(',');
            let name = unquote(fields.next().unwrap_or_default());
            if name.is_empty() {
                return Err(MatrixError::MissingName { line, column: 1 });
            }
            let before = rtt_us.len();
            for (index, field) in fields.enumerate() {
                rtt_us.push(parse_ms(unquote(field), line, index + 2)?);
            }
            check_row(&mut Some(names.len()), rtt_us.len() - before, line)?;
            match names.get(rows) {
                Some(expected) if expected == name => rows += 1,
                Some(expected) => {
                    return Err(MatrixError::NameMismatch { line, column: rows + 2, expected: expected.clone(), found: name.to_owned() });
                }
                None => {
                    return Err(MatrixError::NotSquare { rows: rows + 1, columns: names.len() });
                }
            }
        }
        let columns = names.len();
        Self::square(Some(names), rtt_us, rows, columns)
    }

    fn square(names: Option<Vec<String>>, rtt_us: Vec<u32>, rows: usize, columns: usize) -> Result<Matrix, MatrixError> {
        if rows == 0 || columns == 0 {
            return Err(MatrixError::Empty);
        }
        if rows != columns {
            return Err(MatrixError::NotSquare { rows, columns });
        }
        Ok(Matrix { names, rtt_us, len: rows })
    }
}

/// Lines that carry data, with their number; comments and blank lines are skipped. A byte order mark, which spreadsheets write, too.
fn data_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split('#').next().unwrap_or_default().trim()))
        .filter(|(_, line)| !line.is_empty())
}

fn unquote(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(field).trim()
}

fn check_row(columns: &mut Option<usize>, found: usize, line: usize) -> Result<(), MatrixError> {
    let expected = *columns.get_or_insert(found);
    if expected == found { Ok(()) } else { Err(MatrixError::RowLength { line, expected, found }) }
}

fn parse_ms(field: &str, line: usize, column: usize) -> Result<u32, MatrixError> {
    let ms: f64 = field.parse().map_err(|_| MatrixError::NotANumber { line, column, text: field.to_owned() })?;
    // `contains` is false for NaN too.
    if !(0.0..=MAX_RTT_MS).contains(&ms) {
        return Err(MatrixError::OutOfRange { line, column, text: field.to_owned() });
    }
    // 0.161 ms is 161.00000000000003 us as a double: a billionth off what was written is the float, not the network.
    Ok((ms * 1000.0 - 1e-6).ceil() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(Option<&[&str]>, &[u32]), MatrixError>) {
        let found = Matrix::parse(text);
        let expected = expected.map(|(names, rtt_us)| Matrix {
            names: names.map(|names| names.iter().map(|name| name.to_string()).collect()),
            rtt_us: rtt_us.to_vec(),
            len: rtt_us.len().isqrt(),
        });
        assert_eq!(found, expected, "for {text:?}");
    }

    #[test]
    fn numbers_with_comments() {
        check("# three sites\n0 4 31\n4 0 28 # bad link\n\n31 28 0\n", Ok((None, &[0, 4000, 31000, 4000, 0, 28000, 31000, 28000, 0])));
        check("0\t0.161\r\n0.161\t0\r\n", Ok((None, &[0, 161, 161, 0])));
        check("\u{feff}0", Ok((None, &[0])));
    }

    #[test]
    fn csv_keeps_both_directions_and_the_diagonal() {
        check("region,a,b\na,3,240\n\"b\", 241 ,2.5", Ok((Some(&["a", "b"]), &[3000, 240_000, 241_000, 2500])));
        let matrix = Matrix::parse("r,a,b\na,3,240\nb,241,2").unwrap();
        assert_eq!((matrix.rtt_us(0, 1), matrix.rtt_us(1, 0), matrix.rtt_us(0, 0)), (241_000, 241_000, 0));
    }

    #[test]
    fn values_round_up_to_the_microsecond() {
        check("0 0.0001\n0.0400001 0", Ok((None, &[0, 1, 41, 0])));
    }

    #[test]
    fn bad_values_name_line_and_column() {
        let not_a_number = |line, column, text: &str| Err(MatrixError::NotANumber { line, column, text: text.to_owned() });
        let out_of_range = |line, column, text: &str| Err(MatrixError::OutOfRange { line, column, text: text.to_owned() });
        check("0 1\n# x\n1 zero", not_a_number(3, 2, "zero"));
        check("0 NaN\n1 0", out_of_range(1, 2, "NaN"));
        check("0 1\n-1 0", out_of_range(2, 1, "-1"));
        check("0 inf\n1 0", out_of_range(1, 2, "inf"));
        check("r,a,b\na,0,\nb,1,0", not_a_number(2, 3, ""));
        check("0 3600001\n1 0", out_of_range(1, 2, "3600001"));
    }

    #[test]
    fn bad_shapes_are_named() {
        check("", Err(MatrixError::Empty));
        check("# only words\n", Err(MatrixError::Empty));
        check("region,a,b\n", Err(MatrixError::Empty));
        check("0 1\n1 0\n2 2", Err(MatrixError::NotSquare { rows: 3, columns: 2 }));
        check("0 1\n1", Err(MatrixError::RowLength { line: 2, expected: 2, found: 1 }));
        check("r,a,b\na,0,1\nb,1", Err(MatrixError::RowLength { line: 3, expected: 2, found: 1 }));
        check("r,a,b\na,0,1", Err(MatrixError::NotSquare { rows: 1, columns: 2 }));
        check("r,a\na,0\nb,0", Err(MatrixError::NotSquare { rows: 2, columns: 1 }));
        check("r,a,b\nb,0,1\na,1,0", Err(MatrixError::NameMismatch { line: 2, column: 2, expected: "a".into(), found: "b".into() }));
        check("r,a,a\na,0,1\na,1,0", Err(MatrixError::DuplicateName { line: 1, column: 3, name: "a".into() }));
        check("r,a,\na,0,1\n,1,0", Err(MatrixError::MissingName { line: 1, column: 3 }));
    }
}

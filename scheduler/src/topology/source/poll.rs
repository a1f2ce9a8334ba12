//! Notices that files changed, by size and modification time, and reads them again. The last good matrix stands until there is a better one.

use super::files::{self, FileRows};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Size and modification time; `None` while the file is not there.
type Stamp = Option<(u64, SystemTime)>;

/// What a look at the files found.
#[derive(Debug, PartialEq)]
pub enum Polled {
    /// As before.
    Same,
    /// A good matrix that differs from the last good one.
    New(FileRows),
    /// They changed and can't be used; said once per change.
    Wrong(String),
}

pub struct Poll {
    matrix: PathBuf,
    metadata: Option<PathBuf>,
    seen: Option<[Stamp; 2]>,
    last: Option<FileRows>,
    error: Option<String>,
}

impl Poll {
    pub fn new(matrix: PathBuf, metadata: Option<PathBuf>) -> Poll {
        Poll { matrix, metadata, seen: None, last: None, error: None }
    }

    /// Reads the files if they look different from the last time.
    pub fn look(&mut self) -> Polled {
        let stamps = [stamp(&self.matrix), self.metadata.as_deref().and_then(stamp)];
        if self.seen == Some(stamps) && !recent(&stamps) {
            return Polled::Same;
        }
        self.seen = Some(stamps);
        match files::read(&self.matrix, self.metadata.as_deref()) {
            Ok(rows) => {
                self.error = None;
                if self.last.as_ref() == Some(&rows) {
                    return Polled::Same;
                }
                self.last = Some(rows.clone());
                Polled::New(rows)
            }
            Err(error) => {
                let text = chassis::program::chain(&error);
                if self.error.replace(text.clone()).as_ref() == Some(&text) { Polled::Same } else { Polled::Wrong(text) }
            }
        }
    }

    /// The matrix in force, if its files can still be read: its rows count as fresh.
    pub fn current(&self) -> Option<&FileRows> {
        self.last.as_ref().filter(|_| self.error.is_none())
    }

    /// Why the files can't be used at present.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()?))
}

/// A file system's clock may tick as slowly as every two seconds: two writes within one tick look alike, so a young file is read again.
fn recent(stamps: &[Stamp; 2]) -> bool {
    stamps.iter().flatten().any(|(_, modified)| modified.elapsed().is_ok_and(|age| age.as_secs() < 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn rows(polled: Polled) -> Vec<String> {
        match polled {
            Polled::New(rows) => rows.pairs().map(|(a, b, rtt)| format!("{a} {b} {rtt}")).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn edits_are_taken_and_mistakes_leave_the_last_good_matrix() {
        let folder = tempfile::tempdir().unwrap();
        let (matrix, metadata) = (folder.path().join("matrix.txt"), folder.path().join("metadata.json"));
        let mut poll = Poll::new(matrix.clone(), Some(metadata.clone()));
        assert!(matches!(poll.look(), Polled::Wrong(text) if text.contains("matrix.txt: No such file")));
        fs::write(&matrix, "0 4 31\n4 0 28\n31 28 0\n").unwrap();
        fs::write(&metadata, r#"{"a": 0, "b": 1, "c": 2}"#).unwrap();
        assert_eq!(rows(poll.look()), ["a b 4 ms", "a c 31 ms", "b c 28 ms"]);
        assert_eq!(poll.look(), Polled::Same);

        fs::write(&matrix, "0 9 31\n9 0 28\n31 28 0\n").unwrap();
        assert_eq!(rows(poll.look()), ["a b 9 ms", "a c 31 ms", "b c 28 ms"], "same size, same second");
        fs::write(&matrix, "0 9 31\n9 0\n31 28 0\n").unwrap();
        assert!(matches!(poll.look(), Polled::Wrong(text) if text.contains("matrix.txt: line 2 has 2 values")));
        assert_eq!(poll.look(), Polled::Same, "said once");
        assert!(poll.current().is_none() && poll.error().is_some());
        fs::write(&matrix, "0 9 31\n9 0 28\n31 28 0\n").unwrap();
        assert_eq!(poll.look(), Polled::Same, "back to what it was");
        assert!(poll.current().is_some() && poll.error().is_none());
        fs::write(&metadata, r#"{"a": 0, "c": 2}"#).unwrap();
        assert_eq!(rows(poll.look()), ["a c 31 ms"], "b is lost");
    }
}

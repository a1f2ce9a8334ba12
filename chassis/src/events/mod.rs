//! Events (events.k8s.io/v1) about objects, as `kubectl events` shows them: never in the caller's way, repeats gathered into series.

mod recorder;
mod series;

pub use recorder::{Recorder, RecorderConfig, RecorderStatus};

/// The two types of events there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The API server's limit for a note, in bytes.
const NOTE_LIMIT: usize = 1024;
const CUT: &str = " ...";

/// The note cut to the limit, on a character's boundary, in kube-scheduler's way.
fn cut_note(mut note: String) -> String {
    if note.len() > NOTE_LIMIT {
        note.truncate(note.floor_char_boundary(NOTE_LIMIT - CUT.len()));
        note.push_str(CUT);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_at_the_limit() {
        let exact = "x".repeat(NOTE_LIMIT);
        assert_eq!(cut_note(exact.clone()), exact);
        let cut = cut_note(format!("{exact}y"));
        assert_eq!(cut.len(), NOTE_LIMIT);
        assert!(cut.ends_with("x ..."));
        let wide = cut_note("é".repeat(NOTE_LIMIT));
        assert!(wide.len() <= NOTE_LIMIT && wide.ends_with("é ..."));
    }
}

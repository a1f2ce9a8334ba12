//! Which occurrence becomes an event and which only counts: client-go's rules for isomorphic events, without I/O or a clock.

use super::EventType;
use k8s_openapi::api::core::v1::ObjectReference;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Occurrences that agree in all of this are repeats of one event, whatever their notes say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub regarding: ObjectReference,
    pub kind: EventType,
    pub reason: String,
    pub action: String,
}

impl Key {
    /// `ObjectReference` has no hash of its own.
    fn hashable(&self) -> (String, EventType, String, String) {
        let object = &self.regarding;
        let parts = [&object.api_version, &object.kind, &object.namespace, &object.name, &object.uid, &object.field_path];
        let object = parts.map(|part| part.as_deref().unwrap_or_default()).join("\0");
        (object, self.kind, self.reason.clone(), self.action.clone())
    }
}

/// A series ends when nothing has repeated for so long.
pub(super) const FINISH: Duration = Duration::from_secs(360);
/// A series under way is written at most this often. client-go waits 30 min; at 2 min a thousand pending pods cost 8 calls a second.
const REFRESH: Duration = Duration::from_secs(120);
/// The note of an event cannot be changed. Where it differs, a new event is due, but not more often than this.
const NEW_NOTE: Duration = Duration::from_secs(60);

/// What to do about an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The first, or the first with a new note: make an event.
    Create,
    /// Write the series of the event called so.
    Patch(Patch),
    /// Counted; written later.
    Count,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub namespace: String,
    pub name: String,
    pub count: i32,
    pub last_observed: Instant,
}

#[derive(Debug, Default)]
pub(super) struct SeriesIndex {
    entries: HashMap<(String, EventType, String, String), Entry>,
}

#[derive(Debug)]
struct Entry {
    namespace: String,
    name: String,
    note: String,
    created: Instant,
    count: i32,
    last_observed: Instant,
    /// The count that the API server knows, and since when.
    written: (i32, Instant),
}

impl Entry {
    fn patch(&mut self, now: Instant) -> Patch {
        self.written = (self.count, now);
        Patch { namespace: self.namespace.clone(), name: self.name.clone(), count: self.count, last_observed: self.last_observed }
    }
}

impl SeriesIndex {
    pub(super) fn observe(&mut self, key: &Key, note: &str, now: Instant) -> Verdict {
        let Some(entry) = self.entries.get_mut(&key.hashable()) else { return Verdict::Create };
        if now.duration_since(entry.last_observed) > FINISH {
            return Verdict::Create;
        }
        if entry.note != note && now.duration_since(entry.created) >= NEW_NOTE {
            return Verdict::Create;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last_observed = now;
        // The second occurrence is written at once: it shows that this goes on.
        if entry.written.0 == 1 || now.duration_since(entry.written.1) >= REFRESH {
            Verdict::Patch(entry.patch(now))
        } else {
            Verdict::Count
        }
    }

    /// An event was made after [`Verdict::Create`].
    pub(super) fn created(&mut self, key: &Key, namespace: &str, name: &str, note: &str, now: Instant) {
        let entry = Entry {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            note: note.to_owned(),
            created: now,
            count: 1,
            last_observed: now,
            written: (1, now),
        };
        self.entries.insert(key.hashable(), entry);
    }

    /// The event is gone on the API server: the next occurrence makes a new one.
    pub(super) fn forget(&mut self, key: &Key) {
        self.entries.remove(&key.hashable());
    }

    /// Ends the series that are over (all of them when `everything`) and returns the counts still to be written.
    pub(super) fn finish(&mut self, now: Instant, everything: bool) -> Vec<Patch> {
        let over = |entry: &Entry| everything || now.duration_since(entry.last_observed) > FINISH;
        let ended = self.entries.extract_if(|_, entry| over(entry));
        ended.filter(|(_, entry)| entry.count > entry.written.0).map(|(_, mut entry)| entry.patch(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pod: &str) -> Key {
        let regarding = ObjectReference { name: Some(pod.to_owned()), ..ObjectReference::default() };
        Key { regarding, kind: EventType::Warning, reason: "FailedScheduling".to_owned(), action: "Scheduling".to_owned() }
    }

    /// Plays occurrences `(second, pod, note)`; each must be created (`new`), written (its count) or only counted (`-`).
    fn check(occurrences: &[(u64, &str, &str, &str)]) -> (SeriesIndex, Instant) {
        let (mut index, start) = (SeriesIndex::default(), Instant::now());
        for (second, pod, note, expected) in occurrences {
            let now = start + Duration::from_secs(*second);
            let verdict = match index.observe(&key(pod), note, now) {
                Verdict::Create => {
                    index.created(&key(pod), "ns", pod, note, now);
                    "new".to_owned()
                }
                Verdict::Patch(patch) => patch.count.to_string(),
                Verdict::Count => "-".to_owned(),
            };
            assert_eq!(verdict, *expected, "{pod} at {second} s");
        }
        (index, start)
    }

    #[test]
    fn repeats_become_a_series_that_is_written_now_and_then() {
        let repeats =
            [(0, "a", "n", "new"), (1, "a", "n", "2"), (2, "a", "n", "-"), (60, "a", "n", "-"), (121, "a", "n", "5"), (130, "a", "n", "-")];
        let (mut index, start) = check(&repeats);
        assert_eq!(index.finish(start + Duration::from_secs(130) + FINISH, false), []);
        let last = index.finish(start + Duration::from_secs(131) + FINISH, false);
        assert_eq!(
            last.iter().map(|patch| (patch.count, patch.last_observed)).collect::<Vec<_>>(),
            [(6, start + Duration::from_secs(130))]
        );
        assert!(index.entries.is_empty());
    }

    #[test]
    fn another_object_or_a_long_pause_is_another_event() {
        check(&[(0, "a", "n", "new"), (0, "b", "n", "new"), (359, "a", "n", "2"), (720, "a", "n", "new")]);
    }

    #[test]
    fn a_new_note_makes_a_new_event_once_a_minute() {
        check(&[
            (0, "a", "25 ms", "new"),
            (10, "a", "26 ms", "2"),
            (20, "a", "27 ms", "-"),
            (60, "a", "28 ms", "new"),
            (61, "a", "29 ms", "2"),
        ]);
    }

    #[test]
    fn at_the_end_nothing_counted_is_lost() {
        let (mut index, start) = check(&[(0, "a", "n", "new"), (1, "a", "n", "2"), (2, "a", "n", "-"), (2, "b", "n", "new")]);
        let counts: Vec<i32> = index.finish(start + Duration::from_secs(3), true).iter().map(|patch| patch.count).collect();
        assert_eq!(counts, [3]);
    }
}

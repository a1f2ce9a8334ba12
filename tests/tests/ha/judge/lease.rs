//! Who led when, by the changes of the lease that the API server made.
//!
//! A change covers its writer from the moment the API server had it (its answer may be read before the log says that it was sent) until the lease runs out,
//! or until another's change was done.

use super::LeaseWrite;
use jiff::{SignedDuration, Timestamp};

#[derive(Debug)]
pub struct Terms {
    /// In the order in which they were done.
    writes: Vec<LeaseWrite>,
}

impl Terms {
    pub fn of(writes: &[LeaseWrite]) -> Terms {
        let mut writes = writes.to_vec();
        writes.sort_by_key(|write| write.answered);
        Terms { writes }
    }

    /// Whether `who` held the lease at that moment.
    pub fn led(&self, who: &str, at: Timestamp) -> bool {
        self.writes.iter().enumerate().any(|(i, write)| {
            let next = self.writes[i + 1..].iter().find(|next| next.by != write.by || !next.holds());
            let taken = next.is_some_and(|next| next.answered < at);
            write.holds() && write.by == who && write.received <= at && at <= runs_out(write) && !taken
        })
    }

    /// Changes that took the lease from a holder whose lease had not run out, which no clock excuses.
    pub fn stolen(&self) -> impl Iterator<Item = String> {
        let pairs = self.writes.windows(2).filter(|pair| pair[0].holds() && pair[1].holds() && pair[0].holder != pair[1].holder);
        // The taker counts from when it saw the renewal, which is after the API server had it.
        let early = pairs.filter(|pair| pair[1].answered < pair[0].received + duration(&pair[0]));
        early.map(|pair| {
            format!("{} took the lease at {} though {} had renewed it at {}", pair[1].by, pair[1].answered, pair[0].by, pair[0].received)
        })
    }

    /// How often the lease went to another holder after `since`.
    pub fn changes_since(&self, since: Timestamp) -> usize {
        let holders: Vec<&LeaseWrite> = self.writes.iter().filter(|write| write.holds()).collect();
        holders.windows(2).filter(|pair| pair[0].holder != pair[1].holder && pair[1].received >= since).count()
    }

    /// The first change after `since` that made someone other than `than` the holder.
    pub fn next_holder(&self, than: &str, since: Timestamp) -> Option<&LeaseWrite> {
        self.writes.iter().find(|write| write.holds() && write.by != than && write.received >= since)
    }
}

fn duration(write: &LeaseWrite) -> SignedDuration {
    SignedDuration::from_secs(write.duration_s)
}

fn runs_out(write: &LeaseWrite) -> Timestamp {
    write.answered + duration(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds at which a replica has its change received; done 10 ms later. A capital holds, a small letter releases.
    fn terms(changes: &[(i64, &str)]) -> Terms {
        let writes = changes.iter().map(|(second, who)| {
            let received = at(*second * 1000);
            let holder = if who.chars().all(char::is_uppercase) { who.to_string() } else { String::new() };
            LeaseWrite {
                by: who.to_uppercase(),
                holder,
                received,
                answered: received + SignedDuration::from_millis(10),
                renew_time: received,
                duration_s: 15,
            }
        });
        Terms::of(&writes.collect::<Vec<_>>())
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn a_term_ends_when_the_lease_runs_out_is_taken_or_released() {
        let check = |changes: &[(i64, &str)], who: &str, at_ms: i64, expected: bool| {
            assert_eq!(terms(changes).led(who, at(at_ms)), expected, "{changes:?}: {who} at {at_ms} ms");
        };
        check(&[(0, "A")], "A", 0, true);
        check(&[(0, "A")], "B", 0, false);
        check(&[(0, "A")], "A", 15_010, true);
        check(&[(0, "A")], "A", 15_011, false);
        check(&[(0, "A"), (2, "A")], "A", 17_000, true);
        let taken = [(0, "A"), (16, "B")];
        check(&taken, "A", 15_005, true);
        check(&taken, "A", 16_100, false);
        check(&taken, "B", 15_999, false);
        check(&taken, "B", 16_000, true);
        // Renewed, then taken over well within what the renewal alone would cover.
        check(&[(0, "A"), (20, "B"), (21, "A")], "B", 22_000, false);
        check(&[(0, "A"), (1, "a")], "A", 1_005, true);
        check(&[(0, "A"), (1, "a")], "A", 1_011, false);
    }

    #[test]
    fn a_lease_that_has_not_run_out_is_stolen_and_one_that_was_released_is_not() {
        let check = |changes: &[(i64, &str)], stolen: usize, terms_seen: usize| {
            let terms = terms(changes);
            assert_eq!((terms.stolen().count(), terms.changes_since(at(0))), (stolen, terms_seen), "{changes:?}");
        };
        check(&[(0, "A"), (14, "B")], 1, 1);
        check(&[(0, "A"), (15, "B")], 0, 1);
        check(&[(0, "A"), (1, "a"), (2, "B")], 0, 1);
        check(&[(0, "A"), (40, "A"), (41, "A")], 0, 0);
    }
}

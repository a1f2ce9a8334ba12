//! What to read and write next to acquire or keep a Lease: a state machine without I/O or a clock of its own.

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::api::ObjectMeta;
use std::time::Duration;
use tokio::time::Instant;

/// The next step of one try.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Get,
    Create(Lease),
    /// Carries the resourceVersion it is based on.
    Update(Lease),
    /// Another holds the Lease, and it has not run out.
    Wait,
}

#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    namespace: String,
    name: String,
    lease_duration: Duration,
    observed: Option<Observed>,
}

/// The Lease as last seen, and when its content was first seen to be this, on our clock.
#[derive(Debug)]
struct Observed {
    lease: Lease,
    at: Instant,
}

impl Observed {
    fn spec(&self) -> LeaseSpec {
        self.lease.spec.clone().unwrap_or_default()
    }

    /// Empty or absent: released.
    fn holder(&self) -> Option<&str> {
        self.lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// When the holder loses it if nothing changes; the holder says for how long it took it.
    fn expires(&self, default: Duration) -> Instant {
        let seconds = self.spec().lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        self.at + seconds.map_or(default, Duration::from_secs)
    }
}

impl Election {
    pub(super) fn new(identity: &str, namespace: &str, name: &str, lease_duration: Duration) -> Self {
        Self { identity: identity.to_owned(), namespace: namespace.to_owned(), name: name.to_owned(), lease_duration, observed: None }
    }

    /// Starts a try. A holder renews what it wrote last without reading it first; if that fails it goes on with [`Step::Get`].
    pub(super) fn begin(&self, now: Instant, wall: Timestamp) -> Step {
        match &self.observed {
            Some(observed) if self.holds() && now < observed.expires(self.lease_duration) => Step::Update(self.claim(observed, wall)),
            _ => Step::Get,
        }
    }

    /// Goes on after [`Step::Get`] found a Lease, or none.
    pub(super) fn found(&mut self, lease: Option<Lease>, now: Instant, wall: Timestamp) -> Step {
        let Some(lease) = lease else {
            self.observed = None;
            return Step::Create(self.first(wall));
        };
        match &mut self.observed {
            // The same content is no sign of life, even under another resourceVersion.
            Some(observed) if observed.lease.spec == lease.spec => observed.lease = lease,
            observed => *observed = Some(Observed { lease, at: now }),
        }
        match &self.observed {
            Some(observed) if observed.holder().is_some() && !self.holds() && now < observed.expires(self.lease_duration) => Step::Wait,
            Some(observed) => Step::Update(self.claim(observed, wall)),
            None => Step::Get,
        }
    }

    /// A Create or an Update was answered with `lease`.
    pub(super) fn written(&mut self, lease: Lease, now: Instant) {
        self.observed = Some(Observed { lease, at: now });
    }

    pub(super) fn holds(&self) -> bool {
        self.holder() == Some(&self.identity)
    }

    /// Who holds the Lease as far as we know.
    pub(super) fn holder(&self) -> Option<&str> {
        self.observed.as_ref()?.holder()
    }

    /// How to give the Lease up, when it is ours: nobody holds it, and for one second.
    pub(super) fn release(&self, wall: Timestamp) -> Option<Lease> {
        let observed = self.observed.as_ref().filter(|_| self.holds())?;
        let spec = LeaseSpec {
            holder_identity: None,
            lease_duration_seconds: Some(1),
            acquire_time: Some(MicroTime(wall)),
            renew_time: Some(MicroTime(wall)),
            ..observed.spec()
        };
        Some(Lease { spec: Some(spec), ..observed.lease.clone() })
    }

    fn first(&self, wall: Timestamp) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), namespace: Some(self.namespace.clone()), ..Default::default() };
        let spec = LeaseSpec { acquire_time: Some(MicroTime(wall)), lease_transitions: Some(0), ..LeaseSpec::default() };
        Lease { metadata, spec: Some(self.ours(spec, wall)) }
    }

    /// The observed Lease as ours: renewed if it was, else taken over.
    fn claim(&self, observed: &Observed, wall: Timestamp) -> Lease {
        let mut spec = observed.spec();
        if !self.holds() {
            spec.acquire_time = Some(MicroTime(wall));
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        Lease { spec: Some(self.ours(spec, wall)), ..observed.lease.clone() }
    }

    fn ours(&self, spec: LeaseSpec, wall: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.lease_duration.as_secs()).unwrap_or(i32::MAX)),
            renew_time: Some(MicroTime(wall)),
            ..spec
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn lease(holder: &str, version: &str, renewed_s: i64, transitions: i32) -> Lease {
        Lease {
            metadata: ObjectMeta { name: Some("l".into()), resource_version: Some(version.into()), ..Default::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                lease_duration_seconds: Some(15),
                acquire_time: Some(MicroTime(at(0))),
                renew_time: Some(MicroTime(at(renewed_s))),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    fn election() -> Election {
        Election::new("a", "ns", "l", LEASE)
    }

    /// What an update claims: holder, seconds of acquire and renew time, transitions, and the version it is based on.
    fn claimed(step: Step) -> (String, i64, i64, i32, Option<String>) {
        let Step::Update(lease) = step else { panic!("expected an update, got {step:?}") };
        let spec = lease.spec.unwrap();
        let seconds = |time: Option<MicroTime>| time.unwrap().0.as_second() - 1_800_000_000;
        (
            spec.holder_identity.unwrap_or_default(),
            seconds(spec.acquire_time),
            seconds(spec.renew_time),
            spec.lease_transitions.unwrap(),
            lease.metadata.resource_version,
        )
    }

    #[test]
    fn creates_what_is_not_there_and_renews_what_it_wrote() {
        let (mut election, now) = (election(), Instant::now());
        assert_eq!(election.begin(now, at(0)), Step::Get);
        let Step::Create(mut created) = election.found(None, now, at(0)) else { panic!("expected a create") };
        assert_eq!(created.spec.as_ref().unwrap().lease_transitions, Some(0));
        created.metadata.resource_version = Some("7".into());
        election.written(created, now);
        assert!(election.holds());
        let renewal = election.begin(now + Duration::from_secs(2), at(2));
        assert_eq!(claimed(renewal), ("a".into(), 0, 2, 0, Some("7".into())));
        assert_eq!(election.begin(now + LEASE, at(15)), Step::Get, "it must not renew unread what others may have taken");
    }

    #[test]
    fn takes_over_only_what_has_not_changed_for_its_duration() {
        let (mut election, now) = (election(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(election.found(Some(lease("b", "1", 0, 3)), now, at(0)), Step::Wait);
        assert_eq!(election.found(Some(lease("b", "2", 5, 3)), after(5), at(5)), Step::Wait);
        assert_eq!(election.found(Some(lease("b", "2", 5, 3)), after(19), at(19)), Step::Wait);
        let taken = election.found(Some(lease("b", "2", 5, 3)), after(20), at(20));
        assert_eq!(claimed(taken), ("a".into(), 20, 20, 4, Some("2".into())));
    }

    #[test]
    fn another_version_of_the_same_content_is_no_renewal() {
        let (mut election, now) = (election(), Instant::now());
        assert_eq!(election.found(Some(lease("b", "1", 0, 0)), now, at(0)), Step::Wait);
        assert_eq!(election.found(Some(lease("b", "2", 0, 0)), now + LEASE / 2, at(7)), Step::Wait);
        let taken = election.found(Some(lease("b", "3", 0, 0)), now + LEASE, at(15));
        assert_eq!(claimed(taken).4.as_deref(), Some("3"), "based on the latest version all the same");
    }

    #[test]
    fn nobody_s_wall_clock_is_trusted() {
        let hour = 3600;
        for skew in [-hour, hour] {
            let (mut election, now) = (election(), Instant::now());
            assert_eq!(election.found(Some(lease("b", "1", skew, 0)), now, at(0)), Step::Wait, "skew {skew} s");
            let late = election.found(Some(lease("b", "1", skew, 0)), now + LEASE, at(15));
            assert_eq!(claimed(late).0, "a", "skew {skew} s");
        }
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        for holder in [Some(String::new()), None] {
            let (mut election, now) = (election(), Instant::now());
            let mut free = lease("", "4", 0, 2);
            free.spec.as_mut().unwrap().holder_identity = holder;
            assert_eq!(claimed(election.found(Some(free), now, at(9))), ("a".into(), 9, 9, 3, Some("4".into())));
        }
        let (mut election, now) = (election(), Instant::now());
        let empty = Lease { spec: None, ..lease("", "4", 0, 0) };
        assert_eq!(claimed(election.found(Some(empty), now, at(9))).3, 1);
    }

    #[test]
    fn releases_only_its_own() {
        let (mut election, now) = (election(), Instant::now());
        assert_eq!(election.release(at(0)), None);
        election.found(Some(lease("b", "1", 0, 0)), now, at(0));
        assert_eq!(election.release(at(0)), None);
        election.written(lease("a", "2", 0, 5), now);
        let released = election.release(at(8)).expect("ours");
        let spec = released.spec.expect("has one");
        assert_eq!((spec.holder_identity, spec.lease_duration_seconds, spec.lease_transitions), (None, Some(1), Some(5)));
        assert_eq!(released.metadata.resource_version.as_deref(), Some("2"));
    }
}

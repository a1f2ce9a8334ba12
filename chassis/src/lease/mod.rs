//! Leader election on a `coordination.k8s.io/v1` Lease, after client-go's algorithm.
//!
//! Whoever holds the Lease renews it every `retryPeriod`. Others watch *when they saw* the record change last, on their own monotonic
//! clock, and take the Lease over when it has not changed for its duration: nobody's wall clock is trusted. Every write carries the
//! resourceVersion that was read, so of two that write one loses. A leader that cannot renew stops acting `renewDeadline` after the start of
//! its last renewal, which leaves `leaseDuration - renewDeadline` for what it began before: a call made under [`Leadership::check`] should
//! have a shorter time limit than that.
//!
//! ```text
//!              acquired                    renewed
//!  Following ------------> Leading(term) ----------> Leading(same term, later deadline)
//!      ^                      |    |
//!      |  deadline passed,    |    | shutdown: Lease released
//!      +--- or held by other -+    +------------------------------> Stopped
//! ```

mod election;
mod elector;

pub use elector::{elect, elect_once, identity};

use crate::config::{Duration, Problems};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};

/// The section `leaderElection` of a program's configuration, with kube-scheduler's keys and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// False for a single replica: it leads at once and for ever.
    pub leader_elect: bool,
    pub resource_namespace: String,
    pub resource_name: String,
    /// How long a Lease that is not renewed keeps others waiting. Whole seconds.
    pub lease_duration: Duration,
    /// How long a leader acts on its last renewal.
    pub renew_deadline: Duration,
    /// Time between renewals, and (with jitter) between tries to acquire.
    pub retry_period: Duration,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            leader_elect: true,
            resource_namespace: "edge-system".to_owned(),
            resource_name: "edge-scheduler".to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Tries to acquire are this share of the retry period apart at most, beyond the period itself.
const JITTER: f64 = 1.2;

impl crate::config::Validate for LeaseConfig {
    fn validate(&self, problems: &mut Problems) {
        let (lease, renew, retry) = (self.lease_duration, self.renew_deadline, self.retry_period);
        if lease.as_secs() == 0 || lease.subsec_nanos() != 0 {
            problems.wrong("leaseDuration", lease, "whole seconds, at least 1s");
        }
        if *renew >= *lease {
            problems.wrong("renewDeadline", renew, &format!("less than leaseDuration ({lease})"));
        }
        if retry.is_zero() || retry.mul_f64(JITTER) >= *renew {
            problems.wrong("retryPeriod", retry, &format!("more than 0s, and {JITTER} times it less than renewDeadline ({renew})"));
        }
        for (key, value) in [("resourceNamespace", &self.resource_namespace), ("resourceName", &self.resource_name)] {
            if value.is_empty() {
                problems.wrong(key, "\"\"", "a name");
            }
        }
    }
}

/// Whether we lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderState {
    /// Another leads, or nobody that we know of.
    Following { leader: Option<String> },
    /// We lead until `deadline` at least. `term` counts the times we began to, from 1.
    Leading { term: u64, deadline: Instant },
    /// Shut down; the Lease is released if it was ours.
    Stopped,
}

/// Follows the election. Clones follow the same one.
#[derive(Clone, Debug)]
pub struct Leadership {
    state: watch::Receiver<LeaderState>,
}

/// Acting as leader is not safe now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLeader {
    #[error("not the leader: {} holds the lease", leader.as_deref().unwrap_or("nobody known"))]
    Following { leader: Option<String> },
    #[error("the lease was not renewed in time: its deadline passed {:?} ago", .0)]
    Expired(std::time::Duration),
    #[error("shut down")]
    Stopped,
}

impl Leadership {
    /// For a single replica without election: leads from the start and never stops.
    pub fn always() -> Self {
        // 30 years: nobody's uptime.
        let deadline = Instant::now() + std::time::Duration::from_secs(30 * 365 * 86_400);
        let (_sender, state) = watch::channel(LeaderState::Leading { term: 1, deadline });
        Self { state }
    }

    /// To be called right before each act that only the leader may do; returns until when acting is safe.
    ///
    /// It reads the clock, so that a process that was stopped or starved finds out before its election task has run again. The clock is
    /// the monotonic one, which stands still while a whole machine is suspended: what is done must also be refused by the API server when
    /// done twice, as a binding with the pod's UID is.
    pub fn check(&self) -> Result<Instant, NotLeader> {
        match &*self.state.borrow() {
            LeaderState::Leading { deadline, .. } => {
                let now = Instant::now();
                if now < *deadline { Ok(*deadline) } else { Err(NotLeader::Expired(now - *deadline)) }
            }
            LeaderState::Following { leader } => Err(NotLeader::Following { leader: leader.clone() }),
            LeaderState::Stopped => Err(NotLeader::Stopped),
        }
    }

    pub fn is_leader(&self) -> bool {
        self.check().is_ok()
    }

    /// Until when acting is safe: start of the last renewal + lease duration - margin. `None` when not leading.
    pub fn deadline(&self) -> Option<Instant> {
        match &*self.state.borrow() {
            LeaderState::Leading { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }

    pub fn state(&self) -> LeaderState {
        self.state.borrow().clone()
    }

    /// A channel that wakes when leadership comes or goes, or the leader changes; renewals pass silently.
    pub fn subscribe(&self) -> watch::Receiver<LeaderState> {
        self.state.clone()
    }

    /// Waits until we lead; returns the term, or `None` when the election has stopped.
    pub async fn acquired(&self) -> Option<u64> {
        let mut state = self.state.clone();
        // The last value stays readable when the election has gone.
        let found = state.wait_for(|state| !matches!(state, LeaderState::Following { .. })).await.map(|state| state.clone());
        match found.unwrap_or_else(|_gone| self.state()) {
            LeaderState::Leading { term, .. } => Some(term),
            _ => None,
        }
    }

    /// Waits until we do not lead in `term` any more.
    pub async fn lost(&self, term: u64) {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| !matches!(state, LeaderState::Leading { term: now, .. } if *now == term)).await.map(drop);
        if ended.is_err() && self.is_leader() {
            // `always`: there is no election that could end it.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Validate as _;

    fn check(change: impl FnOnce(&mut LeaseConfig), wrong: &[&str]) {
        let mut config = LeaseConfig::default();
        change(&mut config);
        let mut problems = Problems::default();
        config.validate(&mut problems);
        assert_eq!(problems.into_keys(), wrong);
    }

    #[test]
    fn the_periods_must_fit() {
        check(|_| {}, &[]);
        check(|config| config.lease_duration = Duration::from_millis(15_500), &["leaseDuration"]);
        check(|config| config.renew_deadline = Duration::from_secs(15), &["renewDeadline"]);
        check(|config| config.retry_period = Duration::from_secs(9), &["retryPeriod"]);
        check(|config| config.resource_name.clear(), &["resourceName"]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_election_one_always_leads() {
        let leadership = Leadership::always();
        assert_eq!(leadership.acquired().await, Some(1));
        tokio::time::advance(std::time::Duration::from_secs(86_400)).await;
        assert!(leadership.is_leader());
        assert!(tokio::time::timeout(std::time::Duration::from_secs(100), leadership.lost(1)).await.is_err());
    }
}

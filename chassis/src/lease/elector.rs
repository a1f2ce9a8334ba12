//! Runs an election against the API server and publishes its outcome.

use super::{
    JITTER, LeaderState, Leadership, LeaseConfig,
    election::{Election, Step},
};
use crate::{backoff::jittered, program::chain, shutdown::Shutdown};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};
use std::{future::Future, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// Takes part in the election until `shutdown`, then releases the Lease if it is ours.
///
/// `client` should be one of its own: behind thousands of bindings in one rate limit a renewal would come too late. `shutdown` should end
/// after whatever acts as leader, so that nothing acts once another may lead.
pub fn elect(client: kube::Client, config: &LeaseConfig, identity: &str, shutdown: &Shutdown) -> Leadership {
    start(client, config, identity, Box::new(Timestamp::now), false, shutdown)
}

/// As [`elect`] for one term: who has lost the Lease does not take it again, and should end. The wall clock gives the times written into the Lease, which
/// nobody's election goes by.
pub fn elect_once(
    client: kube::Client,
    config: &LeaseConfig,
    identity: &str,
    wall: impl Fn() -> Timestamp + Send + Sync + 'static,
    shutdown: &Shutdown,
) -> Leadership {
    if !config.leader_elect {
        return Leadership::always();
    }
    start(client, config, identity, Box::new(wall), true, shutdown)
}

type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

fn start(client: kube::Client, config: &LeaseConfig, identity: &str, wall: Clock, once: bool, shutdown: &Shutdown) -> Leadership {
    let (state, receiver) = watch::channel(LeaderState::Following { leader: None });
    let election = Election::new(identity, &config.resource_namespace, &config.resource_name, *config.lease_duration);
    let elector = Elector {
        api: Api::namespaced(client, &config.resource_namespace),
        config: config.clone(),
        election,
        state,
        wall,
        once,
        term: 0,
        wrote: false,
    };
    let ending = shutdown.clone();
    shutdown.spawn(elector.run(ending));
    Leadership { state: receiver }
}

/// A name for this process that no other has, as kube-scheduler makes it: host name and a random part.
pub fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty()).unwrap_or("unknown");
    format!("{host}_{}", uuid::Uuid::new_v4())
}

/// Longest wait for the release at shutdown; others take over without it, only later.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);

struct Elector {
    api: Api<Lease>,
    config: LeaseConfig,
    election: Election,
    state: watch::Sender<LeaderState>,
    /// For the times written into the Lease, which only people read.
    wall: Clock,
    /// Leads for one term at most.
    once: bool,
    term: u64,
    /// Whether a write of ours may have made the Lease ours, answered or not.
    wrote: bool,
}

impl Elector {
    async fn run(mut self, shutdown: Shutdown) {
        let ended = shutdown.clone();
        let forever = async {
            loop {
                let mut renewed = self.acquire().await;
                self.term += 1;
                tracing::info!(lease = self.config.resource_name, term = self.term, "became leader");
                while let Some(at) = renewed {
                    self.publish(LeaderState::Leading { term: self.term, deadline: at + *self.config.renew_deadline });
                    renewed = self.renew(at).await;
                }
                let leader = self.other_holder();
                tracing::warn!(lease = self.config.resource_name, leader, "no longer leader");
                self.publish(LeaderState::Following { leader });
                if self.once {
                    std::future::pending::<()>().await;
                }
            }
        };
        ended.interrupt(forever).await.unwrap_or(());
        self.publish(LeaderState::Stopped);
        match timeout(RELEASE_LIMIT, self.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "cannot release the lease; others wait until it runs out"),
            Err(_elapsed) => tracing::warn!("the API server did not answer; others wait until the lease runs out"),
        }
    }

    /// Tries until the Lease is ours; returns when the write that made it so was sent.
    async fn acquire(&mut self) -> Option<Instant> {
        loop {
            match self.attempt().await {
                Ok(Some(at)) => return Some(at),
                Ok(None) => {}
                Err(error) if error.is_conflict() => {
                    tracing::debug!(lease = self.config.resource_name, "another was quicker to write the lease")
                }
                Err(error) => tracing::warn!(lease = self.config.resource_name, error = chain(&error), "cannot acquire the lease"),
            }
            self.publish(LeaderState::Following { leader: self.other_holder() });
            tokio::time::sleep(jittered(*self.config.retry_period, JITTER)).await;
        }
    }

    /// Waits a retry period, then renews; `None` when it did not work before the deadline that the renewal `last` set, or another leads.
    async fn renew(&mut self, last: Instant) -> Option<Instant> {
        let deadline = last + *self.config.renew_deadline;
        let retry = *self.config.retry_period;
        loop {
            tokio::time::sleep(retry).await;
            // Late beyond the deadline (stopped, starved): others may lead, and what we last saw is old.
            if Instant::now() >= deadline {
                return None;
            }
            match tokio::time::timeout_at(deadline, self.attempt()).await {
                Ok(Ok(Some(at))) => return Some(at),
                Ok(Ok(None)) => return None,
                Ok(Err(error)) => tracing::warn!(lease = self.config.resource_name, error = chain(&error), "cannot renew the lease"),
                Err(_elapsed) => return None,
            }
        }
    }

    /// One try to acquire or renew: when the write that succeeded was sent, or `None` while another holds the Lease.
    async fn attempt(&mut self) -> Result<Option<Instant>, CallError> {
        let limit = *self.config.renew_deadline / 2;
        let name = self.config.resource_name.clone();
        let api = self.api.clone();
        let mut step = self.election.begin(Instant::now(), (self.wall)());
        // A renewal without reading first may fail on a change that does not concern us; then the Lease is read.
        let mut unread = matches!(step, Step::Update(_));
        loop {
            let sent = Instant::now();
            self.wrote |= matches!(step, Step::Create(_) | Step::Update(_));
            let written = match step {
                Step::Wait => return Ok(None),
                Step::Get => {
                    let found = call(limit, api.get_opt(&name)).await?;
                    step = self.election.found(found, Instant::now(), (self.wall)());
                    continue;
                }
                Step::Create(lease) => call(limit, api.create(&PostParams::default(), &lease)).await,
                Step::Update(lease) => call(limit, api.replace(&name, &PostParams::default(), &lease)).await,
            };
            match written {
                Ok(lease) => {
                    self.election.written(lease, Instant::now());
                    return Ok(Some(sent));
                }
                Err(_changed) if unread => {
                    unread = false;
                    step = Step::Get;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn other_holder(&self) -> Option<String> {
        self.election.holder().filter(|_| !self.election.holds()).map(str::to_owned)
    }

    /// Gives the Lease up if it is ours, by what the API server says: our last write may have been cut short.
    async fn release(&mut self) -> Result<(), CallError> {
        if !self.wrote {
            return Ok(());
        }
        let found = call(RELEASE_LIMIT, self.api.get_opt(&self.config.resource_name)).await?;
        let Some(lease) = found else { return Ok(()) };
        self.election.written(lease, Instant::now());
        if let Some(released) = self.election.release((self.wall)()) {
            call(RELEASE_LIMIT, self.api.replace(&self.config.resource_name, &PostParams::default(), &released)).await?;
            tracing::info!(lease = self.config.resource_name, "released");
        }
        Ok(())
    }

    /// Wakes subscribers unless only the deadline moved.
    fn publish(&self, new: LeaderState) {
        self.state.send_if_modified(|state| {
            let renewal = matches!((&*state, &new), (LeaderState::Leading { term: a, .. }, LeaderState::Leading { term: b, .. }) if a == b);
            let same = *state == new;
            *state = new;
            !renewal && !same
        });
    }
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the API server did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the API server refused")]
    Refused(#[source] Box<kube::Error>),
}

impl CallError {
    /// Of several that write one wins, which is what the Lease is for.
    fn is_conflict(&self) -> bool {
        matches!(self, CallError::Refused(error) if matches!(&**error, kube::Error::Api(status) if status.code == 409))
    }
}

async fn call<T>(limit: Duration, future: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match timeout(limit, future).await {
        Ok(answer) => answer.map_err(|error| CallError::Refused(Box::new(error))),
        Err(_elapsed) => Err(CallError::TimedOut(limit)),
    }
}

#[cfg(test)]
mod tests;

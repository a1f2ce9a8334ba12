//! The link to one replica of the topology service: its peers in, this agent's row out. Every replica has one, so that each is whole by itself.

use crate::agent::Agent;
use crate::row::{Acknowledged, Changes};
use api::protocol::{DeviceReport, Peers, Report, ReportAck};
use chassis::backoff::Backoff;
use chassis::shutdown::Shutdown;
use chassis::tls::CallError;
use chassis::topology::Replica;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Keeps both directions going until shutdown. Failures are logged once when they begin and once when they end.
pub async fn run(agent: Arc<Agent>, replica: Replica, echo: Option<SocketAddr>, report_interval: Duration, shutdown: Shutdown) {
    tokio::join!(follow_peers(&agent, &replica, &shutdown), report_rows(&agent, &replica, echo, report_interval, &shutdown));
}

async fn follow_peers(agent: &Agent, replica: &Replica, shutdown: &Shutdown) {
    let mut after = None;
    let mut trouble = Trouble::new("peers", replica.base());
    while !shutdown.is_signalled() {
        let path = after.map_or("/v1/peers".to_owned(), |generation: u64| format!("/v1/peers?after={generation}"));
        let Some(answer) = shutdown.interrupt(replica.get::<Peers>(&path)).await else { return };
        match answer {
            Ok(peers) => {
                trouble.over();
                if after != Some(peers.generation) {
                    after = Some(peers.generation);
                    agent.peers(replica.base(), peers);
                }
            }
            Err(error) => {
                after = None;
                trouble.wait(&error, shutdown).await;
            }
        }
    }
}

async fn report_rows(agent: &Agent, replica: &Replica, echo: Option<SocketAddr>, interval: Duration, shutdown: &Shutdown) {
    let mut acknowledged: Option<Acknowledged> = None;
    let mut devices_sent: Option<DeviceReport> = None;
    let mut sequence = 0;
    let mut trouble = Trouble::new("report", replica.base());
    while shutdown.sleep(interval).await {
        let now = agent.now();
        let Changes { full, pairs } = agent.with_row(|row| match &acknowledged {
            Some(known) => known.changes(row, now),
            None => Changes::all(row, now),
        });
        let devices = agent.devices.borrow().clone();
        let devices = (devices_sent.as_ref() != Some(&devices)).then_some(devices);
        if !full && pairs.is_empty() && devices.is_none() {
            continue;
        }
        let report = Report { node: agent.node.clone(), epoch: agent.epoch, sequence, full, echo, pairs, devices };
        let Some(answer) = shutdown.interrupt(replica.post::<ReportAck>("/v1/report", &report)).await else { return };
        match answer {
            Ok(ack) => {
                trouble.over();
                agent.also_probe(replica.base(), ack.also_probe);
                sequence += 1;
                if let Some(devices) = report.devices {
                    devices_sent = Some(devices);
                }
                match ack.need_full {
                    true => acknowledged = None,
                    false => acknowledged.get_or_insert_default().sent(Changes { full, pairs: report.pairs }, now),
                }
            }
            Err(error) => {
                // The replica may have restarted or may not have read it: begin anew.
                acknowledged = None;
                devices_sent = None;
                trouble.wait(&error, shutdown).await;
            }
        }
    }
}

/// Backoff and a log line at each change between working and failing.
struct Trouble<'a> {
    what: &'static str,
    replica: &'a str,
    backoff: Backoff,
    failing: bool,
}

impl<'a> Trouble<'a> {
    fn new(what: &'static str, replica: &'a str) -> Trouble<'a> {
        Trouble { what, replica, backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(15)), failing: false }
    }

    fn over(&mut self) {
        self.backoff.reset();
        if std::mem::take(&mut self.failing) {
            tracing::info!(replica = self.replica, "topology service: {} works again", self.what);
        }
    }

    async fn wait(&mut self, error: &CallError, shutdown: &Shutdown) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(replica = self.replica, error = %chassis::program::chain(error), "topology service: {} fails; trying again", self.what);
        }
        shutdown.sleep(self.backoff.delay()).await;
    }
}

//! Metrics under kube-scheduler's names, and those of the topology. What is state is read when it is scraped; label sets are bounded.

use crate::queue::Lane;
use crate::state::{Shared, now};
use crate::topology::board::Board;
use chassis::admin::Admin;
use chassis::metrics::{NO_LABELS, counters, gauges};
use placement::cluster::Pod;
use placement::units::Span;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

type Labels<const N: usize> = [(&'static str, String); N];
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Scheduled,
    Unschedulable,
    Error,
}

impl Attempt {
    fn label(self) -> &'static str {
        match self {
            Attempt::Scheduled => "scheduled",
            Attempt::Unschedulable => "unschedulable",
            Attempt::Error => "error",
        }
    }
}

/// Counters and histograms. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    attempts: Family<Labels<2>, Counter>,
    attempt_seconds: Histograms<2>,
    sli_seconds: Histograms<1>,
    attempts_of_pod: Histogram,
    preemption_attempts: Counter,
    victims: Histogram,
    bounds_violated: Gauge,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15))),
            sli_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 20))),
            attempts_of_pod: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            preemption_attempts: Counter::default(),
            victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
            bounds_violated: Gauge::default(),
        }
    }
}

impl Metrics {
    pub fn attempted(&self, pod: &Pod, result: Attempt) {
        self.attempts.get_or_create(&labels(pod, result)).inc();
    }

    /// Time of one cycle, without the binding.
    pub fn took(&self, pod: &Pod, result: Attempt, time: Duration) {
        self.attempt_seconds.get_or_create(&labels(pod, result)).observe(time.as_secs_f64());
    }

    /// A pod was bound at its `attempt`th attempt, this long after it came to the queue.
    pub fn bound(&self, pod: &Pod, attempt: u32, waited: Span) {
        self.attempted(pod, Attempt::Scheduled);
        self.attempts_of_pod.observe(f64::from(attempt));
        let attempts = if attempt < 15 { attempt.to_string() } else { "15+".to_owned() };
        self.sli_seconds.get_or_create(&[("attempts", attempts)]).observe(waited.0 as f64 / 1000.0);
    }

    /// It was looked for pods to evict, and this many were chosen.
    pub fn preempted(&self, victims: Option<usize>) {
        self.preemption_attempts.inc();
        victims.iter().for_each(|victims| self.victims.observe(*victims as f64));
    }

    /// Pods that run outside their delay bounds.
    pub fn bounds_violated(&self, pods: usize) {
        self.bounds_violated.set(pods as i64);
    }

    /// Shows everything at the admin port.
    pub fn attach(&self, admin: &Admin, shared: &Arc<Shared>, board: &Arc<Board>) {
        let metrics = self.clone();
        let state = StateMetrics { shared: shared.clone(), board: board.clone() };
        admin.register(move |registry| {
            registry.register("scheduler_schedule_attempts", "Attempts to schedule pods, by result", metrics.attempts);
            let help = "Time of an attempt in seconds, without the binding";
            registry.register("scheduler_scheduling_attempt_duration_seconds", help, metrics.attempt_seconds);
            let help = "Time from a pod's coming to the queue to its binding, in seconds";
            registry.register("scheduler_pod_scheduling_sli_duration_seconds", help, metrics.sli_seconds);
            registry.register("scheduler_pod_scheduling_attempts", "Attempts until a pod was bound", metrics.attempts_of_pod);
            let help = "Times that it was looked for pods to evict for one that fits nowhere";
            registry.register("scheduler_preemption_attempts", help, metrics.preemption_attempts);
            registry.register("scheduler_preemption_victims", "Pods chosen to be evicted for one that fits nowhere", metrics.victims);
            let help = "Pods that run outside a delay bound, as the leader tells in events; 0 on other replicas";
            registry.register("edge_delay_bound_violated_pods", help, metrics.bounds_violated);
            registry.register_collector(Box::new(state));
        });
    }
}

/// The profile is the pod's scheduler.
fn labels(pod: &Pod, result: Attempt) -> Labels<2> {
    [("result", result.label().to_owned()), ("profile", pod.scheduler_name.clone())]
}

struct StateMetrics {
    shared: Arc<Shared>,
    board: Arc<Board>,
}

impl fmt::Debug for StateMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateMetrics")
    }
}

fn lane(lane: Lane) -> &'static str {
    match lane {
        Lane::Active => "active",
        Lane::Backoff => "backoff",
        Lane::Unschedulable => "unschedulable",
        Lane::Gated => "gated",
    }
}

impl Collector for StateMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let (lengths, incoming, cluster, warm) = {
            let state = self.shared.lock();
            (state.queue.lengths(), state.queue.incoming().clone(), state.cluster.snapshot(), state.warm)
        };
        let pending = [
            (Lane::Active, lengths.active),
            (Lane::Backoff, lengths.backoff),
            (Lane::Unschedulable, lengths.unschedulable),
            (Lane::Gated, lengths.gated),
        ];
        let pending = pending.map(|(of, pods)| ([("queue", lane(of))], pods as f64));
        gauges(&mut encoder, "scheduler_pending_pods", "Pods waiting, by part of the queue", pending)?;
        let incoming = incoming.iter().map(|((of, event), count)| ([("queue", lane(*of)), ("event", *event)], *count));
        counters(&mut encoder, "scheduler_queue_incoming_pods", "Pods that came into a part of the queue, by event", incoming)?;
        let assumed = cluster.pods().filter(|view| view.assumed).count();
        let sizes = [("nodes", cluster.node_count()), ("pods", cluster.pod_count()), ("assumed_pods", assumed)];
        let sizes = sizes.map(|(kind, size)| ([("type", kind)], size as f64));
        gauges(&mut encoder, "scheduler_cache_size", "Objects known", sizes)?;

        let (heard, expected) = self.board.heard();
        let mut gauge = |name, help, value: f64| gauges(&mut encoder, name, help, [(NO_LABELS, value)]);
        gauge("edge_topology_warm", "Whether pods with delay bounds are judged", f64::from(u8::from(warm)))?;
        gauge("edge_topology_agents_heard", "Ready nodes whose agents have reported on their peers", f64::from(heard))?;
        gauge("edge_topology_agents_expected", "Ready nodes", f64::from(expected))?;
        gauge("edge_topology_pairs", "Unordered pairs with a figure", cluster.rtt().pairs().count() as f64)?;
        gauge(
            "edge_topology_source_failing",
            "Whether the source of RTTs can't be used",
            f64::from(u8::from(self.board.trouble().is_some())),
        )?;
        let oldest = self.board.reporting().into_iter().map(|(_, at)| now().since(at).0).max().unwrap_or(0);
        gauge("edge_topology_oldest_report_age_seconds", "Age of the oldest agent's last report", oldest as f64 / 1000.0)
    }
}

//! Metrics under kube-scheduler's names, and those of the topology. What is state is read when it is scraped; label sets are bounded.

pub mod families;

use self::families::{Buckets, Kind};
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
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::ops::Deref;
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
    algorithm_seconds: Histogram,
    tasks: Family<[(&'static str, &'static str); 1], Gauge>,
    sli_seconds: Histograms<1>,
    attempts_of_pod: Histogram,
    preemption_attempts: Counter,
    victims: Histogram,
    bounds_violated: Gauge,
}

/// With the buckets of kube-scheduler's family.
fn histogram(name: &str) -> Histogram {
    let buckets = match families::named(name).map(|family| family.kind) {
        Some(Kind::Histogram(buckets)) => buckets,
        _ => Buckets { first: 0.001, factor: 2.0, count: 15 },
    };
    Histogram::new(buckets.bounds())
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(|| histogram("scheduler_scheduling_attempt_duration_seconds")),
            algorithm_seconds: histogram("scheduler_scheduling_algorithm_duration_seconds"),
            tasks: Family::default(),
            sli_seconds: Family::new_with_constructor(|| histogram("scheduler_pod_scheduling_sli_duration_seconds")),
            attempts_of_pod: histogram("scheduler_pod_scheduling_attempts"),
            preemption_attempts: Counter::default(),
            victims: histogram("scheduler_preemption_victims"),
            bounds_violated: Gauge::default(),
        }
    }
}

impl Metrics {
    /// An attempt ended, this long after the pod was taken from the queue.
    pub fn attempted(&self, pod: &Pod, result: Attempt, time: Duration) {
        let labels = labels(pod, result);
        self.attempts.get_or_create(&labels).inc();
        self.attempt_seconds.get_or_create(&labels).observe(time.as_secs_f64());
    }

    /// It was decided about a pod, this long after it was taken from the queue; looking for pods to evict is part of it, the binding is not.
    pub fn decided(&self, time: Duration) {
        self.algorithm_seconds.observe(time.as_secs_f64());
    }

    /// Bindings under way.
    pub fn bindings(&self) -> impl Deref<Target = Gauge> {
        self.tasks.get_or_create(&[("operation", "binding")])
    }

    /// A pod was bound at its `attempt`th attempt, which took `time`, `waited` after it came to the queue.
    pub fn bound(&self, pod: &Pod, attempt: u32, time: Duration, waited: Span) {
        self.attempted(pod, Attempt::Scheduled, time);
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
            metrics.register(registry);
            registry.register_collector(Box::new(state));
        });
    }

    fn register(self, registry: &mut Registry) {
        registry.register("scheduler_schedule_attempts", "Attempts to schedule pods, by result", self.attempts);
        let help = "Time of an attempt in seconds: the decision and the binding";
        registry.register("scheduler_scheduling_attempt_duration_seconds", help, self.attempt_seconds);
        let help = "Time of a decision in seconds, from the queue on, without the binding";
        registry.register("scheduler_scheduling_algorithm_duration_seconds", help, self.algorithm_seconds);
        registry.register("scheduler_goroutines", "Tasks under way, by what they do", self.tasks);
        let help = "Time from a pod's coming to the queue to its binding, in seconds";
        registry.register("scheduler_pod_scheduling_sli_duration_seconds", help, self.sli_seconds);
        registry.register("scheduler_pod_scheduling_attempts", "Attempts until a pod was bound", self.attempts_of_pod);
        let help = "Times that it was looked for pods to evict for one that fits nowhere";
        registry.register("scheduler_preemption_attempts", help, self.preemption_attempts);
        registry.register("scheduler_preemption_victims", "Pods chosen to be evicted for one that fits nowhere", self.victims);
        let help = "Pods that run outside a delay bound, as the leader tells in events; 0 on other replicas";
        registry.register("edge_delay_bound_violated_pods", help, self.bounds_violated);
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

#[cfg(test)]
mod tests {
    use super::families::FAMILIES;
    use super::*;
    use crate::topology::agents::tests::settings;
    use chassis::metrics::exposition;
    use placement::cluster::PodKey;
    use std::collections::BTreeSet;

    /// What is printed of these and of a state.
    fn text(metrics: &Metrics, state: StateMetrics) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.clone().register(&mut registry);
        registry.register_collector(Box::new(state));
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    /// Of no nodes and no pods.
    fn nothing() -> StateMetrics {
        let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
        let board = Arc::new(Board::new(shared.clone(), settings(), now()));
        StateMetrics { shared, board }
    }

    fn pod() -> Pod {
        Pod { key: PodKey::new("default", "web"), scheduler_name: "edge-scheduler".to_owned(), ..Pod::default() }
    }

    #[test]
    fn families_are_printed_as_the_table_says() {
        let metrics = Metrics::default();
        metrics.bound(&pod(), 1, Duration::from_millis(3), Span(3));
        metrics.decided(Duration::from_millis(1));
        metrics.preempted(Some(2));
        metrics.bindings().inc();
        let state = nothing();
        state.shared.lock().queue.apply(Arc::new(pod()), now());
        let text = text(&metrics, state);
        let mut printed = exposition::families(&text);
        printed.retain(|name, _| name.starts_with("scheduler_"));
        let names: BTreeSet<&str> = printed.keys().map(String::as_str).collect();
        let wanted: BTreeSet<&str> = FAMILIES.iter().filter(|family| family.is_printed()).map(|family| family.name).collect();
        assert_eq!(names, wanted, "in\n{text}");
        let differences: Vec<String> =
            FAMILIES.iter().filter_map(|family| Some(family.differences(printed.get(family.name)?))).flatten().collect();
        assert!(differences.is_empty(), "{differences:#?} in\n{text}");
    }

    #[test]
    fn an_attempt_is_counted_as_often_as_it_is_timed() {
        let metrics = Metrics::default();
        metrics.attempted(&pod(), Attempt::Error, Duration::from_secs(1));
        metrics.attempted(&pod(), Attempt::Unschedulable, Duration::from_millis(1));
        metrics.bound(&pod(), 16, Duration::from_secs(2), Span(20_000));
        let text = text(&metrics, nothing());
        for result in ["error", "unschedulable", "scheduled"] {
            let labels = format!("result=\"{result}\",profile=\"edge-scheduler\"");
            for name in ["scheduler_schedule_attempts_total", "scheduler_scheduling_attempt_duration_seconds_count"] {
                assert!(text.contains(&format!("{name}{{{labels}}} 1\n")), "{name} of {result} in\n{text}");
            }
        }
        assert!(text.contains("scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"15+\"} 1\n"), "{text}");
    }
}

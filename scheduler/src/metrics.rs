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

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15))),
            algorithm_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            tasks: Family::default(),
            sli_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 20))),
            attempts_of_pod: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            preemption_attempts: Counter::default(),
            victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
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
    use super::*;
    use placement::cluster::PodKey;

    /// Families of kube-scheduler 1.37 that are counted here, as it prints them: name, type, labels, and for a histogram the first bucket, the factor and
    /// the number of buckets. Those that are read from the state are in the end-to-end tests.
    type Expected = (&'static str, &'static str, &'static [&'static str], Option<(f64, f64, u16)>);
    const EXPECTED: [Expected; 8] = [
        ("schedule_attempts", "counter", &["result", "profile"], None),
        ("scheduling_attempt_duration_seconds", "histogram", &["result", "profile"], Some((0.001, 2.0, 15))),
        ("scheduling_algorithm_duration_seconds", "histogram", &[], Some((0.001, 2.0, 15))),
        ("goroutines", "gauge", &["operation"], None),
        ("pod_scheduling_sli_duration_seconds", "histogram", &["attempts"], Some((0.01, 2.0, 20))),
        ("pod_scheduling_attempts", "histogram", &[], Some((1.0, 2.0, 5))),
        ("preemption_attempts", "counter", &[], None),
        ("preemption_victims", "histogram", &[], Some((1.0, 2.0, 7))),
    ];

    fn text(metrics: &Metrics) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.clone().register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    /// The upper bound of a bucket's line, `None` for the last; that label comes first.
    fn bucket(line: &str) -> Option<f64> {
        line.split_once("{le=\"")?.1.split_once('"')?.0.parse().ok().filter(|le: &f64| le.is_finite())
    }

    fn pod() -> Pod {
        Pod { key: PodKey::new("default", "web"), scheduler_name: "edge-scheduler".to_owned(), ..Pod::default() }
    }

    #[test]
    fn families_have_the_types_labels_and_buckets_of_kube_scheduler() {
        let metrics = Metrics::default();
        metrics.bound(&pod(), 1, Duration::from_millis(3), Span(3));
        metrics.decided(Duration::from_millis(1));
        metrics.preempted(Some(2));
        metrics.bindings().inc();
        let text = text(&metrics);
        for (name, kind, labels, buckets) in EXPECTED {
            let name = format!("scheduler_{name}");
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind} in\n{text}");
            let suffix = match kind {
                "counter" => "_total",
                "histogram" => "_count",
                _ => "",
            };
            let series = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{suffix}"))).unwrap();
            let inner = series.trim_start_matches('{').split(['}', ' ']).next().unwrap();
            let found: Vec<&str> = inner.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
            assert_eq!(found, labels, "labels of {name}");
            let Some((first, factor, count)) = buckets else { continue };
            let lines = text.lines().filter(|line| line.starts_with(&format!("{name}_bucket")));
            let bounds: Vec<f64> = lines.filter_map(bucket).collect();
            assert_eq!(bounds, exponential_buckets(first, factor, count).collect::<Vec<_>>(), "buckets of {name}");
        }
        let printed = text.lines().filter(|line| line.starts_with("# TYPE scheduler_")).count();
        assert_eq!(printed, EXPECTED.len(), "a family is printed that is not expected:\n{text}");
    }

    #[test]
    fn an_attempt_is_counted_as_often_as_it_is_timed() {
        let metrics = Metrics::default();
        metrics.attempted(&pod(), Attempt::Error, Duration::from_secs(1));
        metrics.attempted(&pod(), Attempt::Unschedulable, Duration::from_millis(1));
        metrics.bound(&pod(), 16, Duration::from_secs(2), Span(20_000));
        let text = text(&metrics);
        for result in ["error", "unschedulable", "scheduled"] {
            let labels = format!("result=\"{result}\",profile=\"edge-scheduler\"");
            for name in ["scheduler_schedule_attempts_total", "scheduler_scheduling_attempt_duration_seconds_count"] {
                assert!(text.contains(&format!("{name}{{{labels}}} 1\n")), "{name} of {result} in\n{text}");
            }
        }
        assert!(text.contains("scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"15+\"} 1\n"), "{text}");
    }
}

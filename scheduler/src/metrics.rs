//! Metrics under kube-scheduler's names, and those of the topology. What is state is read when it is scraped; label sets are bounded.

mod evaluations;
pub mod families;

use self::evaluations::Evaluations;
use self::families::{Buckets, Kind};
use crate::queue::Lane;
use crate::state::{Shared, now};
use crate::topology::board::Board;
use chassis::admin::Admin;
use chassis::metrics::{NO_LABELS, counters, gauges};
use placement::cluster::{Plugins, Pod, Point};
use placement::plan::{Outcome, Stopwatch};
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

/// How an extension point, or a plugin at one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Success,
    Unschedulable,
    UnschedulableAndUnresolvable,
    Error,
}

impl Status {
    /// Of what can only succeed or fail.
    pub fn of(success: bool) -> Status {
        if success { Status::Success } else { Status::Error }
    }

    fn label(self) -> &'static str {
        match self {
            Status::Success => "Success",
            Status::Unschedulable => "Unschedulable",
            Status::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
            Status::Error => "Error",
        }
    }
}

/// Counters and histograms. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    attempts: Family<Labels<2>, Counter>,
    attempt_seconds: Histograms<2>,
    algorithm_seconds: Histogram,
    point_seconds: Histograms<3>,
    plugin_seconds: Histograms<3>,
    evaluations: Evaluations,
    tasks: Family<[(&'static str, &'static str); 1], Gauge>,
    sli_seconds: Histograms<1>,
    attempts_of_pod: Histogram,
    preemption_attempts: Counter,
    victims: Histogram,
    preemption_tasks: Family<[(&'static str, &'static str); 1], Counter>,
    scheduled_after_flush: Counter,
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
            point_seconds: Family::new_with_constructor(|| histogram("scheduler_framework_extension_point_duration_seconds")),
            plugin_seconds: Family::new_with_constructor(|| histogram("scheduler_plugin_execution_duration_seconds")),
            evaluations: Evaluations::default(),
            tasks: Family::default(),
            sli_seconds: Family::new_with_constructor(|| histogram("scheduler_pod_scheduling_sli_duration_seconds")),
            attempts_of_pod: histogram("scheduler_pod_scheduling_attempts"),
            preemption_attempts: Counter::default(),
            victims: histogram("scheduler_preemption_victims"),
            preemption_tasks: Family::default(),
            scheduled_after_flush: Counter::default(),
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

    /// What a decision spent its time with. `evicts`: others are to go for the pod.
    pub fn staged(&self, pod: &Pod, plugins: &Plugins, outcome: &Outcome, evicts: bool, watch: &Stopwatch) {
        let status = |point: Point| match (point, outcome) {
            (Point::PreFilter, Outcome::Held(_)) => Status::UnschedulableAndUnresolvable,
            (Point::PostFilter, _) if !evicts => Status::Unschedulable,
            _ => Status::Success,
        };
        watch.points().for_each(|(point, time)| self.ran(pod, point, status(point), time));
        for (point, plugin, time) in watch.plugins() {
            let labels = [("plugin", plugin.name()), ("extension_point", point.name()), ("status", status(point).label())];
            self.plugin_seconds.get_or_create(&labels.map(|(name, value)| (name, value.to_owned()))).observe(time.as_secs_f64());
        }
        self.evaluations.count(&pod.scheduler_name, plugins, watch);
    }

    /// An extension point has done its part for a pod.
    pub fn ran(&self, pod: &Pod, point: Point, status: Status, time: Duration) {
        let labels = [("extension_point", point.name()), ("status", status.label()), ("profile", &pod.scheduler_name)];
        self.point_seconds.get_or_create(&labels.map(|(name, value)| (name, value.to_owned()))).observe(time.as_secs_f64());
    }

    /// A pod was bound that had been taken up again by nothing but the time that it waited.
    pub fn scheduled_after_flush(&self) {
        self.scheduled_after_flush.inc();
    }

    /// The chosen pods were evicted, or could not be.
    pub fn evicted(&self, success: bool) {
        let result = if success { "success" } else { "error" };
        self.preemption_tasks.get_or_create(&[("result", result)]).inc();
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
        let help = "Time of all that is done for a pod at an extension point, in seconds";
        registry.register("scheduler_framework_extension_point_duration_seconds", help, self.point_seconds);
        let help = "Time of a plugin at an extension point, over all nodes, in seconds; of every tenth attempt";
        registry.register("scheduler_plugin_execution_duration_seconds", help, self.plugin_seconds);
        registry.register_collector(Box::new(self.evaluations));
        registry.register("scheduler_goroutines", "Tasks under way, by what they do", self.tasks);
        let help = "Time from a pod's coming to the queue to its binding, in seconds";
        registry.register("scheduler_pod_scheduling_sli_duration_seconds", help, self.sli_seconds);
        registry.register("scheduler_pod_scheduling_attempts", "Attempts until a pod was bound", self.attempts_of_pod);
        let help = "Times that it was looked for pods to evict for one that fits nowhere";
        registry.register("scheduler_preemption_attempts", help, self.preemption_attempts);
        registry.register("scheduler_preemption_victims", "Pods chosen to be evicted for one that fits nowhere", self.victims);
        let help = "Times that pods were evicted for another, by result";
        registry.register("scheduler_preemption_goroutines_execution", help, self.preemption_tasks);
        let help = "Pods bound that were taken up again because of the time that they had waited";
        registry.register("scheduler_pod_scheduled_after_flush", help, self.scheduled_after_flush);
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
        let (lengths, incoming, rejected, in_flight, cluster, warm) = {
            let state = self.shared.lock();
            let queue = &state.queue;
            (queue.lengths(), queue.incoming().clone(), queue.rejected().clone(), queue.in_flight(), state.cluster.snapshot(), state.warm)
        };
        let pending = [
            (Lane::Active, lengths.active),
            (Lane::Backoff, lengths.backoff),
            (Lane::Unschedulable, lengths.unschedulable),
            (Lane::Gated, lengths.gated),
        ];
        let entities = pending.map(|(of, pods)| ([("queue", lane(of)), ("type", "pod")], pods as f64));
        gauges(&mut encoder, "scheduler_queued_entities", "What waits, by part of the queue: single pods", entities)?;
        let pending = pending.map(|(of, pods)| ([("queue", lane(of))], pods as f64));
        gauges(&mut encoder, "scheduler_pending_pods", "Pods waiting, by part of the queue", pending)?;
        let entities = incoming.iter().map(|((of, event), count)| ([("queue", lane(*of)), ("event", *event), ("type", "pod")], *count));
        counters(&mut encoder, "scheduler_queue_incoming_entities", "What came into a part of the queue, by event: single pods", entities)?;
        let incoming = incoming.iter().map(|((of, event), count)| ([("queue", lane(*of)), ("event", *event)], *count));
        counters(&mut encoder, "scheduler_queue_incoming_pods", "Pods that came into a part of the queue, by event", incoming)?;
        let help = "Pods waiting, by each plugin that rejected them at their last attempt";
        let rejected = rejected.iter().map(|((plugin, profile), pods)| ([("plugin", *plugin), ("profile", profile)], *pods as f64));
        gauges(&mut encoder, "scheduler_unschedulable_pods", help, rejected)?;
        let in_flight = in_flight.into_iter().map(|(event, count)| ([("event", event)], count as f64));
        gauges(&mut encoder, "scheduler_inflight_events", "Pods being tried (PodPopped), and events kept for them", in_flight)?;
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
    use placement::cluster::{Plugin, PodKey};
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
        metrics.evicted(true);
        let mut watch = Stopwatch::new(|| Duration::ZERO);
        watch.begin(true);
        watch.enter(Point::Filter);
        watch.ask(Plugin::TaintToleration);
        watch.stop();
        metrics.staged(&pod(), &Plugins::default(), &Outcome::Unschedulable, false, &watch);
        let state = nothing();
        {
            let gated = Pod { scheduling_gates: vec!["wait".to_owned()], ..pod() };
            state.shared.lock().queue.apply(Arc::new(gated), now());
        }
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

    /// A decision that took a second for each stage, two of which say that the pod fits nowhere.
    #[test]
    fn stages_are_told_with_how_they_ended() {
        let metrics = Metrics::default();
        let mut watch = Stopwatch::new(|| Duration::ZERO);
        watch.begin(false);
        watch.enter(Point::Filter);
        watch.note(Plugin::NodeResourcesFit);
        watch.enter(Point::PostFilter);
        watch.stop();
        metrics.staged(&pod(), &Plugins::default(), &Outcome::Unschedulable, false, &watch);
        metrics.staged(&pod(), &Plugins::default(), &Outcome::Unschedulable, true, &watch);
        metrics.ran(&pod(), Point::Bind, Status::Error, Duration::from_secs(1));
        let text = text(&metrics, nothing());
        for (point, status, count) in
            [("Filter", "Success", 2), ("PostFilter", "Unschedulable", 1), ("PostFilter", "Success", 1), ("Bind", "Error", 1)]
        {
            let labels = format!("extension_point=\"{point}\",status=\"{status}\",profile=\"edge-scheduler\"");
            let line = format!("scheduler_framework_extension_point_duration_seconds_count{{{labels}}} {count}\n");
            assert!(text.contains(&line), "no {line} in\n{text}");
        }
        for point in ["PreFilter", "Filter"] {
            let labels = format!("plugin=\"NodeResourcesFit\",extension_point=\"{point}\",profile=\"edge-scheduler\"");
            let line = format!("scheduler_plugin_evaluation_total{{{labels}}} 2\n");
            assert!(text.contains(&line), "no {line} in\n{text}");
        }
        assert!(!text.contains("scheduler_plugin_execution_duration_seconds_count"), "plugins were not timed:\n{text}");
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

//! How long the stages of an attempt take, by a clock that is given: the model has none.

use crate::cluster::{Plugin, Point};
use std::time::Duration;

const POINTS: usize = Point::ALL.len();
const PLUGINS: usize = Plugin::ALL.len();

/// What one attempt spent at each extension point, and which plugins had something to do there. A stage that is entered twice is one, with both times.
#[derive(Clone, Debug)]
pub struct Stopwatch {
    /// Time since any fixed moment. `None`: nothing is noted.
    clock: Option<fn() -> Duration>,
    /// Whether plugins are timed one by one too, for the price of looking at the clock for each.
    by_plugin: bool,
    /// What is under way, and since when.
    point: Option<(Point, Duration)>,
    plugin: Option<(Plugin, Duration)>,
    points: [Option<Duration>; POINTS],
    /// Per point, a bit for each plugin.
    asked: [u32; POINTS],
    plugins: [[Option<Duration>; PLUGINS]; POINTS],
}

impl Default for Stopwatch {
    /// One that notes nothing.
    fn default() -> Stopwatch {
        Stopwatch {
            clock: None,
            by_plugin: false,
            point: None,
            plugin: None,
            points: [None; POINTS],
            asked: [0; POINTS],
            plugins: [[None; PLUGINS]; POINTS],
        }
    }
}

impl Stopwatch {
    pub fn new(clock: fn() -> Duration) -> Stopwatch {
        Stopwatch { clock: Some(clock), ..Stopwatch::default() }
    }

    /// Forgets the attempt before.
    pub fn begin(&mut self, by_plugin: bool) {
        if self.by_plugin {
            self.plugins = [[None; PLUGINS]; POINTS];
        }
        (self.by_plugin, self.point, self.plugin) = (by_plugin, None, None);
        (self.points, self.asked) = ([None; POINTS], [0; POINTS]);
    }

    /// A stage begins, and the one before has ended.
    pub fn enter(&mut self, point: Point) {
        let Some(now) = self.ended() else { return };
        self.point = Some((point, now));
    }

    /// Within the stage, a plugin has to do with the pod; whose time it is is not told.
    pub fn note(&mut self, plugin: Plugin) {
        if let Some((point, _)) = self.point {
            self.asked[point as usize] |= 1 << plugin as u32;
        }
    }

    /// Likewise, and the plugin begins; the one before has ended.
    pub fn ask(&mut self, plugin: Plugin) {
        self.note(plugin);
        let Some(clock) = self.clock.filter(|_| self.by_plugin && self.point.is_some()) else { return };
        let now = clock();
        self.plugin_ended(now);
        self.plugin = Some((plugin, now));
    }

    /// The stage has ended, and none begins yet.
    pub fn stop(&mut self) {
        self.ended();
        self.point = None;
    }

    /// Notes the time of what is under way; `None` where nothing is noted.
    fn ended(&mut self) -> Option<Duration> {
        let now = self.clock?();
        self.plugin_ended(now);
        if let Some((point, since)) = self.point {
            *self.points[point as usize].get_or_insert_default() += now.saturating_sub(since);
        }
        Some(now)
    }

    fn plugin_ended(&mut self, now: Duration) {
        if let (Some((plugin, since)), Some((point, _))) = (self.plugin.take(), self.point) {
            *self.plugins[point as usize][plugin as usize].get_or_insert_default() += now.saturating_sub(since);
        }
    }

    /// Each stage that the attempt came by, with its time.
    pub fn points(&self) -> impl Iterator<Item = (Point, Duration)> {
        Point::ALL.into_iter().filter_map(|point| Some((point, self.points[point as usize]?)))
    }

    /// Plugins that had something to do with the pod.
    pub fn asked(&self, point: Point) -> impl Iterator<Item = Plugin> {
        let asked = self.asked[point as usize];
        Plugin::ALL.into_iter().filter(move |plugin| asked & (1 << *plugin as u32) != 0)
    }

    /// Their times, where they were asked for.
    pub fn plugins(&self) -> impl Iterator<Item = (Point, Plugin, Duration)> {
        let of = |point: Point| Plugin::ALL.into_iter().map(move |plugin| (point, plugin));
        let all = Point::ALL.into_iter().flat_map(of);
        all.filter_map(|(point, plugin)| Some((point, plugin, self.plugins[point as usize][plugin as usize]?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Each look at the clock takes a second.
    fn clock() -> Duration {
        thread_local!(static LOOKS: Cell<u64> = const { Cell::new(0) });
        LOOKS.set(LOOKS.get() + 1);
        Duration::from_secs(LOOKS.get())
    }

    fn attempt(by_plugin: bool) -> Stopwatch {
        let mut watch = Stopwatch::new(clock);
        watch.begin(true);
        watch.enter(Point::Score);
        watch.ask(Plugin::ImageLocality);
        watch.begin(by_plugin);
        watch.enter(Point::PreFilter);
        for _ in 0..2 {
            watch.enter(Point::Filter);
            watch.note(Plugin::NodeUnschedulable);
            watch.ask(Plugin::TaintToleration);
            watch.ask(Plugin::NodeResourcesFit);
        }
        watch.stop();
        watch.ask(Plugin::NodeName);
        watch
    }

    #[test]
    fn a_stage_lasts_until_the_next_and_counts_once() {
        let watch = attempt(false);
        let seconds: Vec<(Point, u64)> = watch.points().map(|(point, time)| (point, time.as_secs())).collect();
        assert_eq!(seconds, [(Point::PreFilter, 1), (Point::Filter, 2)]);
        assert_eq!(
            watch.asked(Point::Filter).collect::<Vec<_>>(),
            [Plugin::NodeUnschedulable, Plugin::TaintToleration, Plugin::NodeResourcesFit]
        );
        assert!(Point::ALL.into_iter().all(|point| point == Point::Filter || watch.asked(point).next().is_none()));
        assert!(watch.plugins().next().is_none(), "plugins were not to be timed");
    }

    #[test]
    fn plugins_are_timed_where_that_is_asked_for() {
        let watch = attempt(true);
        let seconds: Vec<(Point, Plugin, u64)> = watch.plugins().map(|(point, plugin, time)| (point, plugin, time.as_secs())).collect();
        assert_eq!(seconds, [(Point::Filter, Plugin::TaintToleration, 2), (Point::Filter, Plugin::NodeResourcesFit, 2)]);
        let filter = watch.points().find(|(point, _)| *point == Point::Filter);
        assert_eq!(filter, Some((Point::Filter, Duration::from_secs(6))));
    }

    #[test]
    fn without_a_clock_nothing_is_noted() {
        let mut watch = Stopwatch::default();
        watch.begin(true);
        watch.enter(Point::Filter);
        watch.ask(Plugin::NodeName);
        watch.stop();
        assert!(watch.points().next().is_none() && watch.asked(Point::Filter).next().is_none() && watch.plugins().next().is_none());
    }
}

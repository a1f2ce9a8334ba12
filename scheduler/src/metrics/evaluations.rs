//! How often plugins had to do with pods: counted for every attempt, so in plain arrays under one lock, and encoded when they are scraped.

use chassis::metrics::counters;
use placement::cluster::{Plugin, Plugins, Point};
use placement::plan::Stopwatch;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Counts = [[u64; Plugin::ALL.len()]; Point::ALL.len()];

/// By profile. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Evaluations(Arc<Mutex<BTreeMap<String, Counts>>>);

impl Evaluations {
    /// Counts an attempt. What a plugin makes ready before is asked for where the plugin itself is.
    pub(super) fn count(&self, profile: &str, plugins: &Plugins, watch: &Stopwatch) {
        let mut profiles = self.lock();
        if !profiles.contains_key(profile) {
            profiles.insert(profile.to_owned(), Default::default());
        }
        let Some(counts) = profiles.get_mut(profile) else { return };
        for (before, point) in [(Point::PreFilter, Point::Filter), (Point::PreScore, Point::Score)] {
            for plugin in watch.asked(point) {
                counts[point as usize][plugin as usize] += 1;
                counts[before as usize][plugin as usize] += u64::from(plugins.has(before, plugin));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Counts>> {
        // Counters are whole whatever happens elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Evaluations {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let profiles = self.lock().clone();
        let of = |(profile, counts): (&String, &Counts)| {
            let series = |point: Point, plugin: Plugin| {
                let count = counts[point as usize][plugin as usize];
                let labels =
                    [("plugin", plugin.name().to_owned()), ("extension_point", point.name().to_owned()), ("profile", profile.clone())];
                (count > 0).then_some((labels, count))
            };
            let all = Point::ALL.into_iter().flat_map(|point| Plugin::ALL.into_iter().map(move |plugin| (point, plugin)));
            all.filter_map(|(point, plugin)| series(point, plugin)).collect::<Vec<_>>()
        };
        let help = "Attempts in which a plugin had to do with the pod, by extension point";
        counters(&mut encoder, "scheduler_plugin_evaluation", help, profiles.iter().flat_map(of))
    }
}

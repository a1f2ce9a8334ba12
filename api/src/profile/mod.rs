//! `profiles` of kube-scheduler's configuration (kubescheduler.config.k8s.io/v1) to the model, with kube-scheduler's defaults, rules of merging and limits.
//!
//! Our own plugins stand in the same lists: DelayBound, CloudRole, ControlPlane (filter) and ResponseTime (score).

mod args;
mod plugins;
mod show;

pub use show::show;

use crate::fields::{Fields, Mistake, Mistakes};
use placement::cluster::{Profile, Profiles};
use serde_json::Value;

/// `fallback` names a lone profile without a name, and is the name of the default profile where there is none.
///
/// # Errors
/// Every mistake; paths begin with `profiles[i]`.
pub fn read(profiles: &[Value], fallback: &str) -> Result<Profiles, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let mut read: Vec<Profile> = Vec::new();
    for (i, value) in profiles.iter().enumerate() {
        let path = format!("profiles[{i}]");
        let mut fields = Fields::of(value, &path, &mistakes);
        let name = match fields.text("schedulerName") {
            Some(name) => name,
            None if profiles.len() == 1 => fallback,
            None => "",
        };
        if name.is_empty() {
            fields.wrong("schedulerName", "\"\"", "the schedulerName of the pods that the profile is for");
        } else if read.iter().any(|other| other.scheduler_name == name) {
            fields.wrong("schedulerName", name, "a name that no other profile has");
        }
        // All nodes are looked at and scored: accepted, and without effect.
        fields.integer("percentageOfNodesToScore", 0..=100);
        let plugins = plugins::read(fields.section("plugins"));
        let mut profile = Profile { plugins, ..Profile::new(name) };
        args::read(&mut fields, &mut profile);
        fields.end();
        read.push(profile);
    }
    let found = mistakes.into_list();
    if found.is_empty() { Ok(Profiles::new(read).unwrap_or_else(|| Profile::new(fallback).into())) } else { Err(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(profiles: Value) -> Vec<String> {
        let found = read(profiles.as_array().unwrap(), "fallback").expect_err("mistakes");
        found.into_iter().map(|found| format!("{}: {}: {}", found.field, found.got, found.want)).collect()
    }

    fn names(profiles: Value) -> Vec<String> {
        let profiles = read(profiles.as_array().unwrap(), "fallback").expect("no mistakes");
        profiles.iter().map(|profile| profile.scheduler_name.clone()).collect()
    }

    #[test]
    fn a_lone_profile_needs_no_name_and_several_need_one_each() {
        assert_eq!(names(json!([])), ["fallback"]);
        assert_eq!(names(json!([{}])), ["fallback"]);
        assert_eq!(names(json!([{"schedulerName": "a"}, {"schedulerName": "b", "percentageOfNodesToScore": 50}])), ["a", "b"]);
        let expected = [
            "profiles[1].schedulerName: \"\": the schedulerName of the pods that the profile is for",
            "profiles[2].schedulerName: a: a name that no other profile has",
        ];
        assert_eq!(wrong(json!([{"schedulerName": "a"}, {}, {"schedulerName": "a"}])), expected);
    }

    #[test]
    fn mistakes_in_every_part_come_together() {
        let found = wrong(json!([{
            "schedulerNames": "x",
            "percentageOfNodesToScore": 101,
            "plugins": {"score": {"enabled": [{"name": "Frobnicate"}]}, "filters": {}},
            "pluginConfig": [{"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 101}}],
        }]));
        let fields: Vec<&str> = found.iter().map(|found| found.split(": ").next().unwrap()).collect();
        let expected = [
            "profiles[0].percentageOfNodesToScore",
            "profiles[0].plugins.score.enabled[0].name",
            "profiles[0].plugins.filters",
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight",
            "profiles[0].schedulerNames",
        ];
        assert_eq!(fields, expected, "{found:#?}");
    }
}

//! `pluginConfig` of a profile in kube-scheduler's configuration (kubescheduler.config.k8s.io/v1), as far as the model knows it: NodeAffinity's
//! addedAffinity, and NodeResourcesFit. Defaults and limits are kube-scheduler's.

use crate::convert::added_affinity;
use k8s_openapi::api::core::v1;
use placement::cluster::{FitSettings, FitStrategy, NodeAffinity};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Arguments of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    pub name: String,
    #[serde(default)]
    pub args: Value,
}

/// What the arguments say to the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginSettings {
    pub fit: FitSettings,
    pub added_affinity: NodeAffinity,
}

#[derive(Debug, thiserror::Error)]
pub enum PluginConfigError {
    #[error("{0}: its arguments are not supported; known are those of NodeAffinity and NodeResourcesFit")]
    Unsupported(String),
    #[error("{plugin}: the arguments can't be read")]
    Unreadable { plugin: &'static str, source: serde_json::Error },
    #[error("{plugin}: {field} {why}")]
    Wrong { plugin: &'static str, field: String, why: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeAffinityArgs {
    added_affinity: Option<v1::NodeAffinity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeResourcesFitArgs {
    #[serde(default)]
    ignored_resources: Vec<String>,
    #[serde(default)]
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScoringStrategy {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    resources: Vec<ResourceSpec>,
    requested_to_capacity_ratio: Option<Ratio>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceSpec {
    name: String,
    /// Nothing: 1.
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    #[serde(default)]
    shape: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    #[serde(default)]
    utilization: i64,
    /// 0 to 10.
    #[serde(default)]
    score: i64,
}

const FIT: &str = "NodeResourcesFit";

/// # Errors
/// Arguments of another plugin, of another form, or out of kube-scheduler's limits.
pub fn read(configs: &[PluginConfig]) -> Result<PluginSettings, PluginConfigError> {
    let mut settings = PluginSettings::default();
    for config in configs {
        match config.name.as_str() {
            "NodeAffinity" => {
                let args: NodeAffinityArgs = args("NodeAffinity", &config.args)?;
                settings.added_affinity = added_affinity(args.added_affinity.as_ref()).map_err(|refusal| PluginConfigError::Wrong {
                    plugin: "NodeAffinity",
                    field: refusal.field,
                    why: refusal.why,
                })?;
            }
            FIT => settings.fit = fit(args(FIT, &config.args)?)?,
            other => return Err(PluginConfigError::Unsupported(other.to_owned())),
        }
    }
    Ok(settings)
}

fn args<T: DeserializeOwned>(plugin: &'static str, args: &Value) -> Result<T, PluginConfigError> {
    let mut args = if args.is_null() { Value::Object(Default::default()) } else { args.clone() };
    if let Some(fields) = args.as_object_mut() {
        fields.retain(|key, _| key != "apiVersion" && key != "kind");
    }
    serde_json::from_value(args).map_err(|source| PluginConfigError::Unreadable { plugin, source })
}

fn fit(args: NodeResourcesFitArgs) -> Result<FitSettings, PluginConfigError> {
    let wrong = |field: &str, why: String| PluginConfigError::Wrong { plugin: FIT, field: field.to_owned(), why };
    let mut fit = FitSettings {
        ignored: args.ignored_resources.into_iter().collect(),
        ignored_groups: args.ignored_resource_groups.into_iter().collect(),
        ..FitSettings::default()
    };
    let Some(strategy) = args.scoring_strategy else { return Ok(fit) };
    if !strategy.resources.is_empty() {
        fit.resources = strategy.resources.into_iter().map(|resource| (resource.name, resource.weight.unwrap_or(1))).collect();
    }
    if let Some((name, weight)) = fit.resources.iter().find(|(_, weight)| !(1..=100).contains(weight)) {
        return Err(wrong("scoringStrategy.resources", format!("has weight {weight} for {name}, want 1 to 100")));
    }
    fit.strategy = match strategy.kind.as_str() {
        "" | "LeastAllocated" => FitStrategy::LeastAllocated,
        "MostAllocated" => FitStrategy::MostAllocated,
        "RequestedToCapacityRatio" => {
            let shape = strategy.requested_to_capacity_ratio.map(|ratio| ratio.shape).unwrap_or_default();
            let within = shape.iter().all(|p| (0..=100).contains(&p.utilization) && (0..=10).contains(&p.score));
            if shape.is_empty() || !within || !shape.is_sorted_by(|a, b| a.utilization < b.utilization) {
                let why = "wants points of rising utilization, 0 to 100, with a score of 0 to 10".to_owned();
                return Err(wrong("scoringStrategy.requestedToCapacityRatio.shape", why));
            }
            FitStrategy::RequestedToCapacityRatio(shape.into_iter().map(|point| (point.utilization, point.score * 10)).collect())
        }
        other => {
            let why = format!("{other:?} is not one of LeastAllocated, MostAllocated, RequestedToCapacityRatio");
            return Err(wrong("scoringStrategy.type", why));
        }
    };
    Ok(fit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(configs: Value) -> Result<PluginSettings, String> {
        let configs: Vec<PluginConfig> = serde_json::from_value(configs).unwrap();
        read(&configs).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_become_settings() {
        assert_eq!(of(json!([])), Ok(PluginSettings::default()));
        assert_eq!(
            of(json!([{"name": "NodeAffinity"}, {"name": "NodeResourcesFit", "args": {"kind": "NodeResourcesFitArgs"}}])).unwrap(),
            PluginSettings::default()
        );
        let terms = json!([{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]);
        let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        let read = of(json!([
            {"name": "NodeAffinity", "args": {"addedAffinity": affinity}},
            {"name": "NodeResourcesFit", "args": {"ignoredResourceGroups": ["example.com"], "scoringStrategy": {
                "type": "RequestedToCapacityRatio", "resources": [{"name": "example.com/gpu", "weight": 5}, {"name": "cpu"}],
                "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]}}}},
        ]))
        .unwrap();
        assert_eq!(read.added_affinity.required.unwrap()[0].match_expressions[0].key, "pool");
        assert_eq!(read.fit.strategy, FitStrategy::RequestedToCapacityRatio(vec![(0, 0), (100, 100)]));
        assert_eq!(read.fit.resources, [("example.com/gpu".to_owned(), 5), ("cpu".to_owned(), 1)]);
        assert!(read.fit.ignores("example.com/gpu") && !read.fit.ignores("hugepages-2Mi"));
    }

    #[test]
    fn what_is_not_known_or_out_of_limits_is_named() {
        let check = |config: Value, part: &str| {
            let error = of(json!([config])).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(json!({"name": "VolumeBinding", "args": {}}), "VolumeBinding: its arguments are not supported");
        check(json!({"name": "NodeResourcesFit", "args": {"scoring": 1}}), "NodeResourcesFit: the arguments can't be read");
        let strategy = |strategy: Value| json!({"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}});
        check(strategy(json!({"type": "Tetris"})), "\"Tetris\" is not one of");
        check(strategy(json!({"resources": [{"name": "cpu", "weight": 0}]})), "has weight 0 for cpu");
        check(strategy(json!({"type": "RequestedToCapacityRatio"})), "wants points of rising utilization");
    }
}

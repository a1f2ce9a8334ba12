//! Workloads as data, in the form of scheduler_perf, kube-scheduler's own benchmark: a test case lists operations, whose counts are parameters. Read from
//! the module k8s.io/kubernetes where Go has it on this machine, from `tests/perf/` otherwise.

use anyhow::{Context as _, Result, bail};
use edge_tests::control_plane::root;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The folder of scheduler_perf's files within the Go module cache, for the version that the control plane is built of.
const IN_MODULE_CACHE: &str = "k8s.io/kubernetes@v1.37.0/test/integration/scheduler_perf";

/// A row of the table (`tests/perf/rows.yaml`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Row {
    pub row: String,
    /// A file below scheduler_perf's folder that has the case; in ours, `cases.yaml` has them all.
    pub file: PathBuf,
    pub case: String,
    /// A delay bound on each measured pod, over a matrix of all nodes: for edge-scheduler alone.
    #[serde(default)]
    pub bounded: bool,
    /// Parameters by number of nodes; `initNodes` is that number.
    pub params: BTreeMap<u32, BTreeMap<String, usize>>,
}

pub fn rows() -> Result<Vec<Row>> {
    read(&root().join("tests/perf/rows.yaml"))
}

/// What happens, in this order.
#[derive(Clone, Debug)]
pub enum Step {
    Nodes {
        count: usize,
        template: Value,
        labels: Option<LabelStrategy>,
    },
    Namespaces(Vec<String>),
    /// `measured`: by the scheduler under test; others are there, bound, before it leads.
    Pods {
        count: usize,
        template: Value,
        namespace: String,
        measured: bool,
    },
    Churn(Churn),
}

/// One node after the other gets the next value of a label.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelStrategy {
    pub label_key: String,
    pub label_values: Vec<String>,
}

/// Objects made one after the other while the pods are measured.
#[derive(Clone, Debug)]
pub struct Churn {
    /// Each is deleted before the next of its template is made.
    pub recreate: bool,
    pub templates: Vec<Value>,
    pub interval: Duration,
    pub namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    default_pod_template_path: Option<PathBuf>,
    /// Read as [`Operation`]s in the case that is played alone: others may have what is not supported.
    workload_template: Vec<Value>,
}

/// `countParam` is the name of the parameter that has the count: `$initPods`.
#[derive(Deserialize)]
#[serde(tag = "opcode", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Operation {
    CreateNodes {
        count: Option<usize>,
        count_param: Option<String>,
        node_template_path: Option<PathBuf>,
        label_node_prepare_strategy: Option<LabelStrategy>,
    },
    CreateNamespaces {
        prefix: String,
        count: Option<usize>,
        count_param: Option<String>,
    },
    CreatePods {
        count: Option<usize>,
        count_param: Option<String>,
        pod_template_path: Option<PathBuf>,
        namespace: Option<String>,
        #[serde(default)]
        collect_metrics: bool,
    },
    Churn {
        mode: String,
        /// Of each template at a time; 1 in every case that we play.
        number: Option<usize>,
        template_paths: Vec<PathBuf>,
        interval_milliseconds: u64,
        namespace: Option<String>,
    },
}

/// Where workloads come from.
pub enum Source {
    SchedulerPerf(PathBuf),
    Ours(PathBuf),
}

impl Source {
    /// scheduler_perf's own files, if Go has them here.
    pub fn find() -> Source {
        let cache = Command::new("go").args(["env", "GOMODCACHE"]).output();
        let cache =
            cache.ok().filter(|output| output.status.success()).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let folder = cache.map(|cache| Path::new(&cache).join(IN_MODULE_CACHE)).filter(|folder| folder.is_dir());
        folder.map_or_else(|| Source::Ours(root().join("tests/perf")), Source::SchedulerPerf)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Source::SchedulerPerf(_) => "scheduler_perf's own files",
            Source::Ours(_) => "tests/perf (scheduler_perf's own files are not on this machine)",
        }
    }

    /// The steps of a row at a number of nodes.
    pub fn steps(&self, row: &Row, nodes: u32) -> Result<Vec<Step>> {
        let file = match self {
            Source::SchedulerPerf(folder) => folder.join(&row.file),
            Source::Ours(folder) => folder.join("cases.yaml"),
        };
        let mut params = row.params.get(&nodes).with_context(|| format!("{}: no parameters for {nodes} nodes", row.row))?.clone();
        params.insert("initNodes".to_owned(), nodes as usize);
        let cases: Vec<Case> = read(&file)?;
        let case = cases.into_iter().find(|case| case.name == row.case);
        let case = case.with_context(|| format!("{} has no test case {}", file.display(), row.case))?;
        steps(case, file.parent().unwrap_or(Path::new(".")), &params).with_context(|| format!("{}: {}", file.display(), row.case))
    }
}

fn steps(case: Case, folder: &Path, params: &BTreeMap<String, usize>) -> Result<Vec<Step>> {
    let number = |count: &Option<usize>, param: &Option<String>| match (count, param) {
        (Some(count), None) => Ok(*count),
        (None, Some(name)) => {
            let value = params.get(name.trim_start_matches('$'));
            value.copied().with_context(|| format!("no value for the parameter {name}"))
        }
        _ => bail!("an operation has either count or countParam"),
    };
    // Paths are relative to the file that names them.
    let template = |path: &Path| read::<Value>(&folder.join(path));
    let mut made = Vec::new();
    for (index, operation) in case.workload_template.into_iter().enumerate() {
        let operation = Operation::deserialize(operation).context("this operation is not supported")?;
        // As scheduler_perf does: pods without a namespace get one of their own.
        let own = |namespace: &Option<String>| namespace.clone().unwrap_or_else(|| format!("namespace-{index}"));
        made.push(match &operation {
            Operation::CreateNodes { count, count_param, node_template_path, label_node_prepare_strategy } => Step::Nodes {
                count: number(count, count_param)?,
                template: template(node_template_path.as_deref().unwrap_or(Path::new("../templates/node-default.yaml")))?,
                labels: label_node_prepare_strategy.clone(),
            },
            Operation::CreateNamespaces { prefix, count, count_param } => {
                Step::Namespaces((0..number(count, count_param)?).map(|index| format!("{prefix}-{index}")).collect())
            }
            Operation::CreatePods { count, count_param, pod_template_path, namespace, collect_metrics } => {
                let path = pod_template_path.as_ref().or(case.default_pod_template_path.as_ref());
                // The pod that scheduler_perf makes where nothing is said.
                let path = path.map_or(Path::new("../templates/pod-default.yaml"), PathBuf::as_path);
                Step::Pods {
                    count: number(count, count_param)?,
                    template: template(path)?,
                    namespace: own(namespace),
                    measured: *collect_metrics,
                }
            }
            Operation::Churn { number: Some(2..), .. } => bail!("a churn of more than one object of a template at a time is not supported"),
            Operation::Churn { mode, template_paths, interval_milliseconds, namespace, .. } => Step::Churn(Churn {
                recreate: match mode.as_str() {
                    "recreate" => true,
                    "create" => false,
                    other => bail!("a churn's mode is create or recreate, not {other}"),
                },
                templates: template_paths.iter().map(|path| template(path)).collect::<Result<_>>()?,
                interval: Duration::from_millis(*interval_milliseconds),
                namespace: own(namespace),
            }),
        });
    }
    Ok(made)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn our_own_cases_serve_every_row_at_every_size() {
        let ours = Source::Ours(root().join("tests/perf"));
        for row in rows().unwrap() {
            for nodes in row.params.keys() {
                let steps = ours.steps(&row, *nodes).unwrap();
                let measured: usize =
                    steps.iter().map(|step| if let Step::Pods { count, measured: true, .. } = step { *count } else { 0 }).sum();
                assert_eq!(measured, row.params[nodes]["measurePods"], "{}", row.row);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let steps = |operation: &str| {
            let case: Case = serde_saphyr::from_str(&format!("{{name: a, workloadTemplate: [{operation}]}}")).unwrap();
            format!("{:#}", steps(case, Path::new("."), &BTreeMap::new()).unwrap_err())
        };
        let error = steps("{opcode: updateAny}");
        assert!(error.contains("updateAny"), "{error}");
        let error = steps("{opcode: createPods, count: 1, steadyState: true}");
        assert!(error.contains("steadyState"), "{error}");
        assert_eq!(steps("{opcode: createNamespaces, prefix: a, countParam: $many}"), "no value for the parameter $many");
    }
}

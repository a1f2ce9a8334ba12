//! The embedded API server against a real one: each case of `cases/` is sent to both, and their answers must agree once what differs by nature
//! (versions, ids, times) has a name. Left out, saying so, where the real one's programs are not built.
//!
//! What has to be covered is in `seen.txt`, the requests that programs, suites and people sent to a real server, read from its audit log (see
//! `coverage`); differences that are accepted are in `accepted.txt`, with their reasons. `EDGE_CONFORMANCE_ONLY=part of a name` runs a few cases.

#![allow(clippy::unwrap_used)]

mod answer;
mod backend;
mod case;
mod diff;

use backend::Backend;
use case::{Case, Until};
use edge_tests::control_plane::{ControlPlane, Error, Kubelets, Options};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many differences may be accepted.
const ACCEPTED_LIMIT: usize = 10;

#[tokio::test]
async fn both_servers_answer_alike() {
    // Those controllers that the embedded server has too; the others would act on what the cases make.
    let options = Options { nodes: 0, kubelets: Kubelets::None, controllers: true, ..Options::default() };
    let plane = match ControlPlane::start(options).await {
        Ok(plane) => plane,
        Err(Error::Unavailable { why }) => return println!("SKIPPED both_servers_answer_alike: {why}"),
        Err(error) => panic!("no control plane: {error}"),
    };
    let (real, embedded) = (Backend::real(plane).await, Backend::embedded().await);
    let only = std::env::var("EDGE_CONFORMANCE_ONLY").unwrap_or_default();
    let cases: Vec<Case> = case::all().into_iter().filter(|case| case.name.contains(&only)).collect();
    assert!(!cases.is_empty(), "no case has {only:?} in its name");
    for backend in [&real, &embedded] {
        prepare(backend, &cases).await;
    }
    let mut differing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for case in &cases {
        let lines = run(case, &real, &embedded).await;
        if !lines.is_empty() {
            differing.insert(&case.name, lines);
        }
    }
    judge(&cases, &differing, only.is_empty());
}

/// Installs the custom resources and makes the namespaces of the cases.
async fn prepare(backend: &Backend, cases: &[Case]) {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for crd in api::crd::definitions() {
        let body = serde_json::to_value(&crd).unwrap();
        let created = setup(backend, &format!("POST {definitions}"), Some(body), None).await;
        assert_eq!(created.0, 201, "{}", created.1);
        let plural = format!("GET /apis/{}/{}/{}", crd.spec.group, crd.spec.versions[0].name, crd.spec.names.plural);
        setup(backend, &plural, None, Some(Until { code: Some(200), at: None, is: None })).await;
    }
    let own = cases.iter().filter(|case| case.steps.iter().any(|step| step.request.contains("$ns")));
    join_all(own.map(|case| async {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": case.name}});
        let made = setup(backend, "POST /api/v1/namespaces", Some(body), None).await;
        assert_eq!(made.0, 201, "{}", made.1);
        for furniture in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            let there = format!("GET /api/v1/namespaces/{}/{furniture}", case.name);
            setup(backend, &there, None, Some(Until { code: Some(200), at: None, is: None })).await;
        }
    }))
    .await;
}

async fn setup(backend: &Backend, request: &str, body: Option<Value>, until: Option<Until>) -> (u16, Value) {
    let mut step: case::Step = serde_json::from_value(json!({"do": request, "body": body})).unwrap();
    step.until = until;
    let answer = backend.answer(&step, &mut BTreeMap::new()).await.unwrap_or_else(|error| panic!("{request}: {error}"));
    (answer.code, answer.body)
}

/// The lines in which the servers differ; after a step that one of them could not answer the case ends.
async fn run(case: &Case, real: &Backend, embedded: &Backend) -> Vec<String> {
    let mut lines = Vec::new();
    let own = || BTreeMap::from(["ns", "case"].map(|name| (name.to_owned(), case.name.clone())));
    let (mut of_real, mut of_embedded) = (own(), own());
    for (index, step) in case.steps.iter().enumerate() {
        let place = format!("step {} {}", index + 1, step.request);
        let answers = (real.answer(step, &mut of_real).await, embedded.answer(step, &mut of_embedded).await);
        let (answer, other) = match answers {
            (Ok(answer), Ok(other)) => (answer, other),
            (answer, other) => {
                for (who, answer) in [("real", answer), ("embedded", other)] {
                    lines.extend(answer.err().map(|error| format!("{place}: {who}: {error}")));
                }
                return lines;
            }
        };
        if std::env::var_os("EDGE_CONFORMANCE_SHOW").is_some() {
            println!("{}: {place}\n  {} {}", case.name, answer.code, answer.body);
        }
        let shared = answer.shared(&of_real, step.apart.keys().cloned());
        let other = other.shared(&of_embedded, step.apart.keys().cloned());
        let found = diff::differences(&shared, &other, step.part.is_some());
        lines.extend(found.into_iter().map(|line| format!("{place}: {line}")));
    }
    lines
}

/// Differing cases by name with the reason: lines `name: reason`, comments after `#`.
fn accepted() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("accepted.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("accepted.txt: {line:?} is not \"case: reason\""))).collect()
}

fn judge(cases: &[Case], differing: &BTreeMap<&str, Vec<String>>, whole: bool) {
    let accepted = accepted();
    let steps: usize = cases.iter().map(|case| case.steps.len()).sum();
    for (name, lines) in differing {
        let reason = accepted.get(name).map(|reason| format!(" (accepted: {reason})")).unwrap_or_default();
        println!("DIFFERS {name}{reason}");
        lines.iter().for_each(|line| println!("    {line}"));
    }
    println!("{} cases with {steps} requests, {} differ, of which {} may", cases.len(), differing.len(), accepted.len());
    let unexpected: Vec<_> = differing.keys().filter(|name| !accepted.contains_key(*name)).collect();
    assert!(unexpected.is_empty(), "the servers differ: {unexpected:?}");
    assert!(accepted.len() <= ACCEPTED_LIMIT, "{} differences are accepted, {ACCEPTED_LIMIT} may be", accepted.len());
    let mended: Vec<_> = accepted.keys().filter(|name| whole && !differing.contains_key(*name)).collect();
    assert!(mended.is_empty(), "accepted.txt: these no longer differ: {mended:?}");
}

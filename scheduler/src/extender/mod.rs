//! A kube-scheduler extender: a cluster that keeps kube-scheduler gets delay bounds by configuration alone. It filters nodes by the pod's bounds, scores
//! them by response time, and keeps preemption off nodes that are out of bounds and off pods that the bounds refer to; everything else is kube-scheduler's, resources and the cloud rule too.
//!
//! Every replica answers, leader or not: an answer binds nothing. A pod without delay bounds passes untouched.

mod wire;

use crate::cycle::warmth;
use crate::http_body as body;
use crate::state::{Shared, now};
use crate::topology::board::Board;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use chassis::http_error::HttpError;
use chassis::watches::Watches;
use k8s_openapi::api::core::v1;
use placement::plan::{Advice, Planner, referred};
use placement::score::band;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use wire::{Args, FilterResult, HostPriority, MetaPod, MetaVictims, NodeList, PreemptionArgs, PreemptionResult};

/// A pod and 5,000 whole nodes of 20 kB each.
const ARGS_LIMIT_BYTES: usize = 128 << 20;

/// What the handlers share.
#[derive(Clone)]
pub struct Extender {
    shared: Arc<Shared>,
    board: Arc<Board>,
    watches: Watches,
    /// One of its own: the cycle's must not wait for another scheduler.
    planner: Arc<Mutex<Planner>>,
}

/// `POST /filter`, `/prioritize` and `/preempt`, the verbs to name in `extenders` of a KubeSchedulerConfiguration.
pub fn routes(shared: Arc<Shared>, board: Arc<Board>, watches: Watches) -> Router {
    let extender = Extender { shared, board, watches, planner: Arc::default() };
    Router::new()
        .route("/filter", post(filter))
        .route("/prioritize", post(prioritize))
        .route("/preempt", post(preempt))
        .with_state(extender)
}

impl Extender {
    /// Advice on each node; `None` where the pod has no bounds. Errors say why nothing can be judged.
    fn advise(&self, pod: &v1::Pod, nodes: &[&str]) -> Result<Option<Vec<Advice>>, String> {
        let pod = api::convert::pod(pod);
        if pod.delays.is_empty() && pod.delay_errors.is_empty() {
            return Ok(None);
        }
        self.watches.ready().map_err(|why| format!("edge-scheduler is starting: {why}"))?;
        let snapshot = self.shared.lock().cluster.snapshot();
        let mut planner = self.planner.lock().unwrap_or_else(PoisonError::into_inner);
        planner.advise(&snapshot, &pod, nodes, now(), warmth(&self.shared, &self.board)).map_err(|hold| hold.to_string())
    }

    /// UIDs of the pods that the pod's bounds refer to.
    fn referred(&self, pod: &v1::Pod) -> BTreeSet<String> {
        let pod = api::convert::pod(pod);
        let snapshot = self.shared.lock().cluster.snapshot();
        referred(&snapshot, &pod).into_iter().filter_map(|key| Some(snapshot.pod(key)?.pod.uid.clone())).collect()
    }
}

async fn filter(State(extender): State<Extender>, body: Body) -> Result<Json<FilterResult>, HttpError> {
    let Args { pod, nodes, node_names } = body::json(body, ARGS_LIMIT_BYTES).await?;
    let names = names(&nodes, &node_names)?;
    let advice = match extender.advise(&pod, &names) {
        Err(error) => return Ok(Json(FilterResult { error, ..FilterResult::default() })),
        Ok(None) => return Ok(Json(FilterResult { nodes, node_names, ..FilterResult::default() })),
        Ok(Some(advice)) => advice,
    };
    let failed = names.iter().zip(&advice).filter_map(|(name, advice)| match advice {
        Advice::Outside(reason) => Some(((*name).to_owned(), reason.to_string())),
        Advice::Within { .. } => None,
    });
    let failed: BTreeMap<String, String> = failed.collect();
    let fits = |name: &str| !failed.contains_key(name);
    let nodes = nodes.map(|list| NodeList { items: list.items.into_iter().filter(|node| fits(NodeList::name(node))).collect() });
    let node_names = node_names.map(|names| names.into_iter().filter(|name| fits(name)).collect());
    Ok(Json(FilterResult { nodes, node_names, failed_and_unresolvable_nodes: failed, error: String::new() }))
}

async fn prioritize(State(extender): State<Extender>, body: Body) -> Result<Json<Vec<HostPriority>>, HttpError> {
    let Args { pod, nodes, node_names } = body::json(body, ARGS_LIMIT_BYTES).await?;
    let names = names(&nodes, &node_names)?;
    let advice = extender.advise(&pod, &names).map_err(HttpError::unavailable)?;
    let score = |at: usize| match advice.as_ref().map(|advice| &advice[at]) {
        // All alike: kube-scheduler's own scores decide.
        None => band::BEST,
        Some(Advice::Within { score }) => *score,
        Some(Advice::Outside(_)) => 0,
    };
    Ok(Json(names.iter().enumerate().map(|(at, name)| HostPriority { host: (*name).to_owned(), score: score(at) }).collect()))
}

async fn preempt(State(extender): State<Extender>, body: Body) -> Result<Json<PreemptionResult>, HttpError> {
    let args: PreemptionArgs = body::json(body, ARGS_LIMIT_BYTES).await?;
    let victims: BTreeMap<String, MetaVictims> = match (args.node_name_to_meta_victims, args.node_name_to_victims) {
        (Some(meta), _) => meta,
        (None, Some(whole)) => whole.into_iter().map(|(node, victims)| (node, victims.into())).collect(),
        (None, None) => return Err(HttpError::bad_request("neither NodeNameToMetaVictims nor NodeNameToVictims is given")),
    };
    let names: Vec<&str> = victims.keys().map(String::as_str).collect();
    let advice = extender.advise(&args.pod, &names).map_err(HttpError::unavailable)?;
    let outside = advice.into_iter().flatten().map(|advice| matches!(advice, Advice::Outside(_)));
    let outside: Vec<bool> = outside.chain(std::iter::repeat(false)).take(victims.len()).collect();
    let kept = victims.into_iter().zip(outside).filter(|(_, outside)| !outside).map(|(victims, _)| victims);
    let referred = extender.referred(&args.pod);
    let needed = |victim: &MetaPod| referred.contains(&victim.uid);
    let kept = kept.filter(|(_, victims)| !victims.pods.iter().flatten().any(needed));
    Ok(Json(PreemptionResult { node_name_to_meta_victims: kept.collect() }))
}

fn names<'a>(nodes: &'a Option<NodeList>, names: &'a Option<Vec<String>>) -> Result<Vec<&'a str>, HttpError> {
    match (nodes, names) {
        (_, Some(names)) => Ok(names.iter().map(String::as_str).collect()),
        (Some(nodes), None) => Ok(nodes.items.iter().map(NodeList::name).collect()),
        (None, None) => Err(HttpError::bad_request("neither NodeNames nor Nodes is given")),
    }
}

#[cfg(test)]
mod tests;

#![allow(clippy::unwrap_used)]

use super::*;
use crate::bind::binder;
use crate::mock_api::{self, json_response};
use crate::topology::agents::tests::settings;
use placement::cluster::{Node, Resources};
use placement::units::Timestamp;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

/// A cycle over one node, whose bindings are answered one by one as `answers` has permits. Their pods are told as they are asked for.
fn start(shared: &Arc<Shared>, answers: &Arc<Semaphore>, shutdown: &Shutdown) -> mpsc::UnboundedReceiver<String> {
    let (asked, bindings) = mpsc::unbounded_channel();
    let answers = answers.clone();
    let client = mock_api::client(move |request| {
        let pod = request.uri().path().strip_suffix("/binding").and_then(|path| path.rsplit('/').next()).map(str::to_owned);
        let (asked, answers) = (asked.clone(), answers.clone());
        async move {
            if let Some(pod) = pod {
                asked.send(pod).unwrap();
                answers.acquire().await.unwrap().forget();
            }
            Ok(json_response(200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})))
        }
    });
    let allocatable = Resources { pods: 110, ..Resources::default() };
    shared.change(|state| {
        let changes = state.cluster.apply_node(Node { name: "n".into(), allocatable, ..Node::default() });
        state.note(&changes, now());
    });
    let binder = binder(client.clone(), shared.clone(), shutdown.clone());
    let (teller, leadership) = (binder.teller.clone(), Leadership::always());
    let metrics = Metrics::default();
    let evictor = Evictor::new(client.clone(), leadership.clone(), shared.clone(), teller.clone(), metrics.clone(), shutdown.clone());
    let mut cycle = Cycle {
        shared: shared.clone(),
        planner: Planner::new(),
        board: Arc::new(Board::new(shared.clone(), settings(), Timestamp(0))),
        binder,
        evictor: Arc::new(evictor),
        teller,
        metrics,
        attempts: 0,
        leadership,
        watches: Watches::new(),
        client,
    };
    let ending = shutdown.clone();
    shutdown.spawn(async move {
        ending.interrupt(drain(&mut cycle)).await;
    });
    bindings
}

fn comes(shared: &Shared, name: &str, priority: i32) {
    let pod = Pod { key: PodKey::new("default", name), uid: name.into(), priority, ..Pod::default() };
    shared.change(|state| state.apply_pod(Arc::new(pod), None, now()));
}

#[tokio::test]
async fn who_comes_while_all_bindings_are_under_way_goes_before_those_of_less_priority() {
    let shared = Arc::new(Shared::new(Default::default(), Default::default(), true));
    let (answers, shutdown) = (Arc::new(Semaphore::new(0)), Shutdown::new());
    let mut bindings = start(&shared, &answers, &shutdown);
    for name in ["first", "second", "third"] {
        comes(&shared, name, 0);
    }
    let mut next = async || tokio::time::timeout(Duration::from_secs(20), bindings.recv()).await.expect("a binding in time").unwrap();
    assert_eq!(next().await, "first");
    comes(&shared, "urgent", 10);
    answers.add_permits(4);
    for name in ["urgent", "second", "third"] {
        assert_eq!(next().await, name);
    }
    shutdown.trigger();
}

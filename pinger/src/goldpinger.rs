//! `/check` and `/check_all` in Goldpinger's shape, so that its dashboards and scripts read this agent. `response-time-ms` carries fractions.

use crate::row::PairView;
use serde_json::{Map, Value, json};

/// This agent's row: `podResults` by peer.
pub fn check(pairs: &[PairView]) -> Value {
    json!({ "podResults": results(pairs), "probeResults": {} })
}

/// As `/check_all` of one agent answers: itself as the only responder. `address` is this agent's.
pub fn check_all(node: &str, address: &str, pairs: &[PairView]) -> Value {
    let hosts: Vec<Value> = std::iter::once(json!({ "podName": node, "hostIP": address, "podIP": address }))
        .chain(pairs.iter().map(|pair| {
            let ip = ip(pair);
            json!({ "podName": pair.peer, "hostIP": ip, "podIP": ip })
        }))
        .collect();
    let own = json!({ "OK": true, "PodIP": address, "HostIP": address, "response": { "podResults": results(pairs) } });
    let healthy = pairs.iter().all(|pair| !pair.failing);
    json!({ "OK": healthy, "hosts-number": hosts.len(), "hosts": hosts, "responses": { node: own } })
}

fn results(pairs: &[PairView]) -> Map<String, Value> {
    pairs.iter().filter(|pair| pair.probed).map(|pair| (pair.peer.to_string(), result(pair))).collect()
}

fn result(pair: &PairView) -> Value {
    let ip = ip(pair);
    let mut result = json!({ "OK": !pair.failing && pair.last_us.is_some(), "PodIP": ip, "HostIP": ip });
    match pair.last_us {
        Some(us) if !pair.failing => {
            result["response"] = json!({});
            result["status-code"] = json!(200);
            result["response-time-ms"] = json!(f64::from(us) / 1000.0);
        }
        _ => result["error"] = json!("no answer"),
    }
    result
}

fn ip(pair: &PairView) -> String {
    pair.address.map(|address| address.ip().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(peer: &str, last_us: Option<u32>, failing: bool) -> PairView {
        let address = Some("10.0.0.2:9444".parse().unwrap());
        PairView { peer: peer.into(), address, probed: true, last_us, failing, ..PairView::default() }
    }

    #[test]
    fn a_peer_that_answers_has_a_fractional_time_and_a_silent_one_an_error() {
        let value = check_all("me", "10.0.0.1", &[pair("near", Some(1250), false), pair("dead", Some(9), true)]);
        let results = &value["responses"]["me"]["response"]["podResults"];
        assert_eq!(results["near"]["response-time-ms"], 1.25);
        assert_eq!(results["near"]["HostIP"], "10.0.0.2");
        assert_eq!((&results["dead"]["OK"], &results["dead"]["response-time-ms"]), (&json!(false), &Value::Null));
        assert_eq!((&value["OK"], &value["hosts-number"]), (&json!(false), &json!(3)));
    }
}

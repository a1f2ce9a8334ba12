//! What has to be covered: every kind of request that our programs, our suites and kubectl were seen to send to a real server, read from its audit log.
//!
//! A kind of request is a line `verb resource.group/subresource patch-type ?parameters`. The audit log tells a patch's body, not its type: a list is a
//! JSON patch, an object with apiVersion and kind is applied, any other object is a merge or a strategic merge, `object`; both must then have a case.
//!
//! `seen.txt` is written anew by `EDGE_CONFORMANCE_AUDIT=LOG[:LOG…] cargo test -p edge-tests --test conformance seen`.

use super::case::{self, Step};
use serde_json::Value;
use std::collections::BTreeSet;

/// Who counts, by the beginning of the user agent: not the control plane's own programs, nor what a person tried with curl.
const AGENTS: [&str; 2] = ["edge-", "kubectl"];

/// The kind of a request; `patch` names the type where it is one.
fn kind(method: &str, uri: &str, patch: Option<&str>) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let parameters: BTreeSet<&str> = query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty()).collect();
    let watches = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
    let (what, named) = resource(path);
    let verb = match (method, named) {
        ("GET", _) if watches => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        (other, _) => other,
    };
    let mut line = format!("{verb} {what}");
    if let Some(patch) = patch {
        line = format!("{line} {patch}");
    }
    if !parameters.is_empty() {
        line = format!("{line} ?{}", parameters.into_iter().collect::<Vec<_>>().join("&"));
    }
    line
}

/// `deployments.apps/scale`, and whether an object is named; a path that is no resource's stands for itself.
fn resource(path: &str) -> (String, bool) {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, rest) = match segments.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return (path.to_owned(), true),
    };
    let rest = match rest {
        [] => return (path.to_owned(), true),
        ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => rest,
        ["namespaces", _, rest @ ..] => rest,
        rest => rest,
    };
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let subresource = rest.get(2).map(|subresource| format!("/{subresource}")).unwrap_or_default();
    (format!("{}{group}{subresource}", rest.first().copied().unwrap_or_default()), rest.len() > 1)
}

/// The kind of a logged request, of those that count.
fn logged(event: &Value) -> Option<String> {
    let agent = event["userAgent"].as_str().unwrap_or_default();
    if !AGENTS.iter().any(|counts| agent.starts_with(counts)) {
        return None;
    }
    let method = match event["verb"].as_str()? {
        "get" | "list" | "watch" => "GET",
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        other => other,
    };
    let patch = (method == "PATCH").then(|| match &event["requestObject"] {
        Value::Array(_) => "json",
        Value::Object(body) if body.contains_key("apiVersion") && body.contains_key("kind") => "apply",
        _ => "object",
    });
    Some(kind(method, event["requestURI"].as_str()?, patch))
}

fn of_step(step: &Step) -> String {
    let patch = (step.method() == "PATCH").then(|| step.content_type.as_deref().unwrap_or_default());
    kind(step.method(), step.uri(), patch)
}

/// Whether cases cover a kind of request; a custom resource has no strategic merge.
fn is_covered(seen: &str, covered: &BTreeSet<String>) -> bool {
    let with = |patch: &str| covered.contains(&seen.replacen(" object", patch, 1));
    let custom = seen.contains(".edge-scheduler.io");
    with(" merge") && (custom || !seen.contains(" object") || with(" strategic"))
}

#[test]
fn every_request_that_was_seen_has_a_case() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/seen.txt");
    if let Ok(logs) = std::env::var("EDGE_CONFORMANCE_AUDIT") {
        let mut seen = BTreeSet::new();
        for log in logs.split(':') {
            let text = std::fs::read_to_string(log).unwrap_or_else(|error| panic!("{log}: {error}"));
            // The last line of a server that was killed may be cut.
            seen.extend(text.lines().filter_map(|line| logged(&serde_json::from_str(line).ok()?)));
        }
        let lines: Vec<String> = seen.into_iter().collect();
        std::fs::write(file, lines.join("\n") + "\n").unwrap();
    }
    let text = std::fs::read_to_string(file).unwrap();
    let seen: Vec<&str> = text.lines().collect();
    assert!(!seen.is_empty(), "seen.txt is empty");
    let covered: BTreeSet<String> = case::all().iter().flat_map(|case| &case.steps).map(of_step).collect();
    let open: Vec<&str> = seen.iter().copied().filter(|kind| !is_covered(kind, &covered)).collect();
    println!("FIGURE covered {} of {} kinds of requests", seen.len() - open.len(), seen.len());
    assert!(open.is_empty(), "no case sends these:\n{}", open.join("\n"));
}

#[test]
fn a_logged_request_is_reduced_to_its_kind() {
    let check = |event: Value, expected: Option<&str>| assert_eq!(logged(&event).as_deref(), expected);
    let event = |agent: &str, verb: &str, uri: &str| serde_json::json!({ "userAgent": agent, "verb": verb, "requestURI": uri });
    check(event("edge-scheduler/1", "create", "/api/v1/namespaces/a/pods/p/binding"), Some("create pods/binding"));
    check(
        event("kubectl/1", "list", "/apis/apps/v1/namespaces/a/deployments?limit=500&fieldManager=x"),
        Some("list deployments.apps ?fieldManager&limit"),
    );
    check(event("edge-router/1", "watch", "/api/v1/pods?watch=true&resourceVersion=7"), Some("watch pods ?resourceVersion&watch"));
    check(event("kubectl/1", "get", "/openapi/v3"), Some("get /openapi/v3"));
    check(event("kubectl/1", "get", "/api/v1/namespaces/a"), Some("get namespaces"));
    check(event("kube-controller-manager/1", "get", "/api/v1/namespaces/a"), None);
    let patched = |body: Value| serde_json::json!({ "userAgent": "kubectl", "verb": "patch", "requestURI": "/api/v1/nodes/n/status", "requestObject": body });
    check(patched(serde_json::json!([])), Some("patch nodes/status json"));
    check(patched(serde_json::json!({"apiVersion": "v1", "kind": "Node"})), Some("patch nodes/status apply"));
    check(patched(serde_json::json!({"status": {}})), Some("patch nodes/status object"));
}

#[test]
fn a_patch_of_either_type_needs_both() {
    let covered: BTreeSet<String> =
        ["patch pods merge", "patch pods strategic", "patch nodes merge", "patch x.edge-scheduler.io merge"].map(str::to_owned).into();
    let check = |seen: &str, expected: bool| assert_eq!(is_covered(seen, &covered), expected, "{seen}");
    check("patch pods object", true);
    check("patch nodes object", false);
    check("patch x.edge-scheduler.io object", true);
    check("get pods", false);
}

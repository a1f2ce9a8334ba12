//! Whether stored roles and bindings allow something.

use serde_json::{Value, json};

use super::Identity;
use crate::apiserver::api::Api;

/// What someone wants to do.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    /// `get`, `list`, `create`…
    pub verb: String,
    /// API group.
    pub group: String,
    /// Plural name.
    pub resource: String,
    /// Subresource, may be empty.
    pub subresource: String,
    /// Namespace; empty for all or for cluster-scoped objects.
    pub namespace: String,
    /// Object name, may be empty.
    pub name: String,
    /// Path of a request that is not for a resource; empty otherwise.
    pub path: String,
}

/// Whether the user may, and why.
pub fn allowed(api: &Api, user: &Identity, attributes: &Attributes) -> Option<String> {
    if user.groups.iter().any(|group| group == "system:masters") {
        return Some("RBAC: allowed by membership of system:masters".to_owned());
    }
    grants(api, user, &attributes.namespace)
        .find(|grant| grant.rules.iter().any(|rule| allows(rule, attributes)))
        .map(|grant| reason(grant.kind, &grant.binding))
}

/// What a binding gives to its subjects.
struct Grant {
    /// The binding's kind.
    kind: &'static str,
    binding: Value,
    rules: Vec<Value>,
}

/// What the user's bindings give in the namespace; only what holds everywhere where it is empty.
fn grants<'a>(api: &'a Api, user: &'a Identity, namespace: &'a str) -> impl Iterator<Item = Grant> + 'a {
    let list = |plural: &str, namespace: Option<&str>| {
        let resource = api.builtin("rbac.authorization.k8s.io", plural);
        api.store.list(&resource.storage, namespace).0
    };
    let everywhere = list("clusterrolebindings", None).into_iter().map(|binding| ("ClusterRoleBinding", "", binding));
    let here = if namespace.is_empty() { Vec::new() } else { list("rolebindings", Some(namespace)) };
    let here = here.into_iter().map(move |binding| ("RoleBinding", namespace, binding));
    everywhere.chain(here).filter_map(move |(kind, namespace, binding)| {
        let binding = binding.value();
        let rules = subject(&binding, user, namespace).then(|| rules_of(api, &binding, namespace))?;
        Some(Grant { kind, binding, rules })
    })
}

/// The status of a SelfSubjectRulesReview: the rules that hold for the user in the namespace.
pub fn rules_review(api: &Api, user: &Identity, namespace: &str) -> Value {
    let rules: Vec<Value> = grants(api, user, namespace).flat_map(|grant| grant.rules).collect();
    let of =
        |key: &str| -> Vec<&Value> { rules.iter().filter(|rule| rule[key].as_array().is_some_and(|names| !names.is_empty())).collect() };
    json!({ "resourceRules": of("resources"), "nonResourceRules": of("nonResourceURLs"), "incomplete": false })
}

fn reason(kind: &str, binding: &Value) -> String {
    let role = &binding["roleRef"];
    format!("RBAC: allowed by {kind} {} of {} {}", binding["metadata"]["name"], role["kind"], role["name"])
}

fn subject(binding: &Value, user: &Identity, namespace: &str) -> bool {
    binding["subjects"].as_array().into_iter().flatten().any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => name == user.user,
            Some("Group") => user.groups.iter().any(|group| group == name),
            Some("ServiceAccount") => {
                let namespace = subject["namespace"].as_str().unwrap_or(namespace);
                user.user == format!("system:serviceaccount:{namespace}:{name}")
            }
            _ => false,
        }
    })
}

/// The rules of the role that a binding names.
fn rules_of(api: &Api, binding: &Value, namespace: &str) -> Vec<Value> {
    let role = &binding["roleRef"];
    let name = role["name"].as_str().unwrap_or_default();
    let group = "rbac.authorization.k8s.io";
    let found = match role["kind"].as_str() {
        Some("Role") => api.find(group, "roles", namespace, name),
        _ => api.find(group, "clusterroles", "", name),
    };
    found.and_then(|role| role.value()["rules"].as_array().cloned()).unwrap_or_default()
}

/// Whether one rule covers the attributes.
fn allows(rule: &Value, attributes: &Attributes) -> bool {
    let has = |key: &str, wanted: &str| rule[key].as_array().into_iter().flatten().any(|v| v == "*" || v == wanted);
    if !has("verbs", &attributes.verb) {
        return false;
    }
    if !attributes.path.is_empty() {
        return rule["nonResourceURLs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|url| url == attributes.path || url.strip_suffix('*').is_some_and(|prefix| attributes.path.starts_with(prefix)));
    }
    let resource = match attributes.subresource.as_str() {
        "" => attributes.resource.clone(),
        subresource => format!("{}/{subresource}", attributes.resource),
    };
    let any_subresource = format!("*/{}", attributes.subresource);
    let named =
        rule["resourceNames"].as_array().is_none_or(|names| names.is_empty() || names.iter().any(|name| *name == attributes.name.as_str()));
    has("apiGroups", &attributes.group)
        && (has("resources", &resource) || (!attributes.subresource.is_empty() && has("resources", &any_subresource)))
        && named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: Value, verb: &str, resource: &str, name: &str, expected: bool) {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = Attributes {
            verb: verb.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..Attributes::default()
        };
        assert_eq!(allows(&rule, &attributes), expected, "{rule}");
    }

    #[test]
    fn rules() {
        let pods = json!({ "apiGroups": [""], "resources": ["pods", "pods/binding"], "verbs": ["get", "create"] });
        check(pods.clone(), "get", "pods", "x", true);
        check(pods.clone(), "delete", "pods", "x", false);
        check(pods.clone(), "create", "pods/binding", "x", true);
        check(pods, "create", "pods/eviction", "x", false);
        let one = json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "resourceNames": ["a"] });
        check(one.clone(), "get", "pods", "a", true);
        check(one, "get", "pods", "b", false);
    }

    #[test]
    fn paths() {
        let rule = json!({ "nonResourceURLs": ["/v1/explain/*", "/v1/snapshot"], "verbs": ["get"] });
        let at = |path: &str| allows(&rule, &Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() });
        assert!(at("/v1/explain/a/b") && at("/v1/snapshot"));
        assert!(!at("/v1/stream"));
    }
}

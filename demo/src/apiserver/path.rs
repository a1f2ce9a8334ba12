//! What a request's path and query ask for.

use std::collections::HashMap;

use http::{Method, Uri};

/// A request for a resource, taken from its path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourcePath {
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace in the path.
    pub namespace: Option<String>,
    /// Plural name; empty for the group's discovery document.
    pub resource: String,
    /// Object name in the path.
    pub name: Option<String>,
    /// Subresource in the path.
    pub subresource: Option<String>,
    /// Whether the path itself says `watch`, as `/api/v1/watch/pods` does.
    pub watch: bool,
}

/// Splits `/api/v1/…` and `/apis/GROUP/VERSION/…`; `None` for any other path.
pub fn parse(path: &str) -> Option<ResourcePath> {
    let decoded: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(percent_decode).collect();
    let mut segments = decoded.iter().map(String::as_str);
    let (group, version) = match segments.next()? {
        "api" => ("", segments.next()?),
        "apis" => (segments.next()?, segments.next()?),
        _ => return None,
    };
    let mut rest: Vec<&str> = segments.collect();
    let watch = matches!(rest.as_slice(), ["watch", _, ..]);
    if watch {
        rest.remove(0);
    }
    let own = |s: &str| Some(s.to_owned());
    let mut found = ResourcePath { group: group.to_owned(), version: version.to_owned(), watch, ..ResourcePath::default() };
    let tail = match rest.as_slice() {
        // A namespace's own subresources, as opposed to a resource inside it.
        ["namespaces", _, "status" | "finalize"] => rest.as_slice(),
        ["namespaces", namespace, tail @ ..] if !tail.is_empty() => {
            found.namespace = own(namespace);
            tail
        }
        all => all,
    };
    match tail {
        [] => {}
        [resource] => found.resource = (*resource).to_owned(),
        [resource, name] => {
            found.resource = (*resource).to_owned();
            found.name = own(name);
        }
        [resource, name, subresource] => {
            found.resource = (*resource).to_owned();
            found.name = own(name);
            found.subresource = own(subresource);
        }
        _ => return None,
    }
    Some(found)
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        if byte != b'%' {
            out.push(byte);
        } else if let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next())) {
            out.push((high * 16 + low) as u8);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl ResourcePath {
    /// The verb that RBAC knows this request by.
    pub fn verb(&self, method: &Method, query: &Query) -> &'static str {
        match *method {
            Method::GET | Method::HEAD if self.watch || query.flag("watch") => "watch",
            Method::GET | Method::HEAD if self.name.is_some() => "get",
            Method::GET | Method::HEAD => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if self.name.is_some() => "delete",
            Method::DELETE => "deletecollection",
            _ => "",
        }
    }
}

/// Query parameters; of a repeated one the last counts.
#[derive(Debug, Clone, Default)]
pub struct Query(HashMap<String, String>);

impl Query {
    /// Reads the query of a request.
    pub fn of(uri: &Uri) -> Self {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        Self(pairs.map(|pairs| pairs.0.into_iter().collect()).unwrap_or_default())
    }

    /// A parameter, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// A boolean parameter: `true`, `1` or present without a value.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|v| matches!(v.as_str(), "" | "1" | "true" | "True"))
    }

    /// A boolean parameter that says something, one way or the other.
    pub fn maybe_flag(&self, name: &str) -> Option<bool> {
        self.0.contains_key(name).then(|| self.flag(name))
    }

    /// An integer parameter, when it is one.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` is group, version, namespace, resource, name and subresource, `-` for none.
    fn check(path: &str, expected: &str) {
        let found = parse(path).map_or_else(
            || "nothing".to_owned(),
            |p| {
                let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                let group = if p.group.is_empty() { "core".to_owned() } else { p.group };
                let parts = [group, p.version, or_none(p.namespace), p.resource, or_none(p.name), or_none(p.subresource)];
                parts.join(" ")
            },
        );
        assert_eq!(found.trim(), expected, "{path}");
    }

    #[test]
    fn paths() {
        check("/api/v1/nodes", "core v1 - nodes - -");
        check("/api/v1/namespaces/a", "core v1 - namespaces a -");
        check("/api/v1/namespaces/a/status", "core v1 - namespaces a status");
        check("/api/v1/namespaces/a/pods", "core v1 a pods - -");
        check("/apis/apps/v1/namespaces/a/deployments/d/scale", "apps v1 a deployments d scale");
        let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode";
        check(role, "rbac.authorization.k8s.io v1 - clusterroles system:node -");
        check("/apis/apps/v1", "apps v1 -  - -");
        check("/api/v1/watch/namespaces/a/pods", "core v1 a pods - -");
        check("/version", "nothing");
        check("/api/v1/namespaces/a/pods/b/c/d", "nothing");
    }

    #[test]
    fn queries() {
        let uri: Uri = "/x?watch=1&limit=5&labelSelector=a%3Db&continue=".parse().unwrap();
        let query = Query::of(&uri);
        assert!(query.flag("watch"));
        assert_eq!(query.number("limit"), Some(5));
        assert_eq!(query.text("labelSelector"), Some("a=b"));
        assert_eq!(query.text("continue"), None);
        assert_eq!(query.maybe_flag("sendInitialEvents"), None);
    }
}

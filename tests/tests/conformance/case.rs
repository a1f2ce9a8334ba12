//! A case as data: requests in order, each with what is to be sent, kept for later and left out of the comparison. `cases/*.yaml` hold them.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Requests that belong together. Names, `$ns` and `$case` are the case's own name, so cases do not meet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub steps: Vec<Step>,
}

/// One request, the same for both servers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `METHOD /path?query`.
    #[serde(rename = "do")]
    pub request: String,
    pub body: Option<Value>,
    /// A body that is sent as it stands, in place of `body`.
    pub raw: Option<String>,
    /// `merge`, `json`, `strategic` and `apply` are patches; anything else is sent as the content type.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// `table`, `partial` and `aggregated`, or a media type.
    pub accept: Option<String>,
    /// Who asks: `anonymous`, or a bearer token; the administrator where absent.
    #[serde(rename = "as")]
    pub token: Option<String>,
    /// How many events of the watch are read.
    pub events: Option<usize>,
    /// The request is sent again until its answer is like this, within a bound; only the last answer is compared.
    pub until: Option<Until>,
    /// Variables that later steps know as `$name`, by the pointers of their values in this answer.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    /// Pointers of what is left out, with the reason.
    #[serde(default)]
    pub apart: BTreeMap<String, String>,
    /// Why the embedded server's answer has to be a part of the real one's rather than equal it.
    pub part: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Until {
    pub code: Option<u16>,
    /// The value at this pointer is `is`, or is there at all where `is` is absent.
    pub at: Option<String>,
    pub is: Option<Value>,
}

impl Until {
    pub fn holds(&self, code: u16, body: &Value) -> bool {
        let found = |at: &String| body.pointer(at).is_some_and(|value| self.is.as_ref().is_none_or(|is| is == value));
        self.code.is_none_or(|wanted| wanted == code) && self.at.as_ref().is_none_or(found)
    }
}

impl Step {
    pub fn method(&self) -> &str {
        self.request.split(' ').next().unwrap_or_default()
    }

    /// Path and query.
    pub fn uri(&self) -> &str {
        self.request.split_once(' ').map_or("", |(_, uri)| uri.trim())
    }

    pub fn media_type(&self) -> &str {
        match self.content_type.as_deref() {
            None => "application/json",
            Some("merge") => "application/merge-patch+json",
            Some("json") => "application/json-patch+json",
            Some("strategic") => "application/strategic-merge-patch+json",
            Some("apply") => "application/apply-patch+yaml",
            Some(other) => other,
        }
    }

    pub fn accepts(&self) -> &str {
        match self.accept.as_deref() {
            None => "application/json",
            Some("table") => "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Some("partial") => "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
            Some("metadata") => "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
            Some("aggregated") => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Some(other) => other,
        }
    }
}

/// Every case of `cases/`, by file name and then as written. Panics where one cannot be read or two have one name.
pub fn all() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let read: Vec<Case> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.extend(read);
    }
    let mut names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert!(twice.is_none(), "two cases are called {twice:?}");
    cases
}

/// `text` with the variables in place of `$name`; the longest name that fits counts.
pub fn filled(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut names: Vec<_> = variables.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    names.into_iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

/// [`filled`] for every string of a value, keys included.
pub fn filled_value(value: &Value, variables: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => filled(text, variables).into(),
        Value::Array(items) => items.iter().map(|item| filled_value(item, variables)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (filled(key, variables), filled_value(value, variables)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[test]
fn the_longest_variable_counts() {
    let variables = BTreeMap::from([("rv".to_owned(), "7".to_owned()), ("rv2".to_owned(), "9".to_owned())]);
    let check = |text: &str, expected: &str| assert_eq!(filled(text, &variables), expected);
    check("?resourceVersion=$rv&x=$rv2", "?resourceVersion=7&x=9");
    check("$patch stays", "$patch stays");
}

//! Tokens for the next page of a list: base64 of the JSON that the real server puts there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::apiserver::status::ApiError;
use crate::apiserver::store::Object;

/// The form of the tokens.
const FORM: &str = "meta.k8s.io/v1";

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    /// The version that is listed; `None` for the present one, whatever has changed since the first page.
    pub version: Option<u64>,
    /// Namespace and name behind which it goes on.
    pub after: (String, String),
}

impl Continue {
    /// Behind an object of a list at the version.
    pub fn behind(version: u64, last: &Object) -> Self {
        Self { version: Some(version), after: (last.namespace.to_string(), last.name.to_string()) }
    }

    /// The token.
    pub fn encode(&self) -> String {
        let (namespace, name) = &self.after;
        let start = if namespace.is_empty() { format!("{name}\0") } else { format!("{namespace}/{name}\0") };
        let version = self.version.and_then(|version| i64::try_from(version).ok()).unwrap_or(-1);
        URL_SAFE_NO_PAD.encode(json!({ "v": FORM, "rv": version, "start": start }).to_string())
    }

    /// Reads a token.
    pub fn decode(token: &str) -> Result<Self, ApiError> {
        let invalid = |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(length) => length,
                base64::DecodeError::InvalidPadding => token.len(),
            };
            invalid(&format!(": illegal base64 data at input byte {at}"))
        })?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid(&format!(": {}", unreadable(&bytes))))?;
        let text = |key: &str| value[key].as_str().unwrap_or_default();
        if text("v") != FORM {
            return Err(invalid(&format!(": server does not recognize this encoded version {}", text("v"))));
        }
        let version = match value["rv"].as_i64() {
            None | Some(0) => return Err(invalid(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            Some(version) => u64::try_from(version).ok(),
        };
        let start = text("start").trim_end_matches('\0');
        if start.is_empty() {
            return Err(invalid(": encoded start key empty (version meta.k8s.io/v1)"));
        }
        if start.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(&format!(": {}", text("start"))));
        }
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        Ok(Self { version, after: (namespace.to_owned(), name.to_owned()) })
    }

    /// 410 for a list whose version is forgotten, with a token that goes on in the present.
    pub fn gone(after: (String, String)) -> ApiError {
        let mut error = ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue \
             parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided \
             token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was \
             returned and now may show up in the list.",
        );
        error.next = Some(Self { version: None, after }.encode());
        error
    }
}

/// What the real server's parser says of bytes that do not begin as JSON, and of those that end too early.
fn unreadable(bytes: &[u8]) -> String {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(first) if !b"{[\"-0123456789tfn".contains(first) => {
            let shown: String = char::from(*first).escape_default().to_string().replace("\\u{", "\\u00").replace('}', "");
            format!("invalid character '{shown}' looking for beginning of value")
        }
        _ => "unexpected end of JSON input".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(token: &str, expected: &str) {
        let error = Continue::decode(token).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (400, format!("invalid continue token: continue key is not valid{expected}").as_str())
        );
    }

    #[test]
    fn tokens_are_read_back() {
        for after in [("", "n"), ("a", "b")] {
            for version in [Some(7), None] {
                let token = Continue { version, after: (after.0.to_owned(), after.1.to_owned()) };
                assert_eq!(Continue::decode(&token.encode()).unwrap(), token);
            }
        }
    }

    #[test]
    fn others_are_refused_in_the_real_servers_words() {
        let of = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        check("nonsense", ": invalid character '\\u009e' looking for beginning of value");
        check("!!", ": illegal base64 data at input byte 0");
        check(&of(json!({ "v": "none/v1" })), ": server does not recognize this encoded version none/v1");
        check(&of(json!({ "v": FORM })), ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
        check(&of(json!({ "v": FORM, "rv": 1 })), ": encoded start key empty (version meta.k8s.io/v1)");
        check(&of(json!({ "v": FORM, "rv": 1, "start": "../a" })), ": ../a");
    }
}

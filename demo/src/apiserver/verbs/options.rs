//! The options that requests take in their query, judged before anything else is done.

use serde_json::json;

use super::Call;
use crate::apiserver::path::Query;
use crate::apiserver::status::{ApiError, FieldError};

/// Most bytes of a field manager's name.
const MANAGER_LIMIT_BYTES: usize = 128;

/// Judges how a list, or a watch, is asked for.
pub fn check_list_options(query: &Query, watch: bool) -> Result<(), ApiError> {
    const MATCH: &str = "resourceVersionMatch";
    let version = query.text("resourceVersion");
    let matching = query.text(MATCH);
    let initial = query.maybe_flag("sendInitialEvents").is_some();
    let mut errors = Vec::new();
    let mut forbidden = |field: &str, why: &str| errors.push(FieldError::forbidden(field, why));
    if watch && initial && matching != Some("NotOlderThan") {
        forbidden(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if matching.is_some() {
        if watch && !initial {
            forbidden(MATCH, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
        }
        if !watch && version.is_none() {
            forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.text("continue").is_some() {
            forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
        if matching == Some("Exact") && version == Some("0") && !watch {
            forbidden(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        let supported: &[&str] = if watch { &["NotOlderThan"] } else { &["Exact", "NotOlderThan", ""] };
        if let Some(other) = matching.filter(|matching| !supported.contains(matching)) {
            let supported: Vec<String> = supported.iter().map(|&value| value.to_owned()).collect();
            errors.push(FieldError::unsupported(MATCH, &other.into(), &supported));
        }
    }
    if initial && !watch {
        errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

impl Call<'_> {
    /// Judges `dryRun`, `fieldManager`, `fieldValidation` and `force` of a write; `kind` is `CreateOptions` or the like, and `applies` says
    /// whether a patch applies.
    pub fn check_options(&self, kind: &str, applies: bool) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        let text = |name: &str| self.query.text(name).unwrap_or_default();
        if !matches!(text("dryRun"), "" | "All") {
            errors.push(FieldError::unsupported("dryRun", &json!([text("dryRun")]), &["All".to_owned()]));
        }
        let manager = text("fieldManager");
        if applies && manager.is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if manager.len() > MANAGER_LIMIT_BYTES {
            errors.push(FieldError::too_long("fieldManager", MANAGER_LIMIT_BYTES));
        } else if manager.chars().any(char::is_control) {
            errors.push(FieldError::invalid("fieldManager", &manager.into(), "should only contain printable characters"));
        }
        if kind == "PatchOptions" && !applies && self.query.flag("force") {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        if !matches!(text("fieldValidation"), "" | "Ignore" | "Strict" | "Warn") {
            let accepted = ["", "Ignore", "Strict", "Warn"].map(str::to_owned);
            errors.push(FieldError::unsupported("fieldValidation", &text("fieldValidation").into(), &accepted));
        }
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", kind, "", &errors)) }
    }
}

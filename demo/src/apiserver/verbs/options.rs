//! The options that every write takes in its query, judged before anything else is done.

use serde_json::json;

use super::Call;
use crate::apiserver::status::{ApiError, FieldError};

/// Most bytes of a field manager's name.
const MANAGER_LIMIT_BYTES: usize = 128;

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

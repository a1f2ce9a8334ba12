//! Leases.

use serde_json::Value;

use crate::apiserver::status::FieldError;

/// What is wrong with a Lease.
pub fn validate(lease: &Value) -> Vec<FieldError> {
    let spec = &lease["spec"];
    let rules = [("leaseDurationSeconds", 1, "must be greater than 0"), ("leaseTransitions", 0, "must be greater than or equal to 0")];
    let broken = rules.into_iter().filter(|(field, least, _)| spec[*field].as_i64().is_some_and(|number| number < *least));
    broken.map(|(field, _, why)| FieldError::invalid(format!("spec.{field}"), &spec[field], why)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_and_transitions() {
        let check = |spec: Value, expected: usize| assert_eq!(validate(&json!({ "spec": spec })).len(), expected);
        check(json!({}), 0);
        check(json!({ "leaseDurationSeconds": 1, "leaseTransitions": 0 }), 0);
        check(json!({ "leaseDurationSeconds": 0, "leaseTransitions": -1 }), 2);
    }
}

//! `pods/eviction`: a deletion that asks the disruption budgets first.

use std::sync::PoisonError;

use http::StatusCode;
use serde_json::{Value, json};

use super::binding::set_condition;
use super::disruption::{figures, is_ready, selects};
use crate::apiserver::status::ApiError;
use crate::apiserver::verbs::decode::json_object;
use crate::apiserver::verbs::delete::DeleteOptions;
use crate::apiserver::verbs::{Call, Reply};

impl Call<'_> {
    /// Evicts a pod. The call's resource is pods.
    pub fn evict(&self, name: &str, body: &[u8]) -> Result<Reply, ApiError> {
        let eviction = json_object(body)?;
        let named = eviction["metadata"]["name"].as_str().unwrap_or_default();
        if !named.is_empty() && named != name {
            return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
        }
        let options = match &eviction["deleteOptions"] {
            Value::Null => Vec::new(),
            options => options.to_string().into_bytes(),
        };
        let options = DeleteOptions::parse(self, &options)?;
        // Two evictions at once must not both take a budget's last disruption.
        let _turn = self.api.evictions.lock().unwrap_or_else(PoisonError::into_inner);
        let object = self.find(name)?;
        let pod = object.value();
        let free = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
            || pod["metadata"]["deletionTimestamp"].is_string();
        if !free {
            self.ask_budgets(&object, &pod)?;
        }
        if !options.dry_run {
            self.change(name, |_, mut pod| {
                let condition = json!({ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting" });
                set_condition(&mut pod["status"], condition);
                Ok(Some(pod))
            })?;
        }
        self.delete(name, &options)?;
        let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        Ok(Reply::Document(StatusCode::CREATED, done))
    }

    fn ask_budgets(&self, object: &crate::apiserver::store::Object, pod: &Value) -> Result<(), ApiError> {
        let resource = self.api.builtin("policy", "poddisruptionbudgets");
        let (all, _) = self.api.store.list(&resource.storage, Some(self.namespace));
        let matching: Vec<Value> = all.iter().map(|b| b.value()).filter(|b| selects(b, object)).collect();
        let budget = match matching.as_slice() {
            [] => return Ok(()),
            [one] => one,
            _ => {
                return Err(ApiError::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        let figures = figures(self.api, self.namespace, budget);
        if !is_ready(pod) {
            // A pod that does not count as healthy takes nothing from the budget.
            let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
            if always || (figures.healthy >= figures.desired && figures.desired > 0) {
                return Ok(());
            }
        }
        if figures.allowed() > 0 {
            return Ok(());
        }
        let name = budget["metadata"]["name"].as_str().unwrap_or_default();
        let detail = format!("needs {} healthy pods and has {} currently", figures.desired, figures.healthy);
        Err(ApiError::disruption_budget(name, &detail))
    }
}

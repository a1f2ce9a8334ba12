//! Server-side apply, and the managers that every other write leaves behind.

use http::StatusCode;
use serde_json::{Value, json};

use super::decode::{must_be_object, yaml};
use super::update::Part;
use super::{Call, Reply};
use crate::apiserver::fields::{self, Conflicts, Manager, Managers, Operation, Scope};
use crate::apiserver::resource::{Shape, View};
use crate::apiserver::schema::Typed;
use crate::apiserver::status::{ApiError, FieldError};
use crate::apiserver::store::Object;

/// Longest part of what a client calls itself that names a manager.
const NAME_LIMIT: usize = 128;

/// What the annotation of `kubectl apply` is called.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Call<'_> {
    /// Applies the configuration in `body`: creates the object where there is none.
    pub fn apply(&self, name: &str, part: Part, body: &[u8]) -> Result<Reply, ApiError> {
        let wanted = self.read_configuration(name, body)?;
        let force = self.query.flag("force");
        let by = self.manager(Operation::Apply);
        loop {
            let Some(current) = self.api.store.get(&self.resource.storage, self.namespace, name) else {
                if part == Part::Status {
                    return Err(ApiError::not_found(self.resource.group_resource(), name));
                }
                return self.apply_new(name, wanted, by);
            };
            let version = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            if !version.is_empty() && version.parse() != Ok(current.rv) {
                return Err(ApiError::modified(self.resource.group_resource(), name));
            }
            let uid = &wanted["metadata"]["uid"];
            if uid.as_str().is_some_and(|uid| !uid.is_empty() && *uid != *current.uid) {
                return Err(self.invalid(name, &[FieldError::invalid("metadata.uid", uid, "field is immutable")]));
            }
            let mut live = self.resource.to_served(current.value());
            let managers = Managers::from_value(&take_managers(&mut live)).unwrap_or_default();
            // What kubectl applied by itself before is its own.
            let applied_before = live["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|_| by.name == "kubectl").map(str::to_owned);
            let apply = |force: bool| fields::apply(self.typed(), self.scope(part), &live, &wanted, managers.clone(), by.clone(), force);
            let applied = apply(force).or_else(|conflicts| match &applied_before {
                Some(text) => match self.beyond(conflicts, text, &live) {
                    left if left.0.is_empty() => apply(true),
                    left => Err(left),
                },
                None => Err(conflicts),
            });
            let applied = applied.map_err(|conflicts| conflict(&conflicts))?;
            if !applied.changed {
                return Ok(Reply::Object(StatusCode::OK, current));
            }
            let mut value = applied.value;
            if applied_before.is_some() {
                value["metadata"]["annotations"][LAST_APPLIED] = configuration_text(&wanted).into();
            }
            self.normalize(&mut value, Vec::new()).map_err(|why| self.not_decodable(&why))?;
            value["metadata"]["managedFields"] = applied.managers.into_value();
            if let Ok(reply) = self.replace_owned(&current, value, part)? {
                return Ok(reply);
            }
        }
    }

    /// The conflicts about fields other than those that are still as the configuration in the annotation has them.
    fn beyond(&self, mut conflicts: Conflicts, annotation: &str, live: &Value) -> Conflicts {
        let Ok(configuration) = serde_json::from_str::<Value>(annotation) else { return conflicts };
        let own = fields::kept(self.typed(), &configuration, live);
        for (_, fields) in &mut conflicts.0 {
            fields.subtract(&own);
        }
        conflicts.0.retain(|(_, fields)| !fields.is_empty());
        conflicts
    }

    fn apply_new(&self, name: &str, mut value: Value, by: Manager) -> Result<Reply, ApiError> {
        if let Some(uid) = value["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
            let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(ApiError::conflict(self.resource.group_resource(), name, &why));
        }
        let mut own = fields::fields_of(self.typed(), &value);
        self.scope(Part::Main).keep(&mut own);
        value["metadata"]["name"] = name.into();
        self.normalize(&mut value, Vec::new()).map_err(|why| self.not_decodable(&why))?;
        self.create_owned(value, Managers(vec![Manager { fields: own, ..by }]))
    }

    /// Reads a configuration and checks that it can be one of this object.
    fn read_configuration(&self, name: &str, body: &[u8]) -> Result<Value, ApiError> {
        let wanted: Value = match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(_) => yaml(body).map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?,
        };
        must_be_object(&wanted, "the object provided")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&wanted["apiVersion"]), text(&wanted["kind"]));
        let spelt = format!("{}, Kind={kind}", if version.contains('/') { version.clone() } else { format!("/{version}") });
        if version != self.resource.api_version() || kind != *self.resource.kind {
            return Err(ApiError::bad_request(format!("invalid object type: {spelt}")));
        }
        let metadata = &wanted["metadata"];
        if !metadata["managedFields"].is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        for (key, here) in [("name", name), ("namespace", self.namespace)] {
            let given = text(&metadata[key]);
            if !given.is_empty() && given != here {
                return Err(ApiError::bad_request(if key == "name" {
                    format!("the name of the object ({given}) does not match the name on the URL ({here})")
                } else {
                    "the namespace of the provided object does not match the namespace sent on the request".to_owned()
                }));
            }
        }
        let mut checked = wanted.clone();
        let findings = self.api.schemas.normalize(self.schema(), &mut checked);
        let wrong = self.api.schemas.types(self.schema(), &wanted);
        let unknown = findings.unknown.iter().map(|field| format!(".{field}: field not declared in schema"));
        let errors: Vec<String> = unknown.chain(wrong).chain(fields::duplicates(self.typed(), &wanted)).collect();
        let listed = match errors.as_slice() {
            [] => return Ok(wanted),
            [only] => only.clone(),
            all => format!("errors:\n  {}", all.join("\n  ")),
        };
        let place = format!("{}/{}; {spelt}", text(&metadata["namespace"]), text(&metadata["name"]));
        Err(ApiError::unexplained(format!("failed to create typed patch object ({place}): {listed}")))
    }

    /// Who writes now.
    pub fn manager(&self, operation: Operation) -> Manager {
        let given = self.query.text("fieldManager").map(str::to_owned);
        let agent = || {
            let product = self.agent.split('/').next().unwrap_or_default();
            product.chars().filter(|c| !c.is_control()).take(NAME_LIMIT).collect::<String>()
        };
        let name = given.unwrap_or_else(agent);
        let by = Manager::updater(if name.is_empty() { "unknown" } else { &name }, &self.resource.api_version());
        // A scale says nothing of when it was written.
        let time = by.time.filter(|_| self.subresource != "scale");
        Manager { operation, subresource: self.subresource.to_owned(), time, ..by }
    }

    /// The types of the served form.
    pub fn typed(&self) -> Typed<'_> {
        Typed::root(&self.api.schemas, Some(self.schema()), matches!(self.resource.shape, Shape::Custom(_)))
    }

    /// What a write to the part can own.
    pub fn scope(&self, part: Part) -> Scope {
        match part {
            Part::Main if self.resource.status => Scope::Main,
            Part::Main => Scope::All,
            Part::Status => Scope::Status { metadata: self.resource.is("pods") || self.resource.is("nodes") },
        }
    }

    /// The managers of a new object that was not applied, in its served form.
    pub fn first_managers(&self, value: &Value) -> Managers {
        if !self.api.track_fields {
            return Managers::default();
        }
        let empty = match self.resource.shape {
            Shape::Builtin(_) => self.typed().empty(),
            Shape::Custom(_) => json!({ "metadata": {} }),
        };
        fields::update(self.typed(), self.scope(Part::Main), &empty, value, Managers::default(), self.manager(Operation::Update))
            .unwrap_or_default()
    }

    /// The managers of an object after a write, by its stored forms: who `new` says they are, or else who they were.
    pub fn next_managers(&self, old: &Value, new: &mut Value, part: Part) -> Value {
        let given = take_managers(new);
        let had = &old["metadata"]["managedFields"];
        let reset = given
            .as_array()
            .is_some_and(|list| matches!(list.as_slice(), [only] if only.as_object().is_some_and(serde_json::Map::is_empty)));
        if had.is_null() && given.is_null() {
            return Value::Null;
        }
        let given = if reset { Some(Managers::default()) } else { Managers::from_value(&given).filter(|managers| !managers.0.is_empty()) };
        let base = || given.clone().or_else(|| Managers::from_value(had)).unwrap_or_default();
        let by = self.manager(Operation::Update);
        let updated = if self.resource.view == View::Events {
            let served = |value: &Value| self.resource.to_served(value.clone());
            fields::update(self.typed(), self.scope(part), &served(old), &served(new), base(), by)
        } else {
            fields::update(self.typed(), self.scope(part), old, new, base(), by)
        };
        match (updated, given) {
            (Some(managers), _) => managers.into_value(),
            (None, Some(given)) if Managers::from_value(had).as_ref() != Some(&given) => given.into_value(),
            (None, _) => had.clone(),
        }
    }

    /// Stores what has been applied over the current object, as its managers are known already.
    fn replace_owned(&self, current: &Object, value: Value, part: Part) -> Result<Result<Reply, ()>, ApiError> {
        self.replace_with(current, value, part, true)
    }
}

/// Takes `managedFields` out of an object.
pub fn take_managers(value: &mut Value) -> Value {
    value.get_mut("metadata").and_then(Value::as_object_mut).and_then(|metadata| metadata.shift_remove("managedFields")).unwrap_or_default()
}

/// What the annotation says by which a plain `kubectl apply` would go on.
fn configuration_text(wanted: &Value) -> String {
    let mut wanted = wanted.clone();
    if let Some(annotations) = wanted.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
    format!("{wanted}\n")
}

/// 409 that names every field and its manager.
fn conflict(conflicts: &Conflicts) -> ApiError {
    let mut causes = Vec::new();
    let mut text = Vec::new();
    for (manager, fields) in &conflicts.0 {
        let described = manager.described();
        let paths = fields.paths();
        text.push(format!("conflicts with {described}:\n- {}", paths.join("\n- ")));
        causes.extend(
            paths
                .into_iter()
                .map(|path| json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {described}"), "field": path })),
        );
    }
    let message = match causes.as_slice() {
        [only] => format!(
            "Apply failed with 1 conflict: {}: {}",
            only["message"].as_str().unwrap_or_default(),
            only["field"].as_str().unwrap_or_default(),
        ),
        all => format!("Apply failed with {} conflicts: {}", all.len(), text.join("\n")),
    };
    ApiError::apply_conflict(message, causes)
}

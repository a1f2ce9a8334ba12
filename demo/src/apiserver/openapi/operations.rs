//! The paths of a resource and what may be asked there, alike for both versions of OpenAPI.

use crate::apiserver::resource::{Resource, Shape};

/// A parameter: name, type and what it does.
pub type Parameter = (&'static str, &'static str, &'static str);

const DRY_RUN: Parameter = ("dryRun", "string", "`All` does everything but store the result.");
const FIELD_MANAGER: Parameter =
    ("fieldManager", "string", "Whom the fields that the request sets belong to; needed to apply, at most 128 printable characters.");
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "What becomes of fields that the schema does not know or that come twice: `Ignore` drops them, `Warn` (the default) says so, \
     `Strict` refuses the request.",
);
const FORCE: Parameter = ("force", "boolean", "Takes over the fields of others where applying conflicts with them.");
const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCH: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
const DELETE: &[Parameter] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "How long a pod may take to end."),
    ("propagationPolicy", "string", "What becomes of the object's dependents: `Background`, `Foreground` or `Orphan`."),
];
const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Whether a watch may send BOOKMARK events."),
    ("continue", "string", "Token of the next page."),
    ("fieldSelector", "string", "Selects objects by their fields."),
    ("labelSelector", "string", "Selects objects by their labels."),
    ("limit", "integer", "Most objects in an answer."),
    ("resourceVersion", "string", "From which version on."),
    ("resourceVersionMatch", "string", "How `resourceVersion` is meant: `Exact` or `NotOlderThan`."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with the objects that are there."),
    ("timeoutSeconds", "integer", "When the answer ends."),
    ("watch", "boolean", "Whether to follow changes."),
];

/// The media types of patches.
pub fn patch_types(resource: &Resource) -> &'static [&'static str] {
    match resource.shape {
        Shape::Builtin(_) => &[
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        ],
        Shape::Custom(_) => &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"],
    }
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// HTTP method, lower case.
    pub method: &'static str,
    /// `x-kubernetes-action`.
    pub action: &'static str,
    /// Query parameters.
    pub parameters: &'static [Parameter],
    /// Whether the body is an object of the kind.
    pub takes_object: bool,
    /// Whether the answer is a list.
    pub lists: bool,
}

const fn operation(method: &'static str, action: &'static str, parameters: &'static [Parameter]) -> Operation {
    Operation { method, action, parameters, takes_object: false, lists: false }
}

const GET: Operation = operation("get", "get", &[]);
const UPDATE: Operation = Operation { takes_object: true, ..operation("put", "put", WRITE) };
const DELETE_ONE: Operation = operation("delete", "delete", DELETE);
const DELETE_ALL: Operation = operation("delete", "deletecollection", DELETE);
const PATCH_ONE: Operation = operation("patch", "patch", PATCH);
const CREATE: Operation = Operation { takes_object: true, ..operation("post", "post", WRITE) };
const LIST_ALL: Operation = Operation { lists: true, ..operation("get", "list", LIST) };

/// One path of a resource.
#[derive(Debug)]
pub struct Place {
    /// With `{namespace}` and `{name}`.
    pub path: String,
    /// Whether it names an object.
    pub named: bool,
    /// Whether it is inside a namespace.
    pub namespaced: bool,
    /// Whether it is about the object's scale.
    pub scale: bool,
    /// What may be asked there.
    pub operations: &'static [Operation],
}

/// The paths of a resource under `/api/v1` or the like.
pub fn places(resource: &Resource, base: &str) -> Vec<Place> {
    let namespace = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let all = format!("/{base}{namespace}/{}", resource.plural);
    let place = |path: String, named: bool, operations: &'static [Operation]| Place {
        path,
        named,
        namespaced: resource.namespaced,
        scale: false,
        operations,
    };
    if !resource.stored() {
        return vec![place(all, false, &[CREATE])];
    }
    let one = format!("{all}/{{name}}");
    let mut found =
        vec![place(all, false, &[LIST_ALL, CREATE, DELETE_ALL]), place(one.clone(), true, &[GET, UPDATE, DELETE_ONE, PATCH_ONE])];
    if resource.namespaced {
        let everywhere = format!("/{base}/{}", resource.plural);
        found.push(Place { namespaced: false, ..place(everywhere, false, &[LIST_ALL]) });
    }
    if resource.status {
        found.push(place(format!("{one}/status"), true, &[GET, UPDATE, PATCH_ONE]));
    }
    if resource.scale.is_some() {
        found.push(Place { scale: true, ..place(format!("{one}/scale"), true, &[GET, UPDATE, PATCH_ONE]) });
    }
    found
}

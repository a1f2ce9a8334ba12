//! From an HTTP request to an answer.

use std::cell::RefCell;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use chassis::client::protobuf::{self, Fields, MEDIA_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value;

use super::admit::scope_matches;
use super::api::Api;
use super::auth::rbac::{Attributes, allowed};
use super::auth::tokens::API_AUDIENCE;
use super::auth::{Identity, bearer};
use super::negotiate::{self, Form};
use super::patch::is_apply;
use super::path::{self, Query, ResourcePath};
use super::render::Renderer;
use super::resource::{Resource, Shape, Tables};
use super::status::{ApiError, GroupResource};
use super::verbs::decode::yaml;
use super::verbs::delete::DeleteOptions;
use super::verbs::update::Part;
use super::verbs::{Call, Reply};
use super::{discovery, openapi, watch};

/// Largest request body, as the API server's.
const BODY_LIMIT_BYTES: usize = 3 * 1024 * 1024;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers one request; `peer` is whom the connection's client certificate names.
pub async fn handle(api: Arc<Api>, peer: Option<Identity>, request: Request<Body>) -> Response<Body> {
    match answer(&api, peer, request).await {
        Ok(response) => response,
        Err(error) => failure(&error),
    }
}

async fn answer(api: &Arc<Api>, peer: Option<Identity>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    // Probes and the version are open to everyone.
    match path {
        "/healthz" | "/livez" | "/readyz" => return Ok(text(StatusCode::OK, "ok")),
        "/version" => return Ok(json(StatusCode::OK, &discovery::version())),
        _ => {}
    }
    let user = authenticate(api, peer, &parts.headers)?;
    let query = Query::of(&parts.uri);
    let Some(target) = path::parse(path).filter(|target| !target.resource.is_empty()) else {
        if parts.method != Method::GET {
            return Err(ApiError::method_not_allowed());
        }
        return documents(api, path, &query, &parts.headers);
    };
    let verb = target.verb(&parts.method, &query);
    let Some(resource) = served(api, &target, verb) else {
        let builtin = api.registry.tables().has_builtin(&target.group, &target.version);
        return if builtin { Err(ApiError::no_such_resource()) } else { Ok(no_such_page()) };
    };
    if api.enforce_rbac {
        authorize(api, &user, &target, verb)?;
    }
    let name = target.name.as_deref().unwrap_or_default();
    let form = negotiate::form(&parts.headers, &query)?;
    if verb == "watch" {
        return open_watch(api, &resource, &target, &query, &user, form);
    }
    api.faults.draw(&parts.method, resource.group_resource(), name)?;
    let body = axum::body::to_bytes(body, BODY_LIMIT_BYTES).await.map_err(|_| ApiError::too_large(BODY_LIMIT_BYTES))?;
    let call = Call {
        api,
        resource: &resource,
        namespace: target.namespace.as_deref().unwrap_or_default(),
        query: &query,
        user: &user,
        agent: agent(&parts.headers),
        subresource: target.subresource.as_deref().unwrap_or_default(),
        warnings: RefCell::default(),
    };
    let reply = perform(&call, &parts.method, &target, &parts.headers, &body)?;
    let warnings = call.warnings.take();
    Ok(rendered(&resource, form, reply, &warnings))
}

fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn authenticate(api: &Api, peer: Option<Identity>, headers: &HeaderMap) -> Result<Identity, ApiError> {
    if let Some(peer) = peer {
        return Ok(peer);
    }
    let token = bearer(headers).ok_or_else(ApiError::unauthorized)?;
    let audiences = [API_AUDIENCE.to_owned()];
    api.authenticate_token(token, &audiences).map(|(user, _)| user).map_err(|_| ApiError::unauthorized())
}

fn authorize(api: &Api, user: &Identity, target: &ResourcePath, verb: &str) -> Result<(), ApiError> {
    let own = |text: &Option<String>| text.clone().unwrap_or_default();
    let attributes = Attributes {
        verb: verb.to_owned(),
        group: target.group.clone(),
        resource: target.resource.clone(),
        subresource: own(&target.subresource),
        namespace: own(&target.namespace),
        name: own(&target.name),
        path: String::new(),
    };
    if allowed(api, user, &attributes).is_some() {
        return Ok(());
    }
    let resource = match &target.subresource {
        Some(subresource) => format!("{}/{subresource}", target.resource),
        None => target.resource.clone(),
    };
    let group = GroupResource { group: &target.group, resource: &target.resource };
    let place = match &target.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let subject = match &target.name {
        Some(name) => format!("{group} \"{name}\""),
        None => group.to_string(),
    };
    let message = format!(
        "{subject} is forbidden: User \"{}\" cannot {verb} resource \"{resource}\" in API group \"{}\" {place}",
        user.user, target.group,
    );
    Err(ApiError::unauthorized_request(group, target.name.as_deref().unwrap_or_default(), message))
}

fn served(api: &Api, target: &ResourcePath, verb: &str) -> Option<Arc<Resource>> {
    // `bindings` exists only to be posted to, and is a pod's subresource in all but path.
    let plural = if target.group.is_empty() && target.resource == "bindings" { "pods" } else { &target.resource };
    let resource = api.registry.find(&target.group, &target.version, plural)?;
    // Of custom resources only lists and watches reach over all namespaces; other requests there find nothing.
    let reached = matches!(resource.shape, Shape::Builtin(_))
        || !resource.namespaced
        || target.namespace.is_some()
        || matches!(verb, "list" | "watch");
    (reached && scope_matches(&resource, target.namespace.as_deref())).then_some(resource)
}

fn perform(call: &Call<'_>, method: &Method, target: &ResourcePath, headers: &HeaderMap, body: &Bytes) -> Result<Reply, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    let applies = *method == Method::PATCH && is_apply(content_type);
    match *method {
        Method::POST => call.check_options("CreateOptions", false)?,
        Method::PUT => call.check_options("UpdateOptions", false)?,
        Method::PATCH => call.check_options("PatchOptions", applies)?,
        _ => {}
    }
    let writes_object = matches!(*method, Method::POST | Method::PUT);
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let as_json;
    let body = match essence {
        "application/yaml" if writes_object => {
            as_json = Bytes::from(yaml(body).map_err(ApiError::bad_request)?.to_string());
            &as_json
        }
        // Deletions have their options in it, too.
        MEDIA_TYPE if !body.is_empty() => {
            as_json = Bytes::from(protobuf::object(body, Fields::All).map_err(|error| ApiError::bad_request(error.to_string()))?);
            &as_json
        }
        "application/json" => body,
        _ if writes_object => {
            return Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, \
                 application/vnd.kubernetes.protobuf",
            ));
        }
        _ => body,
    };
    let name = target.name.as_deref();
    let in_namespace = !call.resource.namespaced || target.namespace.is_some();
    if name.is_some() && !in_namespace {
        return Err(ApiError::no_such_resource());
    }
    match (method.as_str(), name, target.subresource.as_deref()) {
        ("POST", None, None) if target.resource == "bindings" => call.bind(None, body),
        (_, _, None) if target.resource == "bindings" => Err(ApiError::method_not_allowed()),
        ("POST", None, None) if !call.resource.stored() => call.review(body),
        (_, _, None) if !call.resource.stored() => Err(ApiError::method_not_allowed()),
        ("GET" | "HEAD", None, None) => call.list(),
        ("GET" | "HEAD", Some(name), None) => call.get(name),
        ("POST", None, None) if in_namespace => call.create(body),
        ("PUT", Some(name), None) => call.update(name, Part::Main, body),
        ("PATCH", Some(name), None) if applies => call.apply(name, Part::Main, body),
        ("PATCH", Some(name), None) => call.patch(name, Part::Main, &call.read_patch(content_type, body)?),
        ("DELETE", Some(name), None) => call.delete(name, &DeleteOptions::parse(call, body)?),
        ("DELETE", None, None) if in_namespace => call.delete_collection(&DeleteOptions::parse(call, body)?),
        (method, Some(name), Some("status")) if call.resource.status => match method {
            "GET" => call.get(name),
            "PUT" => call.update(name, Part::Status, body),
            "PATCH" if applies => call.apply(name, Part::Status, body),
            "PATCH" => call.patch(name, Part::Status, &call.read_patch(content_type, body)?),
            _ => Err(ApiError::method_not_allowed()),
        },
        (method, Some(name), Some("scale")) if call.resource.scale.is_some() => match method {
            "GET" => call.get_scale(name),
            "PUT" => call.update_scale(name, body),
            "PATCH" => call.patch_scale(name, content_type, body),
            _ => Err(ApiError::method_not_allowed()),
        },
        ("POST", Some(name), Some("binding")) if call.resource.is("pods") => call.bind(Some(name), body),
        ("POST", Some(name), Some("eviction")) if call.resource.is("pods") => call.evict(name, body),
        ("POST", Some(name), Some("token")) if call.resource.is("serviceaccounts") => call.issue_token(name, body),
        ("PUT", Some(name), Some("finalize")) if call.resource.is("namespaces") => call.update(name, Part::Main, body),
        (_, _, Some(_)) => Err(ApiError::no_such_resource()),
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn open_watch(
    api: &Arc<Api>,
    resource: &Arc<Resource>,
    target: &ResourcePath,
    query: &Query,
    user: &Identity,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    if !resource.stored() {
        return Err(ApiError::method_not_allowed());
    }
    let call = Call {
        api,
        resource,
        namespace: target.namespace.as_deref().unwrap_or_default(),
        query,
        user,
        agent: "",
        subresource: "",
        warnings: RefCell::default(),
    };
    let mut selector = call.selector()?;
    if let Some(name) = &target.name {
        let rule = super::selector::FieldRule { label: "metadata.name".into(), value: name.clone(), equal: true };
        selector.fields.push(rule);
    }
    let stream = watch::open(api, resource, selector, query, form)?;
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn rendered(resource: &Arc<Resource>, form: Form, reply: Reply, warnings: &[String]) -> Response<Body> {
    let renderer = Renderer::new(resource.clone(), form);
    let (status, body) = match reply {
        Reply::Object(status, object) => (status, renderer.stored(&object)),
        Reply::Served(status, value) => (status, renderer.one(value).to_string().into()),
        Reply::Document(status, value) => (status, value.to_string().into()),
        Reply::List(page) => (StatusCode::OK, renderer.list(&page)),
    };
    let mut response = with_json(status, body);
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn documents(api: &Api, path: &str, query: &Query, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let tables = api.registry.tables();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let aggregated = negotiate::wants_aggregated_discovery(headers);
    if aggregated && matches!(segments.as_slice(), ["api"] | ["apis"]) {
        let document = discovery::aggregated(&tables, segments == ["api"]);
        let mut response = json(StatusCode::OK, &document);
        let kind = HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        return Ok(response);
    }
    let document = match segments.as_slice() {
        [] => Some(
            serde_json::json!({ "paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"] }),
        ),
        ["api"] => Some(discovery::core_versions(&api.address.to_string())),
        ["apis"] => Some(discovery::groups(&tables)),
        ["apis", group] => discovery::group(&tables, group),
        ["api", version] => discovery::resources(&tables, "", version),
        ["apis", group, version] => discovery::resources(&tables, group, version),
        ["openapi", "v2"] if !negotiate::accepts_json(headers) => return Err(ApiError::not_acceptable()),
        ["openapi", "v2"] => Some(openapi::v2(&api.openapi, &tables)),
        ["openapi", "v3"] => {
            let mut response = json(StatusCode::OK, &openapi::index(&tables));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PLAIN));
            return Ok(response);
        }
        ["openapi", "v3", rest @ ..] => return Ok(openapi_v3(api, &tables, &rest.join("/"), query)),
        _ => None,
    };
    Ok(document.map_or_else(no_such_page, |document| json(StatusCode::OK, &document)))
}

/// The answer to a path that is nobody's; below a built-in group and version it is a Status.
fn no_such_page() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A document that a client may keep for as long as its address stays in the index.
fn openapi_v3(api: &Api, tables: &Tables, path: &str, query: &Query) -> Response<Body> {
    let fingerprint = openapi::fingerprint(tables, path);
    let Some(document) = openapi::v3(&api.openapi, tables, path) else { return no_such_page() };
    if query.text("hash").is_some_and(|asked| asked != fingerprint) {
        let mut response = with_json(StatusCode::MOVED_PERMANENTLY, Bytes::new());
        if let Ok(present) = HeaderValue::from_str(&openapi::url(tables, path)) {
            response.headers_mut().insert(header::LOCATION, present);
        }
        return response;
    }
    let mut response = json(StatusCode::OK, &document);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{fingerprint}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn json(status: StatusCode, value: &Value) -> Response<Body> {
    with_json(status, value.to_string().into())
}

fn with_json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PLAIN));
    response
}

fn failure(error: &ApiError) -> Response<Body> {
    let mut response = json(error.http_status(), &error.to_value());
    if let Some(seconds) = error.retry_after_s() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

//! In which form a client wants its answer: objects, tables, or metadata alone. JSON only.

use http::{HeaderMap, header};

use super::path::Query;
use super::status::ApiError;

/// How much of the object a table row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The object itself.
    Object,
    /// `meta.k8s.io/v1` Table.
    Table(IncludeObject),
    /// `meta.k8s.io/v1` PartialObjectMetadata.
    Metadata,
}

/// Whether any accepted media type asks for the aggregated discovery document.
pub fn wants_aggregated_discovery(headers: &HeaderMap) -> bool {
    accepted(headers).any(|media| parameter(media, "as") == Some("APIGroupDiscoveryList") && parameter(media, "v") == Some("v2"))
}

/// Whether JSON will do.
pub fn accepts_json(headers: &HeaderMap) -> bool {
    let mut any = false;
    let mut found = accepted(headers).inspect(|_| any = true);
    let json =
        found.any(|media| matches!(media.split(';').next().unwrap_or_default().trim(), "application/json" | "application/*" | "*/*"));
    drop(found);
    json || !any
}

/// The first accepted form that can be produced.
pub fn form(headers: &HeaderMap, query: &Query) -> Result<Form, ApiError> {
    let mut any = false;
    for media in accepted(headers) {
        any = true;
        let essence = media.split(';').next().unwrap_or_default().trim();
        if !matches!(essence, "application/json" | "application/*" | "*/*") {
            continue;
        }
        match (parameter(media, "as"), parameter(media, "v")) {
            (None, _) => return Ok(Form::Object),
            (Some("Table"), Some("v1")) => {
                return Ok(Form::Table(match query.text("includeObject") {
                    Some("None") => IncludeObject::None,
                    Some("Object") => IncludeObject::Object,
                    _ => IncludeObject::Metadata,
                }));
            }
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => return Ok(Form::Metadata),
            _ => {}
        }
    }
    if any { Err(ApiError::not_acceptable()) } else { Ok(Form::Object) }
}

fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|media| !media.is_empty())
}

fn parameter<'a>(media: &'a str, name: &str) -> Option<&'a str> {
    media.split(';').skip(1).find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: Option<Form>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(form(&headers, &Query::default()).ok(), expected, "{accept}");
    }

    #[test]
    fn the_first_form_that_can_be_produced_wins() {
        let table = Some(Form::Table(IncludeObject::Metadata));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", table);
        check("application/vnd.kubernetes.protobuf, application/json", Some(Form::Object));
        check("application/vnd.kubernetes.protobuf", None);
        check("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Some(Form::Metadata));
        check("*/*", Some(Form::Object));
        assert_eq!(form(&HeaderMap::new(), &Query::default()).ok(), Some(Form::Object));
    }
}

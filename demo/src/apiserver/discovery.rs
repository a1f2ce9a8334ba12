//! What a client learns about the server before it asks for objects.

use serde_json::{Value, json};

use super::resource::{Resource, Shape, Tables, api_version};

/// `/version`. The Kubernetes version whose behaviour this server follows.
pub fn version() -> Value {
    json!({ "major": "1", "minor": "37", "emulationMajor": "1", "emulationMinor": "37", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36", "gitVersion": "v1.37.0", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH) })
}

/// `/api`.
pub fn core_versions(address: &str) -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }] })
}

/// `/apis`.
pub fn groups(tables: &Tables) -> Value {
    let groups: Vec<Value> = tables
        .groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_document(group, &versions, false))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/GROUP`.
pub fn group(tables: &Tables, name: &str) -> Option<Value> {
    let (group, versions) = tables.groups().into_iter().find(|(group, _)| *group == name && !group.is_empty())?;
    Some(group_document(group, &versions, true))
}

fn group_document(group: &str, versions: &[&str], alone: bool) -> Value {
    let versions: Vec<Value> =
        versions.iter().map(|version| json!({ "groupVersion": api_version(group, version), "version": version })).collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    let mut document = json!({ "name": group, "versions": versions, "preferredVersion": preferred });
    if alone {
        document["kind"] = "APIGroup".into();
        document["apiVersion"] = "v1".into();
    }
    document
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub fn resources(tables: &Tables, group: &str, version: &str) -> Option<Value> {
    let mut found = Vec::new();
    for resource in &tables.resources {
        if *resource.group == *group && *resource.version == *version {
            let mut document = json!({ "name": resource.plural, "singularName": resource.singular,
                "namespaced": resource.namespaced, "kind": resource.kind, "verbs": resource.verbs() });
            add_names(&mut document, resource);
            found.push(document);
            for (name, [group, version, kind], verbs) in resource.subresources() {
                let mut document = json!({ "name": format!("{}/{name}", resource.plural), "singularName": "",
                    "namespaced": resource.namespaced, "kind": kind, "verbs": verbs });
                if !version.is_empty() {
                    document["group"] = group.into();
                    document["version"] = version.into();
                }
                found.push(document);
            }
        }
    }
    (!found.is_empty()).then(|| {
        let mut list = json!({ "kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": found });
        if !group.is_empty() {
            // That of the core group, which is older, does not say it.
            list["apiVersion"] = "v1".into();
        }
        list
    })
}

/// Short names and categories, where there are any.
fn add_names(document: &mut Value, resource: &Resource) {
    for (key, names) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !names.is_empty() {
            document[key] = json!(names);
        }
    }
}

/// Everything at once, for clients that ask for `APIGroupDiscoveryList`; `core` picks `/api` or `/apis`.
pub fn aggregated(tables: &Tables, core: bool) -> Value {
    let items: Vec<Value> = tables
        .groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = tables
                        .resources
                        .iter()
                        .filter(|r| *r.group == *group && *r.version == **version)
                        .map(|r| aggregated_resource(r))
                        .collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({ "name": group }) };
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated_resource(resource: &Resource) -> Value {
    // Built-in kinds leave out their own group and version, custom ones say them.
    let own = match resource.shape {
        Shape::Builtin(_) => ["", ""],
        Shape::Custom(_) => [&*resource.group, &*resource.version],
    };
    let kind = |[group, version, kind]: [&str; 3]| {
        let [group, version] = if version.is_empty() { own } else { [group, version] };
        json!({ "group": group, "version": version, "kind": kind })
    };
    let subresources: Vec<Value> = resource
        .subresources()
        .into_iter()
        .map(|(name, response, verbs)| json!({ "subresource": name, "responseKind": kind(response), "verbs": verbs }))
        .collect();
    let mut document = json!({ "resource": resource.plural, "singularResource": resource.singular,
        "responseKind": kind(["", "", &*resource.kind]),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "verbs": resource.verbs() });
    add_names(&mut document, resource);
    if !subresources.is_empty() {
        document["subresources"] = subresources.into();
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resource::Registry;

    #[test]
    fn documents_name_every_resource() {
        let tables = Registry::builtin().tables();
        let apps = resources(&tables, "apps", "v1").unwrap();
        assert_eq!(apps["groupVersion"], "apps/v1");
        let names: Vec<&str> = apps["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(names.contains(&"deployments") && names.contains(&"deployments/scale"), "{names:?}");
        assert!(resources(&tables, "apps", "v2").is_none());
        assert!(group(&tables, "").is_none());
        assert_eq!(group(&tables, "policy").unwrap()["preferredVersion"]["groupVersion"], "policy/v1");
        assert_eq!(aggregated(&tables, true)["items"].as_array().unwrap().len(), 1);
    }
}

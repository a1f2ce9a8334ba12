//! Which resources are served now: the built-in ones and those of the stored CustomResourceDefinitions.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{BUILTIN, Builtin, Resource, ScalePaths, Shape, View, api_version};
use crate::apiserver::store::{Field, Storage};

/// Group, version and plural name.
type Path = (Box<str>, Box<str>, Box<str>);

/// One consistent set of served resources.
#[derive(Debug, Default, Clone)]
pub struct Tables {
    /// In the order of discovery.
    pub resources: Vec<Arc<Resource>>,
    by_path: HashMap<Path, Arc<Resource>>,
}

/// The served resources; replaced whole when a CRD comes or goes.
#[derive(Debug)]
pub struct Registry {
    tables: RwLock<Arc<Tables>>,
}

impl Registry {
    /// The built-in resources.
    pub fn builtin() -> Self {
        let mut storages: HashMap<String, Arc<Storage>> = HashMap::new();
        let mut tables = Tables::default();
        for builtin in BUILTIN {
            tables.add(builtin_resource(builtin, &mut storages));
        }
        Self { tables: RwLock::new(Arc::new(tables)) }
    }

    /// What is served now.
    pub fn tables(&self) -> Arc<Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One resource by its path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.tables().find(group, version, plural)
    }

    /// Replaces the versions served for a custom resource; none removes it.
    pub fn set_custom(&self, group: &str, plural: &str, versions: Vec<Resource>) {
        let mut guard = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let mut tables = Tables::default();
        for resource in &guard.resources {
            if *resource.group != *group || *resource.plural != *plural {
                tables.add(Resource::clone(resource));
            }
        }
        for resource in versions {
            tables.add(resource);
        }
        *guard = Arc::new(tables);
    }
}

impl Tables {
    fn add(&mut self, resource: Resource) {
        let key = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        let resource = Arc::new(resource);
        self.by_path.insert(key, resource.clone());
        self.resources.push(resource);
    }

    /// One resource by its path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.by_path.get(&(group.into(), version.into(), plural.into())).cloned()
    }

    /// A resource by its kind, in the given `apiVersion`'s group.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|r| *r.group == *group && *r.kind == *kind)
    }

    /// Whether built-in kinds are served in the group and version.
    pub fn has_builtin(&self, group: &str, version: &str) -> bool {
        self.resources.iter().any(|r| *r.group == *group && *r.version == *version && matches!(r.shape, Shape::Builtin(_)))
    }

    /// The served (group, versions) pairs, in order.
    pub fn groups(&self) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for resource in &self.resources {
            let at = match groups.iter().position(|(group, _)| *group == &*resource.group) {
                Some(at) => at,
                None => {
                    groups.push((&resource.group, Vec::new()));
                    groups.len() - 1
                }
            };
            if !groups[at].1.contains(&&*resource.version) {
                groups[at].1.push(&resource.version);
            }
        }
        groups
    }
}

fn builtin_resource(builtin: &'static Builtin, storages: &mut HashMap<String, Arc<Storage>>) -> Resource {
    // Both event APIs show one store.
    let events = builtin.kind == "Event";
    let id = match builtin.group {
        _ if events => builtin.plural.to_owned(),
        "" => builtin.plural.to_owned(),
        group => format!("{}.{group}", builtin.plural),
    };
    let storage = storages.entry(id.clone()).or_insert_with(|| {
        let fields = builtin.fields.iter().map(|(label, default)| Field {
            label: (*label).into(),
            pointer: format!("/{}", label.replace('.', "/")).into(),
            default,
        });
        Arc::new(Storage { id: id.into(), fields: fields.collect() })
    });
    let scale = builtin.scale.then(|| ScalePaths {
        spec: "/spec/replicas".to_owned(),
        status: "/status/replicas".to_owned(),
        selector: Some("/spec/selector".to_owned()),
    });
    let own = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let other_view = events && !builtin.group.is_empty();
    Resource {
        group: builtin.group.into(),
        version: builtin.version.into(),
        plural: builtin.plural.into(),
        singular: builtin.kind.to_lowercase().into(),
        kind: builtin.kind.into(),
        list_kind: format!("{}List", builtin.kind).into(),
        namespaced: builtin.namespaced,
        short_names: own(builtin.short),
        categories: own(builtin.categories),
        status: builtin.status,
        scale,
        generation: builtin.generation,
        storage: storage.clone(),
        stored_api_version: if other_view { "v1".into() } else { api_version(builtin.group, builtin.version).into() },
        view: if other_view { View::Events } else { View::Stored },
        names: builtin.names,
        shape: Shape::Builtin(builtin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_found_by_path_and_kind() {
        let registry = Registry::builtin();
        assert_eq!(&*registry.find("apps", "v1", "deployments").unwrap().kind, "Deployment");
        assert!(registry.find("apps", "v2", "deployments").is_none());
        assert_eq!(&*registry.tables().by_kind("", "Pod").unwrap().plural, "pods");
        assert_eq!(registry.tables().groups()[0], ("", vec!["v1"]));
    }

    #[test]
    fn custom_resources_come_and_go() {
        let registry = Registry::builtin();
        let mut custom = Resource::clone(&registry.find("apps", "v1", "deployments").unwrap());
        custom.group = "example.com".into();
        registry.set_custom("example.com", "deployments", vec![custom]);
        assert!(registry.find("example.com", "v1", "deployments").is_some());
        registry.set_custom("example.com", "deployments", Vec::new());
        assert!(registry.find("example.com", "v1", "deployments").is_none());
        assert!(registry.find("apps", "v1", "deployments").is_some());
    }
}

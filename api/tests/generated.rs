//! What is generated under configs/ is what the code says. `UPDATE=1 cargo test -p api --test generated` writes it.

#![allow(clippy::unwrap_used)]

use serde::Serialize;
use std::path::PathBuf;

const HEADER: &str = "# Generated from the crate `api`: UPDATE=1 cargo test -p api --test generated\n";

fn yaml(documents: &[&dyn erased::Document]) -> String {
    let documents: Vec<String> = documents.iter().map(|document| document.to_yaml()).collect();
    format!("{HEADER}{}", documents.join("---\n"))
}

/// Documents of different types in one file.
mod erased {
    use super::Serialize;

    pub trait Document {
        fn to_yaml(&self) -> String;
    }

    impl<T: Serialize> Document for T {
        fn to_yaml(&self) -> String {
            serde_saphyr::to_string(self).expect("Kubernetes objects are plain data")
        }
    }
}

fn files() -> Vec<(String, String)> {
    let crds = api::crd::definitions().into_iter().map(|crd| (format!("crds/{}.yaml", crd.spec.names.plural), yaml(&[&crd])));
    let programs = api::rbac::programs().map(|(name, access)| {
        let documents: [&dyn erased::Document; 5] =
            [&access.service_account, &access.cluster_role, &access.cluster_role_binding, &access.role, &access.role_binding];
        (format!("rbac/{name}.yaml"), yaml(&documents))
    });
    let people = api::rbac::people();
    let documents: Vec<&dyn erased::Document> = people.iter().map(|role| role as &dyn erased::Document).collect();
    crds.chain(programs).chain([("rbac/people.yaml".to_owned(), yaml(&documents))]).collect()
}

#[test]
fn configs_are_what_the_code_says() {
    let configs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut stale = Vec::new();
    for (name, expected) in files() {
        let path = configs.join(&name);
        if update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, expected).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(expected.as_str()) {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "configs/ lags behind the code in {stale:?}: UPDATE=1 cargo test -p api --test generated");
    let known: Vec<String> = files().into_iter().map(|(name, _)| name).collect();
    for folder in ["crds", "rbac"] {
        for entry in std::fs::read_dir(configs.join(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy());
            assert!(known.contains(&name), "configs/{name} is not generated");
        }
    }
}

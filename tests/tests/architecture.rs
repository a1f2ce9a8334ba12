//! The layout's invariants: which crate may see which, and what the model must never depend on.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).exec().unwrap()
}

fn package<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == name).unwrap_or_else(|| panic!("no crate {name}"))
}

/// Crates of the workspace that `name` depends on, development dependencies left out.
fn ours(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let members: BTreeSet<String> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    let direct = package(metadata, name).dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
    direct.map(|d| d.name.clone()).filter(|d| members.contains(d)).collect()
}

/// Every crate that `name` links, through any number of steps.
fn linked(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|n| (&n.id, n)).collect();
    let mut open = vec![&package(metadata, name).id];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        for dep in &nodes[id].deps {
            let normal = dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
            if normal && seen.insert(&dep.pkg) {
                open.push(&dep.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

#[test]
fn arrows_point_one_way() {
    let metadata = metadata();
    let check = |name: &str, allowed: &[&str]| {
        let allowed: BTreeSet<String> = allowed.iter().map(ToString::to_string).collect();
        let found = ours(&metadata, name);
        assert!(found.is_subset(&allowed), "{name} depends on {:?}", found.difference(&allowed).collect::<Vec<_>>());
    };
    check("placement", &[]);
    check("api", &["placement"]);
    check("chassis", &["placement", "api"]);
    for program in ["edge-scheduler", "edge-pinger", "edge-router"] {
        check(program, &["placement", "api", "chassis"]);
    }
    check("edge-demo", &["placement", "api", "chassis", "edge-scheduler", "edge-pinger", "edge-router"]);
    check("demo-audit", &[]);
    check("differential", &["placement", "api"]);
}

#[test]
fn the_model_has_no_runtime_no_cluster_client_and_no_clock() {
    let linked = linked(&metadata(), "placement");
    for banned in ["tokio", "mio", "async-std", "hyper", "kube", "kube-core", "k8s-openapi", "jiff", "chrono", "time", "reqwest"] {
        assert!(!linked.contains(banned), "placement links {banned}");
    }
}

#[test]
fn nothing_needs_cmake_clang_or_protoc() {
    let metadata = metadata();
    let names: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    for banned in ["aws-lc-sys", "openssl-sys", "bindgen", "cmake", "prost-build", "protobuf-codegen"] {
        let users: Vec<&str> = metadata
            .packages
            .iter()
            .filter(|p| p.dependencies.iter().any(|d| d.name == banned && !d.optional))
            .map(|p| p.name.as_str())
            .collect();
        let resolved = metadata.resolve.as_ref().unwrap().nodes.iter().any(|n| metadata[&n.id].name.as_str() == banned);
        assert!(!(names.contains(banned) && resolved), "{banned} is built, for {users:?}");
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for package in metadata().workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} does not take the workspace's lints", package.name);
    }
}

//! The documents say what is true: links lead somewhere, named paths and programs exist, the code map is whole.

#![allow(clippy::unwrap_used)] // Functions beside the tests, which clippy does not know as such.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Documents that git knows of.
fn documents() -> Vec<String> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
        .current_dir(root())
        .output();
    let listed = String::from_utf8(output.unwrap().stdout).unwrap();
    let documents: Vec<String> = listed.lines().filter(|name| root().join(name).exists()).map(str::to_owned).collect();
    assert!(documents.contains(&"README.md".to_owned()), "git lists no README.md");
    documents
}

#[test]
fn the_first_screen_has_the_two_commands() {
    let screen: Vec<String> = read("README.md").lines().take(40).map(str::to_owned).collect();
    for command in ["cargo run --release --bin edge-demo", "tests/run"] {
        assert!(screen.iter().any(|line| line == command), "README's first 40 lines lack a line {command:?}");
    }
}

#[test]
fn relative_links_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = root().join(&document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                broken.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_code_map_is_whole_and_true() {
    let map = read("ARCHITECTURE.md");
    let quoted: BTreeSet<&str> =
        map.split('`').skip(1).step_by(2).filter(|word| word.contains('/') && !word.contains([' ', '{', '<', '*', '…', ':'])).collect();
    let missing: Vec<&&str> = quoted.iter().filter(|path| !path.starts_with('/') && !root().join(path).exists()).collect();
    let missing: Vec<_> = missing.into_iter().filter(|path| path.ends_with(".rs") || path.ends_with('/')).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what does not exist: {missing:?}");
    for entry in std::fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() && !name.starts_with('.') && name != "target" {
            assert!(map.contains(&format!("`{name}/")), "ARCHITECTURE.md does not mention `{name}/`");
        }
    }
}

#[test]
fn programs_that_the_readme_runs_exist() {
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let bins: BTreeSet<String> = metadata.packages.iter().flat_map(|p| &p.targets).filter(|t| t.is_bin()).map(|t| t.name.clone()).collect();
    let readme = read("README.md");
    let named: BTreeSet<&str> = readme.split("--bin ").skip(1).filter_map(|rest| rest.split_whitespace().next()).collect();
    assert!(named.contains("edge-demo"), "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|bin| !bins.contains(**bin)).collect();
    assert!(missing.is_empty(), "README runs {missing:?}; there are {bins:?}");
}

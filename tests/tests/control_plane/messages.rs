//! The table by which protobuf is read is that of the Kubernetes of the control plane.

use std::path::Path;
use std::process::Command;

const TESTS: &str = env!("CARGO_MANIFEST_DIR");

/// `chassis/src/client/protobuf/` holds what `tests/control-plane/kubernetes/messages` writes.
#[test]
fn the_table_and_the_samples_of_protobuf_are_as_generated() {
    let build = Path::new(TESTS).join("control-plane/build");
    let built = Command::new(&build).args(["--check", "messages"]).output().unwrap();
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        return println!("SKIPPED the_table_and_the_samples_of_protobuf_are_as_generated: {}", why.trim());
    }
    let program = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    let kept = Path::new(TESTS).join("../chassis/src/client/protobuf");
    let again = |kept: &Path| {
        format!("{} is not as generated; write it again: $(tests/control-plane/build messages) >FILE, or FOLDER", kept.display())
    };
    let table = Command::new(&program).output().unwrap();
    let file = kept.join("messages.txt");
    assert!(table.status.success() && std::fs::read(&file).unwrap() == table.stdout, "{}", again(&file));
    let samples = tempfile::tempdir().unwrap();
    assert!(Command::new(&program).arg(samples.path()).status().unwrap().success());
    for sample in samples.path().read_dir().unwrap() {
        let sample = sample.unwrap().path();
        let file = kept.join("samples").join(sample.file_name().unwrap());
        // In protobuf the entries of a map have no order.
        if file.extension().is_some_and(|of| of == "json") {
            assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&sample).unwrap(), "{}", again(&file));
        }
    }
}

//! The programs under test, built as this test was.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Every program that is started.
const NAMES: [&str; 4] = ["auth-service", "user-service", "resource-service", "signet"];

/// The path of a program. The first call builds all of them, which takes a moment when they are up to date.
pub(crate) fn path_of(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(build).join(name)
}

fn build() -> PathBuf {
    // target/debug/deps/processes-0123456789abcdef
    let this = std::env::current_exe().unwrap();
    let directory = this.ancestors().nth(2).unwrap();
    let profile = match directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bins", "--profile", profile, "--target-dir"]);
    cargo.arg(directory.parent().unwrap()).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    for name in NAMES {
        cargo.args(["-p", name]);
    }
    let done = cargo.output().unwrap();
    assert!(done.status.success(), "the programs could not be built: {}", String::from_utf8_lossy(&done.stderr));
    directory.to_owned()
}

//! What the tests run besides our own code.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

pub(crate) use crate::installed::run;
use crate::installed::{self, Node, install_node, install_python, program};

/// What is to be installed.
const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/clients");

/// A Python that has the libraries of `requirements.txt`.
pub(crate) fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(|| available("Python", install_python("venv", &client("requirements.txt")))).as_deref()
}

/// Node with the packages of `package.json`.
pub(crate) fn node() -> Option<&'static Node> {
    static NODE: OnceLock<Option<Node>> = OnceLock::new();
    NODE.get_or_init(|| available("Node", install_node("node", Path::new(CLIENTS)))).as_ref()
}

/// nginx.
pub(crate) fn nginx() -> Option<&'static Path> {
    static NGINX: OnceLock<Option<PathBuf>> = OnceLock::new();
    NGINX.get_or_init(|| available("nginx", program("nginx"))).as_deref()
}

/// A program of the clients.
pub(crate) fn client(name: &str) -> PathBuf {
    Path::new(CLIENTS).join(name)
}

/// A new directory for one test, in which modules find their packages.
pub(crate) fn scratch(node: &Node) -> tempfile::TempDir {
    tempfile::Builder::new().prefix("test.").tempdir_in(&node.directory).unwrap()
}

fn available<T>(name: &str, tool: Result<T, String>) -> Option<T> {
    installed::available(&format!("the interop tests with {name}"), "REQUIRE_INTEROP", tool)
}

//! OAuth clients in Python and on Node, each a script that uses its library as the library's own documentation has it.

use std::{path::Path, process::Command};

use actix_web::rt::task::spawn_blocking;

use crate::{
    ring::Kind,
    stack::{PASSWORD, TestStack},
    tools,
};

const EMAIL: &str = "ada@example.com";

/// Runs a script against a stack of its own, and checks that it has done all of these.
async fn run(program: &Path, script: &Path, kind: Kind, done: &[&str]) {
    let mut stack = TestStack::start(kind);
    let client = stack.client("persons:read orders:read").await;
    stack.register(EMAIL).await;
    let mut command = Command::new(program);
    command
        .arg(script)
        .env("SIGNET_ISSUER", &stack.issuer)
        .env("SIGNET_CLIENT_ID", &client.id)
        .env("SIGNET_CLIENT_SECRET", &client.secret)
        .env("SIGNET_USERNAME", EMAIL)
        .env("SIGNET_PASSWORD", PASSWORD)
        .env("NO_PROXY", "*");
    if kind == Kind::KeyPair {
        command.env("SIGNET_PUBLISHES_KEYS", "1");
    }
    let printed = spawn_blocking(move || tools::run(&mut command)).await.unwrap().unwrap();
    let lines: Vec<&str> = printed.lines().map(|line| line.strip_prefix("OK ").unwrap_or(line)).collect();
    assert_eq!(lines, done);
    stack.stop().await;
}

async fn python(script: &str, done: &[&str]) {
    if let Some(program) = tools::python() {
        run(program, &tools::client(script), Kind::CommonSecret, done).await;
    }
}

async fn node(script: &str, done: &[&str]) {
    if let Some(node) = tools::node() {
        let directory = tools::scratch(node);
        let copy = directory.path().join(script);
        std::fs::copy(tools::client(script), &copy).unwrap();
        run(&node.program, &copy, Kind::KeyPair, done).await;
    }
}

#[actix_web::test]
async fn authlib_finds_its_way_and_uses_every_endpoint() {
    let done = ["discovery", "client_credentials", "password", "refresh", "introspection", "revocation", "errors"];
    python("authlib_session.py", &done).await;
}

#[actix_web::test]
async fn requests_oauthlib_uses_every_endpoint() {
    let done = ["client_credentials", "password", "refresh", "introspection", "revocation", "errors"];
    python("requests_oauthlib_session.py", &done).await;
}

#[actix_web::test]
async fn oauth4webapi_finds_its_way_uses_every_endpoint_and_takes_our_access_tokens() {
    let done = [
        "discovery",
        "client_credentials",
        "validation",
        "password",
        "refresh",
        "introspection",
        "revocation",
        "errors",
    ];
    node("oauth4webapi.mjs", &done).await;
}

#[actix_web::test]
async fn openid_client_finds_its_way_and_uses_every_endpoint() {
    let done = ["discovery", "client_credentials", "password", "refresh", "introspection", "revocation", "errors"];
    node("openid_client.mjs", &done).await;
}

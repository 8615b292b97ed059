//! The rules of auth-service, driven over HTTP, on both databases.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and its name says what it shows"
)]

mod account;
mod audit;
mod bodies;
mod clients;
mod confusion;
mod console;
mod cookies;
mod events;
mod feed;
mod helpers;
mod introspection;
mod limits;
mod metadata;
mod metrics;
mod openapi;
mod permissions;
mod reference;
mod refresh;
mod revocation;
mod schema;
mod sessions;
mod tokens;

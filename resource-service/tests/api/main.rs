//! resource-service over HTTP, on both databases.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::format_collect, clippy::format_push_string, reason = "a test's file may be put together slowly")]

mod access;
mod export;
mod helpers;
mod import;
mod list;
mod openapi;
mod persons;
mod requests;
mod revocation;
mod service;

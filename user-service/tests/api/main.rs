//! user-service over HTTP, on both databases.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod accounts;
mod audit;
mod helpers;
mod import;
mod log_in;
mod log_lines;
mod openapi;
mod outbox;
mod overload;
mod permissions;
mod revocation;
mod start;
mod users;

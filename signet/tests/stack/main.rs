//! What crosses the services: the whole stack in this process on either database, and the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it did not run"
)]

mod audit;
mod changes;
mod cli;
mod configuration;
mod doctor;
mod documentation;
mod first_start;
mod headers;
mod helpers;
mod import;
mod operator;
mod origin;
mod outage;
mod program;
mod relay;
mod secrets_in_logs;
mod tutorials;

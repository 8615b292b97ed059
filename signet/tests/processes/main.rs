//! The services as they are run in earnest: each one a process of its own, on PostgreSQL, with keys in a file.
//!
//! `docs/testing.md` says how to run the long forms of these tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what it measured and what went before a failure"
)]

mod changes;
#[allow(dead_code, reason = "the tests of faults use more of it")]
mod client;
mod commands;
mod faults;
mod key_pairs;
mod latency;
mod leaked_key;
mod probes;
mod programs;
mod rotation;
#[allow(dead_code, reason = "the tests of faults use more of it")]
mod site;

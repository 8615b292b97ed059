//! Faults: the programs as they are run in earnest, something that breaks under them while they are used, and clients that
//! keep a journal of what they were told. When the fault is over, everything that was acknowledged has to be there.
//!
//! `docs/testing.md` says how to run many seeds, and how to replay one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what it did and what went before a failure"
)]

mod accounts;
mod clocks;
mod connections;
mod databases;
mod disks;
mod imports;
mod journal;
mod kills;
mod members;
mod persons;
mod relay;
mod seeds;
mod user_service;
mod world;

#[path = "../processes/client.rs"]
#[allow(dead_code, reason = "the tests of processes use more of it")]
mod client;
#[path = "../processes/programs.rs"]
mod programs;
#[path = "../processes/site.rs"]
#[allow(dead_code, reason = "the tests of processes use more of it")]
mod site;

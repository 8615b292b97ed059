//! The console in a real browser: what a person does with it, and whether everybody can.
//!
//! It takes Debian's Chromium with its driver, and axe-core from npm, which is installed once into `target/interop`.
//! Where they cannot be had, one line on standard error says so; with `REQUIRE_BROWSER=1` that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod access;
mod accounts;
mod browser;
mod elsewhere;
#[path = "../stack/helpers.rs"]
#[allow(dead_code, reason = "the tests of the stack use all of it")]
mod helpers;
mod import;
#[path = "../installed/mod.rs"]
mod installed;
mod persons;
mod sessions;
mod stack;

//! Software that is not ours against a running stack: OAuth clients as they are published, and the proxies and verifiers
//! of `docs/verify-elsewhere.md`, taken straight from that page.
//!
//! What they need is installed once into `target/interop`. Where it cannot be, one line on standard error says what did
//! not run; with `REQUIRE_INTEROP=1` that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod clients;
#[path = "../installed/mod.rs"]
mod installed;
mod nginx;
mod oauth2_crate;
mod page;
mod ring;
mod stack;
mod tools;
mod traefik;
mod upstream;
mod verifiers;

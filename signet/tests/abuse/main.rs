//! Clients that do not play by the rules, against the real program: they get an answer or none, and everybody else goes
//! on being served.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod connections;
mod framing;
#[path = "../installed/mod.rs"]
mod installed;
mod limits;
mod origin;
mod paths;
mod pipelining;
mod site;
mod wire;

//! Tokens and keys through the public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

#[cfg(feature = "actix")]
mod actix;
mod confusion;
#[cfg(feature = "feed")]
mod follower;
mod helpers;
mod keys;
mod pairs;
mod properties;
#[cfg(feature = "feed")]
mod revocation;
#[cfg(feature = "feed")]
mod server;
#[cfg(feature = "feed")]
mod token_source;
#[cfg(feature = "tower")]
mod tower;
mod vectors;
mod verifier;

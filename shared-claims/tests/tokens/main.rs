//! Tokens and keys through the public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

#[cfg(feature = "actix")]
mod actix;
mod confusion;
mod helpers;
mod keys;
mod pairs;
mod properties;
#[cfg(feature = "feed")]
mod revocation;
mod vectors;
mod verifier;

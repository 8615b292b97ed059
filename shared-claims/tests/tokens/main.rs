//! Tokens and keys through the public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

#[cfg(feature = "actix")]
mod actix;
mod helpers;
mod keys;
mod properties;
mod vectors;
mod verifier;

//! Revocation that reaches local verifiers: what auth-service's feed says.

mod wire;

pub use wire::{Entry, Feed, Revocation};

//! Revocation that reaches local verifiers: what auth-service's feed says, and the list that it is kept in.

mod filter;
mod list;
mod wire;

pub(crate) use list::RevocationCheck;
pub use list::{FeedStatus, RevocationList, WhenStale};
pub use wire::{Entry, Feed, Revocation};

//! Revocation that reaches local verifiers: what auth-service's feed says, the list that it is kept in, the task that
//! follows it, and the tokens that the task shows.
//!
//! [`RevocationList`] goes into the verifier, [`Follower`] keeps it. See the crate's own page for the whole.

mod filter;
mod follower;
mod http;
mod list;
mod token;
mod wire;

pub(crate) use list::RevocationCheck;

pub use follower::Follower;
pub use http::SetupError;
pub use list::{FeedStatus, RevocationList, WhenStale};
pub use token::{INTERNAL_SCOPE, SERVICE_TOKEN_TTL_SECONDS, TokenSource, TokenSourceError};
pub use wire::{Entry, Feed, Revocation};

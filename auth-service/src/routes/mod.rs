//! The handlers, with what they take and answer.

pub(crate) mod account;
mod delivery;
pub(crate) mod events;
pub(crate) mod sessions;
pub(crate) mod token;

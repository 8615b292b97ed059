//! The commands, one module each.

pub(crate) mod clients;
pub(crate) mod keys;
pub(crate) mod persons;
pub(crate) mod secret;
pub(crate) mod up;
pub(crate) mod users;

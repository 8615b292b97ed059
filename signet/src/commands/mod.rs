//! The commands, one module each.

pub(crate) mod clients;
pub(crate) mod doctor;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod persons;
pub(crate) mod secret;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod users;

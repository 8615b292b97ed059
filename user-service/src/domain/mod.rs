//! What a user is and what may become of one: values that are sound once they are parsed, and the rules between them.

pub(crate) mod audit;
pub(crate) mod event;
pub(crate) mod import;
pub(crate) mod password;
pub(crate) mod role;
pub(crate) mod user;

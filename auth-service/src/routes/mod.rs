//! The handlers, with what they take and answer.

pub(crate) mod account;
mod assets;
pub(crate) mod audit;
mod client_auth;
pub(crate) mod clients;
pub(crate) mod console;
mod delivery;
pub(crate) mod events;
pub(crate) mod introspect;
pub(crate) mod keys;
pub(crate) mod metadata;
pub(crate) mod openapi;
pub(crate) mod reference;
pub(crate) mod revocations;
pub(crate) mod revoke;
pub(crate) mod sessions;
pub(crate) mod token;

use service_kit::{Error, validate::Invalid};

/// Bytes that nobody can guess.
fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(bytes)
}

/// A text that names something: not empty, not long, and without control characters.
fn bounded(text: String, max_characters: usize) -> Result<String, Invalid> {
    if text.is_empty() {
        Err(Invalid::new("required", "This field is required."))
    } else if text.chars().count() > max_characters {
        Err(Invalid::new("too_long", format!("This must have at most {max_characters} characters.")))
    } else if text.chars().any(char::is_control) {
        Err(Invalid::new("invalid", "This must not hold control characters."))
    } else {
        Ok(text)
    }
}

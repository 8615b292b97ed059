//! The handlers, with what they take and answer.

pub(crate) mod account;
mod assets;
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

use aws_lc_rs::rand;
use service_kit::Error;

/// Bytes that nobody can guess.
fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::internal(std::io::Error::other("the system gives no random numbers")))?;
    Ok(bytes)
}

//! The paths under `/persons`: one module per resource, and the scopes that they ask for.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod openapi;
pub(crate) mod persons;

use std::path::PathBuf;

use service_kit::Clock;

use crate::storage::Persons;

shared_claims::scope! {
    /// What reading persons asks for.
    pub(crate) PersonsRead = "persons:read";
    /// What changing persons asks for.
    pub(crate) PersonsWrite = "persons:write";
}

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) persons: Persons,
    pub(crate) clock: Clock,
    pub(crate) spool_directory: Option<PathBuf>,
}

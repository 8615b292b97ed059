//! Where sessions, clients and revocations are kept. Only this module names tables; it returns domain types.

mod audit;
mod clients;
mod revocations;
mod schema;
mod sessions;
mod verifiers;

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use service_kit::db::Migrations;

pub use self::{
    audit::{AuditFilter, AuditPlace, AuditStore},
    clients::ClientStore,
    revocations::{CHANNEL, Committed, FeedStore, Known, News, RevocationStore},
    sessions::{SessionStore, Started},
    verifiers::{Verifier, VerifierStore},
};

/// The schema of auth-service on both databases.
pub const MIGRATIONS: Migrations = {
    static SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
    static POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
    Migrations { sqlite: &SQLITE, postgres: &POSTGRES }
};

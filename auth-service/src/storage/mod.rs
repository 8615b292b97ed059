//! Where sessions are kept. Only this module names tables; it returns domain types.

mod schema;
mod sessions;

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use service_kit::db::Migrations;

pub use self::sessions::{SessionStore, Started};

/// The schema of auth-service on both databases.
pub const MIGRATIONS: Migrations = {
    static SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
    static POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
    Migrations { sqlite: &SQLITE, postgres: &POSTGRES }
};

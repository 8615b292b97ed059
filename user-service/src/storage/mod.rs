//! Users and the outbox in the database. Only this module names tables; rows stay in here.
//!
//! The functions take the connection that a read or a transaction was given, so that what must be kept together is
//! written in one transaction.

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use service_kit::db::Migrations;

pub(crate) mod import;
pub(crate) mod outbox;
mod schema;
pub(crate) mod users;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The migrations for both databases.
pub(crate) const MIGRATIONS: Migrations = Migrations { sqlite: &SQLITE, postgres: &POSTGRES };

/// Runs the same code on either connection, for what [`Db`](service_kit::db::Db) cannot say for both.
macro_rules! on_backend {
    ($db:expr, $connection:ident => $work:expr) => {
        match $db {
            ::service_kit::db::Db::Sqlite($connection) => $work,
            ::service_kit::db::Db::Postgres($connection) => $work,
        }
    };
}
use on_backend;

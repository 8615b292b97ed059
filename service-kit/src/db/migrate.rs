//! Brings the schema up to date at the start, and tells whether it is.

use std::time::Duration;

use diesel::{
    Connection, QueryResult, QueryableByName, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _,
    migration::MigrationSource as _, sql_types::Text,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use super::{Db, STATEMENT_TIMEOUT, StorageError, pool::limit_statements};

/// A service's migrations for both databases, embedded in its binary.
#[derive(Clone, Copy)]
pub struct Migrations {
    /// Those for SQLite.
    pub sqlite: &'static EmbeddedMigrations,
    /// Those for PostgreSQL.
    pub postgres: &'static EmbeddedMigrations,
}

/// Whether the schema is the one that the program was built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// It is. A schema that is ahead counts as current too: the one before must run on it while a newer version of the
    /// service is rolled out.
    Current,
    /// These migrations are missing.
    Pending(Vec<String>),
}

/// The key of the advisory lock under which one replica migrates while the others wait.
const MIGRATION_LOCK: i64 = 0x5369_676e_6574;

#[derive(QueryableByName)]
struct AppliedRow {
    #[diesel(sql_type = Text)]
    version: String,
}

impl Migrations {
    pub(super) fn run(self, db: &mut Db) -> Result<usize, StorageError> {
        match db {
            Db::Sqlite(connection) => {
                // A start that changes nothing writes nothing: the disk may be full.
                if self.missing_in_sqlite(connection)?.is_empty() {
                    return Ok(0);
                }
                // Another process may be at it: who is second finds nothing left to do.
                connection.immediate_transaction(|connection| apply(connection, self.sqlite))
            }
            Db::Postgres(connection) => {
                // It takes as long as it takes, and so does waiting for another replica's.
                limit_statements(connection, Duration::ZERO)?;
                connection
                    .batch_execute(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"))
                    .map_err(StorageError::from)?;
                let applied = apply(connection, self.postgres);
                connection
                    .batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
                    .map_err(StorageError::from)?;
                limit_statements(connection, STATEMENT_TIMEOUT)?;
                applied
            }
        }
    }

    pub(super) fn state(self, db: &mut Db) -> Result<SchemaState, StorageError> {
        let pending = match db {
            Db::Sqlite(connection) => self.missing_in_sqlite(connection)?,
            Db::Postgres(connection) => {
                let applied = diesel::sql_query(APPLIED).load::<AppliedRow>(connection);
                missing(&versions::<diesel::pg::Pg>(self.postgres)?, applied)?
            }
        };
        Ok(if pending.is_empty() { SchemaState::Current } else { SchemaState::Pending(pending) })
    }

    fn missing_in_sqlite(self, connection: &mut SqliteConnection) -> Result<Vec<String>, StorageError> {
        let applied = diesel::sql_query(APPLIED).load::<AppliedRow>(connection);
        missing(&versions::<diesel::sqlite::Sqlite>(self.sqlite)?, applied)
    }
}

const APPLIED: &str = "SELECT version FROM __diesel_schema_migrations";

/// Which of the versions are not among those that were applied; all of them if there is no table of those yet.
fn missing(expected: &[String], applied: QueryResult<Vec<AppliedRow>>) -> Result<Vec<String>, StorageError> {
    let applied = match applied.map_err(StorageError::from) {
        Ok(applied) => applied,
        Err(StorageError::Query(_)) => Vec::new(),
        Err(lost) => return Err(lost),
    };
    Ok(expected.iter().filter(|version| !applied.iter().any(|row| row.version == **version)).cloned().collect())
}

fn apply<C>(connection: &mut C, source: &'static EmbeddedMigrations) -> Result<usize, StorageError>
where
    C: Connection + MigrationHarness<C::Backend>,
    C::Backend: diesel::backend::Backend,
    EmbeddedMigrations: diesel::migration::MigrationSource<C::Backend>,
{
    let pending = connection
        .pending_migrations(EmbeddedSource(source))
        .map_err(|cause| StorageError::Migration(cause.to_string()))?;
    for migration in &pending {
        connection.run_migration(migration).map_err(|cause| StorageError::Migration(cause.to_string()))?;
    }
    Ok(pending.len())
}

/// Lends embedded migrations to the harness, which wants to own its source.
struct EmbeddedSource(&'static EmbeddedMigrations);

impl<B: diesel::backend::Backend> diesel::migration::MigrationSource<B> for EmbeddedSource
where
    EmbeddedMigrations: diesel::migration::MigrationSource<B>,
{
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn diesel::migration::Migration<B>>>> {
        self.0.migrations()
    }
}

fn versions<B: diesel::backend::Backend>(source: &'static EmbeddedMigrations) -> Result<Vec<String>, StorageError>
where
    EmbeddedMigrations: diesel::migration::MigrationSource<B>,
{
    let migrations: Vec<Box<dyn diesel::migration::Migration<B>>> =
        EmbeddedSource(source).migrations().map_err(|cause| StorageError::Migration(cause.to_string()))?;
    Ok(migrations.iter().map(|migration| migration.name().version().to_string()).collect())
}

//! How connections are made, and when the pool throws one away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use diesel::{
    Connection as _, PgConnection, SqliteConnection,
    connection::SimpleConnection as _,
    r2d2::{HandleError, ManageConnection, R2D2Connection as _},
};

use super::{Backend, DatabaseUrl, Db, STATEMENT_TIMEOUT, StorageError};

/// After this long without a query a connection is asked whether it still lives before it is used.
const IDLE_BEFORE_PING: Duration = Duration::from_secs(10);

/// Makes connections for the pool.
#[derive(Debug)]
pub(super) struct ConnectionSource {
    url: DatabaseUrl,
    /// Raised when a connection is lost: those made before it are not used again.
    generation: Arc<AtomicU64>,
}

/// A connection in the pool.
pub(super) struct PooledDb {
    pub(super) db: Db,
    generation: u64,
    last_used: Instant,
}

impl ConnectionSource {
    pub(super) fn new(url: DatabaseUrl, generation: Arc<AtomicU64>) -> Self {
        Self { url, generation }
    }

    pub(super) fn establish(&self) -> Result<Db, StorageError> {
        match self.url.backend() {
            Backend::Sqlite => establish_sqlite(&self.url).map(Db::Sqlite),
            Backend::Postgres => {
                let mut connection = PgConnection::establish(self.url.as_str()).map_err(StorageError::unreachable)?;
                limit_statements(&mut connection, STATEMENT_TIMEOUT)?;
                Ok(Db::Postgres(connection))
            }
        }
    }
}

/// Sets how long PostgreSQL works on a statement of this connection from now on; zero is for as long as it takes.
pub(super) fn limit_statements(connection: &mut PgConnection, limit: Duration) -> Result<(), StorageError> {
    connection
        .batch_execute(&format!("SET statement_timeout = {}", limit.as_millis()))
        .map_err(StorageError::unreachable)
}

/// Opens the SQLite file, and makes it if there is none. Every acknowledged write survives a power cut
/// (`synchronous = FULL`), and readers never wait for the writer (WAL). After a large transaction its log is cut down
/// again.
pub(super) fn establish_sqlite(url: &DatabaseUrl) -> Result<SqliteConnection, StorageError> {
    let mut connection = SqliteConnection::establish(url.as_str()).map_err(StorageError::unreachable)?;
    connection
        .batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 268435456; \
             PRAGMA journal_size_limit = 16777216;",
        )
        .map_err(StorageError::unreachable)?;
    Ok(connection)
}

impl ManageConnection for ConnectionSource {
    type Connection = PooledDb;
    type Error = StorageError;

    fn connect(&self) -> Result<PooledDb, StorageError> {
        let generation = self.generation.load(Ordering::Relaxed);
        Ok(PooledDb { db: self.establish()?, generation, last_used: Instant::now() })
    }

    fn is_valid(&self, connection: &mut PooledDb) -> Result<(), StorageError> {
        if connection.generation != self.generation.load(Ordering::Relaxed) {
            return Err(StorageError::unreachable(anyhow::anyhow!("made before the connection was lost")));
        }
        if self.url.backend() == Backend::Postgres && connection.last_used.elapsed() > IDLE_BEFORE_PING {
            connection.db.ping().map_err(StorageError::from)?;
        }
        connection.last_used = Instant::now();
        Ok(())
    }

    fn has_broken(&self, connection: &mut PooledDb) -> bool {
        std::thread::panicking()
            || connection.db.is_broken()
            || connection.generation != self.generation.load(Ordering::Relaxed)
    }
}

/// The pool reports what failed to whoever waits for it; a line for each background try would only repeat it.
#[derive(Debug)]
pub(super) struct QuietErrors;

impl HandleError<StorageError> for QuietErrors {
    fn handle_error(&self, error: StorageError) {
        log::debug!("a pooled connection could not be made: {error}");
    }
}

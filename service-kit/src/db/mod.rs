//! The database: SQLite or PostgreSQL, chosen by the scheme of one URL.
//!
//! Queries go one of three ways, all behind [`Database`]:
//!
//! - [`Database::read`] and [`Database::write`]: diesel on one of the database's threads, the same code for both
//!   databases. No more of these run at a time than there are pooled connections, and on SQLite one writer only, so
//!   that nobody waits inside a thread.
//! - [`Database::read_on_worker`]: SQLite, on the worker itself, for look-ups by key that take microseconds.
//! - [`Database::read_pipelined`] and [`Database::write_pipelined`]: PostgreSQL, on the worker itself, on connections
//!   that many requests share.

mod error;
mod listen;
mod migrate;
mod multi;
mod pipeline;
mod pool;
mod tls;
mod url;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::anyhow;
use diesel::{
    SqliteConnection,
    connection::SimpleConnection as _,
    pg::Pg,
    query_builder::{QueryFragment, QueryId},
};
use scheduled_thread_pool::ScheduledThreadPool;
use tokio::{
    runtime::{self, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::Instant,
};

pub use self::{
    error::StorageError,
    listen::Listener,
    migrate::{Migrations, SchemaState},
    multi::{Db, MultiBackend, MultiField, MultiRawValue, MultiRow},
    url::{DatabaseUrl, UrlError},
};
use self::{
    pipeline::{Pipelines, Traffic},
    pool::ConnectionSource,
};
use crate::{context, context::RequestContext, problem::Error};
/// A row of a pipelined query. What is read from it borrows from it.
pub use tokio_postgres::Row as PipelinedRow;

/// Which database is behind the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Embedded SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// How long a request waits for its turn at the database, and how long a connection may take to be made.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it waits for a connection at least, once it has its turn.
const LEAST_PATIENCE: Duration = Duration::from_millis(300);

/// How long a request waits until it may write to SQLite, where a large import has the writer's turn for seconds.
const WRITER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long PostgreSQL works on a statement before it gives up, unless the statement may take as long as it likes.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a request waits for what it has asked of the database. A little longer, since PostgreSQL's own word is
/// better: it says that nothing was done. This is for a database that says nothing any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The database of a service. Clones share it.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("backend", &self.backend()).finish_non_exhaustive()
    }
}

/// The connections of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolState {
    /// The most that there may be.
    pub size: u32,
    /// Those that run queries.
    pub in_use: u32,
    /// Those that wait for some.
    pub idle: u32,
}

struct Inner {
    id: u64,
    url: DatabaseUrl,
    pool: diesel::r2d2::Pool<ConnectionSource>,
    generation: Arc<AtomicU64>,
    /// One permit per pooled connection: who holds one finds a connection at once.
    turns: Arc<Semaphore>,
    threads: Threads,
    /// SQLite takes one writer at a time.
    writer: Option<Arc<Semaphore>>,
    pipelines: Option<Pipelines>,
    migrations: Migrations,
}

/// The threads that run queries which block: no more of them than there are connections, whichever worker asks.
///
/// Each worker has a blocking pool of its own, which makes a thread whenever none is idle. Those of all workers came to
/// some dozens, which took turns, so that none was idle long enough to end, and each kept the memory that it had once used.
struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Threads {
    fn new(most: usize) -> Result<Self, StorageError> {
        // Nothing is ever polled on it, so it has neither clock nor sockets.
        let runtime = runtime::Builder::new_current_thread()
            .max_blocking_threads(most)
            .thread_name("database")
            .build()
            .map_err(StorageError::unreachable)?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        // What the work finds, should it look for a runtime, is the one of whoever asked: that one has a clock.
        let caller = Handle::current();
        self.handle.spawn_blocking(move || {
            let _entered = caller.enter();
            work()
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // By itself it would wait for its threads, which is not allowed where tasks are polled.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Database {
    /// Opens the database and makes its first connection, so that a wrong URL is noticed at the start.
    ///
    /// `pool_size` bounds the connections of [`Database::read`] and [`Database::write`]. On PostgreSQL a
    /// worker's pipelined connections come on top of that: one for reads, up to four for changes.
    pub fn open(url: &DatabaseUrl, pool_size: u32, migrations: Migrations) -> Result<Self, StorageError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let pool_size = pool_size.max(1);
        let generation = Arc::new(AtomicU64::new(0));
        let source = ConnectionSource::new(url.clone(), generation.clone());
        let first = source.establish()?;
        // A thread that has opened a connection keeps some memory for the next one. Opening a file takes a millisecond, so
        // one does; a server may take seconds to say that it is not there.
        let openers = match url.backend() {
            Backend::Sqlite => 1,
            Backend::Postgres => 3,
        };
        let openers = ScheduledThreadPool::builder().num_threads(openers).thread_name_pattern("db-pool-{}").build();
        let pool = diesel::r2d2::Pool::builder()
            .max_size(pool_size)
            .thread_pool(Arc::new(openers))
            .min_idle(Some(0))
            .connection_timeout(ACQUIRE_TIMEOUT)
            .error_handler(Box::new(pool::QuietErrors))
            .build_unchecked(source);
        drop(first);
        Ok(Self {
            inner: Arc::new(Inner {
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                pool,
                generation,
                turns: Arc::new(Semaphore::new(pool_size as usize)),
                threads: Threads::new(pool_size as usize)?,
                writer: matches!(url.backend(), Backend::Sqlite).then(|| Arc::new(Semaphore::new(1))),
                pipelines: url.pipeline_target().cloned().map(Pipelines::new),
                url: url.clone(),
                migrations,
            }),
        })
    }

    /// How many connections the pool has.
    pub fn pool_state(&self) -> PoolState {
        let state = self.inner.pool.state();
        let idle = state.idle_connections;
        PoolState { size: self.inner.pool.max_size(), in_use: state.connections.saturating_sub(idle), idle }
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        self.inner.url.backend()
    }

    /// Another handle of the same database, with connections of its own that nothing else uses.
    pub fn apart(&self, pool_size: u32) -> Result<Self, StorageError> {
        Self::open(&self.inner.url, pool_size, self.inner.migrations)
    }

    /// Hears what is notified on a channel of PostgreSQL; never anything on SQLite.
    pub fn listen(&self, channel: &'static str) -> Listener {
        Listener::new(self.inner.url.pipeline_target().cloned(), channel)
    }

    /// Applies the migrations that are missing, one replica at a time. Answers how many there were.
    pub fn migrate(&self) -> Result<usize, StorageError> {
        let mut connection = self.inner.pool.get().map_err(StorageError::unreachable)?;
        self.inner.migrations.run(&mut connection.db)
    }

    /// Whether the schema is the one that this program was built for.
    pub fn schema_state(&self) -> Result<SchemaState, StorageError> {
        let mut connection = self.inner.pool.get().map_err(StorageError::unreachable)?;
        self.inner.migrations.state(&mut connection.db)
    }

    /// Runs queries on the calling thread, each by itself: for the start, before there are requests to hold up.
    pub fn blocking<T, E: From<Error>>(&self, work: impl FnOnce(&mut Db) -> Result<T, E>) -> Result<T, E> {
        let mut connection = self.inner.pool.get().map_err(|cause| Error::from(StorageError::unreachable(cause)))?;
        work(&mut connection.db)
    }

    /// Whether the database answers and has the expected schema, asked from a request.
    pub async fn check(&self) -> Result<SchemaState, Error> {
        let migrations = self.inner.migrations;
        self.read(move |db| migrations.state(db).map_err(Error::from)).await
    }

    /// Runs queries on one of the database's threads, without a transaction.
    pub async fn read<T, E>(&self, work: impl FnOnce(&mut Db) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + MaybeUnavailable + Send + 'static,
    {
        self.run(None, Some(ANSWER_TIMEOUT), work).await
    }

    /// Runs queries on one of the database's threads in one transaction: all of it is kept, or nothing if `work`
    /// fails. On SQLite the transaction begins IMMEDIATE.
    ///
    /// Whoever asks waits for ten seconds at most. If the answer is 503 then, the transaction may be kept all the same:
    /// its outcome is not known.
    pub async fn write<T, E>(&self, work: impl FnOnce(&mut Db) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + MaybeUnavailable + Send + 'static,
    {
        let writing = self.writing().await?;
        self.run(writing, Some(ANSWER_TIMEOUT), move |db| db.in_transaction(work)).await
    }

    /// Like [`Database::write`], for as long as it takes: for imports.
    pub async fn write_at_length<T, E>(
        &self,
        work: impl FnOnce(&mut Db) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + MaybeUnavailable + Send + 'static,
    {
        let writing = self.writing().await?;
        let work = move |db: &mut Db| {
            if let Db::Postgres(connection) = db {
                connection.batch_execute("SET LOCAL statement_timeout = 0").map_err(Error::from)?;
            }
            work(db)
        };
        self.run(writing, None, move |db| db.in_transaction(work)).await
    }

    /// Like [`Database::write`], and runs `committed` on the same thread once the transaction is kept: also when
    /// whoever asked for it has stopped waiting.
    pub async fn write_and_then<T, E>(
        &self,
        work: impl FnOnce(&mut Db) -> Result<T, E> + Send + 'static,
        committed: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + MaybeUnavailable + Send + 'static,
    {
        let writing = self.writing().await?;
        self.run(writing, Some(ANSWER_TIMEOUT), move |db| db.in_transaction(work).inspect(committed)).await
    }

    /// Runs a single statement that changes something on one of the database's threads: it is a transaction by itself.
    pub async fn write_statement<T, E>(
        &self,
        work: impl FnOnce(&mut Db) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + MaybeUnavailable + Send + 'static,
    {
        let writing = self.writing().await?;
        let work = |db: &mut Db| match db {
            // By itself it would be committed when the statement is put aside, after its first row has been read, and
            // nobody would hear that there was no room for it.
            Db::Sqlite(_) => db.in_transaction(work),
            Db::Postgres(_) => work(db),
        };
        self.run(writing, Some(ANSWER_TIMEOUT), work).await
    }

    async fn writing(&self) -> Result<Option<OwnedSemaphorePermit>, Error> {
        match &self.inner.writer {
            Some(writer) => turn(writer, WRITER_TIMEOUT).await.map(Some),
            None => Ok(None),
        }
    }

    /// The thread keeps its turn until it is done, also when nobody waits for it any more: there are never more of them
    /// than connections.
    async fn run<T, E>(
        &self,
        writing: Option<OwnedSemaphorePermit>,
        limit: Option<Duration>,
        work: impl FnOnce(&mut Db) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + MaybeUnavailable + Send + 'static,
    {
        let begun = Instant::now();
        let turn = turn(&self.inner.turns, ACQUIRE_TIMEOUT).await?;
        // Who has waited for others who wait for a connection waits for one no longer than they did, but long enough to
        // make one.
        let patience = ACQUIRE_TIMEOUT.saturating_sub(begun.elapsed()).max(LEAST_PATIENCE);
        let inner = self.inner.clone();
        let context = RequestContext::current();
        let answer = self.inner.threads.run(move || {
            let _turns = (turn, writing);
            context::on_thread(context, || {
                let connection = inner.pool.get_timeout(patience);
                let mut connection = connection.map_err(|cause| Error::from(StorageError::unreachable(cause)))?;
                let result = work(&mut connection.db);
                if result.as_ref().is_err_and(MaybeUnavailable::is_unavailable) {
                    // This connection and every other one that was made before now may be dead.
                    inner.generation.fetch_add(1, Ordering::Relaxed);
                }
                result
            })
        });
        let answer = match limit {
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .map_err(|_| Error::from(StorageError::unreachable(anyhow!("there was no answer within {limit:?}"))))?,
            None => answer.await,
        };
        answer.map_err(|_| Error::internal(anyhow!("a database task panicked")))?
    }

    /// Runs queries on this worker's own read-only SQLite connection, without a trip to another thread. Only for
    /// look-ups by key: whatever else this worker does waits for it.
    pub fn read_on_worker<T, E>(&self, work: impl FnOnce(&mut SqliteConnection) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error>,
    {
        thread_local! {
            static READERS: RefCell<HashMap<u64, SqliteConnection>> = RefCell::new(HashMap::new());
        }
        READERS.with(|readers| {
            let mut readers = readers.borrow_mut();
            let reader = match readers.entry(self.inner.id) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    let mut reader = pool::establish_sqlite(&self.inner.url).map_err(Error::from)?;
                    reader
                        .batch_execute("PRAGMA query_only = ON; PRAGMA busy_timeout = 250;")
                        .map_err(|cause| Error::from(StorageError::from(cause)))?;
                    entry.insert(reader)
                }
            };
            work(reader)
        })
    }

    /// Reads by key on this worker's own PostgreSQL connection, which many requests share; `read` takes what it needs
    /// from each row as it arrives. If the connection turns out to be dead before the first row, the query is tried
    /// once more on a new one.
    pub async fn read_pipelined<Q, T>(
        &self,
        query: &Q,
        read: impl FnMut(&PipelinedRow) -> Result<T, StorageError>,
    ) -> Result<Vec<T>, StorageError>
    where
        Q: QueryFragment<Pg> + QueryId,
    {
        self.pipelined(Traffic::Reads, query, read).await
    }

    /// Runs a single statement that changes something on one of this worker's own PostgreSQL connections, and reads
    /// what it returns. If the connection turns out to be dead before the first row, the statement is tried once more
    /// on a new one, and the first try may have succeeded, so it must be one that may be repeated.
    pub async fn write_pipelined<Q, T>(
        &self,
        statement: &Q,
        read: impl FnMut(&PipelinedRow) -> Result<T, StorageError>,
    ) -> Result<Vec<T>, StorageError>
    where
        Q: QueryFragment<Pg> + QueryId,
    {
        self.pipelined(Traffic::Commits, statement, read).await
    }

    async fn pipelined<Q, T>(
        &self,
        traffic: Traffic,
        query: &Q,
        mut read: impl FnMut(&PipelinedRow) -> Result<T, StorageError>,
    ) -> Result<Vec<T>, StorageError>
    where
        Q: QueryFragment<Pg> + QueryId,
    {
        let pipelines = self
            .inner
            .pipelines
            .as_ref()
            .ok_or_else(|| StorageError::Configuration("only PostgreSQL has pipelined connections".to_owned()))?;
        let begun = Cell::new(false);
        let mut read = |row: &PipelinedRow| {
            begun.set(true);
            read(row)
        };
        // One deadline for both tries.
        let connect_by = Instant::now() + of_use(ACQUIRE_TIMEOUT);
        match pipelines.run(self.inner.id, traffic, connect_by, query, &mut read).await {
            Err(StorageError::Unreachable(_)) if !begun.get() && Instant::now() < connect_by => {
                pipelines.run(self.inner.id, traffic, connect_by, query, read).await
            }
            result => result,
        }
    }
}

/// Nobody waits for a turn beyond the time that the answer is of use.
fn of_use(limit: Duration) -> Duration {
    context::time_left().map_or(limit, |left| left.min(limit))
}

async fn turn(semaphore: &Arc<Semaphore>, limit: Duration) -> Result<OwnedSemaphorePermit, Error> {
    match tokio::time::timeout(of_use(limit), semaphore.clone().acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Error::Overloaded { retry_after_seconds: 1 }),
    }
}

/// Tells failures that speak against the connection from those that the database answered with.
pub trait MaybeUnavailable {
    /// Whether the connection is suspect.
    fn is_unavailable(&self) -> bool;
}

impl MaybeUnavailable for Error {
    fn is_unavailable(&self) -> bool {
        // Nothing is wrong with the connection to a database that has no room.
        let is_full = |cause: &anyhow::Error| matches!(cause.downcast_ref(), Some(StorageError::Full(_)));
        matches!(self, Self::DependencyUnavailable { cause, .. } if !is_full(cause))
    }
}

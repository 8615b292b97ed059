//! SQLite: row by row, and without the indexes where so much changes that making them anew costs less.
//!
//! A row that goes into the table in the order of its key takes a microsecond or two; keeping three more trees up to
//! date, each in an order of its own, takes several times as long, and ever longer once they no longer fit the page
//! cache. So a large import drops the indexes and makes them again at its end, in the same transaction: whoever reads
//! meanwhile reads the table as it was, indexes included.

use std::time::Duration;

use actix_web::rt::{spawn, task::JoinHandle};
use diesel::{
    QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _,
    sql_query,
    sql_types::{BigInt, Text},
};
use service_kit::{Timestamp, context::RequestContext, db::Db, import::Counts};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::SendError},
    time::timeout,
};

use super::{super::Persons, upsert::one_by_one};
use crate::{domain::NewPerson, error::Error};

/// A transaction ends when there has been nothing to merge for this long. Others who want to write wait for it.
const PATIENCE: Duration = Duration::from_millis(100);

/// A transaction ends after this many lines, since others who want to write wait for it.
const MOST_ROWS: u64 = 1_000_000;

/// An import of fewer lines leaves the indexes alone, however few persons there are.
const FEW_ROWS: u64 = 5_000;

/// Indexes are made anew if no more than this many persons are in the table for each line of the import. Making them
/// takes about a fourth of the time, for a row, that keeping them up to date does.
const ROWS_PER_LINE: u64 = 4;

/// A page cache of 16 MiB: by default it is too small for what a batch changes in four trees, and pages would be written
/// and read again and again within one transaction. Pages that are mapped would come on top of it. Another thread helps
/// with sorting.
const FOR_AN_IMPORT: &str = "PRAGMA cache_size = -16384; PRAGMA mmap_size = 0; PRAGMA threads = 1";
const AS_IT_WAS: &str = "PRAGMA cache_size = -2000; PRAGMA mmap_size = 268435456; PRAGMA threads = 0";

/// Sorting has memory of its own, as much as the cache may take, and is fastest with little of it.
const FOR_AN_INDEX: &str = "PRAGMA cache_size = -2000";

/// Batches on their way into one transaction.
pub(super) struct Run {
    batches: mpsc::Sender<Vec<NewPerson>>,
    merged: JoinHandle<Result<Counts, Error>>,
}

impl Run {
    pub(super) fn begin(persons: &Persons, now: Timestamp) -> Self {
        // One batch is merged while the next one is read.
        let (batches, received) = mpsc::channel(1);
        let Persons { database, importing } = persons.clone();
        let merge = async move {
            let _turn = importing.lock().await;
            database.write_at_length(move |db| merge_received(db, received, now)).await
        };
        let merged = match RequestContext::current() {
            Some(context) => spawn(context.scope(merge)),
            None => spawn(merge),
        };
        Self { batches, merged }
    }

    /// Hands a batch over, or gives it back if this run takes no more.
    pub(super) async fn take(&self, batch: Vec<NewPerson>) -> Result<(), Vec<NewPerson>> {
        self.batches.send(batch).await.map_err(|SendError(batch)| batch)
    }

    /// What became of the batches, once that is certain.
    pub(super) async fn end(self) -> Result<Counts, Error> {
        drop(self.batches);
        self.merged.await.map_err(Error::internal)?
    }
}

/// Merges batches until there are no more, or for too long none.
fn merge_received(db: &mut Db, mut received: mpsc::Receiver<Vec<NewPerson>>, now: Timestamp) -> Result<Counts, Error> {
    let mut merge = super::Merge::begin(db, now)?;
    let runtime = Handle::current();
    let mut rows = 0;
    loop {
        let batch = match runtime.block_on(async { timeout(PATIENCE, received.recv()).await }) {
            Ok(Some(batch)) => batch,
            Ok(None) => return merge.finish(),
            Err(_) => {
                // What was sent until now is still received.
                received.close();
                continue;
            }
        };
        rows += batch.len() as u64;
        merge.batch(&batch, 0)?;
        if rows >= MOST_ROWS {
            received.close();
        }
    }
}

/// A merge under way, in a transaction.
pub(super) struct Merge<'db> {
    connection: &'db mut SqliteConnection,
    now: i64,
    counts: Counts,
    rows: u64,
    /// At this many lines it is time to see whether the indexes are in the way.
    next_look: u64,
    /// What makes the indexes that were dropped.
    dropped: Vec<String>,
}

impl<'db> Merge<'db> {
    pub(super) fn begin(connection: &'db mut SqliteConnection, now: Timestamp) -> Result<Self, Error> {
        connection.batch_execute(FOR_AN_IMPORT)?;
        let (now, counts) = (now.as_micros(), Counts::default());
        Ok(Self { connection, now, counts, rows: 0, next_look: FEW_ROWS, dropped: Vec::new() })
    }

    /// Merges a batch. `in_all` is how many lines there will be, as far as that is known.
    pub(super) fn batch(&mut self, batch: &[NewPerson], in_all: u64) -> Result<(), Error> {
        self.rows += batch.len() as u64;
        let expected = self.rows.max(in_all);
        if expected >= self.next_look && self.dropped.is_empty() {
            // Looking takes time as well, so it is done ever more rarely.
            self.next_look = 2 * expected;
            if !self.has_more_persons_than(ROWS_PER_LINE * expected)? {
                self.drop_indexes()?;
            }
        }
        self.counts.add(one_by_one(self.connection, batch.iter(), self.now)?);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Counts, Error> {
        self.connection.batch_execute(FOR_AN_INDEX)?;
        for statement in &self.dropped {
            self.connection.batch_execute(statement)?;
        }
        Ok(self.counts)
    }

    fn has_more_persons_than(&mut self, number: u64) -> Result<bool, Error> {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            persons: i64,
        }

        let limit = i64::try_from(number).unwrap_or(i64::MAX).saturating_add(1);
        let Count { persons } = sql_query("SELECT count(*) AS persons FROM (SELECT 1 FROM persons LIMIT ?)")
            .bind::<BigInt, _>(limit)
            .get_result(self.connection)?;
        Ok(persons.unsigned_abs() > number)
    }

    /// The migrations say which indexes there are, so the table is asked for them.
    fn drop_indexes(&mut self) -> Result<(), Error> {
        #[derive(QueryableByName)]
        struct Index {
            #[diesel(sql_type = Text)]
            name: String,
            #[diesel(sql_type = Text)]
            sql: String,
        }

        // What belongs to the primary key has no statement of its own.
        let indexes: Vec<Index> = sql_query(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'persons' AND sql IS NOT NULL",
        )
        .load(self.connection)?;
        for Index { name, sql } in indexes {
            self.connection.batch_execute(&format!("DROP INDEX \"{name}\""))?;
            self.dropped.push(sql);
        }
        Ok(())
    }
}

impl Drop for Merge<'_> {
    /// The connection goes back to the pool as it came, and the pool's connections are many.
    fn drop(&mut self) {
        // Where this fails the connection is lost, and its cache with it.
        let _ = self.connection.batch_execute(AS_IT_WAS);
    }
}

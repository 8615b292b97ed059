//! Merges batches of an import into the table: upsert by id, where a line that changes nothing writes nothing.
//!
//! Both databases do what taking the lines one after the other would do: of two lines with the same id the later one
//! wins.

use std::collections::HashSet;

use diesel::{
    ExecuteCopyFromDsl as _, ExpressionMethods as _, OptionalExtension as _, PgConnection, QueryResult, RunQueryDsl,
    SqliteConnection,
    backend::Backend,
    connection::{LoadConnection, SimpleConnection as _},
    deserialize::FromSqlRow,
    expression::QueryMetadata,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    serialize::ToSql,
    sql_types::{BigInt, Integer, Nullable, Text},
};
use service_kit::{Timestamp, db::Db, import::Counts};

use super::{Persons, Spool, schema::persons_import};
use crate::{
    domain::{Age, Email, NewPerson},
    error::Error,
};

impl Persons {
    /// Merges a batch in one transaction.
    pub(crate) async fn merge(&self, batch: Vec<NewPerson>, now: Timestamp) -> Result<Counts, Error> {
        let _turn = self.importing.lock().await;
        self.database
            .write_at_length(move |db| {
                let mut merge = Merge::begin(db, now)?;
                merge.batch(&batch)?;
                Ok(merge.counts)
            })
            .await
    }

    /// Merges everything that was spooled in one transaction.
    pub(crate) async fn merge_spool(&self, spool: Spool, now: Timestamp) -> Result<Counts, Error> {
        let _turn = self.importing.lock().await;
        self.database
            .write_at_length(move |db| {
                let mut merge = Merge::begin(db, now)?;
                let mut batches = spool.into_batches().map_err(Error::internal)?;
                while let Some(batch) = batches.next_batch().map_err(Error::internal)? {
                    merge.batch(&batch)?;
                }
                Ok(merge.counts)
            })
            .await
    }
}

/// A merge under way, in a transaction.
struct Merge<'db> {
    db: &'db mut Db,
    now: i64,
    counts: Counts,
}

/// The key of the advisory lock under which one import at a time writes, over all replicas: two that hold some of each
/// other's rows would end in a deadlock.
const IMPORT_LOCK: &str = "SELECT pg_advisory_xact_lock(x'5065727300'::bigint)";

/// SQLite's page cache, in KiB: by default too small for what a batch changes in four trees, so that pages would be
/// written and read again and again within one transaction.
const LARGE_CACHE: &str = "PRAGMA cache_size = -32768";
const DEFAULT_CACHE: &str = "PRAGMA cache_size = -2000";

impl<'db> Merge<'db> {
    fn begin(db: &'db mut Db, now: Timestamp) -> Result<Self, Error> {
        match db {
            Db::Sqlite(connection) => connection.batch_execute(LARGE_CACHE)?,
            Db::Postgres(connection) => connection.batch_execute(IMPORT_LOCK)?,
        }
        Ok(Self { db, now: now.as_micros(), counts: Counts::default() })
    }

    fn batch(&mut self, batch: &[NewPerson]) -> Result<(), Error> {
        let counts = match self.db {
            Db::Sqlite(connection) => one_by_one::<SqliteConnection>(connection, batch.iter(), self.now)?,
            Db::Postgres(connection) => copy_and_merge(connection, batch, self.now)?,
        };
        self.counts.add(counts);
        Ok(())
    }
}

impl Drop for Merge<'_> {
    /// The connection goes back to the pool as it came, and the pool's connections are many.
    fn drop(&mut self) {
        if let Db::Sqlite(connection) = self.db {
            // Where this fails the connection is lost, and its cache with it.
            let _ = connection.batch_execute(DEFAULT_CACHE);
        }
    }
}

fn one_by_one<'p, C>(
    connection: &mut C,
    persons: impl Iterator<Item = &'p NewPerson>,
    now: i64,
) -> Result<Counts, Error>
where
    C: LoadConnection,
    C::Backend: QueryMetadata<BigInt> + 'static,
    for<'a> Upsert<'a>: QueryFragment<C::Backend>,
    i64: FromSqlRow<BigInt, C::Backend>,
{
    let mut counts = Counts::default();
    for person in persons {
        let search_text = person.details.search_text();
        let statement = Upsert {
            id: person.id.as_str(),
            name: person.details.name.as_str(),
            email: person.details.email.as_ref().map(Email::as_str),
            age: person.details.age.map(Age::years),
            search_text: &search_text,
            now,
        };
        let version: Option<i64> = statement.get_result(connection).optional()?;
        match version {
            Some(1) => counts.inserted += 1,
            Some(_) => counts.updated += 1,
            None => counts.unchanged += 1,
        }
    }
    Ok(counts)
}

/// What is left of an upsert when the row is there already; the same for one row and for a batch.
const ON_CONFLICT: &str = " ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, \
     age = excluded.age, search_text = excluded.search_text, updated_at = excluded.updated_at, \
     version = persons.version + 1 \
     WHERE persons.name <> excluded.name OR persons.email IS DISTINCT FROM excluded.email \
     OR persons.age IS DISTINCT FROM excluded.age RETURNING version";

const INSERT: &str = "INSERT INTO persons (id, name, email, age, search_text, created_at, updated_at, version) ";

/// Inserts or updates one person and gives the version, 1 for a new one; no row if nothing changes.
///
/// A node of diesel's own query tree, because its text never changes: the statement is found again by its type, without
/// building that text for each line.
#[derive(Clone, Copy, Debug)]
struct Upsert<'a> {
    id: &'a str,
    name: &'a str,
    email: Option<&'a str>,
    age: Option<i32>,
    search_text: &'a str,
    now: i64,
}

impl Query for Upsert<'_> {
    type SqlType = BigInt;
}

impl<Connection> RunQueryDsl<Connection> for Upsert<'_> {}

impl QueryId for Upsert<'_> {
    type QueryId = Upsert<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<DB> QueryFragment<DB> for Upsert<'_>
where
    DB: Backend,
    str: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
    for<'a> Option<&'a str>: ToSql<Nullable<Text>, DB>,
    Option<i32>: ToSql<Nullable<Integer>, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(INSERT);
        out.push_sql("VALUES (");
        out.push_bind_param::<Text, str>(self.id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, str>(self.name)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, Option<&str>>(&self.email)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Integer>, Option<i32>>(&self.age)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, str>(self.search_text)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, i64>(&self.now)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, i64>(&self.now)?;
        out.push_sql(", 1)");
        out.push_sql(ON_CONFLICT);
        Ok(())
    }
}

/// COPY takes a batch faster than any INSERT, and one statement merges it. A row can be merged only once per statement,
/// so lines that repeat an id follow one by one.
fn copy_and_merge(connection: &mut PgConnection, batch: &[NewPerson], now: i64) -> Result<Counts, Error> {
    connection.batch_execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS persons_import \
         (id TEXT COLLATE \"C\", name TEXT, email TEXT, age INTEGER, search_text TEXT) ON COMMIT DELETE ROWS; \
         TRUNCATE persons_import",
    )?;
    let mut seen = HashSet::with_capacity(batch.len());
    let (first, repeated): (Vec<&NewPerson>, Vec<&NewPerson>) =
        batch.iter().partition(|person| seen.insert(person.id.as_str()));
    let rows: Vec<_> = first
        .iter()
        .map(|person| {
            (
                persons_import::id.eq(person.id.as_str()),
                persons_import::name.eq(person.details.name.as_str()),
                persons_import::email.eq(person.details.email.as_ref().map(Email::as_str)),
                persons_import::age.eq(person.details.age.map(Age::years)),
                persons_import::search_text.eq(person.details.search_text()),
            )
        })
        .collect();
    diesel::copy_from(persons_import::table).from_insertable(rows).execute(connection)?;
    let (inserted, updated): (i64, i64) = MergeCopied { now }.get_result(connection)?;
    let mut counts = Counts { inserted: inserted.unsigned_abs(), updated: updated.unsigned_abs(), unchanged: 0 };
    counts.unchanged = (first.len() as u64).saturating_sub(counts.inserted + counts.updated);
    counts.add(one_by_one(connection, repeated.into_iter(), now)?);
    Ok(counts)
}

/// Merges `persons_import` and counts what was inserted and what was updated.
#[derive(Clone, Copy, Debug, QueryId)]
struct MergeCopied {
    now: i64,
}

impl Query for MergeCopied {
    type SqlType = (BigInt, BigInt);
}

impl<Connection> RunQueryDsl<Connection> for MergeCopied {}

impl QueryFragment<Pg> for MergeCopied {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH merged AS (");
        out.push_sql(INSERT);
        out.push_sql("SELECT id, name, email, age, search_text, ");
        out.push_bind_param::<BigInt, i64>(&self.now)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, i64>(&self.now)?;
        // In the order of ids, rows go into the index side by side.
        out.push_sql(", 1 FROM persons_import ORDER BY id");
        out.push_sql(ON_CONFLICT);
        out.push_sql(") SELECT count(*) FILTER (WHERE version = 1), count(*) FILTER (WHERE version > 1) FROM merged");
        Ok(())
    }
}

//! PostgreSQL: a batch is copied into a temporary table, and one statement merges it.

use std::collections::HashSet;

use diesel::{
    ExecuteCopyFromDsl as _, ExpressionMethods as _, PgConnection, QueryResult, RunQueryDsl,
    connection::SimpleConnection as _,
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::BigInt,
};
use service_kit::{Timestamp, import::Counts};

use super::{
    super::schema::persons_import,
    upsert::{INSERT, one_by_one},
};
use crate::{
    domain::{Age, Email, NewPerson},
    error::Error,
};

/// The key of the advisory lock under which one import at a time writes, over all replicas: two that hold some of each
/// other's rows would end in a deadlock.
const IMPORT_LOCK: &str = "SELECT pg_advisory_xact_lock(x'5065727300'::bigint)";

/// A merge under way, in a transaction.
pub(super) struct Merge<'db> {
    connection: &'db mut PgConnection,
    now: i64,
    pub(super) counts: Counts,
}

impl<'db> Merge<'db> {
    pub(super) fn begin(connection: &'db mut PgConnection, now: Timestamp) -> Result<Self, Error> {
        connection.batch_execute(IMPORT_LOCK)?;
        Ok(Self { connection, now: now.as_micros(), counts: Counts::default() })
    }

    pub(super) fn batch(&mut self, batch: &[NewPerson]) -> Result<(), Error> {
        self.counts.add(copy_and_merge(self.connection, batch, self.now)?);
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

/// What is left of the insertion of a row that is there already.
const ON_CONFLICT: &str = " ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, \
     age = excluded.age, search_text = excluded.search_text, updated_at = excluded.updated_at, \
     version = persons.version + 1 \
     WHERE persons.name <> excluded.name OR persons.email IS DISTINCT FROM excluded.email \
     OR persons.age IS DISTINCT FROM excluded.age RETURNING version";

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

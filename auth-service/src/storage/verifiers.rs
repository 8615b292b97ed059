//! Who follows the feed, and which keys each of them knows.

use diesel::{prelude::*, upsert::excluded};
use service_kit::{
    Error, Timestamp,
    db::{Database, Db},
};

use super::schema::verifiers;

/// A process that verifies tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    /// What it calls itself: `<service>/<random>`.
    pub id: String,
    /// The ids of the keys in its ring, with commas between them.
    pub kids: String,
    /// When it last asked.
    pub seen_at: Timestamp,
}

#[derive(Queryable, Insertable)]
#[diesel(table_name = verifiers)]
struct VerifierRow {
    id: String,
    kids: String,
    seen_at: i64,
}

/// The verifiers of all replicas.
#[derive(Clone)]
pub struct VerifierStore {
    database: Database,
}

impl VerifierStore {
    /// On a database with the schema of [`super::MIGRATIONS`].
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Keeps what verifiers said of themselves, and removes those that were not seen since `forgotten`.
    pub async fn keep(&self, mut seen: Vec<Verifier>, forgotten: Timestamp) -> Result<(), Error> {
        // Two replicas that write the same rows take them in the same order.
        seen.sort_by(|a, b| a.id.cmp(&b.id));
        let rows: Vec<VerifierRow> = seen
            .into_iter()
            .map(|verifier| VerifierRow { id: verifier.id, kids: verifier.kids, seen_at: verifier.seen_at.as_micros() })
            .collect();
        self.database
            .write(move |db| {
                match db {
                    Db::Sqlite(connection) => {
                        for row in &rows {
                            diesel::insert_into(verifiers::table)
                                .values(row)
                                .on_conflict(verifiers::id)
                                .do_update()
                                .set((
                                    verifiers::kids.eq(excluded(verifiers::kids)),
                                    verifiers::seen_at.eq(excluded(verifiers::seen_at)),
                                ))
                                .execute(connection)?;
                        }
                    }
                    Db::Postgres(connection) => {
                        for chunk in rows.chunks(1000) {
                            diesel::insert_into(verifiers::table)
                                .values(chunk)
                                .on_conflict(verifiers::id)
                                .do_update()
                                .set((
                                    verifiers::kids.eq(excluded(verifiers::kids)),
                                    verifiers::seen_at.eq(excluded(verifiers::seen_at)),
                                ))
                                .execute(connection)?;
                        }
                    }
                }
                diesel::delete(verifiers::table.filter(verifiers::seen_at.lt(forgotten.as_micros()))).execute(db)?;
                Ok(())
            })
            .await
    }

    /// Removes one.
    pub async fn forget(&self, id: &str) -> Result<(), Error> {
        let id = id.to_owned();
        self.database
            .write_statement(move |db| {
                diesel::delete(verifiers::table.find(id)).execute(db)?;
                Ok(())
            })
            .await
    }

    /// Those that were seen since, by their ids.
    pub async fn seen_since(&self, since: Timestamp) -> Result<Vec<Verifier>, Error> {
        self.database
            .read(move |db| {
                let rows: Vec<VerifierRow> =
                    verifiers::table.filter(verifiers::seen_at.ge(since.as_micros())).order(verifiers::id).load(db)?;
                Ok(rows
                    .into_iter()
                    .map(|row| Verifier { id: row.id, kids: row.kids, seen_at: Timestamp::from_micros(row.seen_at) })
                    .collect())
            })
            .await
    }
}

//! Merges what an import brings into the table: upsert by id, where a line that changes nothing writes nothing.
//!
//! Both databases do what taking the lines one after the other would do: of two lines with the same id the later one
//! wins.

mod postgres;
mod sqlite;
mod upsert;

use service_kit::{
    Timestamp,
    db::{Backend, Db},
    import::Counts,
};

use super::{Persons, Spool};
use crate::{domain::NewPerson, error::Error};

impl Persons {
    /// Begins an import whose lines stay as they come, whatever becomes of those after them.
    pub(crate) fn import(&self, now: Timestamp) -> Import {
        Import { persons: self.clone(), now, counts: Counts::default(), run: None }
    }

    /// Merges everything that was spooled in one transaction.
    pub(crate) async fn merge_spool(&self, spool: Spool, now: Timestamp) -> Result<Counts, Error> {
        let _turn = self.importing.lock().await;
        let rows = spool.rows();
        self.database
            .write_at_length(move |db| {
                let mut batches = spool.into_batches().map_err(Error::internal)?;
                let mut merge = Merge::begin(db, now)?;
                while let Some(batch) = batches.next_batch().map_err(Error::internal)? {
                    merge.batch(&batch, rows)?;
                }
                merge.finish()
            })
            .await
    }

    async fn merge(&self, batch: Vec<NewPerson>, now: Timestamp) -> Result<Counts, Error> {
        let _turn = self.importing.lock().await;
        self.database
            .write_at_length(move |db| {
                let mut merge = Merge::begin(db, now)?;
                merge.batch(&batch, 0)?;
                merge.finish()
            })
            .await
    }
}

/// An import under way. Once it is dropped, what it has taken is merged all the same.
pub(crate) struct Import {
    persons: Persons,
    now: Timestamp,
    counts: Counts,
    run: Option<sqlite::Run>,
}

impl Import {
    /// Takes a batch. On PostgreSQL it is merged before this returns; on SQLite perhaps together with those that follow,
    /// and if that fails, this or the next call says so.
    pub(crate) async fn take(&mut self, mut batch: Vec<NewPerson>) -> Result<(), Error> {
        if self.persons.database.backend() == Backend::Postgres {
            self.counts.add(self.persons.merge(batch, self.now).await?);
            return Ok(());
        }
        loop {
            let run = self.run.get_or_insert_with(|| sqlite::Run::begin(&self.persons, self.now));
            match run.take(batch).await {
                Ok(()) => return Ok(()),
                Err(left) => {
                    batch = left;
                    self.end_run().await?;
                }
            }
        }
    }

    /// What became of all that was taken.
    pub(crate) async fn finish(mut self) -> Result<Counts, Error> {
        self.end_run().await?;
        Ok(self.counts)
    }

    async fn end_run(&mut self) -> Result<(), Error> {
        if let Some(run) = self.run.take() {
            self.counts.add(run.end().await?);
        }
        Ok(())
    }
}

/// A merge under way, in a transaction.
enum Merge<'db> {
    Postgres(postgres::Merge<'db>),
    Sqlite(sqlite::Merge<'db>),
}

impl<'db> Merge<'db> {
    fn begin(db: &'db mut Db, now: Timestamp) -> Result<Self, Error> {
        Ok(match db {
            Db::Postgres(connection) => Self::Postgres(postgres::Merge::begin(connection, now)?),
            Db::Sqlite(connection) => Self::Sqlite(sqlite::Merge::begin(connection, now)?),
        })
    }

    /// Merges a batch. `in_all` is how many lines there will be, as far as that is known.
    fn batch(&mut self, batch: &[NewPerson], in_all: u64) -> Result<(), Error> {
        match self {
            Self::Postgres(merge) => merge.batch(batch),
            Self::Sqlite(merge) => merge.batch(batch, in_all),
        }
    }

    fn finish(self) -> Result<Counts, Error> {
        match self {
            Self::Postgres(merge) => Ok(merge.counts),
            Self::Sqlite(merge) => merge.finish(),
        }
    }
}

//! The two kinds of connection as one type, so that a query is written once.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "what diesel's derive makes is not ours to document"
)]

use diesel::{PgConnection, SqliteConnection, connection::SimpleConnection};

use super::StorageError;
use crate::problem::Error;

/// A connection to either database.
#[derive(diesel::MultiConnection)]
pub enum Db {
    /// PostgreSQL.
    Postgres(PgConnection),
    /// SQLite.
    Sqlite(SqliteConnection),
}

impl Db {
    /// Runs `work` in one transaction; on SQLite it begins IMMEDIATE, so that it never has to give up half way because
    /// another writer was faster.
    pub fn in_transaction<T, E>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error>,
    {
        let begin = match self {
            Self::Postgres(_) => "BEGIN",
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
        };
        let failed = |cause| E::from(Error::from(StorageError::from(cause)));
        self.batch_execute(begin).map_err(failed)?;
        match work(self) {
            Ok(value) => {
                self.batch_execute("COMMIT").map_err(failed)?;
                Ok(value)
            }
            Err(error) => {
                if let Err(cause) = self.batch_execute("ROLLBACK") {
                    log::debug!("the rollback failed, the connection with it: {cause}");
                }
                Err(error)
            }
        }
    }
}

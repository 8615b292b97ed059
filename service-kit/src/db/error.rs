//! What can go wrong between a service and its database.

use std::io;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio_postgres::error::SqlState;

use crate::problem::Error;

/// A failure of the database, apart from those that mean something in the service's own words (a taken name, say),
/// which the service's storage tells apart first.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database cannot be reached, or the connection to it is lost.
    #[error("the database cannot be reached")]
    Unreachable(#[source] anyhow::Error),
    /// A statement took too long, so that the database gave it up: nothing was done.
    #[error("a query took too long")]
    TimedOut(#[source] anyhow::Error),
    /// The disk of the database is full: nothing was done, and reads go on.
    #[error("the database has no room")]
    Full(#[source] anyhow::Error),
    /// The database cannot be used as configured.
    #[error("{0}")]
    Configuration(String),
    /// A query failed.
    #[error("a query failed")]
    Query(#[source] DieselError),
    /// A query on a pipelined connection failed.
    #[error("a query failed")]
    Pipelined(#[source] tokio_postgres::Error),
    /// The schema cannot be brought up to date.
    #[error("a migration failed: {0}")]
    Migration(String),
}

impl StorageError {
    pub(super) fn unreachable(cause: impl Into<anyhow::Error>) -> Self {
        Self::Unreachable(cause.into())
    }
}

impl From<DieselError> for StorageError {
    fn from(error: DieselError) -> Self {
        let lost = match &error {
            DieselError::BrokenTransactionManager
            | DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
                _,
            ) => true,
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
                let message = information.message();
                // Class 57 of PostgreSQL's SQLSTATE reaches us as text only.
                message.contains("terminating connection")
                    || message.contains("the database system is")
                    || message.contains("connection closed")
                    || message.contains("closed the connection")
                    || message.contains("error communicating with the server")
                    || message.contains("no connection to the server")
                    || message.contains("could not receive data from server")
            }
            _ => false,
        };
        // SQLSTATE 57014 has no kind of its own either.
        let timed_out = matches!(
            &error,
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, information)
                if information.message().contains("due to statement timeout")
        );
        // Nor has 53100; SQLite says it in its own words.
        let full = matches!(
            &error,
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, information)
                if ["No space left on device", "database or disk is full"]
                    .iter()
                    .any(|words| information.message().contains(words))
        );
        match (lost, timed_out, full) {
            (true, ..) => Self::Unreachable(error.into()),
            (_, true, _) => Self::TimedOut(error.into()),
            (_, _, true) => Self::Full(error.into()),
            _ => Self::Query(error),
        }
    }
}

impl From<tokio_postgres::Error> for StorageError {
    fn from(error: tokio_postgres::Error) -> Self {
        let lost = match error.as_db_error() {
            // Classes 08 (connection exception) and 57P (the server stops, or has not started yet).
            Some(answer) => answer.code().code().starts_with("08") || answer.code().code().starts_with("57P"),
            None => {
                error.is_closed()
                    || std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<io::Error>)
            }
        };
        let is = |state| error.code() == Some(&state);
        match lost {
            true => Self::unreachable(error),
            false if is(SqlState::QUERY_CANCELED) => Self::TimedOut(error.into()),
            false if is(SqlState::DISK_FULL) => Self::Full(error.into()),
            false => Self::Pipelined(error),
        }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unreachable(cause) | StorageError::TimedOut(cause) => {
                Self::DependencyUnavailable { dependency: "database", cause }
            }
            full @ StorageError::Full(_) => Self::DependencyUnavailable { dependency: "database", cause: full.into() },
            other => Self::internal(other),
        }
    }
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        StorageError::from(error).into()
    }
}

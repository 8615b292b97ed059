//! The audit log: added to in the transaction of what it tells of, read from the newest record backwards.

use std::borrow::Cow;

use diesel::{
    dsl::sql,
    prelude::*,
    result::Error as DieselError,
    sql_types::{BigInt, Bool, Text},
};
use service_kit::{
    Error, Timestamp,
    audit::{Actor, ActorType, AuditRecord},
    db::{Database, Db},
    http::Limit,
};
use uuid::Uuid;

use super::schema::audit;

/// Rows in one INSERT at most: PostgreSQL takes 65,535 parameters.
const ROWS_PER_INSERT: usize = 1000;

/// Rows that are removed at a time, so that no transaction lasts for long.
const ROWS_PER_DELETE: i64 = 10_000;

#[derive(Queryable, Insertable, Selectable)]
#[diesel(table_name = audit, treat_none_as_default_value = false)]
struct AuditRow {
    id: String,
    at: i64,
    action: String,
    outcome: String,
    actor_type: Option<String>,
    actor: Option<String>,
    subject: Option<String>,
    session: Option<String>,
    client_id: Option<String>,
    address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    details: Option<String>,
}

impl AuditRow {
    fn of(record: &AuditRecord) -> Self {
        Self {
            id: record.id.to_string(),
            at: record.at.as_micros(),
            action: record.action.to_string(),
            outcome: record.outcome.to_string(),
            actor_type: record.actor.as_ref().map(|actor| actor.kind.as_str().to_owned()),
            actor: record.actor.as_ref().map(|actor| actor.id.clone()),
            subject: record.subject.clone(),
            session: record.session.clone(),
            client_id: record.client_id.clone(),
            address: record.address.clone(),
            user_agent: record.user_agent.clone(),
            request_id: record.request_id.clone(),
            details: record.details.as_ref().map(ToString::to_string),
        }
    }

    fn into_record(self) -> Result<AuditRecord, DieselError> {
        let unreadable = |column: &str| DieselError::DeserializationError(format!("audit.{column}").into());
        let actor = match (self.actor_type, self.actor) {
            (Some(kind), Some(id)) => {
                Some(Actor { kind: ActorType::from_stored(&kind).ok_or_else(|| unreadable("actor_type"))?, id })
            }
            _ => None,
        };
        let details = self.details.map(|text| serde_json::from_str(&text)).transpose();
        Ok(AuditRecord {
            id: Uuid::parse_str(&self.id).map_err(|_| unreadable("id"))?,
            at: Timestamp::from_micros(self.at),
            action: Cow::Owned(self.action),
            outcome: Cow::Owned(self.outcome),
            actor,
            subject: self.subject,
            session: self.session,
            client_id: self.client_id,
            address: self.address,
            user_agent: self.user_agent,
            request_id: self.request_id,
            details: details.map_err(|_| unreadable("details"))?,
        })
    }
}

/// Which records to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AuditFilter {
    /// What was done to this user.
    pub subject: Option<String>,
    /// What was done by this user, client or service.
    pub actor: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// A place in the list: the time and the id of a record.
pub type AuditPlace = (Timestamp, String);

/// The audit log.
#[derive(Clone)]
pub struct AuditStore {
    database: Database,
}

impl AuditStore {
    /// On a database with the schema of [`super::MIGRATIONS`].
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Adds records that tell of nothing else in this database. Those that are there already change nothing.
    pub async fn add(&self, records: Vec<AuditRecord>) -> Result<(), Error> {
        let noted = records.clone();
        self.database.write(move |db| Ok::<_, Error>(write(db, &records)?)).await?;
        noted.iter().for_each(AuditRecord::log);
        Ok(())
    }

    /// Records, the newest first, from behind `after`; one more than the limit, if there are as many.
    pub async fn list(
        &self,
        filter: AuditFilter,
        after: Option<AuditPlace>,
        limit: Limit,
    ) -> Result<Vec<AuditRecord>, Error> {
        self.database
            .read(move |db| {
                let rows = match db {
                    Db::Sqlite(connection) => load!(connection, filter, after, limit),
                    Db::Postgres(connection) => load!(connection, filter, after, limit),
                };
                Ok(rows?.into_iter().map(AuditRow::into_record).collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Removes records from before a time. Says how many.
    pub async fn purge(&self, before: Timestamp) -> Result<usize, Error> {
        let mut removed = 0;
        loop {
            let batch = self
                .database
                .write_statement(move |db| {
                    let old = format!(
                        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < {} LIMIT {ROWS_PER_DELETE})",
                        before.as_micros()
                    );
                    let removed = match db {
                        Db::Sqlite(connection) => diesel::sql_query(old).execute(connection),
                        Db::Postgres(connection) => diesel::sql_query(old).execute(connection),
                    };
                    Ok::<_, Error>(removed?)
                })
                .await?;
            removed += batch;
            if batch == 0 {
                return Ok(removed);
            }
        }
    }
}

/// The page of a list, on either connection: a query whose text depends on its filters has a type for each database.
macro_rules! load {
    ($connection:expr, $filter:expr, $after:expr, $limit:expr) => {{
        let mut query = audit::table
            .select(AuditRow::as_select())
            .order((audit::at.desc(), audit::id.desc()))
            .limit($limit.plus_one())
            .into_boxed();
        if let Some(subject) = &$filter.subject {
            query = query.filter(audit::subject.eq(subject));
        }
        if let Some(actor) = &$filter.actor {
            query = query.filter(audit::actor.eq(actor));
        }
        if let Some(action) = &$filter.action {
            query = query.filter(audit::action.eq(action));
        }
        if let Some(since) = $filter.since {
            query = query.filter(audit::at.ge(since.as_micros()));
        }
        if let Some(until) = $filter.until {
            query = query.filter(audit::at.lt(until.as_micros()));
        }
        if let Some((at, id)) = &$after {
            query = query.filter(
                sql::<Bool>("(at, id) < (").bind::<BigInt, _>(at.as_micros()).sql(", ").bind::<Text, _>(id).sql(")"),
            );
        }
        query.load::<AuditRow>($connection)
    }};
}
use load;

/// Adds records within a transaction.
pub(super) fn write(db: &mut Db, records: &[AuditRecord]) -> Result<(), DieselError> {
    for chunk in records.chunks(ROWS_PER_INSERT) {
        let rows: Vec<AuditRow> = chunk.iter().map(AuditRow::of).collect();
        match db {
            // Several rows at once would begin a transaction of their own.
            Db::Sqlite(connection) => {
                for row in rows {
                    diesel::insert_into(audit::table).values(row).on_conflict_do_nothing().execute(connection)?;
                }
            }
            Db::Postgres(connection) => {
                diesel::insert_into(audit::table).values(rows).on_conflict_do_nothing().execute(connection)?;
            }
        }
    }
    Ok(())
}

//! OAuth clients.

use diesel::{prelude::*, result::Error as DieselError};
use serde_json::json;
use service_kit::{Error, Timestamp, audit::Origin, db::Database, http::Limit};

use super::{
    RevocationStore,
    revocations::Done,
    schema::{clients, sessions},
    sessions::end_record,
};
use crate::domain::{Client, ClientId, EndReason, NewClient, NewRevocation, ScopeSet, SecretHash, SessionId};

/// How much later than the last time a client has to come again for that to be written down.
const USE_STEP_SECONDS: i64 = 3600;

#[derive(Queryable, Selectable)]
#[diesel(table_name = clients)]
struct ClientRow {
    id: String,
    name: String,
    secret_hash: String,
    scope: String,
    version: i64,
    created_at: i64,
    last_used_at: Option<i64>,
}

impl ClientRow {
    fn into_client(self) -> Result<Client, DieselError> {
        let unreadable = |column: &str| DieselError::DeserializationError(format!("clients.{column}").into());
        Ok(Client {
            id: ClientId::parse(&self.id).ok_or_else(|| unreadable("id"))?,
            name: self.name,
            secret_hash: SecretHash::from_stored(self.secret_hash),
            scope: ScopeSet::parse(&self.scope).ok_or_else(|| unreadable("scope"))?,
            version: self.version,
            created_at: Timestamp::from_micros(self.created_at),
            last_used_at: self.last_used_at.map(Timestamp::from_micros),
        })
    }
}

/// The registered clients.
#[derive(Clone)]
pub struct ClientStore {
    database: Database,
    revocations: RevocationStore,
}

impl ClientStore {
    /// On a database with the schema of [`super::MIGRATIONS`].
    pub fn new(database: Database, revocations: RevocationStore) -> Self {
        Self { database, revocations }
    }

    /// Registers a client.
    pub async fn insert(&self, client: NewClient, origin: Origin) -> Result<(), Error> {
        self.revocations
            .transaction(client.created_at, move |db| {
                diesel::insert_into(clients::table)
                    .values((
                        clients::id.eq(client.id.as_str()),
                        clients::name.eq(client.name.as_str()),
                        clients::secret_hash.eq(client.secret_hash.as_str()),
                        clients::scope.eq(client.scope.to_string()),
                        clients::version.eq(1),
                        clients::created_at.eq(client.created_at.as_micros()),
                    ))
                    .execute(db)?;
                let record = origin
                    .record("client_created", client.created_at)
                    .about_client(client.id.as_str())
                    .with(json!({ "name": client.name.as_str(), "scope": client.scope.to_string() }));
                Ok(Done { value: (), revoked: Vec::new(), records: vec![record] })
            })
            .await
    }

    /// A client by its id.
    pub async fn find(&self, id: &ClientId) -> Result<Option<Client>, Error> {
        let id = id.as_str().to_owned();
        self.database
            .read(move |db| {
                let row = clients::table.find(&id).select(ClientRow::as_select()).first::<ClientRow>(db).optional()?;
                Ok(row.map(ClientRow::into_client).transpose()?)
            })
            .await
    }

    /// Clients in the order of their ids, from behind `after`; one more than the limit, if there are as many.
    pub async fn list(&self, after: Option<String>, limit: Limit) -> Result<Vec<Client>, Error> {
        self.database
            .read(move |db| {
                // No id is empty.
                let after = after.unwrap_or_default();
                clients::table
                    .filter(clients::id.gt(&after))
                    .order(clients::id)
                    .limit(limit.plus_one())
                    .select(ClientRow::as_select())
                    .load::<ClientRow>(db)?
                    .into_iter()
                    .map(|row| row.into_client().map_err(Error::from))
                    .collect()
            })
            .await
    }

    /// Notes that a client has come, once an hour at most.
    pub async fn note_use(&self, client: &Client, now: Timestamp) -> Result<(), Error> {
        let before = now.plus_seconds(-USE_STEP_SECONDS);
        if client.last_used_at.is_some_and(|last| last > before) {
            return Ok(());
        }
        let id = client.id.as_str().to_owned();
        self.database
            .write_statement(move |db| {
                diesel::update(clients::table.find(&id)).set(clients::last_used_at.eq(now.as_micros())).execute(db)?;
                Ok(())
            })
            .await
    }

    /// Removes a client, ends the sessions that were begun with it, and revokes all of its tokens. False if there is no
    /// such client.
    pub async fn delete(&self, id: &ClientId, origin: Origin, now: Timestamp) -> Result<bool, Error> {
        let id = id.as_str().to_owned();
        self.revocations
            .transaction(now, move |db| {
                let version = diesel::delete(clients::table.find(&id))
                    .returning(clients::version)
                    .get_result::<i64>(db)
                    .optional()?;
                let Some(version) = version else {
                    return Ok(Done { value: false, revoked: Vec::new(), records: Vec::new() });
                };
                let ended = diesel::update(
                    sessions::table.filter(sessions::client_id.eq(&id)).filter(sessions::ended_at.is_null()),
                )
                .set((
                    sessions::ended_at.eq(now.as_micros()),
                    sessions::end_reason.eq(EndReason::ClientDeleted.as_str()),
                ))
                .returning((sessions::id, sessions::user_id))
                .get_results::<(String, String)>(db)?;
                let mut records = vec![origin.record("client_deleted", now).about_client(&id)];
                let mut revoked = vec![NewRevocation::User { sub: id, min_ver: version + 1 }];
                for (session, user_id) in ended {
                    revoked.extend(SessionId::parse(&session).map(NewRevocation::Session));
                    records.push(end_record(session, user_id, EndReason::ClientDeleted, &origin, now));
                }
                Ok(Done { value: true, revoked, records })
            })
            .await
    }
}

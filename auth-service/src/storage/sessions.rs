//! Sessions and what is known of their users.

use diesel::{dsl::not, prelude::*, result::Error as DieselError};
use serde_json::json;
use service_kit::{
    Error, Timestamp,
    audit::{Actor, AuditRecord, Origin},
    db::{Backend, Database, Db, PipelinedRow, StorageError},
};

use super::{
    RevocationStore,
    revocations::{Done, forget_versions_above},
    schema::{clients, sessions, subjects},
};
use crate::domain::{
    AuthorizationChange, EndReason, NewRevocation, NewSession, Presentation, RefreshToken, ScopeSet, Session,
    SessionId, SessionPolicy, Subject,
};

#[derive(Queryable)]
struct SessionRow {
    id: String,
    user_id: String,
    roles: String,
    authorization_version: i64,
    scope_limit: Option<String>,
    amr: String,
    address: Option<String>,
    user_agent: Option<String>,
    created_at: i64,
    expires_at: i64,
    last_used_at: i64,
    rotated_at: i64,
    current_number: i64,
    previous_number: i64,
    ended_at: Option<i64>,
    client_id: Option<String>,
}

type Columns = (
    sessions::id,
    sessions::user_id,
    sessions::roles,
    sessions::authorization_version,
    sessions::scope_limit,
    sessions::amr,
    sessions::address,
    sessions::user_agent,
    sessions::created_at,
    sessions::expires_at,
    sessions::last_used_at,
    sessions::rotated_at,
    sessions::current_number,
    sessions::previous_number,
    sessions::ended_at,
    sessions::client_id,
);

/// The columns of a [`SessionRow`], in its order.
const COLUMNS: Columns = (
    sessions::id,
    sessions::user_id,
    sessions::roles,
    sessions::authorization_version,
    sessions::scope_limit,
    sessions::amr,
    sessions::address,
    sessions::user_agent,
    sessions::created_at,
    sessions::expires_at,
    sessions::last_used_at,
    sessions::rotated_at,
    sessions::current_number,
    sessions::previous_number,
    sessions::ended_at,
    sessions::client_id,
);

impl SessionRow {
    fn from_pipelined(row: &PipelinedRow) -> Result<Self, StorageError> {
        Ok(Self {
            id: row.try_get(0)?,
            user_id: row.try_get(1)?,
            roles: row.try_get(2)?,
            authorization_version: row.try_get(3)?,
            scope_limit: row.try_get(4)?,
            amr: row.try_get(5)?,
            address: row.try_get(6)?,
            user_agent: row.try_get(7)?,
            created_at: row.try_get(8)?,
            expires_at: row.try_get(9)?,
            last_used_at: row.try_get(10)?,
            rotated_at: row.try_get(11)?,
            current_number: row.try_get(12)?,
            previous_number: row.try_get(13)?,
            ended_at: row.try_get(14)?,
            client_id: row.try_get(15)?,
        })
    }

    fn into_session(self) -> Result<Session, DieselError> {
        let unreadable = |column: &str| DieselError::DeserializationError(format!("sessions.{column}").into());
        Ok(Session {
            id: SessionId::parse(&self.id).ok_or_else(|| unreadable("id"))?,
            subject: Subject {
                user_id: self.user_id,
                authorization_version: self.authorization_version,
                roles: split(&self.roles),
            },
            scope_limit: match self.scope_limit {
                None => None,
                Some(text) => Some(ScopeSet::parse(&text).ok_or_else(|| unreadable("scope_limit"))?),
            },
            amr: self.amr,
            address: self.address,
            user_agent: self.user_agent,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            last_used_at: Timestamp::from_micros(self.last_used_at),
            rotated_at: Timestamp::from_micros(self.rotated_at),
            current: self.current_number,
            previous: self.previous_number,
            ended_at: self.ended_at.map(Timestamp::from_micros),
            client_id: self.client_id,
        })
    }
}

#[derive(Insertable)]
#[diesel(table_name = sessions)]
struct NewSessionRow<'a> {
    id: String,
    user_id: &'a str,
    roles: String,
    authorization_version: i64,
    scope_limit: Option<String>,
    amr: &'a str,
    address: Option<&'a str>,
    user_agent: Option<&'a str>,
    created_at: i64,
    expires_at: i64,
    last_used_at: i64,
    rotated_at: i64,
    current_number: i64,
    previous_number: i64,
    client_id: Option<&'a str>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = subjects)]
struct SubjectRow {
    user_id: String,
    /// The newest version that is known, from an event or from a log-in.
    authorization_version: i64,
    roles: String,
    disabled: bool,
    deleted: bool,
    /// The version up to which events have been taken up. A log-in may know of a change before its event comes, but not
    /// of what has to end with it.
    told_version: i64,
}

impl SubjectRow {
    fn of(subject: &Subject, disabled: bool, deleted: bool) -> Self {
        Self {
            user_id: subject.user_id.clone(),
            authorization_version: subject.authorization_version,
            roles: subject.roles.join(" "),
            disabled,
            deleted,
            // Before its first log-in a user has nothing that an event could end.
            told_version: subject.authorization_version,
        }
    }
}

fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What became of a log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The session is there.
    Yes,
    /// The session is there, and user-service has gone back to an older state of the user: a new epoch of the feed has
    /// begun.
    WentBack,
    /// The user's authorization changed after user-service had checked the password, or the client was deleted after it
    /// had shown its secret: both have to be asked again.
    Stale,
}

/// The step of a session's line of refresh tokens, as one compare-and-set that both databases run as a single
/// statement: it succeeds for whoever presents the newest number, and for the number before it when the replay window
/// is over. Everybody else finds no row.
macro_rules! rotate {
    ($id:expr, $number:expr, $client_id:expr, $now:expr, $policy:expr) => {{
        let now = $now.as_micros();
        let replay_over = $now.plus_seconds(-$policy.replay_window_seconds).as_micros();
        let idle_since = $now.plus_seconds(-$policy.idle_seconds).as_micros();
        diesel::update(
            sessions::table
                .filter(sessions::id.eq($id))
                .filter(sessions::ended_at.is_null())
                .filter(sessions::expires_at.gt(now))
                .filter(sessions::last_used_at.gt(idle_since))
                .filter(sessions::client_id.is_null().or(sessions::client_id.eq($client_id)))
                .filter(
                    sessions::current_number
                        .eq($number)
                        .or(sessions::previous_number.eq($number).and(sessions::rotated_at.le(replay_over))),
                ),
        )
        .set((
            sessions::current_number.eq(sessions::current_number + 1),
            sessions::previous_number.eq($number),
            sessions::rotated_at.eq(now),
            sessions::last_used_at.eq(now),
        ))
        .returning(COLUMNS)
    }};
}

/// The sessions of all users.
#[derive(Clone)]
pub struct SessionStore {
    database: Database,
    revocations: RevocationStore,
}

impl SessionStore {
    /// On a database with the schema of [`super::MIGRATIONS`]; what ends sessions revokes their tokens.
    pub fn new(database: Database, revocations: RevocationStore) -> Self {
        Self { database, revocations }
    }

    /// Begins a session, unless auth-service knows of a newer authorization version of its user than the one that the
    /// log-in was checked against. With `trust_user_service` an older version is believed: it was read after the newer
    /// one had been told of, so user-service's database has been restored from a backup. The user's other sessions end
    /// then, since nobody can say what they may still do.
    pub async fn start(&self, session: NewSession, trust_user_service: bool) -> Result<Started, Error> {
        let now = session.created_at;
        self.revocations
            .transaction(now, move |db| {
                let subject = SubjectRow::of(&session.subject, false, false);
                let mut ended = Ended::default();
                let mut started = Started::Yes;
                if let Some(client_id) = &session.client_id
                    && !hold_client(db, client_id)?
                {
                    return Ok(ended.done(Started::Stale));
                }
                let known = lock_subject(db, &subject)?;
                if known.authorization_version > subject.authorization_version {
                    if !trust_user_service {
                        return Ok(ended.done(Started::Stale));
                    }
                    ended = go_back(db, &subject, now)?;
                    started = Started::WentBack;
                }
                diesel::update(subjects::table.find(&subject.user_id))
                    .set((
                        subjects::authorization_version.eq(subject.authorization_version),
                        subjects::roles.eq(&subject.roles),
                        subjects::disabled.eq(false),
                        subjects::deleted.eq(false),
                    ))
                    .execute(db)?;
                let created_at = session.created_at.as_micros();
                diesel::insert_into(sessions::table)
                    .values(&NewSessionRow {
                        id: session.id.to_string(),
                        user_id: &subject.user_id,
                        roles: subject.roles.clone(),
                        authorization_version: subject.authorization_version,
                        scope_limit: session.scope_limit.as_ref().map(ToString::to_string),
                        amr: session.amr,
                        address: session.origin.address.as_deref(),
                        user_agent: session.origin.user_agent.as_deref(),
                        created_at,
                        expires_at: session.expires_at.as_micros(),
                        last_used_at: created_at,
                        rotated_at: created_at,
                        current_number: 1,
                        previous_number: 0,
                        client_id: session.client_id.as_deref(),
                    })
                    .execute(db)?;
                let origin = session.origin.by_actor(Actor::user(&subject.user_id));
                let record = origin.record("login", now).to(&subject.user_id).about_session(session.id.to_string());
                ended.records.push(AuditRecord { client_id: session.client_id, ..record });
                Ok(ended.done(started))
            })
            .await
    }

    /// Takes a presented refresh token to the next step of its line. `Some` means tokens: the session as it is after
    /// the step, and whether it was rotated or replayed. A reuse ends the session. `client_id` is the client that has
    /// shown its secret, if any: without the one that it belongs to, nothing happens to a session.
    pub async fn present(
        &self,
        token: RefreshToken,
        client_id: Option<&str>,
        origin: &Origin,
        now: Timestamp,
        policy: SessionPolicy,
    ) -> Result<(Presentation, Option<Session>), Error> {
        let id = token.session.to_string();
        let number = token.number;
        let rotated = match self.database.backend() {
            Backend::Sqlite => {
                let id = id.clone();
                let client_id = client_id.map(str::to_owned);
                self.database
                    .write_statement(move |db| {
                        rotate!(&id, number, client_id.as_deref(), now, policy)
                            .get_result::<SessionRow>(db)
                            .optional()
                            .map_err(Error::from)
                    })
                    .await?
            }
            // If the answer is lost and the statement repeated, the second one finds the number to be the previous one
            // within the replay window: the same outcome.
            Backend::Postgres => {
                let statement = rotate!(&id, number, client_id, now, policy);
                self.database.write_pipelined(&statement, SessionRow::from_pipelined).await?.pop()
            }
        };
        if let Some(row) = rotated {
            return Ok((Presentation::Rotate, Some(row.into_session()?)));
        }
        let Some(session) = self.find(token.session).await? else {
            return Ok((Presentation::Dead, None));
        };
        match session.judge(number, now, &policy) {
            Presentation::Dead => Ok((Presentation::Dead, None)),
            _ if !session.is_open_to(client_id) => Ok((Presentation::Foreign, None)),
            Presentation::Replay => Ok((Presentation::Replay, Some(session))),
            // `Rotate` cannot be: the statement above would have found the row, and a session's numbers only grow.
            Presentation::Reuse | Presentation::Rotate | Presentation::Foreign => {
                self.end(token.session, EndReason::RefreshReuse, origin, now).await?;
                Ok((Presentation::Reuse, Some(session)))
            }
        }
    }

    /// A session by its id, ended ones too.
    pub async fn find(&self, id: SessionId) -> Result<Option<Session>, Error> {
        let id = id.to_string();
        let row = match self.database.backend() {
            Backend::Sqlite => self.database.read_on_worker(|connection| {
                sessions::table
                    .find(&id)
                    .select(COLUMNS)
                    .first::<SessionRow>(connection)
                    .optional()
                    .map_err(Error::from)
            })?,
            Backend::Postgres => {
                let query = sessions::table.find(&id).select(COLUMNS);
                self.database.read_pipelined(&query, SessionRow::from_pipelined).await?.pop()
            }
        };
        Ok(row.map(SessionRow::into_session).transpose()?)
    }

    /// The sessions of a user that can still be refreshed, the newest first.
    pub async fn live_of_user(
        &self,
        user_id: &str,
        now: Timestamp,
        policy: SessionPolicy,
    ) -> Result<Vec<Session>, Error> {
        let user_id = user_id.to_owned();
        self.database
            .read(move |db| {
                sessions::table
                    .filter(sessions::user_id.eq(&user_id))
                    .filter(sessions::ended_at.is_null())
                    .filter(sessions::expires_at.gt(now.as_micros()))
                    .filter(sessions::last_used_at.gt(now.plus_seconds(-policy.idle_seconds).as_micros()))
                    .order(sessions::created_at.desc())
                    .select(COLUMNS)
                    .load::<SessionRow>(db)?
                    .into_iter()
                    .map(|row| row.into_session().map_err(Error::from))
                    .collect()
            })
            .await
    }

    /// Whether a user has had a session from this address, as far as that is still known.
    pub async fn was_at(&self, user_id: &str, address: &str) -> Result<bool, Error> {
        let (user_id, address) = (user_id.to_owned(), address.to_owned());
        self.database
            .read(move |db| {
                let there = sessions::table.filter(sessions::user_id.eq(user_id)).filter(sessions::address.eq(address));
                Ok(diesel::select(diesel::dsl::exists(there)).get_result(db)?)
            })
            .await
    }

    /// Ends a session. False if there was none that had not ended yet.
    pub async fn end(&self, id: SessionId, reason: EndReason, origin: &Origin, now: Timestamp) -> Result<bool, Error> {
        self.end_which(Which::One(id), reason, origin, now).await.map(|ended| ended > 0)
    }

    /// Ends a session if it is this user's. False if there was no such session that had not ended yet.
    pub async fn end_of_user(
        &self,
        id: SessionId,
        user_id: &str,
        reason: EndReason,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.end_which(Which::OneOfUser(id, user_id.to_owned()), reason, origin, now).await.map(|ended| ended > 0)
    }

    /// Ends every session of a user.
    pub async fn end_all_of_user(
        &self,
        user_id: &str,
        reason: EndReason,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<usize, Error> {
        self.end_which(Which::User(user_id.to_owned()), reason, origin, now).await
    }

    async fn end_which(
        &self,
        which: Which,
        reason: EndReason,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let origin = origin.clone();
        self.revocations
            .transaction(now, move |db| {
                let ended = end_sessions(db, &which, reason, &origin, now)?;
                let count = ended.revoked.len();
                Ok(ended.done(count))
            })
            .await
    }

    /// Takes up changes of users' authorization, in the order given and all or none. One that is known already
    /// changes nothing, so they may be told of more than once.
    pub async fn apply(&self, changes: Vec<AuthorizationChange>, now: Timestamp) -> Result<(), Error> {
        self.revocations
            .transaction(now, move |db| {
                let mut ended = Ended::default();
                for change in &changes {
                    apply_change(db, change, now, &mut ended)?;
                }
                Ok(ended.done(()))
            })
            .await
    }

    /// Removes sessions that ended or expired before `before`. Their tokens are as dead without the row.
    pub async fn purge(&self, before: Timestamp, policy: SessionPolicy) -> Result<usize, Error> {
        let before_micros = before.as_micros();
        let idle_before = before.plus_seconds(-policy.idle_seconds).as_micros();
        self.database
            .write_statement(move |db| {
                let removed = diesel::delete(sessions::table.filter(
                    sessions::expires_at.lt(before_micros).or(sessions::last_used_at.lt(idle_before)).or(
                        sessions::ended_at.is_not_null().and(sessions::ended_at.lt(before_micros).assume_not_null()),
                    ),
                ))
                .execute(db)?;
                Ok::<_, Error>(removed)
            })
            .await
    }
}

/// Makes sure that the subject is known, and holds its row until the transaction ends: a log-in and a change of the
/// same user take turns.
fn lock_subject(db: &mut Db, subject: &SubjectRow) -> Result<SubjectRow, DieselError> {
    match db {
        Db::Sqlite(connection) => {
            diesel::insert_into(subjects::table).values(subject).on_conflict_do_nothing().execute(connection)?;
            subjects::table.find(&subject.user_id).select(SubjectRow::as_select()).first(connection)
        }
        Db::Postgres(connection) => {
            diesel::insert_into(subjects::table).values(subject).on_conflict_do_nothing().execute(connection)?;
            subjects::table.find(&subject.user_id).select(SubjectRow::as_select()).for_update().first(connection)
        }
    }
}

/// Whether there is this client. If so it cannot be deleted until the transaction ends, so that its deletion finds every
/// session that was begun with it.
fn hold_client(db: &mut Db, client_id: &str) -> Result<bool, DieselError> {
    let client = clients::table.find(client_id).select(clients::version);
    let version: Option<i64> = match db {
        Db::Sqlite(connection) => client.first(connection).optional()?,
        Db::Postgres(connection) => client.for_key_share().first(connection).optional()?,
    };
    Ok(version.is_some())
}

/// Takes a change up. It revokes all tokens of the versions before it; those of the sessions that end are among them. What
/// was begun with that version or a later one is none of its business.
fn apply_change(
    db: &mut Db,
    change: &AuthorizationChange,
    now: Timestamp,
    ended: &mut Ended,
) -> Result<(), DieselError> {
    let subject = SubjectRow::of(&change.subject, change.disabled, change.deleted);
    let version = subject.authorization_version;
    // A user who never logged in has no sessions, but a log-in may be under way that was checked before the change.
    let unknown =
        SubjectRow { authorization_version: 0, told_version: 0, ..SubjectRow::of(&change.subject, false, false) };
    let known = lock_subject(db, &unknown)?;
    if known.told_version >= version {
        return Ok(());
    }
    let row = subjects::table.find(&subject.user_id);
    diesel::update(row).set(subjects::told_version.eq(version)).execute(db)?;
    if known.authorization_version <= version {
        diesel::update(row)
            .set((
                subjects::authorization_version.eq(version),
                subjects::roles.eq(&subject.roles),
                subjects::disabled.eq(subject.disabled),
                subjects::deleted.eq(subject.deleted),
            ))
            .execute(db)?;
    }
    let before = |keep| Which::UserBefore { user_id: subject.user_id.clone(), version, keep };
    let over = if change.deleted {
        Some((Which::User(subject.user_id.clone()), EndReason::UserDeleted))
    } else if change.disabled {
        Some((before(None), EndReason::UserDisabled))
    } else if change.password_changed {
        Some((before(change.keep_session), EndReason::PasswordChanged))
    } else {
        None
    };
    if let Some((which, reason)) = over {
        // Who changed the user is told by user-service's own record.
        ended.records.extend(end_sessions(db, &which, reason, &Origin::default(), now)?.records);
    }
    diesel::update(
        sessions::table
            .filter(sessions::user_id.eq(&subject.user_id))
            .filter(sessions::authorization_version.lt(version))
            .filter(sessions::ended_at.is_null()),
    )
    .set((sessions::roles.eq(&subject.roles), sessions::authorization_version.eq(version)))
    .execute(db)?;
    ended.revoked.push(NewRevocation::User { min_ver: version, sub: subject.user_id });
    Ok(())
}

/// user-service has gone back to an older version of a user, so what the feed says of newer ones would hit every token
/// from now on. It is taken back, and the tokens that it was meant for are revoked by their sessions.
fn go_back(db: &mut Db, subject: &SubjectRow, now: Timestamp) -> Result<Ended, DieselError> {
    /// No access token lives for longer.
    const LONGEST_TTL_SECONDS: i64 = 86_400;

    let user_id = &subject.user_id;
    let which = Which::User(user_id.clone());
    let records = end_sessions(db, &which, EndReason::UserRestored, &Origin::default(), now)?.records;
    diesel::update(subjects::table.find(user_id))
        .set(subjects::told_version.eq(subject.authorization_version))
        .execute(db)?;
    let ended: Vec<String> = sessions::table
        .filter(sessions::user_id.eq(user_id))
        .filter(sessions::ended_at.gt(now.plus_seconds(-LONGEST_TTL_SECONDS).as_micros()).assume_not_null())
        .select(sessions::id)
        .load(db)?;
    forget_versions_above(db, user_id, subject.authorization_version)?;
    let revoked = ended.iter().map(|id| revocation_of(id)).collect::<Result<_, _>>()?;
    Ok(Ended { revoked, records })
}

/// Which sessions end.
enum Which {
    /// One.
    One(SessionId),
    /// One, if it is this user's.
    OneOfUser(SessionId, String),
    /// All of a user.
    User(String),
    /// Those of a user that were begun before a version, but for one that may be kept.
    UserBefore { user_id: String, version: i64, keep: Option<SessionId> },
}

/// What has to be said of sessions that have ended.
#[derive(Default)]
struct Ended {
    revoked: Vec<NewRevocation>,
    records: Vec<AuditRecord>,
}

impl Ended {
    fn done<T>(self, value: T) -> Done<T> {
        Done { value, revoked: self.revoked, records: self.records }
    }
}

/// Ends those that have not ended yet.
fn end_sessions(
    db: &mut Db,
    which: &Which,
    reason: EndReason,
    origin: &Origin,
    now: Timestamp,
) -> Result<Ended, DieselError> {
    macro_rules! end {
        ($filter:expr) => {
            diesel::update(sessions::table.filter($filter).filter(sessions::ended_at.is_null()))
                .set((sessions::ended_at.eq(now.as_micros()), sessions::end_reason.eq(reason.as_str())))
                .returning((sessions::id, sessions::user_id))
                .get_results::<(String, String)>(db)?
        };
    }
    let sessions = match which {
        Which::One(id) => end!(sessions::id.eq(id.to_string())),
        Which::OneOfUser(id, user_id) => end!(sessions::id.eq(id.to_string()).and(sessions::user_id.eq(user_id))),
        Which::User(user_id) => end!(sessions::user_id.eq(user_id)),
        Which::UserBefore { user_id, version, keep } => {
            // No session has an empty id.
            let kept = keep.map(|id| id.to_string()).unwrap_or_default();
            let before = sessions::authorization_version.lt(*version);
            end!(sessions::user_id.eq(user_id).and(before).and(not(sessions::id.eq(kept))))
        }
    };
    let mut ended = Ended::default();
    for (id, user_id) in sessions {
        ended.revoked.push(revocation_of(&id)?);
        ended.records.push(end_record(id, user_id, reason, origin, now));
    }
    Ok(ended)
}

/// What the audit log says of a session that has ended.
pub(super) fn end_record(
    id: String,
    user_id: String,
    reason: EndReason,
    origin: &Origin,
    now: Timestamp,
) -> AuditRecord {
    origin.record(reason.action(), now).to(user_id).about_session(id).with(json!({ "reason": reason.as_str() }))
}

fn revocation_of(id: &str) -> Result<NewRevocation, DieselError> {
    SessionId::parse(id)
        .map(NewRevocation::Session)
        .ok_or_else(|| DieselError::DeserializationError("sessions.id".into()))
}

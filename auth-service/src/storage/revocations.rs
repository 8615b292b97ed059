//! The entries of the feed: written with what they revoke, read by their numbers.

use std::{pin::pin, sync::Arc};

use diesel::{connection::SimpleConnection as _, prelude::*, result::Error as DieselError};
use service_kit::{
    Error, Timestamp,
    audit::AuditRecord,
    db::{Database, Db},
};
use shared_claims::{
    Claims,
    feed::{Entry, Revocation},
};
use uuid::Uuid;

use super::{
    audit,
    schema::{clients, feed_state, revocations, sessions, subjects},
};
use crate::domain::NewRevocation;

/// What PostgreSQL tells the other replicas by when there is something new.
pub const CHANNEL: &str = "signet_revocations";

/// Rows in one INSERT at most: PostgreSQL takes 65,535 parameters.
const ROWS_PER_INSERT: usize = 1000;

const SESSION: &str = "session";
const USER: &str = "user";
const TOKEN: &str = "token";
const KEY: &str = "key";
const ALL: &str = "all";

#[derive(Queryable, Insertable)]
#[diesel(table_name = revocations, treat_none_as_default_value = false)]
struct RevocationRow {
    seq: i64,
    kind: String,
    key: String,
    number: Option<i64>,
    until: i64,
}

impl RevocationRow {
    /// `None` for a kind that is not written: it has no row.
    fn of(entry: &Entry) -> Option<Self> {
        let (kind, key, number) = match &entry.revocation {
            Revocation::Session { sid } => (SESSION, sid.as_str(), None),
            Revocation::User { sub, min_ver } => (USER, sub.as_str(), Some(*min_ver)),
            Revocation::Token { jti } => (TOKEN, jti.as_str(), None),
            Revocation::Key { kid } => (KEY, kid.as_str(), None),
            Revocation::All { issued_before } => (ALL, "", Some(*issued_before)),
            _ => return None,
        };
        Some(Self {
            seq: signed(entry.seq),
            kind: kind.to_owned(),
            key: key.to_owned(),
            number: number.map(signed),
            until: signed(entry.until),
        })
    }

    fn into_entry(self) -> Entry {
        let number = unsigned(self.number.unwrap_or_default());
        let revocation = match self.kind.as_str() {
            SESSION => Revocation::Session { sid: self.key },
            USER => Revocation::User { sub: self.key, min_ver: number },
            TOKEN => Revocation::Token { jti: self.key },
            KEY => Revocation::Key { kid: self.key },
            ALL => Revocation::All { issued_before: number },
            // A later version of the service wrote it; verifiers pass it over as well.
            _ => Revocation::Unknown,
        };
        Entry { seq: unsigned(self.seq), revocation, until: unsigned(self.until) }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Is told of entries once they are committed, on the thread that committed them.
pub type Committed = Arc<dyn Fn(&[Entry]) + Send + Sync>;

/// What a transaction has done, and what has to be written with it.
pub(super) struct Done<T> {
    /// What it was for.
    pub(super) value: T,
    /// What it revoked.
    pub(super) revoked: Vec<NewRevocation>,
    /// What the audit log says of it.
    pub(super) records: Vec<AuditRecord>,
}

/// Everything that revokes writes its entries and its audit records here, in the transaction of what it revokes.
#[derive(Clone)]
pub struct RevocationStore {
    database: Database,
    committed: Committed,
}

impl RevocationStore {
    /// On a database with the schema of [`super::MIGRATIONS`].
    pub fn new(database: Database, committed: Committed) -> Self {
        Self { database, committed }
    }

    /// Runs a transaction that revokes. The entries of what `work` says it revoked are written last, because the row
    /// that numbers them is held from then until the commit.
    pub(super) async fn transaction<T: Send + 'static>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&mut Db) -> Result<Done<T>, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let committed = self.committed.clone();
        let (value, ..) = self
            .database
            .write_and_then(
                move |db| {
                    give_up_when_lost(db)?;
                    let Done { value, revoked, records } = work(db)?;
                    audit::write(db, &records)?;
                    let entries = write(db, revoked, now)?;
                    Ok::<_, Error>((value, entries, records))
                },
                move |(_, entries, records): &(T, Vec<Entry>, Vec<AuditRecord>)| {
                    if !entries.is_empty() {
                        committed(entries);
                    }
                    records.iter().for_each(AuditRecord::log);
                },
            )
            .await?;
        Ok(value)
    }

    /// Revokes, and nothing else: a single token, what a key signed, everything before a time.
    pub async fn revoke(
        &self,
        revoked: Vec<NewRevocation>,
        records: Vec<AuditRecord>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.transaction(now, move |_| Ok(Done { value: (), revoked, records })).await
    }

    /// Whether a token that is genuine and has not expired is revoked, as the database has it this moment. `kid` is the
    /// key that it was verified with.
    ///
    /// Besides the entries of the feed this asks for the session, the user and the client themselves: what is not known
    /// here, for example because a backup was restored, is not vouched for.
    pub async fn is_revoked(&self, claims: &Claims, kid: &str) -> Result<bool, Error> {
        let claims = claims.clone();
        let kid = kid.to_owned();
        self.database.read(move |db| Ok(is_revoked(db, &claims, &kid)?)).await
    }
}

/// Lets PostgreSQL roll the transaction back soon if this machine vanishes in the middle of it: nobody could revoke
/// anything until the locks are free.
fn give_up_when_lost(db: &mut Db) -> Result<(), DieselError> {
    match db {
        Db::Sqlite(_) => Ok(()),
        Db::Postgres(connection) => connection.batch_execute("SET LOCAL idle_in_transaction_session_timeout = '5s'"),
    }
}

/// Writes the entries and numbers them. Nothing may be locked after this: the row of `feed_state` is the last that any
/// transaction takes, so that none waits for another in a circle.
fn write(db: &mut Db, revoked: Vec<NewRevocation>, now: Timestamp) -> Result<Vec<Entry>, DieselError> {
    if revoked.is_empty() {
        return Ok(Vec::new());
    }
    let count = i64::try_from(revoked.len()).unwrap_or(i64::MAX);
    let (newest, longest_ttl_seconds): (i64, i64) = diesel::update(feed_state::table)
        .set(feed_state::seq.eq(feed_state::seq + count))
        .returning((feed_state::seq, feed_state::longest_ttl_seconds))
        .get_result(db)?;
    let first = unsigned(newest - count + 1);
    let longest_ttl_seconds = unsigned(longest_ttl_seconds);
    let entries: Vec<Entry> = (first..)
        .zip(revoked)
        .map(|(seq, revocation)| revocation.into_entry(seq, now.as_seconds(), longest_ttl_seconds))
        .collect();
    for chunk in entries.chunks(ROWS_PER_INSERT) {
        let rows: Vec<RevocationRow> = chunk.iter().filter_map(RevocationRow::of).collect();
        match db {
            // Several rows at once would begin a transaction of their own.
            Db::Sqlite(connection) => {
                for row in rows {
                    diesel::insert_into(revocations::table).values(row).execute(connection)?;
                }
            }
            Db::Postgres(connection) => {
                diesel::insert_into(revocations::table).values(rows).execute(connection)?;
            }
        }
    }
    notify(db)?;
    Ok(entries)
}

/// Tells the other replicas, when the transaction is committed. On SQLite there are none.
fn notify(db: &mut Db) -> Result<(), DieselError> {
    match db {
        Db::Sqlite(_) => Ok(()),
        Db::Postgres(connection) => {
            diesel::sql_query(format!("SELECT pg_notify('{CHANNEL}', '')")).execute(connection).map(drop)
        }
    }
}

/// Takes back what was said of a user's versions above this one: user-service has gone back to it. Verifiers only ever
/// add to their lists, so they have to begin theirs anew.
pub(super) fn forget_versions_above(db: &mut Db, user_id: &str, version: i64) -> Result<(), DieselError> {
    diesel::delete(
        revocations::table
            .filter(revocations::kind.eq(USER))
            .filter(revocations::key.eq(user_id))
            .filter(revocations::number.gt(version).assume_not_null()),
    )
    .execute(db)?;
    diesel::update(feed_state::table).set(feed_state::epoch.eq(new_epoch())).execute(db)?;
    notify(db)
}

fn is_revoked(db: &mut Db, claims: &Claims, kid: &str) -> Result<bool, DieselError> {
    let by_entry: bool = diesel::select(diesel::dsl::exists(
        revocations::table.filter(
            revocations::kind
                .eq(TOKEN)
                .and(revocations::key.eq(&claims.jti))
                .or(revocations::kind.eq(KEY).and(revocations::key.eq(kid)))
                .or(revocations::kind.eq(ALL).and(revocations::number.gt(signed(claims.iat)).assume_not_null())),
        ),
    ))
    .get_result(db)?;
    if by_entry {
        return Ok(true);
    }
    if let Some(sid) = &claims.sid {
        let ended_at: Option<Option<i64>> =
            sessions::table.find(sid).select(sessions::ended_at).first(db).optional()?;
        if !matches!(ended_at, Some(None)) {
            return Ok(true);
        }
    }
    let version = claims.ver.map(signed);
    if !claims.is_client() {
        let subject: Option<(i64, bool, bool)> = subjects::table
            .find(&claims.sub)
            .select((subjects::told_version, subjects::disabled, subjects::deleted))
            .first(db)
            .optional()?;
        return Ok(
            !matches!(subject, Some((current, false, false)) if version.is_some_and(|version| version >= current)),
        );
    }
    // A service's own token has no version: it is not registered anywhere.
    let Some(version) = version else { return Ok(false) };
    let current: Option<i64> = clients::table.find(&claims.sub).select(clients::version).first(db).optional()?;
    Ok(current.is_none_or(|current| version < current))
}

fn new_epoch() -> String {
    Uuid::now_v7().to_string()
}

/// What a replica knows of the feed.
#[derive(Clone, Debug)]
pub struct Known {
    /// The epoch.
    pub epoch: String,
    /// The number of the newest entry.
    pub seq: u64,
    /// The newest entry that is still held.
    pub last: Option<Entry>,
}

/// What has become of the feed since.
#[derive(Debug)]
pub enum News {
    /// Nothing.
    None,
    /// It goes on.
    Entries {
        /// The number of the newest entry.
        seq: u64,
        /// The new ones.
        entries: Vec<Entry>,
    },
    /// Another epoch has begun.
    Epoch {
        /// Its name.
        epoch: String,
        /// The number of the newest entry.
        seq: u64,
        /// All that live.
        entries: Vec<Entry>,
    },
    /// The database is not the one that was known: it was restored from a backup.
    Restored,
}

/// The feed as the database has it.
#[derive(Clone)]
pub struct FeedStore {
    /// For changes.
    database: Database,
    /// A connection of the feed's own, so that news never wait behind requests.
    reader: Database,
}

impl FeedStore {
    /// On a database, with another handle of it that nothing else uses.
    pub fn new(database: Database, reader: Database) -> Self {
        Self { database, reader }
    }

    /// Begins an epoch when the service starts. Tokens live for `longest_ttl_seconds` at most from now on. Only for the
    /// start: it blocks.
    pub fn open(&self, longest_ttl_seconds: u64) -> Result<(), Error> {
        let longest = signed(longest_ttl_seconds);
        self.database.blocking(|db| {
            diesel::update(feed_state::table.filter(feed_state::longest_ttl_seconds.lt(longest)))
                .set(feed_state::longest_ttl_seconds.eq(longest))
                .execute(db)?;
            diesel::update(feed_state::table).set(feed_state::epoch.eq(new_epoch())).execute(db)?;
            Ok(notify(db)?)
        })
    }

    /// Everything that lives, at the start: it blocks.
    pub fn snapshot(&self, now: u64) -> Result<(String, u64, Vec<Entry>), Error> {
        self.database.blocking(|db| {
            let (epoch, seq) = head(db)?;
            Ok((epoch, unsigned(seq), live(db, seq, now)?))
        })
    }

    /// What is new since `known`.
    pub async fn news(&self, known: Known, now: u64) -> Result<News, Error> {
        self.reader.read(move |db| Ok(news(db, &known, now)?)).await
    }

    /// The same when the feed's own connection has failed: by that or by any other, whichever is there first. A pool
    /// makes one connection anew at a time, and a try that was begun while the database was away may take long to end.
    pub async fn news_by_any(&self, known: Known, now: u64) -> Result<News, Error> {
        let own = self.news(known.clone(), now);
        let other = self.database.read(move |db| Ok(news(db, &known, now)?));
        let (mut own, mut other) = (pin!(own), pin!(other));
        tokio::select! {
            news = &mut own => match news {
                Ok(news) => Ok(news),
                Err(_) => other.await,
            },
            news = &mut other => match news {
                Ok(news) => Ok(news),
                Err(_) => own.await,
            },
        }
    }

    /// Begins another epoch, unless somebody else has done so.
    pub async fn begin_epoch(&self, former: String) -> Result<(), Error> {
        self.reader
            .write(move |db| {
                diesel::update(feed_state::table.filter(feed_state::epoch.eq(former)))
                    .set(feed_state::epoch.eq(new_epoch()))
                    .execute(db)?;
                Ok(notify(db)?)
            })
            .await
    }

    /// Removes entries whose time is over.
    pub async fn purge(&self, now: u64) -> Result<usize, Error> {
        self.database
            .write_statement(move |db| {
                Ok(diesel::delete(revocations::table.filter(revocations::until.le(signed(now)))).execute(db)?)
            })
            .await
    }
}

fn head(db: &mut Db) -> Result<(String, i64), DieselError> {
    feed_state::table.select((feed_state::epoch, feed_state::seq)).first(db)
}

/// Entries whose time is not over, up to a number that was read before: what is committed meanwhile has a higher one.
fn live(db: &mut Db, newest: i64, now: u64) -> Result<Vec<Entry>, DieselError> {
    let rows: Vec<RevocationRow> = revocations::table
        .filter(revocations::seq.le(newest))
        .filter(revocations::until.gt(signed(now)))
        .order(revocations::seq)
        .load(db)?;
    Ok(rows.into_iter().map(RevocationRow::into_entry).collect())
}

fn news(db: &mut Db, known: &Known, now: u64) -> Result<News, DieselError> {
    let (epoch, newest) = head(db)?;
    let seq = unsigned(newest);
    if epoch != known.epoch {
        return Ok(News::Epoch { epoch, seq, entries: live(db, newest, now)? });
    }
    if seq < known.seq {
        return Ok(News::Restored);
    }
    if seq == known.seq {
        return Ok(News::None);
    }
    // The newest entry that is known is read once more: after a restore the same number is another entry's, or nobody's.
    let last = known.last.as_ref().filter(|last| last.until > now);
    let from = last.map_or(known.seq + 1, |last| last.seq);
    let rows: Vec<RevocationRow> = revocations::table
        .filter(revocations::seq.ge(signed(from)))
        .filter(revocations::seq.le(newest))
        .order(revocations::seq)
        .load(db)?;
    let mut entries: Vec<Entry> = rows.into_iter().map(RevocationRow::into_entry).collect();
    if let Some(last) = last {
        if entries.first() != Some(last) {
            return Ok(News::Restored);
        }
        entries.retain(|entry| entry.seq > known.seq);
    }
    Ok(News::Entries { seq, entries })
}

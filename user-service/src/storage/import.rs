//! Merges batches of an import into the table: whoever is not there yet is added, in one transaction per batch.
//!
//! Both databases do what taking the lines one after the other would do: of two lines with the same e-mail address the
//! first one makes the user.

use std::collections::HashMap;

use diesel::{
    ExecuteCopyFromDsl as _, PgConnection,
    connection::SimpleConnection as _,
    prelude::*,
    sql_types::{BigInt, Bool},
};
use service_kit::{
    Timestamp,
    audit::{AuditRecord, Origin},
    db::Db,
    import::Counts,
};

use super::{
    outbox,
    schema::{users, users_import},
    users::{UserRecord, lock_by_email, update},
};
use crate::{
    domain::{
        audit,
        import::{Existing, ImportedUser},
        role::Roles,
        user::{Name, User, Username},
    },
    error::Error,
};

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) counts: Counts,
    /// The lines that made a user.
    pub(crate) inserted: Vec<u64>,
    /// The lines with a user name that is somebody else's.
    pub(crate) username_taken: Vec<u64>,
    /// Whether there is something in the outbox.
    pub(crate) announced: bool,
}

/// The key of the advisory lock under which one import at a time writes, over all replicas: two that hold some of each
/// other's addresses would end in a deadlock.
const IMPORT_LOCK: &str = "SELECT pg_advisory_xact_lock(x'557365727300'::bigint)";

/// Merges a batch. It must run in a transaction.
pub(crate) fn merge(
    db: &mut Db,
    batch: &[ImportedUser],
    default_roles: &Roles,
    existing: Existing,
    origin: &Origin,
    now: Timestamp,
) -> Result<Merged, Error> {
    let rows: Vec<Row<'_>> = batch.iter().map(|line| Row { line, user: line.create(default_roles, now) }).collect();
    let left = match db {
        Db::Sqlite(connection) => insert_one_by_one(connection, &rows),
        Db::Postgres(connection) => copy_and_insert(connection, &rows),
    }
    .map_err(service_kit::Error::from)?;
    let mut merged = Merged::default();
    let mut records = Vec::new();
    for Row { line, .. } in &rows {
        match left.get(&line.line) {
            None => merged.inserted.push(line.line),
            Some(Obstacle::UsernameTaken) => merged.username_taken.push(line.line),
            Some(Obstacle::Exists) => {
                if existing == Existing::Update
                    && let Some(told) = change(db, line, origin, now, &mut merged.announced)?
                {
                    records.extend(told);
                    merged.counts.updated += 1;
                } else {
                    merged.counts.unchanged += 1;
                }
            }
        }
    }
    merged.counts.inserted = merged.inserted.len() as u64;
    let Counts { inserted, updated, .. } = merged.counts;
    if inserted + updated > 0 {
        records.push(audit::imported(inserted, updated, origin, now));
    }
    outbox::push_records(db, &records)?;
    Ok(merged)
}

struct Row<'a> {
    line: &'a ImportedUser,
    user: User,
}

/// Why a line made no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// There is one with this e-mail address.
    Exists,
    /// There is none, but one with this user name.
    UsernameTaken,
}

impl Obstacle {
    fn where_email_is_known(known: bool) -> Self {
        if known { Self::Exists } else { Self::UsernameTaken }
    }
}

/// Changes a user whom there is. `None` if there was nothing to change, else what the audit log says of it.
fn change(
    db: &mut Db,
    line: &ImportedUser,
    origin: &Origin,
    now: Timestamp,
    announced: &mut bool,
) -> Result<Option<Vec<AuditRecord>>, Error> {
    // Whoever was deleted meanwhile is not made anew by a change.
    let Some(user) = lock_by_email(db, &line.email)? else { return Ok(None) };
    let Some(changed) = user.change(line.changes(), now) else { return Ok(None) };
    update(db, &changed.user)?;
    if let Some(event) = &changed.event {
        outbox::push(db, event, now)?;
        *announced = true;
    }
    Ok(Some(audit::changed(&user, &changed.user, origin, now)))
}

/// Inserts rows; gives the lines that made no user.
fn insert_one_by_one(
    connection: &mut SqliteConnection,
    rows: &[Row<'_>],
) -> Result<HashMap<u64, Obstacle>, diesel::result::Error> {
    let mut left = HashMap::new();
    for Row { line, user } in rows {
        let inserted = diesel::insert_into(users::table)
            .values((UserRecord::from(user), users::password_hash.eq(line.password_hash.as_str())))
            .on_conflict_do_nothing()
            .execute(connection)?;
        if inserted == 0 {
            let same = users::table.filter(users::email.eq(line.email.as_str()));
            let known = diesel::select(diesel::dsl::exists(same)).get_result(connection)?;
            left.insert(line.line, Obstacle::where_email_is_known(known));
        }
    }
    Ok(left)
}

#[derive(QueryableByName)]
struct Left {
    #[diesel(sql_type = BigInt)]
    line: i64,
    #[diesel(sql_type = Bool)]
    known: bool,
}

const COLUMNS: &str = "id, email, username, username_key, name, password_hash, roles, email_verified, disabled, \
                       created_at, updated_at, version, authorization_version, search_text";

/// COPY takes a batch faster than any INSERT, and one statement moves it to where it belongs.
fn copy_and_insert(
    connection: &mut PgConnection,
    rows: &[Row<'_>],
) -> Result<HashMap<u64, Obstacle>, diesel::result::Error> {
    connection.batch_execute(&format!(
        "{IMPORT_LOCK}; \
         CREATE TEMPORARY TABLE IF NOT EXISTS users_import (LIKE users, line BIGINT NOT NULL) ON COMMIT DELETE ROWS; \
         TRUNCATE users_import"
    ))?;
    let number = |line: u64| i64::try_from(line).unwrap_or(i64::MAX);
    let copied: Vec<_> = rows
        .iter()
        .map(|Row { line, user }| {
            (
                users_import::id.eq(user.id.as_str()),
                users_import::email.eq(user.email.as_str()),
                users_import::username.eq(user.username.as_ref().map(Username::as_str)),
                users_import::username_key.eq(user.username.as_ref().map(Username::key)),
                users_import::name.eq(user.name.as_ref().map(Name::as_str)),
                users_import::password_hash.eq(line.password_hash.as_str()),
                users_import::roles.eq(user.roles.to_text()),
                users_import::email_verified.eq(user.email_verified),
                users_import::disabled.eq(user.disabled),
                users_import::created_at.eq(user.created_at.as_micros()),
                users_import::updated_at.eq(user.updated_at.as_micros()),
                users_import::version.eq(user.version),
                users_import::authorization_version.eq(user.authorization_version),
                users_import::search_text.eq(user.search_text()),
                users_import::line.eq(number(line.line)),
            )
        })
        .collect();
    diesel::copy_from(users_import::table).from_insertable(copied).execute(connection)?;
    // What the planner knows of the table is from another batch, or nothing.
    connection.batch_execute("ANALYZE users_import")?;
    let insert = format!(
        "INSERT INTO users ({COLUMNS}) SELECT {COLUMNS} FROM users_import ORDER BY line ON CONFLICT DO NOTHING"
    );
    if diesel::sql_query(insert).execute(connection)? == rows.len() {
        return Ok(HashMap::new());
    }
    let left: Vec<Left> = diesel::sql_query(
        "SELECT line, EXISTS (SELECT FROM users WHERE users.email = users_import.email) AS known FROM users_import \
         WHERE NOT EXISTS (SELECT FROM users WHERE users.id = users_import.id)",
    )
    .load(connection)?;
    Ok(left.into_iter().map(|row| (row.line.unsigned_abs(), Obstacle::where_email_is_known(row.known))).collect())
}

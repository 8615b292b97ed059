//! Users and their password hashes in the database.

use diesel::{
    prelude::*,
    result::{DatabaseErrorKind, Error as DieselError},
};
use service_kit::{Timestamp, db::Db, http::Limit};

use super::{on_backend, schema::users};
use crate::{
    domain::{
        password::PasswordHash,
        role::{Role, Roles},
        user::{Email, LoginName, Name, User, UserId, Username, lower_case},
    },
    error::Error,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
struct UserRow {
    id: String,
    email: String,
    username: Option<String>,
    name: Option<String>,
    roles: String,
    email_verified: bool,
    disabled: bool,
    created_at: i64,
    updated_at: i64,
    version: i64,
    authorization_version: i64,
}

impl TryFrom<UserRow> for User {
    type Error = Error;

    fn try_from(row: UserRow) -> Result<Self, Error> {
        Ok(Self {
            id: UserId::parse(&row.id).ok_or_else(|| Error::internal(anyhow::anyhow!("a user's id is malformed")))?,
            email: Email::from_stored(row.email),
            username: row.username.map(Username::from_stored),
            name: row.name.map(Name::from_stored),
            roles: Roles::from_text(&row.roles).map_err(Error::internal)?,
            email_verified: row.email_verified,
            disabled: row.disabled,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
            version: row.version,
            authorization_version: row.authorization_version,
        })
    }
}

/// All of a user but the password's hash, as it is written.
#[derive(Insertable, AsChangeset)]
#[diesel(table_name = users, treat_none_as_null = true)]
pub(super) struct UserRecord {
    id: String,
    email: String,
    username: Option<String>,
    username_key: Option<String>,
    name: Option<String>,
    roles: String,
    email_verified: bool,
    disabled: bool,
    created_at: i64,
    updated_at: i64,
    version: i64,
    authorization_version: i64,
    search_text: String,
}

impl From<&User> for UserRecord {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.as_str().to_owned(),
            email: user.email.to_string(),
            username: user.username.as_ref().map(ToString::to_string),
            username_key: user.username.as_ref().map(Username::key),
            name: user.name.as_ref().map(ToString::to_string),
            roles: user.roles.to_text(),
            email_verified: user.email_verified,
            disabled: user.disabled,
            created_at: user.created_at.as_micros(),
            updated_at: user.updated_at.as_micros(),
            version: user.version,
            authorization_version: user.authorization_version,
            search_text: user.search_text(),
        }
    }
}

/// A user and the hash that a log-in is held against.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// The user.
    pub(crate) user: User,
    /// The password's hash.
    pub(crate) password_hash: PasswordHash,
}

impl Credentials {
    fn from_row((row, hash): (UserRow, String)) -> Result<Self, Error> {
        Ok(Self { user: row.try_into()?, password_hash: PasswordHash::parse(&hash).map_err(Error::internal)? })
    }
}

/// Which users a list has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Part of the e-mail address, the user name or the name, whatever the case.
    pub(crate) text: Option<String>,
    /// A role that they hold.
    pub(crate) role: Option<Role>,
}

/// Turns a violated constraint into what it means.
fn write_error(error: DieselError) -> Error {
    if let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, information) = &error {
        // PostgreSQL names the constraint, SQLite writes the column into its message.
        let constraint = information.constraint_name().unwrap_or_else(|| information.message());
        if constraint == "users_email_unique" || constraint.ends_with("users.email") {
            return Error::EmailTaken;
        }
        if constraint == "users_username_key_unique" || constraint.ends_with("users.username_key") {
            return Error::UsernameTaken;
        }
    }
    service_kit::Error::from(error).into()
}

fn read_error(error: DieselError) -> Error {
    service_kit::Error::from(error).into()
}

/// The user with this id.
pub(crate) fn find(db: &mut Db, id: &UserId) -> Result<Option<User>, Error> {
    users::table
        .find(id.as_str())
        .select(UserRow::as_select())
        .first::<UserRow>(db)
        .optional()
        .map_err(read_error)?
        .map(User::try_from)
        .transpose()
}

/// The user with this e-mail address, held until the transaction ends.
pub(super) fn lock_by_email(db: &mut Db, email: &Email) -> Result<Option<User>, Error> {
    let user = users::table.filter(users::email.eq(email.as_str()));
    let row = match db {
        Db::Sqlite(connection) => user.select(UserRow::as_select()).first(connection),
        Db::Postgres(connection) => user.select(UserRow::as_select()).for_update().first(connection),
    };
    row.optional().map_err(read_error)?.map(User::try_from).transpose()
}

/// The user with this id and the password's hash.
pub(crate) fn find_credentials(db: &mut Db, id: &UserId) -> Result<Option<Credentials>, Error> {
    users::table
        .find(id.as_str())
        .select((UserRow::as_select(), users::password_hash))
        .first::<(UserRow, String)>(db)
        .optional()
        .map_err(read_error)?
        .map(Credentials::from_row)
        .transpose()
}

/// The user whom a log-in names and the password's hash.
pub(crate) fn find_login(db: &mut Db, login: &LoginName) -> Result<Option<Credentials>, Error> {
    let columns = (UserRow::as_select(), users::password_hash);
    let row = match login {
        LoginName::Email(email) => {
            users::table.filter(users::email.eq(email.as_str())).select(columns).first::<(UserRow, String)>(db)
        }
        LoginName::Username(username) => {
            users::table.filter(users::username_key.eq(username.key())).select(columns).first::<(UserRow, String)>(db)
        }
    };
    row.optional().map_err(read_error)?.map(Credentials::from_row).transpose()
}

/// The user with this id and the password's hash, held until the transaction ends. SQLite's write transactions come
/// one after the other anyway.
pub(crate) fn lock(db: &mut Db, id: &UserId) -> Result<Option<Credentials>, Error> {
    let user = users::table.find(id.as_str());
    let row = match db {
        Db::Sqlite(connection) => {
            user.select((UserRow::as_select(), users::password_hash)).first::<(UserRow, String)>(connection)
        }
        Db::Postgres(connection) => {
            user.select((UserRow::as_select(), users::password_hash))
                .for_update()
                .first::<(UserRow, String)>(connection)
        }
    };
    row.optional().map_err(read_error)?.map(Credentials::from_row).transpose()
}

/// Adds a user. Fails if the e-mail address or the user name is another one's.
pub(crate) fn insert(db: &mut Db, user: &User, hash: &PasswordHash) -> Result<(), Error> {
    diesel::insert_into(users::table)
        .values((UserRecord::from(user), users::password_hash.eq(hash.as_str())))
        .execute(db)
        .map_err(|error| taken(db, user, write_error(error)))?;
    Ok(())
}

/// Of two taken names, tells the e-mail address first on both databases. SQLite checks the other one first.
fn taken(db: &mut Db, user: &User, error: Error) -> Error {
    if !matches!((&error, &*db), (Error::UsernameTaken, Db::Sqlite(_))) {
        return error;
    }
    let others = users::table.filter(users::email.eq(user.email.to_string())).filter(users::id.ne(user.id.as_str()));
    match diesel::select(diesel::dsl::exists(others)).get_result(db) {
        Ok(true) => Error::EmailTaken,
        Ok(false) => error,
        Err(cause) => read_error(cause),
    }
}

/// Writes a user who is held. Fails if the e-mail address or the user name is another one's.
pub(crate) fn update(db: &mut Db, user: &User) -> Result<(), Error> {
    diesel::update(users::table.find(user.id.as_str()))
        .set(UserRecord::from(user))
        .execute(db)
        .map_err(|error| taken(db, user, write_error(error)))?;
    Ok(())
}

/// Replaces a hash by another one, unless it is no longer the one expected. Says whether it did.
pub(crate) fn replace_hash(
    db: &mut Db,
    id: &UserId,
    expected: &PasswordHash,
    hash: &PasswordHash,
) -> Result<bool, Error> {
    let row = users::table.find(id.as_str()).filter(users::password_hash.eq(expected.as_str()));
    let rows = diesel::update(row).set(users::password_hash.eq(hash.as_str())).execute(db).map_err(read_error)?;
    Ok(rows == 1)
}

/// Removes a user.
pub(crate) fn delete(db: &mut Db, id: &UserId) -> Result<(), Error> {
    diesel::delete(users::table.find(id.as_str())).execute(db).map_err(read_error)?;
    Ok(())
}

/// Whether a user holds a role, as a condition of a query on either database.
macro_rules! holds {
    ($role:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Text>("(' ' || roles || ' ')")
            .like(containing(&format!(" {} ", $role.as_str())))
            .escape('\\')
    };
}

/// Users in the order of their ids, from behind `after`; one more than the limit, if there are as many.
pub(crate) fn list(db: &mut Db, filter: &Filter, after: Option<&UserId>, limit: Limit) -> Result<Vec<User>, Error> {
    let rows = on_backend!(db, connection => {
        let mut query = users::table
            .select(UserRow::as_select())
            .order(users::id)
            .limit(limit.plus_one())
            .into_boxed();
        if let Some(after) = after {
            query = query.filter(users::id.gt(after.as_str()));
        }
        if let Some(text) = &filter.text {
            query = query.filter(users::search_text.like(containing(&lower_case(text))).escape('\\'));
        }
        if let Some(role) = &filter.role {
            query = query.filter(holds!(role));
        }
        query.load::<UserRow>(connection)
    });
    rows.map_err(read_error)?.into_iter().map(User::try_from).collect()
}

/// Whether anybody who is not disabled is an admin.
pub(crate) fn has_admin(db: &mut Db) -> Result<bool, Error> {
    let exists = on_backend!(db, connection => {
        let admins = users::table.filter(users::disabled.eq(false)).filter(holds!(Role::admin()));
        diesel::select(diesel::dsl::exists(admins)).get_result(connection)
    });
    exists.map_err(read_error)
}

/// A pattern for LIKE that matches what contains the text, literally.
fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

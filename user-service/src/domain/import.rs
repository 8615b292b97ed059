//! What a line of an import means: a user from elsewhere, with the hash of the password that is used there.

use serde::Deserialize;
use service_kit::{
    Secret, Timestamp,
    import::{Record, named},
    validate::Invalid,
};
use utoipa::ToSchema;

use super::{
    password::PasswordHash,
    role::Roles,
    user::{Changes, Email, Name, NewUser, User, Username},
};

/// A user of a file.
#[derive(Clone, Debug)]
pub(crate) struct ImportedUser {
    /// The line of the file, from 1.
    pub(crate) line: u64,
    pub(crate) email: Email,
    username: Option<Username>,
    name: Option<Name>,
    roles: Option<Roles>,
    email_verified: bool,
    disabled: bool,
    pub(crate) password_hash: PasswordHash,
}

/// What becomes of users whom there are already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Existing {
    /// They stay as they are.
    #[default]
    Keep,
    /// The name and the roles become those of the file, where it has any. Nothing else, and never the password.
    Update,
}

impl ImportedUser {
    /// The user to make, as of `now`.
    pub(crate) fn create(&self, default_roles: &Roles, now: Timestamp) -> User {
        NewUser {
            email: self.email.clone(),
            username: self.username.clone(),
            name: self.name.clone(),
            roles: self.roles.as_ref().unwrap_or(default_roles).clone(),
            email_verified: self.email_verified,
            disabled: self.disabled,
        }
        .create(now)
    }

    /// What the file has to change of a user whom there is already.
    pub(crate) fn changes(&self) -> Changes {
        Changes { name: self.name.clone().map(Some), roles: self.roles.clone(), ..Changes::default() }
    }

    /// What tells the user name from another; nothing without one.
    pub(crate) fn username_key(&self) -> Option<String> {
        self.username.as_ref().map(Username::key)
    }
}

/// A user before anything is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUser {
    email: String,
    username: Option<String>,
    name: Option<String>,
    roles: Option<Vec<String>>,
    email_verified: Option<bool>,
    disabled: Option<bool>,
    password_hash: Option<Secret>,
}

impl Record for ImportedUser {
    const COLUMNS: &'static [&'static str] =
        &["email", "username", "name", "roles", "email_verified", "disabled", "password_hash"];
    const REQUIRED: &'static [&'static str] = &["email", "password_hash"];
    const SHAPE: &'static str = "the strings email, username, name and password_hash, the array of strings roles, and \
                                 the booleans email_verified and disabled";

    type Raw = RawUser;

    fn fill(raw: &mut RawUser, column: &'static str, text: Option<String>) -> Result<(), Invalid> {
        match column {
            "email" => raw.email = text.unwrap_or_default(),
            "username" => raw.username = text,
            "name" => raw.name = text,
            "roles" => raw.roles = text.map(|names| names.split_whitespace().map(str::to_owned).collect()),
            "email_verified" => raw.email_verified = text.map(|text| parse_flag(&text)).transpose()?,
            "disabled" => raw.disabled = text.map(|text| parse_flag(&text)).transpose()?,
            _ => raw.password_hash = text.map(Secret::from),
        }
        Ok(())
    }

    fn parse(raw: RawUser, line: u64) -> Result<Self, Invalid> {
        let hash = raw.password_hash.ok_or_else(|| Invalid::new("required", "This field is required."));
        Ok(Self {
            line,
            email: Email::parse(&raw.email).map_err(named("email"))?,
            username: raw.username.as_deref().map(Username::parse).transpose().map_err(named("username"))?,
            name: raw.name.as_deref().map(Name::parse).transpose().map_err(named("name"))?,
            roles: raw.roles.as_deref().map(Roles::parse).transpose().map_err(named("roles"))?,
            email_verified: raw.email_verified.unwrap_or(false),
            disabled: raw.disabled.unwrap_or(false),
            password_hash: hash.and_then(|hash| PasswordHash::import(hash.expose())).map_err(named("password_hash"))?,
        })
    }
}

fn parse_flag(text: &str) -> Result<bool, Invalid> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Invalid::new("invalid", "Expected true or false.")),
    }
}

//! A user: the parts that make one, and what a change does to it.

use std::fmt;

use serde::{Serialize, Serializer};
use service_kit::{Timestamp, validate::Invalid};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{event::UserEvent, role::Roles};

const MAX_EMAIL_CHARACTERS: usize = 254;
const MAX_LOCAL_PART_CHARACTERS: usize = 64;
const MAX_NAME_CHARACTERS: usize = 200;

/// A user's id: a UUID of version 7, so that ids sort in the order in which users were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(format = "uuid")]
pub(crate) struct UserId(String);

impl UserId {
    /// A new id.
    pub(crate) fn generate() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// Takes an id in the form that [`UserId::generate`] writes; anything else names no user.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?.to_string();
        (id == text).then_some(Self(id))
    }

    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An e-mail address, trimmed and in lower case: two that differ in case only are the same.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(format = "idn-email", max_length = 254, examples("ada@example.com"))]
pub(crate) struct Email(String);

impl Email {
    /// Takes an address that looks like one: a local part of 1 to 64 characters, one `@`, and a host name with a dot
    /// in it (or `localhost`). Quoted local parts and address literals are not taken.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let email = lower_case(text.trim());
        if email.is_empty() {
            return Err(Invalid::new("required", "An e-mail address is required."));
        }
        if email.chars().count() > MAX_EMAIL_CHARACTERS {
            let message = format!("An e-mail address has at most {MAX_EMAIL_CHARACTERS} characters.");
            return Err(Invalid::new("too_long", message));
        }
        let sound = email.split_once('@').is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
        if sound {
            Ok(Self(email))
        } else {
            Err(Invalid::new("invalid", "Expected an address such as ada@example.com."))
        }
    }

    /// The address.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes an address that was sound when it was stored.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }
}

fn is_local_part(local: &str) -> bool {
    let forbidden =
        |character: char| character.is_control() || character.is_whitespace() || "@<>()[],;:\\\"".contains(character);
    (1..=MAX_LOCAL_PART_CHARACTERS).contains(&local.chars().count()) && !local.contains(forbidden)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|character| character.is_alphanumeric() || character == '-')
    };
    domain == "localhost" || (domain.contains('.') && domain.split('.').all(is_label))
}

/// A user name as its owner typed it: 3 to 32 of `A-Za-z0-9._-`. It has no `@`, so it is never taken for an address.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(pattern = "^[A-Za-z0-9._-]{3,32}$", examples("ada"))]
pub(crate) struct Username(String);

impl Username {
    /// Takes a name that is sound.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let length = text.chars().count();
        if length < 3 {
            return Err(Invalid::new("too_short", "A user name has at least 3 characters."));
        }
        if length > 32 {
            return Err(Invalid::new("too_long", "A user name has at most 32 characters."));
        }
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("invalid", "A user name consists of the characters A-Z, a-z, 0-9, ., _ and -."))
        }
    }

    /// The name as typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What tells one user name from another: the case does not.
    pub(crate) fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Takes a name that was sound when it was stored.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }
}

/// What a person is called: 1 to 200 characters, trimmed, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(
    max_length = 200,
    // White space around it is cut off; within there is none but what is no control character.
    pattern = r"^[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]([^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])?[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$",
    examples("Ada Lovelace")
)]
pub(crate) struct Name(String);

impl Name {
    /// Takes a name that is sound.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let name = text.trim();
        if name.is_empty() {
            return Err(Invalid::new("too_short", "A name has at least 1 character."));
        }
        if name.chars().count() > MAX_NAME_CHARACTERS {
            return Err(Invalid::new("too_long", format!("A name has at most {MAX_NAME_CHARACTERS} characters.")));
        }
        if name.contains(char::is_control) {
            return Err(Invalid::new("invalid", "A name has no control characters."));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a name that was sound when it was stored.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }
}

macro_rules! as_text {
    ($($type:ty),+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )+};
}

as_text!(Email, Username, Name);

/// Lower case without regard to a letter's neighbours, so that a part of a text is lowered as it is within the whole.
pub(crate) fn lower_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// A user. The password's hash is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) email: Email,
    pub(crate) username: Option<Username>,
    pub(crate) name: Option<Name>,
    pub(crate) roles: Roles,
    pub(crate) email_verified: bool,
    pub(crate) disabled: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Counts the changes, for entity tags.
    pub(crate) version: i64,
    /// Counts the changes of password, roles and `disabled`: tokens from before the last one are void.
    pub(crate) authorization_version: i64,
}

/// What a new user is made of.
#[derive(Clone, Debug)]
pub(crate) struct NewUser {
    pub(crate) email: Email,
    pub(crate) username: Option<Username>,
    pub(crate) name: Option<Name>,
    pub(crate) roles: Roles,
    pub(crate) email_verified: bool,
    pub(crate) disabled: bool,
}

impl NewUser {
    /// The user, as of `now`.
    pub(crate) fn create(self, now: Timestamp) -> User {
        let Self { email, username, name, roles, email_verified, disabled } = self;
        User {
            id: UserId::generate(),
            email,
            username,
            name,
            roles,
            email_verified,
            disabled,
            created_at: now,
            updated_at: now,
            version: 1,
            authorization_version: 1,
        }
    }

    /// What an attacker who knows the user would try in a password.
    pub(crate) fn password_hints(&self) -> Vec<String> {
        password_hints(&self.email, self.username.as_ref(), self.name.as_ref())
    }
}

/// What is to change of a user; `None` leaves a part as it is.
#[derive(Clone, Debug, Default)]
#[allow(clippy::option_option, reason = "left alone, cleared and set are three different things")]
pub(crate) struct Changes {
    pub(crate) email: Option<Email>,
    pub(crate) username: Option<Option<Username>>,
    pub(crate) name: Option<Option<Name>>,
    pub(crate) roles: Option<Roles>,
    pub(crate) disabled: Option<bool>,
}

/// A user after a change.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) user: User,
    /// What auth-service has to know of it, if anything.
    pub(crate) event: Option<UserEvent>,
}

impl User {
    /// Applies changes as of `now`; `None` if they change nothing.
    ///
    /// Another e-mail address is one that nobody has verified. Other roles, or another `disabled`, raise the
    /// authorization version.
    pub(crate) fn change(&self, changes: Changes, now: Timestamp) -> Option<Changed> {
        let mut user = self.clone();
        if let Some(email) = changes.email
            && email != user.email
        {
            user.email = email;
            user.email_verified = false;
        }
        if let Some(username) = changes.username {
            user.username = username;
        }
        if let Some(name) = changes.name {
            user.name = name;
        }
        if let Some(roles) = changes.roles {
            user.roles = roles;
        }
        if let Some(disabled) = changes.disabled {
            user.disabled = disabled;
        }
        if user == *self {
            return None;
        }
        user.touch(now);
        let authorization_changed = user.roles != self.roles || user.disabled != self.disabled;
        let event = authorization_changed.then(|| {
            user.authorization_version += 1;
            user.event()
        });
        Some(Changed { user, event })
    }

    /// The user with another password, as of `now`. All sessions end except `keep_session`.
    pub(crate) fn change_password(mut self, keep_session: Option<String>, now: Timestamp) -> (Self, UserEvent) {
        self.touch(now);
        self.authorization_version += 1;
        let event = UserEvent { password_changed: true, keep_session, ..self.event() };
        (self, event)
    }

    /// What is told of a user who is deleted.
    pub(crate) fn deleted(self) -> UserEvent {
        UserEvent { authorization_version: self.authorization_version + 1, deleted: true, ..self.event() }
    }

    /// What an attacker who knows the user would try in a password.
    pub(crate) fn password_hints(&self) -> Vec<String> {
        password_hints(&self.email, self.username.as_ref(), self.name.as_ref())
    }

    /// The text in which a search finds the user. Line breaks, which no part holds, keep the parts from running
    /// together.
    pub(crate) fn search_text(&self) -> String {
        let part = |text: Option<&str>| lower_case(text.unwrap_or_default());
        let username = part(self.username.as_ref().map(Username::as_str));
        let name = part(self.name.as_ref().map(Name::as_str));
        format!("{}\n{username}\n{name}", self.email)
    }

    fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
        self.version += 1;
    }

    fn event(&self) -> UserEvent {
        UserEvent {
            user_id: self.id.clone(),
            authorization_version: self.authorization_version,
            roles: self.roles.clone(),
            disabled: self.disabled,
            deleted: false,
            password_changed: false,
            keep_session: None,
        }
    }
}

fn password_hints(email: &Email, username: Option<&Username>, name: Option<&Name>) -> Vec<String> {
    let mut hints = vec![email.to_string()];
    hints.extend(email.as_str().split(['@', '.', '+', '-', '_']).map(str::to_owned));
    hints.extend(email.as_str().split('@').map(str::to_owned));
    hints.extend(username.map(ToString::to_string));
    if let Some(name) = name {
        hints.push(name.to_string());
        hints.extend(name.as_str().split_whitespace().map(str::to_owned));
    }
    hints.retain(|hint| hint.chars().count() > 2);
    hints
}

/// Whom a log-in names: an `@` tells an address from a user name.
#[derive(Clone, Debug)]
pub(crate) enum LoginName {
    Email(Email),
    Username(Username),
}

impl LoginName {
    /// `None` for a text that cannot be anybody's.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.contains('@') {
            Email::parse(text).ok().map(Self::Email)
        } else {
            Username::parse(text.trim()).ok().map(Self::Username)
        }
    }

    /// The name, as accounts have it.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Email(email) => email.as_str(),
            Self::Username(username) => username.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_trimmed_and_lowered() {
        assert_eq!(Email::parse(" Ada.Lovelace@Example.COM\t").unwrap().as_str(), "ada.lovelace@example.com");
        for sound in ["a@localhost", "o'hara+tag@mail.example.org", "jürgen@exämple.de", "x@1.de"] {
            assert_eq!(Email::parse(sound).unwrap().as_str(), sound);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let bad = [
            "ada",
            "@example.com",
            "ada@",
            "ada@com",
            "a@b@c.de",
            "a b@c.de",
            "ada@c..de",
            "ada@.de",
            "ada@de.",
            "ada@-x.de",
            "ada@x_y.de",
            "\"a\"@c.de",
            "a\0b@c.de",
            "ada@[127.0.0.1]",
            "<ada@c.de>",
            &long_local,
        ];
        for text in bad {
            assert_eq!(Email::parse(text).unwrap_err().code, "invalid", "{text}");
        }
        let long = format!("ada@{}.com", "a".repeat(260));
        assert_eq!(Email::parse(&long).unwrap_err().code, "too_long");
        assert_eq!(Email::parse("  ").unwrap_err().code, "required");
    }

    #[test]
    fn names_are_bounded_and_free_of_control_characters() {
        assert_eq!(Name::parse(" Ada ").unwrap().as_str(), "Ada");
        assert_eq!(Name::parse(" ").unwrap_err().code, "too_short");
        assert_eq!(Name::parse(&"é".repeat(200)).unwrap().as_str().chars().count(), 200);
        assert_eq!(Name::parse(&"é".repeat(201)).unwrap_err().code, "too_long");
        assert_eq!(Name::parse("a\0b").unwrap_err().code, "invalid");
        assert_eq!(Username::parse("ab").unwrap_err().code, "too_short");
        assert_eq!(Username::parse(&"a".repeat(33)).unwrap_err().code, "too_long");
        assert_eq!(Username::parse("ada@home").unwrap_err().code, "invalid");
        assert_eq!(Username::parse("Ada.L-1_").unwrap().key(), "ada.l-1_");
    }

    fn user() -> User {
        NewUser {
            email: Email::parse("ada@example.com").unwrap(),
            username: None,
            name: None,
            roles: Roles::parse(&["user"]).unwrap(),
            email_verified: true,
            disabled: false,
        }
        .create(Timestamp::from_seconds(1))
    }

    #[test]
    fn a_change_of_nothing_is_no_change() {
        let user = user();
        let same = Changes {
            email: Some(user.email.clone()),
            name: Some(None),
            roles: Some(user.roles.clone()),
            disabled: Some(false),
            ..Changes::default()
        };
        assert!(user.change(same, Timestamp::from_seconds(2)).is_none());
    }

    #[test]
    fn only_roles_and_the_disabled_flag_raise_the_authorization_version() {
        let user = user();
        let now = Timestamp::from_seconds(2);
        let email = Some(Email::parse("ada@example.org").unwrap());
        let changed = user.change(Changes { email, ..Changes::default() }, now).unwrap();
        assert!(!changed.user.email_verified && changed.event.is_none());
        assert_eq!((changed.user.version, changed.user.authorization_version), (2, 1));

        for changes in [
            Changes { roles: Some(Roles::admin()), ..Changes::default() },
            Changes { disabled: Some(true), ..Changes::default() },
        ] {
            let changed = user.change(changes, now).unwrap();
            assert_eq!((changed.user.version, changed.user.authorization_version), (2, 2));
            assert_eq!(changed.event.unwrap().authorization_version, 2);
        }
    }
}

//! A person, and the rules for what a person may be called.

use serde::Serialize;
use service_kit::{Timestamp, validate::Invalid};
use utoipa::ToSchema;
use uuid::Uuid;

/// A person's id: 1 to 64 of `A-Za-z0-9._-`, so that it stands in a URL as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = r"^(?!(import|export|openapi\.json|\.\.?)$)[A-Za-z0-9._-]{1,64}$", examples("A000055"))]
pub(crate) struct PersonId(String);

impl PersonId {
    /// Under `/persons` these name something else; dots alone mean something else in every URL.
    const RESERVED: [&'static str; 5] = ["import", "export", "openapi.json", ".", ".."];

    /// Takes a caller's own id.
    pub(crate) fn parse(text: String) -> Result<Self, Invalid> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=64).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(Invalid::new("invalid", "An id is 1 to 64 of the characters A-Z a-z 0-9 . _ and -."));
        }
        if Self::RESERVED.contains(&text.as_str()) {
            return Err(Invalid::new("reserved", "This id is reserved: it names something else in a URL."));
        }
        Ok(Self(text))
    }

    /// A new id: a `UUIDv7` (RFC 9562, 5.7), so that new persons come last in the order of ids.
    pub(crate) fn generate() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// Takes what was parsed before and comes back from storage.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A person's name: 1 to 200 characters, not blank, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(
    max_length = 200,
    pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
    examples("Ada Lovelace")
)]
pub(crate) struct Name(String);

impl Name {
    const MAX_CHARACTERS: usize = 200;

    /// Takes a name as it is, spaces around it included.
    pub(crate) fn parse(text: String) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Err(Invalid::new("blank", "A name must not be blank."));
        }
        if too_long(&text, Self::MAX_CHARACTERS) {
            return Err(Invalid::new("too_long", "A name has at most 200 characters."));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("control_character", "A name has no control characters."));
        }
        Ok(Self(text))
    }

    /// Takes what was parsed before and comes back from storage.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An email address: something, `@`, something; no spaces or control characters; at most 254 characters
/// (RFC 5321, 4.5.3.1.3, less the angle brackets). Whether mail arrives there is nobody's to say but the mail's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(
    max_length = 254,
    pattern = r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$",
    examples("ada@example.com")
)]
pub(crate) struct Email(String);

impl Email {
    const MAX_CHARACTERS: usize = 254;

    /// Takes an address as it is.
    pub(crate) fn parse(text: String) -> Result<Self, Invalid> {
        if too_long(&text, Self::MAX_CHARACTERS) {
            return Err(Invalid::new("too_long", "An email address has at most 254 characters."));
        }
        let parts_are_there = text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
        if !parts_are_there || text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(Invalid::new("invalid", "This is not an email address."));
        }
        Ok(Self(text))
    }

    /// Takes what was parsed before and comes back from storage.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An age in years, 0 to 150.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(minimum = 0, maximum = 150, examples(36))]
pub(crate) struct Age(i32);

impl Age {
    /// The oldest that is taken.
    pub(crate) const MAX: i32 = 150;

    /// Takes a number.
    pub(crate) fn parse(number: i64) -> Result<Self, Invalid> {
        match i32::try_from(number) {
            Ok(years @ 0..=Self::MAX) => Ok(Self(years)),
            _ => Err(Invalid::new("out_of_range", "An age is a whole number from 0 to 150.")),
        }
    }

    /// Takes what was parsed before and comes back from storage.
    pub(crate) fn from_stored(years: i32) -> Self {
        Self(years)
    }

    pub(crate) fn years(self) -> i32 {
        self.0
    }
}

/// What a caller may say of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) name: Name,
    pub(crate) email: Option<Email>,
    pub(crate) age: Option<Age>,
}

impl Details {
    /// What a search looks through: lower-cased here, because the databases disagree on what that means.
    pub(crate) fn search_text(&self) -> String {
        let mut text = self.name.as_str().to_lowercase();
        text.push(' ');
        if let Some(email) = &self.email {
            text.push_str(&email.as_str().to_lowercase());
        }
        text
    }
}

/// A person who is to be created or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewPerson {
    pub(crate) id: PersonId,
    pub(crate) details: Details,
}

impl NewPerson {
    /// The person as of `now`, in the first version.
    pub(crate) fn into_person(self, now: Timestamp) -> Person {
        Person { id: self.id, details: self.details, created_at: now, updated_at: now, version: 1 }
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) id: PersonId,
    pub(crate) details: Details,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// 1 at first, and 1 more with every change.
    pub(crate) version: i64,
}

/// A person as it is read: what a row says, borrowed from the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PersonRef<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) email: Option<&'a str>,
    pub(crate) age: Option<i32>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) version: i64,
}

impl From<PersonRef<'_>> for Person {
    fn from(stored: PersonRef<'_>) -> Self {
        Self {
            id: PersonId::from_stored(stored.id.to_owned()),
            details: Details {
                name: Name::from_stored(stored.name.to_owned()),
                email: stored.email.map(|email| Email::from_stored(email.to_owned())),
                age: stored.age.map(Age::from_stored),
            },
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            version: stored.version,
        }
    }
}

impl Person {
    /// The person, borrowed.
    pub(crate) fn view(&self) -> PersonRef<'_> {
        PersonRef {
            id: self.id.as_str(),
            name: self.details.name.as_str(),
            email: self.details.email.as_ref().map(Email::as_str),
            age: self.details.age.map(Age::years),
            created_at: self.created_at,
            updated_at: self.updated_at,
            version: self.version,
        }
    }

    /// Takes new details as of `now`; answers whether that changes anything. What changes nothing leaves the version
    /// and the time of the last change alone.
    pub(crate) fn change(&mut self, details: Details, now: Timestamp) -> bool {
        if self.details == details {
            return false;
        }
        self.details = details;
        self.updated_at = now;
        self.version += 1;
        true
    }
}

/// Counts characters only where bytes do not settle it.
fn too_long(text: &str, max_characters: usize) -> bool {
    text.len() > max_characters && text.chars().count() > max_characters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_a_url_carries_as_it_is() {
        for good in ["A000055", "a.b_c-d", "...", &"x".repeat(64)] {
            assert!(PersonId::parse(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", "a\0", "import", "export", "openapi.json", ".", "..", &"x".repeat(65)] {
            assert!(PersonId::parse(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(PersonId::parse(PersonId::generate().as_str().to_owned()).is_ok());
    }

    #[test]
    fn a_name_is_counted_in_characters() {
        assert!(Name::parse("é".repeat(200)).is_ok());
        assert_eq!(Name::parse("é".repeat(201)).unwrap_err().code, "too_long");
        assert_eq!(Name::parse("\u{a0} \t".to_owned()).unwrap_err().code, "blank");
        assert_eq!(Name::parse("a\0b".to_owned()).unwrap_err().code, "control_character");
        assert_eq!(Name::parse("a\u{85}b".to_owned()).unwrap_err().code, "control_character");
    }

    #[test]
    fn an_email_address_has_two_parts_and_no_spaces() {
        for good in ["a@b", "jürgen@exämple.de", "\"quoted\"@example.com"] {
            assert!(Email::parse(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\0", "a@b\n", &format!("{}@b", "x".repeat(253))] {
            assert!(Email::parse(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_age_is_0_to_150() {
        assert!(Age::parse(0).is_ok() && Age::parse(150).is_ok());
        assert!(Age::parse(-1).is_err() && Age::parse(151).is_err() && Age::parse(i64::MAX).is_err());
    }
}

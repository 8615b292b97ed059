//! What a line of an import means.

use serde::Deserialize;
use service_kit::{
    import::{Record, named},
    validate::Invalid,
};

use super::person::{Age, Details, Email, Name, NewPerson, PersonId};

/// A person before anything is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPerson {
    id: Option<String>,
    name: String,
    email: Option<String>,
    age: Option<i64>,
}

impl Record for NewPerson {
    const COLUMNS: &'static [&'static str] = &["id", "name", "email", "age"];
    const REQUIRED: &'static [&'static str] = &["name"];
    const SHAPE: &'static str = "the strings id, name and email and the whole number age";

    type Raw = RawPerson;

    fn fill(raw: &mut RawPerson, column: &'static str, text: Option<String>) -> Result<(), Invalid> {
        match column {
            "id" => raw.id = text,
            "name" => raw.name = text.unwrap_or_default(),
            "email" => raw.email = text,
            _ => raw.age = text.map(|text| parse_number(&text)).transpose()?,
        }
        Ok(())
    }

    fn parse(raw: RawPerson, _: u64) -> Result<Self, Invalid> {
        let id = match raw.id {
            Some(id) => PersonId::parse(id).map_err(named("id"))?,
            None => PersonId::generate(),
        };
        let name = Name::parse(raw.name).map_err(named("name"))?;
        let email = raw.email.map(Email::parse).transpose().map_err(named("email"))?;
        let age = raw.age.map(Age::parse).transpose().map_err(named("age"))?;
        Ok(Self { id, details: Details { name, email, age } })
    }
}

fn parse_number(text: &str) -> Result<i64, Invalid> {
    let digits = text.trim_matches(' ');
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Invalid::new("invalid", "An age is a whole number from 0 to 150."));
    }
    digits.parse().map_err(|_| Invalid::new("invalid", "An age is a whole number from 0 to 150."))
}

//! How a list of persons is ordered and filtered, and how a position in it is written down.

use service_kit::validate::Invalid;

use super::person::{Age, PersonRef};

/// What a list is ordered by; the id settles ties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum SortKey {
    #[default]
    Id,
    /// By code point.
    Name,
    /// Those without an age first.
    Age,
    CreatedAt,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sort {
    pub(crate) key: SortKey,
    pub(crate) descending: bool,
}

impl Sort {
    /// Reads `id`, `name`, `age` or `created_at`, with `-` before it for descending.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let key = match name {
            "id" => SortKey::Id,
            "name" => SortKey::Name,
            "age" => SortKey::Age,
            "created_at" => SortKey::CreatedAt,
            _ => {
                return Err(Invalid::new(
                    "unknown",
                    "Persons are sorted by id, name, age or created_at; - before it for descending.",
                ));
            }
        };
        Ok(Self { key, descending })
    }
}

/// Which persons a list holds and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct List {
    pub(crate) sort: Sort,
    /// In lower case: only persons whose name or email address has it somewhere.
    pub(crate) search: Option<String>,
    /// Only persons with an age, and one that is no less.
    pub(crate) min_age: Option<Age>,
    /// Only persons with an age, and one that is no more.
    pub(crate) max_age: Option<Age>,
}

impl List {
    /// Reads what to search for: at most 200 characters, no control characters; an empty text is none.
    pub(crate) fn parse_search(text: &str) -> Result<Option<String>, Invalid> {
        if text.chars().count() > 200 {
            return Err(Invalid::new("too_long", "A search has at most 200 characters."));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("control_character", "A search has no control characters."));
        }
        Ok(Some(text.to_lowercase()).filter(|text| !text.is_empty()))
    }

    /// Whether only persons of certain ages are listed.
    pub(crate) fn filters_age(&self) -> bool {
        self.min_age.is_some() || self.max_age.is_some()
    }

    /// The least age that is listed, where ages are filtered.
    pub(crate) fn min_years(&self) -> i32 {
        self.min_age.map_or(0, Age::years)
    }

    /// The greatest age that is listed, where ages are filtered.
    pub(crate) fn max_years(&self) -> i32 {
        self.max_age.map_or(Age::MAX, Age::years)
    }

    /// Whether a page is one short walk along an index, however large the table is. A filter that the order does not
    /// follow may have to pass over any number of rows.
    pub(crate) fn follows_an_index(&self) -> bool {
        self.search.is_none() && (!self.filters_age() || self.sort.key == SortKey::Age)
    }
}

/// A person's place in a list: the value of the sort key, and the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) key: KeyValue,
    pub(crate) id: String,
}

/// The value of a sort key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyValue {
    /// The id alone.
    Id,
    Name(String),
    /// [`NO_AGE`] for none.
    Age(i32),
    /// Microseconds since the epoch.
    CreatedAt(i64),
}

/// Stands for no age in the order of ages: before 0.
pub(crate) const NO_AGE: i32 = -1;

impl Position {
    /// Where a person stands in a list of this order.
    pub(crate) fn of(person: PersonRef<'_>, sort: Sort) -> Self {
        let key = match sort.key {
            SortKey::Id => KeyValue::Id,
            SortKey::Name => KeyValue::Name(person.name.to_owned()),
            SortKey::Age => KeyValue::Age(person.age.unwrap_or(NO_AGE)),
            SortKey::CreatedAt => KeyValue::CreatedAt(person.created_at.as_micros()),
        };
        Self { key, id: person.id.to_owned() }
    }

    /// How many parts a written position of this order has.
    pub(crate) fn parts(sort: Sort) -> usize {
        if sort.key == SortKey::Id { 1 } else { 2 }
    }

    /// The position as text, part by part.
    pub(crate) fn into_parts(self) -> Vec<String> {
        match self.key {
            KeyValue::Id => vec![self.id],
            KeyValue::Name(name) => vec![name, self.id],
            KeyValue::Age(age) => vec![age.to_string(), self.id],
            KeyValue::CreatedAt(micros) => vec![micros.to_string(), self.id],
        }
    }

    /// Reads the parts again; nothing if they are not what [`Position::into_parts`] writes for this order.
    pub(crate) fn from_parts(sort: Sort, parts: Vec<String>) -> Option<Self> {
        // PostgreSQL takes no NUL, and no position that we gave out has one.
        if parts.len() != Self::parts(sort) || parts.iter().any(|part| part.contains('\0')) {
            return None;
        }
        let mut parts = parts.into_iter();
        let mut next = || parts.next();
        let key = match sort.key {
            SortKey::Id => KeyValue::Id,
            SortKey::Name => KeyValue::Name(next()?),
            SortKey::Age => KeyValue::Age(next()?.parse().ok()?),
            SortKey::CreatedAt => KeyValue::CreatedAt(next()?.parse().ok()?),
        };
        Some(Self { key, id: next()? })
    }
}

//! Lists: a limit, an opaque cursor, and where the next page begins.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use crate::problem::Error;

/// How many items a page has at most: 1 to 200, 50 unless told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u32);

impl Limit {
    /// The number.
    pub fn get(self) -> usize {
        self.0 as usize
    }

    /// One more than a page holds, which tells whether there is another page, as a query takes it.
    pub fn plus_one(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number =
            u32::deserialize(deserializer).map_err(|_| de::Error::custom("expected a number from 1 to 200"))?;
        if (1..=200).contains(&number) {
            Ok(Self(number))
        } else {
            Err(de::Error::custom("expected a number from 1 to 200"))
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; `null` on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of the rows that a query for one more than `limit` gave; `cursor` marks the last item kept.
    pub fn new(mut rows: Vec<T>, limit: Limit, cursor: impl FnOnce(&T) -> Cursor) -> Self {
        let more = rows.len() > limit.get();
        rows.truncate(limit.get());
        let next_cursor = rows.last().filter(|_| more).map(|last| cursor(last).encode());
        Self { items: rows, next_cursor }
    }

    /// The same page of something else.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(convert).collect(), next_cursor: self.next_cursor }
    }
}

/// Where a page ended: the sort key of its last item, and a fingerprint of the list that it belongs to, so that it
/// cannot be used with another order or another filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    fingerprint: u64,
    key: Vec<String>,
}

impl Cursor {
    /// A cursor at a key of the list that `list` describes (its order and filters).
    pub fn new(list: &impl Hash, key: Vec<String>) -> Self {
        Self { fingerprint: fingerprint(list, &key), key }
    }

    /// Reads a cursor that was given out for the same list, and gives its key, of `parts` parts.
    /// Anything else is 400 `invalid_request`.
    pub fn decode(text: &str, list: &impl Hash, parts: usize) -> Result<Vec<String>, Error> {
        let unknown = || Error::InvalidRequest("The cursor is not one that this list gave out.".to_owned());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| unknown())?;
        let (expected, rest) = bytes.split_first_chunk::<8>().ok_or_else(unknown)?;
        let key: Vec<String> = serde_json::from_slice(rest).map_err(|_| unknown())?;
        if key.len() != parts || fingerprint(list, &key).to_be_bytes() != *expected {
            return Err(unknown());
        }
        Ok(key)
    }

    /// The cursor as it stands in an answer: of base64url's characters only.
    pub fn encode(&self) -> String {
        let mut bytes = self.fingerprint.to_be_bytes().to_vec();
        // A list of strings cannot fail to be written.
        bytes.extend(serde_json::to_vec(&self.key).unwrap_or_default());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// Ties a key to its list. It is no secret: a cursor only says where to go on in a list that the caller may read, so
/// there is nothing to gain from forging one.
fn fingerprint(list: &impl Hash, key: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    "signet cursor 1".hash(&mut hasher);
    list.hash(&mut hasher);
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_for_its_own_list_only(key in prop::collection::vec(".*", 1..3), list in 0u8..4, other in 0u8..4) {
            let text = Cursor::new(&list, key.clone()).encode();
            let decoded = Cursor::decode(&text, &other, key.len());
            if list == other {
                prop_assert_eq!(decoded.unwrap(), key);
            } else {
                prop_assert!(decoded.is_err());
            }
        }

        #[test]
        fn a_made_up_cursor_is_refused(text in "[A-Za-z0-9_-]{0,60}") {
            prop_assert!(Cursor::decode(&text, &0, 1).is_err());
        }
    }
}

//! The feed as it goes over the wire.

use serde::{Deserialize, Serialize};

/// An answer of `GET /internal/revocations`.
///
/// It holds the entries after the number that was asked for or, if the feed has begun a new epoch since, all of them:
/// then what was known before is to be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Which numbering the entries belong to. Another one means that numbers of the former say nothing.
    pub epoch: String,
    /// The number of the newest entry, sent or not: what to ask for next.
    pub seq: u64,
    /// The entries, by ascending number.
    pub entries: Vec<Entry>,
}

/// Tokens that are no longer taken although their signature holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// Which tokens.
    #[serde(flatten)]
    pub revocation: Revocation,
    /// When the last of them has expired anywhere, leeway included, in seconds since the Unix epoch: then the entry may
    /// be forgotten.
    pub until: u64,
}

/// Which tokens are revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Revocation {
    /// All of a session.
    Session {
        /// The claim `sid`.
        sid: String,
    },
    /// A user's, if they are older than an authorization version.
    User {
        /// The claim `sub`.
        sub: String,
        /// The lowest `ver` that is taken.
        min_ver: u64,
    },
    /// One.
    Token {
        /// The claim `jti`.
        jti: String,
    },
    /// All that a key has signed.
    Key {
        /// The header parameter `kid`.
        kid: String,
    },
    /// All that were issued before a time.
    All {
        /// The lowest `iat` that is taken, in seconds since the Unix epoch.
        issued_before: u64,
    },
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

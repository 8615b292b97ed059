//! Revocations: which tokens die before they expire, and for how long that has to be remembered.

use shared_claims::feed::{Entry, Revocation};

use super::SessionId;

/// By how much a token may outlive the time that we reckon with: 30 seconds that verifiers allow for, another 30 by
/// which the clock of the replica that issued it may be ahead of ours, one for the rounding, and two hours for clocks that
/// are set: what was revoked by a clock that was an hour behind must not go by one that is an hour ahead for a while,
/// because its tokens come to life again when that is set right.
const MARGIN_SECONDS: u64 = 61 + 2 * 3_600;

/// A leaked key signs tokens of any age, so its entry outlasts by far the change of the key in every verifier's ring.
const KEY_SECONDS: u64 = 400 * 86_400;

/// Tokens that are no longer to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewRevocation {
    /// All of a session.
    Session(SessionId),
    /// A user's, or a client's, if their version is below one.
    User {
        /// `sub`.
        sub: String,
        /// The lowest `ver` that is taken.
        min_ver: i64,
    },
    /// One.
    Token {
        /// Its `jti`.
        jti: String,
        /// Its `exp`.
        exp: u64,
    },
    /// All that a key has signed.
    Key {
        /// `kid`.
        kid: String,
    },
    /// All that were issued before a time.
    All {
        /// The lowest `iat` that is taken.
        issued_before: u64,
    },
}

impl NewRevocation {
    /// The entry of the feed. `now` is in seconds; no token that was issued until now lives for longer than
    /// `longest_ttl_seconds`.
    pub fn into_entry(self, seq: u64, now: u64, longest_ttl_seconds: u64) -> Entry {
        let issued = now.saturating_add(longest_ttl_seconds).saturating_add(MARGIN_SECONDS);
        let (revocation, until) = match self {
            Self::Session(sid) => (Revocation::Session { sid: sid.to_string() }, issued),
            Self::User { sub, min_ver } => {
                (Revocation::User { sub, min_ver: u64::try_from(min_ver).unwrap_or_default() }, issued)
            }
            Self::Token { jti, exp } => (Revocation::Token { jti }, exp.saturating_add(MARGIN_SECONDS)),
            Self::Key { kid } => (Revocation::Key { kid }, now.saturating_add(KEY_SECONDS)),
            Self::All { issued_before } => (Revocation::All { issued_before }, issued),
        };
        Entry { seq, revocation, until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_until_the_last_token_that_it_hits_is_refused_anyway() {
        let until = |revocation: NewRevocation| revocation.into_entry(1, 1000, 900).until;
        assert_eq!(until(NewRevocation::Session(SessionId::from_bytes([0; 16]))), 9161);
        assert_eq!(until(NewRevocation::User { sub: "ada".into(), min_ver: 2 }), 9161);
        assert_eq!(until(NewRevocation::All { issued_before: 1000 }), 9161);
        assert_eq!(until(NewRevocation::Token { jti: "1".into(), exp: 1200 }), 8461);
        assert_eq!(until(NewRevocation::Key { kid: "1".into() }), 34_561_000);
        assert_eq!(until(NewRevocation::Token { jti: "1".into(), exp: u64::MAX }), u64::MAX);
    }
}

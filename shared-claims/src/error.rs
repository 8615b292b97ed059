//! The one error of issuing and verifying: what was refused, in words that repeat nothing of the token.

use std::fmt;

/// Why a token was refused, or could not be issued.
///
/// It carries no part of the token, so it can be logged and shown as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    reason: &'static str,
}

/// What kind of check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Not a JWS in compact form: three parts, strict base64url, a JSON object without duplicate members in each of
    /// the first two (RFC 7515 §7.1).
    Malformed,
    /// Longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    TooLong,
    /// `kid` is missing, or names no key of the ring.
    UnknownKey,
    /// `alg` is not the algorithm of the key that `kid` names (RFC 8725 §3.1).
    AlgorithmMismatch,
    /// `typ` is not `at+jwt` (RFC 9068 §2.1).
    Type,
    /// `crit` asks for an extension, and none is understood (RFC 7515 §4.1.11).
    Critical,
    /// The signature does not match.
    Signature,
    /// A required claim is missing, or a known one has the wrong type or range.
    Claims,
    /// `iss` is not the expected issuer.
    Issuer,
    /// `aud` does not hold the verifier's own name.
    Audience,
    /// `exp` has passed, the leeway included.
    Expired,
    /// `nbf` or `iat` lies ahead, further than the leeway.
    NotYetValid,
    /// The key could not make a signature.
    Signing,
    /// The token was revoked before it expired.
    #[cfg(feature = "feed")]
    Revoked,
    /// Nothing has been heard of revocations for too long, and the verifier is to refuse then
    /// ([`WhenStale::Refuse`](crate::feed::WhenStale::Refuse)). The token itself may be good.
    #[cfg(feature = "feed")]
    Stale,
}

impl Error {
    pub(crate) const fn new(kind: ErrorKind, reason: &'static str) -> Self {
        Self { kind, reason }
    }

    pub(crate) const fn malformed(reason: &'static str) -> Self {
        Self::new(ErrorKind::Malformed, reason)
    }

    pub(crate) const fn claims(reason: &'static str) -> Self {
        Self::new(ErrorKind::Claims, reason)
    }

    /// What kind of check failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Which check failed, as a phrase for people.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The machine code a service answers with: `token_expired` where a fresh token would do, else `token_invalid`; with
    /// the feature `feed` also `token_revoked`, and `dependency_unavailable` where the fault is not the token's.
    pub fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::Expired => "token_expired",
            #[cfg(feature = "feed")]
            ErrorKind::Revoked => "token_revoked",
            #[cfg(feature = "feed")]
            ErrorKind::Stale => "dependency_unavailable",
            ErrorKind::Malformed
            | ErrorKind::TooLong
            | ErrorKind::UnknownKey
            | ErrorKind::AlgorithmMismatch
            | ErrorKind::Type
            | ErrorKind::Critical
            | ErrorKind::Signature
            | ErrorKind::Claims
            | ErrorKind::Issuer
            | ErrorKind::Audience
            | ErrorKind::NotYetValid
            | ErrorKind::Signing => "token_invalid",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Error {}

//! Why a key or a ring is refused, in words that hold no part of a key.

use std::fmt;

/// Why a key or a ring was refused. It carries no part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    kind: KeyErrorKind,
    kid: Option<String>,
}

/// What is wrong with a key or a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// The secret has fewer than 32 bytes.
    TooShort,
    /// The secret has been published, is a placeholder that was meant to be replaced, or is a PEM file.
    WellKnown,
    /// The secret repeats itself, counts up or down, or has few different bytes.
    Weak,
    /// Not a JWK Set: not JSON, a member twice, a member missing or of the wrong type, or a value that is not strict
    /// base64url of the right length (RFC 7518 §2 and §6).
    Malformed,
    /// The set has no keys.
    Empty,
    /// A key of the set has no `kid`.
    MissingKeyId,
    /// Two keys of the set have the same `kid`.
    DuplicateKeyId,
    /// `kty` is none of `oct`, `OKP`, `EC` and `RSA`.
    UnsupportedType,
    /// `crv` is not `Ed25519` for `OKP`, or not `P-256` for `EC`.
    UnsupportedCurve,
    /// `alg` is missing or not the one of the key's type: `HS256`, `EdDSA`, `ES256`, `RS256`.
    UnsupportedAlgorithm,
    /// The RSA modulus has fewer than 2048 or more than 8192 bits.
    UnsupportedSize,
    /// `use` or `key_ops` says that the key is not for verifying signatures.
    NotForSignatures,
    /// The public key is none: a point that is not on the curve or of small order, an even modulus, or an exponent that
    /// is even, below 65537 or above 33 bits.
    InvalidPublicKey,
    /// The private members do not belong to the public ones.
    PrivateKeyMismatch,
    /// The private key of this pair has been published.
    WellKnownPair,
    /// The private key of this pair can be computed: its modulus has the structure of CVE-2017-15361 (ROCA).
    WeakPair,
    /// The set holds both a secret and a pair without its private key.
    MixedSet,
    /// The first key of the ring may only verify.
    CannotSign,
}

impl KeyError {
    pub(crate) fn new(kind: KeyErrorKind) -> Self {
        Self { kind, kid: None }
    }

    pub(crate) fn of(kind: KeyErrorKind, key_id: &str) -> Self {
        Self { kind, kid: Some(key_id.to_owned()) }
    }

    /// What is wrong.
    pub fn kind(&self) -> KeyErrorKind {
        self.kind
    }

    /// The key it is about, where it has an id.
    pub fn key_id(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kid) = &self.kid {
            write!(f, "key {kid:?}: ")?;
        }
        f.write_str(match self.kind {
            KeyErrorKind::TooShort => "the secret is shorter than 32 bytes; `openssl rand -base64 48` makes a good one",
            KeyErrorKind::WellKnown => {
                "the secret is a published example, a placeholder or a PEM file; `openssl rand -base64 48` makes a good one"
            }
            KeyErrorKind::Weak => "the secret is easy to guess; `openssl rand -base64 48` makes a good one",
            KeyErrorKind::Malformed => "not a well-formed JWK Set",
            KeyErrorKind::Empty => "the JWK Set has no keys",
            KeyErrorKind::MissingKeyId => "a key of the JWK Set has no kid",
            KeyErrorKind::DuplicateKeyId => "the kid occurs twice in the JWK Set",
            KeyErrorKind::UnsupportedType => "kty must be oct, OKP, EC or RSA",
            KeyErrorKind::UnsupportedCurve => "crv must be Ed25519 for OKP and P-256 for EC",
            KeyErrorKind::UnsupportedAlgorithm => {
                "alg must be HS256 for oct, EdDSA for OKP, ES256 for EC and RS256 for RSA"
            }
            KeyErrorKind::UnsupportedSize => "the RSA modulus must have 2048 to 8192 bits",
            KeyErrorKind::NotForSignatures => "use or key_ops does not allow verifying signatures",
            KeyErrorKind::InvalidPublicKey => "the public members are no key that could verify anything safely",
            KeyErrorKind::PrivateKeyMismatch => "the private members do not belong to the public ones",
            KeyErrorKind::WellKnownPair => "the key pair is a published example: anybody can sign with it",
            KeyErrorKind::WeakPair => "the key pair is of the kind that CVE-2017-15361 (ROCA) breaks",
            KeyErrorKind::MixedSet => {
                "the JWK Set holds a secret next to a public key: who verifies with the one could issue with the other"
            }
            KeyErrorKind::CannotSign => "the first key of the ring signs, but is a public key or its key_ops does not allow that",
        })
    }
}

impl std::error::Error for KeyError {}

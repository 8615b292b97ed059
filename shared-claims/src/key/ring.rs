//! The key ring: which keys sign and verify, and where they come from.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use serde::Serialize;

use super::error::{KeyError, KeyErrorKind};
use super::jwk::{self, Jwk};
use super::{Key, weak};
use crate::secret;

/// An ordered ring of keys: the first signs, all verify.
///
/// To rotate, put the new key behind the old one everywhere, then in front, then take the old one away when the last
/// token it signed has expired. Clones share the keys. `Debug` shows key ids, never keys.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<[Key]>,
}

impl KeyRing {
    /// A ring of one common secret for HS256, of at least 32 bytes.
    ///
    /// Its `kid` is the base64url of the first 8 bytes of HMAC-SHA-256(secret, `signet key id`), so all who hold the
    /// secret agree on it. Whoever can verify with a common secret can also issue: give it only to services that you
    /// would let issue tokens.
    ///
    /// Fails for a secret that is short, well known, or easy to guess.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        secret::check(secret).map_err(KeyError::new)?;
        let key = Key::hs256(derived_key_id(secret), secret, true)?;
        Ok(Self { keys: Arc::new([key]) })
    }

    /// The ring in a JWK Set (RFC 7517 §5), in its order.
    ///
    /// Every key has a `kid` of its own, and `kty` and `alg` that belong together (RFC 8725 §3.1: one algorithm per
    /// key, and never the token's choice):
    ///
    /// | `kty` | `alg` | what it is | public members | private members |
    /// |---|---|---|---|---|
    /// | `oct` | `HS256` | a secret that [`KeyRing::from_secret`] would take | | `k` |
    /// | `OKP` | `EdDSA` | Ed25519 | `crv`, `x` | `d` |
    /// | `EC` | `ES256` | P-256 | `crv`, `x`, `y` | `d` |
    /// | `RSA` | `RS256` | 2048 to 8192 bits, exponent from 65537 | `n`, `e` | `d`, `p`, `q`, `dp`, `dq`, `qi` |
    ///
    /// A pair without its private members only verifies. Private members must belong to the public ones. `EdDSA` is the
    /// name that RFC 8037 gives; the name `Ed25519` of RFC 9864 is not taken, in a key as in a token, so that a token
    /// has one header only. Values are strict base64url of the length that RFC 7518 §6 sets, with no zeros before a
    /// number. `use`, where present, is `sig`; `key_ops`, where present, holds `verify`, and `sign` for the key that is
    /// to sign. Other members (`x5c`, `iat` and any more) are read past, but none may occur twice.
    ///
    /// Pairs whose private key has been published or can be computed are refused. So is a secret next to a pair without
    /// its private key: such a set looks harmless enough to hand out, and lets its holders issue tokens. To go from a
    /// secret to a pair, add the whole pair, let it come first, take the secret away, and only then give verifiers the
    /// [public keys](KeyRing::public_jwk_set) alone.
    ///
    /// One bad key fails the whole set: better no start than a ring with a hole in it.
    pub fn from_jwk_set(json: &[u8]) -> Result<Self, KeyError> {
        Self::read(json, check_quality)
    }

    /// The ring in a JWK Set, with weak and published keys too: most published examples are made with such.
    #[cfg(test)]
    pub(crate) fn from_jwk_set_of_any_quality(json: &[u8]) -> Result<Self, KeyError> {
        Self::read(json, |_| Ok(()))
    }

    fn read(json: &[u8], check: fn(&Jwk<'_>) -> Result<(), KeyErrorKind>) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        let mut public = None;
        for jwk in &jwk::read_set(json)? {
            let key = Key::from_jwk(jwk)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(KeyError::of(KeyErrorKind::DuplicateKeyId, &key.kid));
            }
            check(jwk).map_err(|kind| KeyError::of(kind, &key.kid))?;
            if !key.is_secret() && jwk.private_key().is_none() {
                public.get_or_insert_with(|| key.kid.clone());
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeyError::new(KeyErrorKind::Empty));
        }
        if let Some(kid) = public
            && keys.iter().any(Key::is_secret)
        {
            return Err(KeyError::of(KeyErrorKind::MixedSet, &kid));
        }
        Ok(Self { keys: keys.into() })
    }

    /// The ids of the keys, the signing one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.kid.as_str())
    }

    /// What may be told of each key, the signing one first.
    pub fn keys_info(&self) -> impl Iterator<Item = KeyInfo<'_>> {
        self.keys.iter().map(|key| KeyInfo { kid: &key.kid, alg: key.algorithm_name() })
    }

    /// The public keys of the ring's pairs, in its order: what a verifier needs and anybody may have. Secrets are left
    /// out.
    pub fn public_jwk_set(&self) -> PublicJwkSet {
        PublicJwkSet(JwkSet { keys: self.keys.iter().filter_map(Key::public_jwk).collect() })
    }

    /// Fails if the first key may not sign.
    pub fn check_can_sign(&self) -> Result<(), KeyError> {
        match self.keys() {
            [first, ..] if first.may_sign() => Ok(()),
            [first, ..] => Err(KeyError::of(KeyErrorKind::CannotSign, first.id())),
            [] => Err(KeyError::new(KeyErrorKind::Empty)),
        }
    }

    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key that made this header, if it is byte for byte the one that a signer of this ring writes.
    pub(crate) fn by_own_header(&self, encoded: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.header == encoded)
    }

    pub(crate) fn by_id(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.keys).finish()
    }
}

/// What may be told of a key. Serialized it is `{"kid":…,"alg":…}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo<'r> {
    /// Its id.
    pub kid: &'r str,
    /// The algorithm it is for, as tokens name it.
    pub alg: &'static str,
}

/// Public keys as a JWK Set, to be serialized and published. Each has `kty`, `kid`, `alg`, `use` and the members that
/// make it; [`KeyRing::from_jwk_set`] reads it.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct PublicJwkSet(JwkSet);

/// The `kid` of a common secret: a MAC under it, so it tells nothing about the secret that a token would not.
fn derived_key_id(secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, b"signet key id");
    URL_SAFE_NO_PAD.encode(&tag.as_ref()[..8])
}

/// Refuses a key that is well-formed and yet known to others, or easily found.
fn check_quality(jwk: &Jwk<'_>) -> Result<(), KeyErrorKind> {
    match jwk.kty.as_deref() {
        Some("oct") => secret::check(&jwk::octets(jwk::text(jwk.k.as_ref()))?),
        Some("RSA") => {
            weak::check_published(jwk.n.as_deref().unwrap_or_default())?;
            weak::check_modulus(&jwk::unsigned(jwk.n.as_deref())?)
        }
        _ => weak::check_published(jwk.x.as_deref().unwrap_or_default()),
    }
}

//! The key ring: which keys sign and verify, and where they come from.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::aws_lc;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::json::{OtherNames, Skip, Text};
use crate::jws::{self, BASE64URL, NOT_BASE64URL};
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
    /// Every key has `kty` `oct`, `alg` `HS256`, a `kid` of its own, and a `k` that [`KeyRing::from_secret`] would
    /// take. `use`, where present, is `sig`; `key_ops`, where present, holds `verify`, and `sign` for the key that is
    /// to sign. One bad key fails the whole set: better no start than a ring with a hole in it.
    pub fn from_jwk_set(json: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::new(KeyErrorKind::Malformed);
        let text = std::str::from_utf8(json).map_err(|_| malformed())?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let jwks = JwkSetSeed.deserialize(&mut reader).map_err(|_| malformed())?;
        reader.end().map_err(|_| malformed())?;

        let mut keys: Vec<Key> = Vec::with_capacity(jwks.len());
        for jwk in &jwks {
            let OctetKey { kid, secret, may_sign } = jwk.octet_key()?;
            if keys.iter().any(|other| other.kid == kid) {
                return Err(KeyError::of(KeyErrorKind::DuplicateKeyId, kid));
            }
            secret::check(&secret).map_err(|kind| KeyError::of(kind, kid))?;
            keys.push(Key::hs256(kid.to_owned(), &secret, may_sign)?);
        }
        if keys.is_empty() {
            return Err(KeyError::new(KeyErrorKind::Empty));
        }
        Ok(Self { keys: keys.into() })
    }

    /// The ids of the keys, the signing one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.kid.as_str())
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

/// The `kid` of a common secret: a MAC under it, so it tells nothing about the secret that a token would not.
fn derived_key_id(secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, b"signet key id");
    URL_SAFE_NO_PAD.encode(&tag.as_ref()[..8])
}

/// What a key is for. RFC 8725 §3.1: one algorithm per key, and never the token's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Hs256,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
        }
    }

    fn primitive(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

/// One key of a ring, made ready for use.
///
/// Signing goes through `jsonwebtoken`, one call for any algorithm. Its verifiers are not `Sync`, so they would have to
/// be built anew for each token; checking uses the primitive directly, with the key schedule computed once.
pub(crate) struct Key {
    kid: String,
    algorithm: Algorithm,
    /// The encoded header of every token that this key signs.
    header: String,
    check: Check,
    /// Absent for a key that may only verify.
    sign: Option<EncodingKey>,
}

enum Check {
    /// AWS-LC wipes the state when it is dropped.
    Hmac(hmac::Key),
}

impl Key {
    /// A key without regard to how good the secret is: the policy is the ring's.
    pub(crate) fn hs256(kid: String, secret: &[u8], may_sign: bool) -> Result<Self, KeyError> {
        #[derive(Serialize)]
        struct Header<'h> {
            alg: &'h str,
            typ: &'h str,
            kid: &'h str,
        }

        let algorithm = Algorithm::Hs256;
        let header = serde_json::to_vec(&Header { alg: algorithm.name(), typ: "at+jwt", kid: &kid })
            .map_err(|_| KeyError::of(KeyErrorKind::Malformed, &kid))?;
        Ok(Self {
            kid,
            algorithm,
            header: URL_SAFE_NO_PAD.encode(header),
            check: Check::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret)),
            sign: may_sign.then(|| EncodingKey::from_secret(secret)),
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.kid
    }

    pub(crate) fn algorithm_name(&self) -> &'static str {
        self.algorithm.name()
    }

    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    pub(crate) fn may_sign(&self) -> bool {
        self.sign.is_some()
    }

    /// The signature over `message`, not yet encoded.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        const CANNOT_SIGN: Error = Error::new(ErrorKind::Signing, "the key could not make a signature");

        let key = self.sign.as_ref().ok_or(CANNOT_SIGN)?;
        // Named outright: the process-wide default is for whoever comes first to set.
        let signer =
            (aws_lc::DEFAULT_PROVIDER.signer_factory)(&self.algorithm.primitive(), key).map_err(|_| CANNOT_SIGN)?;
        signer.try_sign(message).map_err(|_| CANNOT_SIGN)
    }

    /// Checks an encoded signature over `message`, in constant time.
    pub(crate) fn check_signature(&self, message: &[u8], encoded: &str) -> Result<(), Error> {
        const NO_MATCH: Error = Error::new(ErrorKind::Signature, "the token's signature does not match");

        match &self.check {
            Check::Hmac(key) => {
                // Room for SHA-512's tag, so that a signature of another length is told from one that is not base64url.
                let mut buffer = [0; 64];
                let length = match BASE64URL.decode_slice(encoded, &mut buffer) {
                    Ok(length) => length,
                    Err(base64::DecodeSliceError::DecodeError(_)) => return Err(NOT_BASE64URL),
                    Err(base64::DecodeSliceError::OutputSliceTooSmall) => return Err(NO_MATCH),
                };
                hmac::verify(key, message, &buffer[..length]).map_err(|_| NO_MATCH)
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("alg", &self.algorithm.name()).finish_non_exhaustive()
    }
}

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
    /// The secret has been published, or is a placeholder that was meant to be replaced.
    WellKnown,
    /// The secret repeats itself, counts up or down, or has few different bytes.
    Weak,
    /// Not a JWK Set: not JSON, a member twice, a member of the wrong type, or `k` that is not strict base64url.
    Malformed,
    /// The set has no keys.
    Empty,
    /// A key of the set has no `kid`.
    MissingKeyId,
    /// Two keys of the set have the same `kid`.
    DuplicateKeyId,
    /// `kty` is not `oct`. Key pairs are not supported yet.
    UnsupportedType,
    /// `alg` is missing or not `HS256`.
    UnsupportedAlgorithm,
    /// `use` or `key_ops` says that the key is not for verifying signatures.
    NotForSignatures,
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
                "the secret is a published example or a placeholder; `openssl rand -base64 48` makes a good one"
            }
            KeyErrorKind::Weak => "the secret is easy to guess; `openssl rand -base64 48` makes a good one",
            KeyErrorKind::Malformed => "not a well-formed JWK Set",
            KeyErrorKind::Empty => "the JWK Set has no keys",
            KeyErrorKind::MissingKeyId => "a key of the JWK Set has no kid",
            KeyErrorKind::DuplicateKeyId => "the kid occurs twice in the JWK Set",
            KeyErrorKind::UnsupportedType => "kty must be oct: key pairs are not supported yet",
            KeyErrorKind::UnsupportedAlgorithm => "alg must be HS256",
            KeyErrorKind::NotForSignatures => "use or key_ops does not allow verifying signatures",
            KeyErrorKind::CannotSign => "the first key of the ring signs, but its key_ops does not allow that",
        })
    }
}

impl std::error::Error for KeyError {}

/// The members of a JWK (RFC 7517 §4) that matter here, as they were read.
#[derive(Default)]
struct Jwk<'j> {
    kty: Option<Cow<'j, str>>,
    kid: Option<Cow<'j, str>>,
    alg: Option<Cow<'j, str>>,
    usage: Option<Cow<'j, str>>,
    key_ops: Option<Vec<String>>,
    k: Option<Zeroizing<String>>,
}

/// What a JWK of type `oct` says.
struct OctetKey<'j> {
    kid: &'j str,
    secret: Zeroizing<Vec<u8>>,
    may_sign: bool,
}

impl Jwk<'_> {
    fn octet_key(&self) -> Result<OctetKey<'_>, KeyError> {
        let kid = self.kid.as_deref().filter(|kid| !kid.is_empty());
        let kid = kid.ok_or(KeyError::new(KeyErrorKind::MissingKeyId))?;
        let refuse = |kind| Err(KeyError::of(kind, kid));
        let allows = |operation| match &self.key_ops {
            Some(operations) => operations.iter().any(|allowed| allowed == operation),
            None => true,
        };
        match self.kty.as_deref() {
            Some("oct") => {}
            Some(_) => return refuse(KeyErrorKind::UnsupportedType),
            None => return refuse(KeyErrorKind::Malformed),
        }
        if self.alg.as_deref() != Some("HS256") {
            return refuse(KeyErrorKind::UnsupportedAlgorithm);
        }
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") || !allows("verify") {
            return refuse(KeyErrorKind::NotForSignatures);
        }
        match self.k.as_deref().map(|encoded| jws::decode(encoded)) {
            Some(Ok(secret)) => Ok(OctetKey { kid, secret: Zeroizing::new(secret), may_sign: allows("sign") }),
            Some(Err(_)) | None => refuse(KeyErrorKind::Malformed),
        }
    }
}

struct JwkSetSeed;

impl<'de> DeserializeSeed<'de> for JwkSetSeed {
    type Value = Vec<Jwk<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for JwkSetSeed {
    type Value = Vec<Jwk<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JWK Set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut keys = None;
        let mut others = OtherNames::default();
        while let Some(Text(name)) = members.next_key()? {
            let new = if name == "keys" {
                keys.replace(members.next_value_seed(JwksSeed)?).is_none()
            } else {
                members.next_value_seed(Skip)?;
                others.is_new(name)
            };
            if !new {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        keys.ok_or_else(|| A::Error::custom("keys is missing"))
    }
}

struct JwksSeed;

impl<'de> DeserializeSeed<'de> for JwksSeed {
    type Value = Vec<Jwk<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for JwksSeed {
    type Value = Vec<Jwk<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of JWKs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut jwks = Vec::new();
        while let Some(jwk) = items.next_element_seed(JwkSeed)? {
            jwks.push(jwk);
        }
        Ok(jwks)
    }
}

struct JwkSeed;

impl<'de> DeserializeSeed<'de> for JwkSeed {
    type Value = Jwk<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for JwkSeed {
    type Value = Jwk<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JWK")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut jwk = Jwk::default();
        let mut others = OtherNames::default();
        while let Some(Text(name)) = members.next_key()? {
            let new = match &*name {
                "kty" => jwk.kty.replace(members.next_value::<Text<'_>>()?.0).is_none(),
                "kid" => jwk.kid.replace(members.next_value::<Text<'_>>()?.0).is_none(),
                "alg" => jwk.alg.replace(members.next_value::<Text<'_>>()?.0).is_none(),
                "use" => jwk.usage.replace(members.next_value::<Text<'_>>()?.0).is_none(),
                "key_ops" => jwk.key_ops.replace(members.next_value()?).is_none(),
                "k" => jwk.k.replace(Zeroizing::new(members.next_value()?)).is_none(),
                _ => {
                    members.next_value_seed(Skip)?;
                    others.is_new(name)
                }
            };
            if !new {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(jwk)
    }
}

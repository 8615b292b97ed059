//! Reading a JWK Set (RFC 7517) strictly: its JSON, then the members of each key.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::error::{KeyError, KeyErrorKind};
use crate::json::{OtherNames, Skip, Text};
use crate::jws;

/// The members of a JWK that matter here, as they were read. What might be secret is wiped.
#[derive(Default)]
pub(super) struct Jwk<'j> {
    pub(super) kty: Option<Cow<'j, str>>,
    kid: Option<Cow<'j, str>>,
    pub(super) alg: Option<Cow<'j, str>>,
    usage: Option<Cow<'j, str>>,
    key_ops: Option<Vec<String>>,
    pub(super) crv: Option<Cow<'j, str>>,
    pub(super) x: Option<Cow<'j, str>>,
    pub(super) y: Option<Cow<'j, str>>,
    pub(super) n: Option<Cow<'j, str>>,
    pub(super) e: Option<Cow<'j, str>>,
    pub(super) k: Option<Zeroizing<String>>,
    pub(super) d: Option<Zeroizing<String>>,
    pub(super) p: Option<Zeroizing<String>>,
    pub(super) q: Option<Zeroizing<String>>,
    pub(super) dp: Option<Zeroizing<String>>,
    pub(super) dq: Option<Zeroizing<String>>,
    pub(super) qi: Option<Zeroizing<String>>,
}

/// The keys of a JWK Set, in its order, none of them looked at yet. Members that are not known are read past, but no
/// object anywhere in the text may have a member twice.
pub(super) fn read_set(json: &[u8]) -> Result<Vec<Jwk<'_>>, KeyError> {
    const MALFORMED: KeyErrorKind = KeyErrorKind::Malformed;

    let text = std::str::from_utf8(json).map_err(|_| KeyError::new(MALFORMED))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let jwks = JwkSetSeed.deserialize(&mut reader).map_err(|_| KeyError::new(MALFORMED))?;
    reader.end().map_err(|_| KeyError::new(MALFORMED))?;
    Ok(jwks)
}

impl Jwk<'_> {
    /// The key's id, which must be there.
    pub(super) fn id(&self) -> Result<&str, KeyError> {
        self.kid.as_deref().filter(|kid| !kid.is_empty()).ok_or(KeyError::new(KeyErrorKind::MissingKeyId))
    }

    /// Whether the key may make signatures, as far as `key_ops` goes. Fails if it may not verify any.
    pub(super) fn may_sign(&self) -> Result<bool, KeyErrorKind> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(KeyErrorKind::NotForSignatures);
        }
        let Some(operations) = &self.key_ops else { return Ok(true) };
        // RFC 7517 §4.3
        if operations.iter().enumerate().any(|(place, operation)| operations[..place].contains(operation)) {
            return Err(KeyErrorKind::Malformed);
        }
        let allows = |wanted| operations.iter().any(|operation| operation == wanted);
        if allows("verify") { Ok(allows("sign")) } else { Err(KeyErrorKind::NotForSignatures) }
    }

    /// The private key of a pair, where it is given.
    pub(super) fn private_key(&self) -> Option<&str> {
        text(self.d.as_ref())
    }
}

/// A secret member as text.
pub(super) fn text(member: Option<&Zeroizing<String>>) -> Option<&str> {
    member.map(|text| text.as_str())
}

/// A member's octets.
pub(super) fn octets(member: Option<&str>) -> Result<Zeroizing<Vec<u8>>, KeyErrorKind> {
    let encoded = member.ok_or(KeyErrorKind::Malformed)?;
    jws::decode(encoded).map(Zeroizing::new).map_err(|_| KeyErrorKind::Malformed)
}

/// A member of exactly 32 octets: what RFC 7518 §6.2 says of the coordinates of P-256 and of its private key, leading
/// zeros included, and RFC 8037 §2 of Ed25519.
pub(super) fn octets_32(member: Option<&str>) -> Result<Zeroizing<[u8; 32]>, KeyErrorKind> {
    let octets = octets(member)?;
    octets.as_slice().try_into().map(Zeroizing::new).map_err(|_| KeyErrorKind::Malformed)
}

/// A positive number (`Base64urlUInt`, RFC 7518 §2): big-endian, in as few octets as it takes.
pub(super) fn unsigned(member: Option<&str>) -> Result<Zeroizing<Vec<u8>>, KeyErrorKind> {
    octets(member).and_then(|octets| match octets.first() {
        Some(0) | None => Err(KeyErrorKind::Malformed),
        Some(_) => Ok(octets),
    })
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
            let new = if let Some(slot) = jwk.text_slot(&name) {
                slot.replace(members.next_value::<Text<'_>>()?.0).is_none()
            } else if let Some(slot) = jwk.secret_slot(&name) {
                slot.replace(Zeroizing::new(members.next_value()?)).is_none()
            } else if name == "key_ops" {
                jwk.key_ops.replace(members.next_value()?).is_none()
            } else {
                members.next_value_seed(Skip)?;
                others.is_new(name)
            };
            if !new {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(jwk)
    }
}

impl<'j> Jwk<'j> {
    fn text_slot(&mut self, name: &str) -> Option<&mut Option<Cow<'j, str>>> {
        Some(match name {
            "kty" => &mut self.kty,
            "kid" => &mut self.kid,
            "alg" => &mut self.alg,
            "use" => &mut self.usage,
            "crv" => &mut self.crv,
            "x" => &mut self.x,
            "y" => &mut self.y,
            "n" => &mut self.n,
            "e" => &mut self.e,
            _ => return None,
        })
    }

    fn secret_slot(&mut self, name: &str) -> Option<&mut Option<Zeroizing<String>>> {
        Some(match name {
            "k" => &mut self.k,
            "d" => &mut self.d,
            "p" => &mut self.p,
            "q" => &mut self.q,
            "dp" => &mut self.dp,
            "dq" => &mut self.dq,
            "qi" => &mut self.qi,
            _ => return None,
        })
    }
}

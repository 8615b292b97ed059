//! The JWS layer: splits a token in compact form, reads its header and checks its signature (RFC 7515), and knows
//! nothing of claims.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::NO_PAD;
use memchr::{memchr, memrchr};
use serde::de::{Deserializer as _, MapAccess, Visitor};

use crate::error::{Error, ErrorKind};
use crate::json::{OtherNames, Skip, Text};
use crate::key::Key;

/// The longest token that is issued or looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A token in compact form, split but neither decoded nor checked.
pub(crate) struct Compact<'t> {
    pub(crate) header: &'t str,
    payload: &'t str,
    signature: &'t str,
    /// Header and payload as they stand in the token: what the signature covers.
    signed: &'t str,
}

impl<'t> Compact<'t> {
    pub(crate) fn split(token: &'t str) -> Result<Self, Error> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Error::new(ErrorKind::TooLong, "the token is longer than 8 KiB"));
        }
        let parts = || {
            let (signed, signature) = cut(token, memrchr(b'.', token.as_bytes())?)?;
            let (header, payload) = cut(signed, memchr(b'.', signed.as_bytes())?)?;
            // An empty payload is a payload. A fourth part would leave its dot there.
            let whole = !header.is_empty() && !signature.is_empty() && memchr(b'.', payload.as_bytes()).is_none();
            whole.then_some(Self { header, payload, signature, signed })
        };
        parts().ok_or(Error::malformed("the token does not have three parts"))
    }

    /// The payload, decoded only after the signature has been found to be that of `key`: into the buffer, unless it is
    /// of an unusual length.
    pub(crate) fn verified_payload<'b>(
        &self,
        key: &Key,
        buffer: &'b mut PayloadBuffer,
    ) -> Result<Cow<'b, [u8]>, Error> {
        key.check_signature(self.signed.as_bytes(), self.signature)?;
        if self.payload.len() > buffer.len() {
            return decode(self.payload).map(Cow::Owned);
        }
        let length = BASE64URL.decode_slice(self.payload, buffer).map_err(|_| NOT_BASE64URL)?;
        Ok(Cow::Borrowed(&buffer[..length]))
    }
}

/// Room for the payloads of nearly all tokens, encoded, of which the decoder fills three quarters.
pub(crate) type PayloadBuffer = [u8; 1024];

/// What stands before and after a dot at this place.
fn cut(text: &str, dot: usize) -> Option<(&str, &str)> {
    Some((text.get(..dot)?, text.get(dot + 1..)?))
}

/// base64url without padding, by whatever instructions the CPU has for it.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
pub(crate) static BASE64URL: LazyLock<base64::engine::Simd> = LazyLock::new(|| base64::engine::Simd::url_safe(NO_PAD));
/// base64url without padding.
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
pub(crate) static BASE64URL: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD));

/// Strict base64url: no padding, no whitespace, no bits set beyond the last byte (RFC 7515 §2).
pub(crate) fn decode(part: &str) -> Result<Vec<u8>, Error> {
    BASE64URL.decode(part).map_err(|_| NOT_BASE64URL)
}

pub(crate) const NOT_BASE64URL: Error = Error::malformed("a part of the token is not strict base64url");

/// The header parameters that matter. All others are read past and never followed: a key or an address that a token
/// brings along (`jwk`, `jku`, `x5c`, `x5u`) proves nothing.
#[derive(Debug)]
pub(crate) struct Header<'h> {
    pub(crate) alg: Cow<'h, str>,
    pub(crate) kid: Option<Cow<'h, str>>,
    pub(crate) typ: Option<Cow<'h, str>>,
}

impl<'h> Header<'h> {
    /// Reads a decoded header. `crit` is refused whatever it names, since no extension is supported.
    pub(crate) fn read(json: &'h [u8]) -> Result<Self, Error> {
        const NOT_A_HEADER: Error = Error::malformed("the token's header is not a JSON object with the member alg");

        let json = std::str::from_utf8(json).map_err(|_| NOT_A_HEADER)?;
        let mut reader = serde_json::Deserializer::from_str(json);
        let raw = reader.deserialize_map(HeaderVisitor).map_err(|_| NOT_A_HEADER)?;
        reader.end().map_err(|_| NOT_A_HEADER)?;
        if raw.duplicate {
            return Err(Error::malformed("the token's header has a member twice"));
        }
        if raw.crit {
            return Err(Error::new(ErrorKind::Critical, "the token's header asks for a critical extension"));
        }
        Ok(Self { alg: raw.alg.ok_or(NOT_A_HEADER)?, kid: raw.kid, typ: raw.typ })
    }

    /// Refuses every algorithm but the one `key` is for.
    pub(crate) fn permits(&self, key: &Key) -> Result<(), Error> {
        if self.alg != key.algorithm_name() {
            return Err(Error::new(
                ErrorKind::AlgorithmMismatch,
                "the token's alg is not the algorithm of the key it names",
            ));
        }
        Ok(())
    }
}

#[derive(Default)]
struct RawHeader<'h> {
    alg: Option<Cow<'h, str>>,
    kid: Option<Cow<'h, str>>,
    typ: Option<Cow<'h, str>>,
    crit: bool,
    duplicate: bool,
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JOSE header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut header = RawHeader::default();
        let mut others = OtherNames::default();
        while let Some(Text(name)) = members.next_key()? {
            let slot = match &*name {
                "alg" => &mut header.alg,
                "kid" => &mut header.kid,
                "typ" => &mut header.typ,
                _ => {
                    header.crit |= name == "crit";
                    header.duplicate |= !others.is_new(name);
                    members.next_value_seed(Skip)?;
                    continue;
                }
            };
            let Text(value) = members.next_value()?;
            header.duplicate |= slot.replace(value).is_some();
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyRing;
    use serde_json::{Value, json};

    /// The examples of RFC 7515 A.1 to A.3 and RFC 8037 A. Their keys have neither `kid` nor `alg`; the `typ` and the
    /// line breaks of the first show that this layer minds neither type nor claims.
    fn examples() -> Vec<Value> {
        serde_json::from_str(include_str!("../tests/vectors/rfc.json")).unwrap()
    }

    fn ring(example: &Value) -> KeyRing {
        let mut key = example["key"].clone();
        key["kid"] = "k".into();
        key["alg"] = example["alg"].clone();
        KeyRing::from_jwk_set_of_any_quality(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
    }

    fn without_private_members(example: &Value) -> Value {
        let mut example = example.clone();
        let public = ["kty", "crv", "x", "y", "n", "e", "k"];
        example["key"].as_object_mut().unwrap().retain(|name, _| public.contains(&name.as_str()));
        example
    }

    #[test]
    fn the_examples_of_the_rfcs_are_verified() {
        for example in examples() {
            let (whole, public) = (ring(&example), ring(&without_private_members(&example)));
            for key in [&whole.keys()[0], &public.keys()[0]] {
                let jws = Compact::split(example["token"].as_str().unwrap()).unwrap();
                let json = decode(jws.header).unwrap();
                let header = Header::read(&json).unwrap();
                assert_eq!((&*header.alg, header.kid.as_deref()), (key.algorithm_name(), None));
                header.permits(key).unwrap();
                let mut buffer = [0; 1024];
                let payload = jws.verified_payload(key, &mut buffer).unwrap();
                let expected =
                    if key.algorithm_name() == "EdDSA" { "Example of Ed25519" } else { "{\"iss\":\"joe\",\r\n" };
                assert!(payload.starts_with(expected.as_bytes()), "{example}");
            }
        }
    }

    #[test]
    fn the_signatures_of_the_rfcs_are_made() {
        for example in examples() {
            let jws = Compact::split(example["token"].as_str().unwrap()).unwrap();
            let ring = ring(&example);
            let made = BASE64URL.encode(ring.keys()[0].sign(jws.signed.as_bytes()).unwrap());
            // ES256 takes a random number for each signature.
            assert_eq!(made == jws.signature, example["alg"] != "ES256", "{example}");
            ring.keys()[0].check_signature(jws.signed.as_bytes(), &made).unwrap();
        }
    }

    #[test]
    fn a_key_that_may_not_sign_does_not_sign() {
        for mut example in examples() {
            let mut keys = Vec::new();
            if example["alg"] != "HS256" {
                keys.push(ring(&without_private_members(&example)));
            }
            example["key"]["key_ops"] = json!(["verify"]);
            keys.push(ring(&example));
            for ring in keys {
                assert!(!ring.keys()[0].may_sign(), "{example}");
                assert_eq!(ring.keys()[0].sign(b"x").unwrap_err().kind(), ErrorKind::Signing, "{example}");
            }
        }
    }
}

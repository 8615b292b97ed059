//! The JWS layer: splits a token in compact form, reads its header and checks its signature (RFC 7515), and knows
//! nothing of claims.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::NO_PAD;
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
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, payload) = signed.split_once('.')?;
            let whole = !header.is_empty() && !payload.is_empty() && !signature.is_empty();
            // A fourth part would leave its dot here.
            (whole && !payload.contains('.')).then_some(Self { header, payload, signature, signed })
        };
        parts().ok_or(Error::malformed("the token does not have three parts"))
    }

    /// The payload, decoded only after the signature has been found to be that of `key`.
    pub(crate) fn verified_payload(&self, key: &Key) -> Result<Vec<u8>, Error> {
        key.check_signature(self.signed.as_bytes(), self.signature)?;
        decode(self.payload)
    }
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

    /// RFC 7515 A.1. Its `typ` and its line breaks show that this layer minds neither type nor claims.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

    #[test]
    fn the_example_of_rfc_7515_is_verified() {
        let key = Key::hs256("k".to_owned(), &decode(KEY).unwrap(), false).unwrap();
        let jws = Compact::split(TOKEN).unwrap();
        let json = decode(jws.header).unwrap();
        let header = Header::read(&json).unwrap();
        assert_eq!((&*header.alg, header.typ.as_deref(), header.kid), ("HS256", Some("JWT"), None));
        assert!(Header::read(&json).unwrap().permits(&key).is_ok());
        let payload = jws.verified_payload(&key).unwrap();
        assert!(payload.starts_with(b"{\"iss\":\"joe\",\r\n"));
    }

    #[test]
    fn a_key_that_may_not_sign_does_not_sign() {
        let key = Key::hs256("k".to_owned(), &decode(KEY).unwrap(), false).unwrap();
        assert_eq!(key.sign(b"x").unwrap_err().kind(), ErrorKind::Signing);
    }
}

//! Keys: where they come from, which are refused, and the one algorithm that each of them signs and verifies with.

mod edwards;
mod error;
mod jwk;
mod pair;
mod ring;
mod weak;
#[cfg(test)]
mod wycheproof;

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{CommonParameters, KeyAlgorithm, PublicKeyUse};
use serde::Serialize;

use self::jwk::Jwk;
use self::pair::{MAX_SIGNATURE_BYTES, Pair};
use crate::error::{Error, ErrorKind};
use crate::jws::{BASE64URL, NOT_BASE64URL};

pub use self::error::{KeyError, KeyErrorKind};
pub use self::ring::{KeyInfo, KeyRing, PublicJwkSet};

/// What a key is for. RFC 8725 §3.1: one algorithm per key, and never the token's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Hs256,
    EdDsa,
    Es256,
    Rs256,
}

impl Algorithm {
    fn of_type(kty: &str) -> Option<Self> {
        Some(match kty {
            "oct" => Self::Hs256,
            "OKP" => Self::EdDsa,
            "EC" => Self::Es256,
            "RSA" => Self::Rs256,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

impl From<Algorithm> for KeyAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Hs256 => Self::HS256,
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Es256 => Self::ES256,
            Algorithm::Rs256 => Self::RS256,
        }
    }
}

/// One key of a ring, made ready for use: the schedule of a secret is computed and a pair is parsed once, not for each
/// token.
pub(crate) struct Key {
    kid: String,
    algorithm: Algorithm,
    /// The encoded header of every token that this key signs.
    header: String,
    material: Material,
}

/// AWS-LC wipes what it frees.
#[expect(clippy::large_enum_variant, reason = "a ring has a few keys, and a secret is at hand without a detour")]
enum Material {
    Secret { key: hmac::Key, may_sign: bool },
    Pair(Pair),
}

impl Key {
    /// A key without regard to how good the secret is: the policy is the ring's.
    pub(crate) fn hs256(kid: String, secret: &[u8], may_sign: bool) -> Result<Self, KeyError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self::new(kid, Algorithm::Hs256, Material::Secret { key, may_sign })
    }

    /// The key that a JWK describes, without regard to how good it is.
    fn from_jwk(jwk: &Jwk<'_>) -> Result<Self, KeyError> {
        let kid = jwk.id()?;
        let (algorithm, material) = Material::read(jwk).map_err(|kind| KeyError::of(kind, kid))?;
        Self::new(kid.to_owned(), algorithm, material)
    }

    fn new(kid: String, algorithm: Algorithm, material: Material) -> Result<Self, KeyError> {
        #[derive(Serialize)]
        struct Header<'h> {
            alg: &'h str,
            typ: &'h str,
            kid: &'h str,
        }

        let header = serde_json::to_vec(&Header { alg: algorithm.name(), typ: "at+jwt", kid: &kid })
            .map_err(|_| KeyError::of(KeyErrorKind::Malformed, &kid))?;
        Ok(Self { kid, algorithm, header: URL_SAFE_NO_PAD.encode(header), material })
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
        match &self.material {
            Material::Secret { may_sign, .. } => *may_sign,
            Material::Pair(pair) => pair.may_sign(),
        }
    }

    fn is_secret(&self) -> bool {
        matches!(self.material, Material::Secret { .. })
    }

    /// The public half of a pair, for others to verify with.
    fn public_jwk(&self) -> Option<jsonwebtoken::jwk::Jwk> {
        let Material::Pair(pair) = &self.material else { return None };
        Some(jsonwebtoken::jwk::Jwk {
            common: CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(self.algorithm.into()),
                key_id: Some(self.kid.clone()),
                ..CommonParameters::default()
            },
            algorithm: pair.public_parameters().clone(),
        })
    }

    /// The signature over `message`, not yet encoded.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = match &self.material {
            Material::Secret { key, may_sign } => may_sign.then(|| hmac::sign(key, message).as_ref().to_vec()),
            Material::Pair(pair) => pair.sign(message),
        };
        signature.ok_or(Error::new(ErrorKind::Signing, "the key could not make a signature"))
    }

    /// Checks an encoded signature over `message`; a MAC in constant time.
    pub(crate) fn check_signature(&self, message: &[u8], encoded: &str) -> Result<(), Error> {
        let matches = match &self.material {
            Material::Secret { key, .. } => {
                // Room for more than SHA-256's tag, so that a signature of another length is told from one that is not
                // base64url.
                let mut buffer = [0; 64];
                hmac::verify(key, message, decode(encoded, &mut buffer)?).is_ok()
            }
            Material::Pair(pair) => {
                // The decoder wants a little more room than it fills.
                let mut buffer = [0; MAX_SIGNATURE_BYTES + 8];
                pair.verifies(message, decode(encoded, &mut buffer)?)
            }
        };
        if matches { Ok(()) } else { Err(NO_MATCH) }
    }
}

const NO_MATCH: Error = Error::new(ErrorKind::Signature, "the token's signature does not match");

/// The octets of a signature. One that is longer than any that could match is not decoded.
fn decode<'b>(encoded: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], Error> {
    match BASE64URL.decode_slice(encoded, buffer) {
        Ok(length) => Ok(&buffer[..length]),
        Err(base64::DecodeSliceError::DecodeError(_)) => Err(NOT_BASE64URL),
        Err(base64::DecodeSliceError::OutputSliceTooSmall) => Err(NO_MATCH),
    }
}

impl Material {
    fn read(jwk: &Jwk<'_>) -> Result<(Algorithm, Self), KeyErrorKind> {
        let kty = jwk.kty.as_deref().ok_or(KeyErrorKind::Malformed)?;
        let algorithm = Algorithm::of_type(kty).ok_or(KeyErrorKind::UnsupportedType)?;
        if jwk.alg.as_deref() != Some(algorithm.name()) {
            return Err(KeyErrorKind::UnsupportedAlgorithm);
        }
        let may_sign = jwk.may_sign()?;
        let pair = match algorithm {
            Algorithm::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &jwk::octets(jwk::text(jwk.k.as_ref()))?);
                return Ok((algorithm, Self::Secret { key, may_sign }));
            }
            Algorithm::EdDsa => Pair::ed25519(jwk)?,
            Algorithm::Es256 => Pair::p256(jwk)?,
            Algorithm::Rs256 => Pair::rsa(jwk)?,
        };
        Ok((algorithm, Self::Pair(pair.for_signing(may_sign))))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("alg", &self.algorithm.name()).finish_non_exhaustive()
    }
}

//! Issuing: claims in, a signed token out.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::claims::Claims;
use crate::error::{Error, ErrorKind};
use crate::jws::MAX_TOKEN_BYTES;
use crate::key::{Key, KeyError, KeyRing};
use crate::ring::LiveKeyRing;

/// Signs access tokens with the first key of a ring.
///
/// The header is `{"alg":"HS256","typ":"at+jwt","kid":"…"}`, with the algorithm of the key. Signing the same claims twice
/// gives the same token, except with ES256, whose signatures are random.
#[derive(Clone)]
pub struct Signer {
    ring: LiveKeyRing,
}

impl Signer {
    /// Fails if the first key of the ring may not sign.
    pub fn new(ring: &KeyRing) -> Result<Self, KeyError> {
        Self::live(&ring.clone().into())
    }

    /// A signer that goes over to another key as soon as the ring is replaced.
    ///
    /// Fails if the first key of the ring may not sign. A later ring is for whoever replaces it to check, with
    /// [`KeyRing::check_can_sign`]; without a key that may sign, [`Signer::sign`] fails.
    pub fn live(ring: &LiveKeyRing) -> Result<Self, KeyError> {
        ring.load().check_can_sign()?;
        Ok(Self { ring: ring.clone() })
    }

    /// The token for these claims.
    ///
    /// Fails for claims that every verifier would refuse: `iss`, `sub`, `aud` or `jti` empty, a number above
    /// 2^53 - 1, or a token longer than [`MAX_TOKEN_BYTES`].
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        claims.check_issuable()?;
        let ring = self.ring.load();
        let key = signing_key(&ring)?;
        let payload = serde_json::to_vec(claims).map_err(|_| Error::claims("the claims cannot be written as JSON"))?;

        let mut token = String::with_capacity(key.header().len() + payload.len() / 3 * 4 + 64);
        token.push_str(key.header());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = key.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Error::new(ErrorKind::TooLong, "the token would be longer than 8 KiB"));
        }
        Ok(token)
    }

    /// The key that would sign now, if there is any.
    #[cfg(feature = "feed")]
    pub(crate) fn key_id(&self) -> Option<String> {
        self.ring.load().keys().first().map(|key| key.id().to_owned())
    }
}

fn signing_key(ring: &KeyRing) -> Result<&Key, Error> {
    ring.keys().first().ok_or(Error::new(ErrorKind::Signing, "the key ring is empty"))
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key", &self.ring.load().keys().first()).finish()
    }
}

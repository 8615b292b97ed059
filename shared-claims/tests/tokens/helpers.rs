//! What the tests share: a ring, a verifier with a clock that stands still, and a forge for tokens that no signer makes.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared_claims::{Claims, KeyError, KeyRing, Signer, Verifier};

pub(crate) const SECRET: &[u8] = b"kPz3vN8qWb5xTy1mRc7dGf2hJs9uLe4a";
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "resource-service";
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn ring() -> KeyRing {
    KeyRing::from_secret(SECRET).unwrap()
}

pub(crate) fn kid() -> String {
    ring().key_ids().next().unwrap().to_owned()
}

pub(crate) fn signer() -> Signer {
    Signer::new(&ring()).unwrap()
}

pub(crate) fn verifier() -> Verifier {
    Verifier::builder(ring()).issuer(ISSUER).audience(AUDIENCE).clock(Arc::new(|| NOW)).build().unwrap()
}

/// The whole key pair for an algorithm.
pub(crate) fn pair(algorithm: &str) -> Value {
    let set: Value = serde_json::from_str(include_str!("../vectors/keys.json")).unwrap();
    set["keys"].as_array().unwrap().iter().find(|key| key["alg"] == algorithm).unwrap().clone()
}

/// The public half of [`pair`].
pub(crate) fn public(algorithm: &str) -> Value {
    let mut key = pair(algorithm);
    let private = ["d", "p", "q", "dp", "dq", "qi"];
    key.as_object_mut().unwrap().retain(|name, _| !private.contains(&name.as_str()));
    key
}

/// A common secret as a key of a set.
pub(crate) fn jwk(kid: &str, secret: &[u8]) -> Value {
    json!({"kty": "oct", "kid": kid, "alg": "HS256", "use": "sig", "k": encode(secret)})
}

pub(crate) fn jwk_set(keys: &[Value]) -> Result<KeyRing, KeyError> {
    KeyRing::from_jwk_set(json!({ "keys": keys }).to_string().as_bytes())
}

/// A user's claims, valid now.
pub(crate) fn claims() -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        sub: "018f2f6e-7c1a-7000-8000-000000000001".to_owned(),
        aud: vec!["user-service".to_owned(), AUDIENCE.to_owned()],
        iat: NOW,
        exp: NOW + 900,
        jti: "j1".to_owned(),
        scope: "persons:read".to_owned(),
        ..Claims::default()
    }
}

/// The header of our tokens, to be changed.
pub(crate) fn header() -> Value {
    json!({"alg": "HS256", "typ": "at+jwt", "kid": kid()})
}

/// The payload of [`claims`], to be changed.
pub(crate) fn payload() -> Value {
    serde_json::to_value(claims()).unwrap()
}

pub(crate) fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

pub(crate) fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// Signs whatever two parts are given, already encoded, with the right secret.
pub(crate) fn sign_parts(header: &str, payload: &str) -> String {
    let signed = format!("{header}.{payload}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", encode(tag))
}

/// A token with any bytes for header and payload, and the right signature.
pub(crate) fn forge(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    sign_parts(&encode(header), &encode(payload))
}

/// A token of our header and these payload bytes.
pub(crate) fn forge_payload(payload: impl AsRef<[u8]>) -> String {
    forge(header().to_string(), payload)
}

/// A token of these header bytes and our payload.
pub(crate) fn forge_header(header: impl AsRef<[u8]>) -> String {
    forge(header, payload().to_string())
}

/// Our payload, with one member set; `null` takes it away.
pub(crate) fn with_claim(name: &str, value: Value) -> String {
    let mut payload = payload();
    payload[name] = value;
    without_nulls(payload)
}

/// Our header, with one member set; `null` takes it away.
pub(crate) fn with_header(name: &str, value: Value) -> String {
    let mut header = header();
    header[name] = value;
    without_nulls(header)
}

fn without_nulls(mut object: Value) -> String {
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object.to_string()
}

//! Keys, verifiers and tokens that doors have in common.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use serde_json::{Value, json};
use shared_claims::{Claims, Error, ErrorKind, KeyRing, Signer, Verifier};

pub(crate) const SECRET: &[u8] = b"kPz3vN8qWb5xTy1mRc7dGf2hJs9uLe4a";
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "resource-service";

/// Long before any input is read, and long after.
const ISSUED: u64 = 1_700_000_000;
const EXPIRES: u64 = 9_000_000_000;

/// One key, and what it takes to sign and to verify with it, here and with another implementation.
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) verifier: Verifier,
    /// A token that is good for centuries.
    pub(crate) genuine: String,
    theirs: DecodingKey,
}

/// The common secret first, then a pair of each kind.
pub(crate) static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let pairs: Value = serde_json::from_str(include_str!("../../shared-claims/tests/vectors/keys.json")).unwrap();
    let mut keys =
        vec![Key::new(&KeyRing::from_secret(SECRET).unwrap(), Algorithm::HS256, DecodingKey::from_secret(SECRET))];
    for pair in pairs["keys"].as_array().unwrap() {
        let ring = KeyRing::from_jwk_set(json!({ "keys": [pair] }).to_string().as_bytes()).unwrap();
        keys.push(Key::new(&ring, algorithm(pair), decoding_key(pair)));
    }
    keys
});

pub(crate) fn algorithm(jwk: &Value) -> Algorithm {
    serde_json::from_value(jwk["alg"].clone()).unwrap()
}

pub(crate) fn decoding_key(jwk: &Value) -> DecodingKey {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    DecodingKey::from_jwk(&jwk).unwrap()
}

pub(crate) fn claims() -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        sub: "018f2f6e-7c1a-7000-8000-000000000001".to_owned(),
        aud: vec!["user-service".to_owned(), AUDIENCE.to_owned()],
        iat: ISSUED,
        exp: EXPIRES,
        jti: "j1".to_owned(),
        sid: Some("s1".to_owned()),
        scope: "persons:read".to_owned(),
        ver: Some(3),
        ..Claims::default()
    }
}

pub(crate) fn verifier(ring: KeyRing) -> Verifier {
    Verifier::builder(ring).issuer(ISSUER).audience(AUDIENCE).build().unwrap()
}

/// A token of these bytes for header and payload, signed with the common secret.
pub(crate) fn forge(header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The header that a signer writes with the common secret.
pub(crate) static HEADER: LazyLock<Vec<u8>> =
    LazyLock::new(|| URL_SAFE_NO_PAD.decode(KEYS[0].genuine.split('.').next().unwrap()).unwrap());

/// Another header that says the same, which is not recognized byte for byte.
pub(crate) static SPACED_HEADER: LazyLock<Vec<u8>> = LazyLock::new(|| [b" ".as_slice(), &HEADER].concat());

impl Key {
    fn new(ring: &KeyRing, algorithm: Algorithm, theirs: DecodingKey) -> Self {
        let genuine = Signer::new(ring).unwrap().sign(&claims()).unwrap();
        Self { algorithm, verifier: verifier(ring.clone()), genuine, theirs }
    }

    /// Asserts that our verdict and that of the crate `jsonwebtoken` go together, and gives ours.
    ///
    /// What we take, it takes, and reads the same claims. What it takes and we do not must fail one of the checks that
    /// it does not have.
    pub(crate) fn agree(&self, token: &str) -> Result<Claims, Error> {
        let mut validation = Validation::new(self.algorithm);
        validation.leeway = 30;
        validation.validate_nbf = true;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);

        // It has only the system's clock, so the second must not turn in between.
        let now = jsonwebtoken::get_current_timestamp();
        let ours = self.verifier.verify_at(token, now);
        let theirs = jsonwebtoken::decode::<Value>(token, &self.theirs, &validation).map(|data| data.claims);
        if jsonwebtoken::get_current_timestamp() != now {
            return ours;
        }
        match (&ours, theirs) {
            (Ok(ours), Ok(theirs)) => assert_same(ours, theirs),
            (Ok(_), Err(cause)) => panic!("we take what jsonwebtoken refuses: {cause}"),
            (Err(error), Ok(theirs)) => assert!(is_stricter(*error, &theirs, now), "{error} in {theirs}"),
            (Err(_), Err(_)) => {}
        }
        ours
    }
}

/// Whether we may refuse what the other implementation takes.
#[allow(clippy::cast_precision_loss, reason = "a time has fewer bits than a float")]
fn is_stricter(error: Error, theirs: &Value, now: u64) -> bool {
    match error.kind() {
        ErrorKind::Malformed
        | ErrorKind::TooLong
        | ErrorKind::UnknownKey
        | ErrorKind::Type
        | ErrorKind::Critical
        | ErrorKind::Claims => true,
        // It does not look at when a token was issued.
        ErrorKind::NotYetValid => theirs["iat"].as_f64().is_some_and(|iat| iat > now as f64 + 30.0),
        // It takes a token in the very second it expires (RFC 7519, 4.1.4: on or after that time it must not).
        ErrorKind::Expired => theirs["exp"].as_f64().is_some_and(|exp| exp + 30.0 <= now as f64 + 1.0),
        _ => false,
    }
}

#[allow(clippy::cast_precision_loss, reason = "what we take is an integer that a float holds")]
fn assert_same(ours: &Claims, mut theirs: Value) {
    let ours = serde_json::to_value(ours).unwrap();
    if theirs["aud"].is_string() {
        theirs["aud"] = json!([theirs["aud"]]);
    }
    for (name, value) in ours.as_object().unwrap() {
        let theirs = &theirs[name];
        let same = match (value.as_u64(), theirs.as_f64()) {
            // A fraction is rounded, and 2e0 is 2.
            (Some(ours), Some(theirs)) => (ours as f64 - theirs).abs() < 1.0,
            _ => value == theirs,
        };
        assert!(same, "{name}: {value} is not {theirs}");
    }
    // What we leave out was empty.
    for name in ["nbf", "sid", "scope", "roles", "ver", "client_id", "amr", "auth_time"] {
        if let Some(value) = theirs.get(name)
            && ours.get(name).is_none()
        {
            assert!(*value == "" || *value == json!([]), "{name}: {value} was lost");
        }
    }
}

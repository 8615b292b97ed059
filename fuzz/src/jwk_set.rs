//! JWK Sets: a ring that was taken is one that works, and what it publishes is no secret.

use serde_json::{Value, json};
use shared_claims::{KeyRing, Signer};

use crate::signed::{algorithm, claims, decoding_key, verifier};

/// A JWK Set, or anything else.
pub(crate) fn enter(data: &[u8]) {
    // Also as a secret, which has no form to be wrong.
    if let Ok(ring) = KeyRing::from_secret(data) {
        let token = Signer::new(&ring).unwrap().sign(&claims()).unwrap();
        assert_eq!(verifier(ring).verify(&token), Ok(claims()));
    }
    let Ok(ring) = KeyRing::from_jwk_set(data) else { return };
    let set: Value = serde_json::from_slice(data).expect("what we take is JSON");
    let given = set["keys"].as_array().expect("what we take has keys");
    let mut kids: Vec<&str> = ring.key_ids().collect();
    assert_eq!(kids, given.iter().map(|key| key["kid"].as_str().unwrap()).collect::<Vec<_>>());
    kids.sort_unstable();
    kids.dedup();
    assert_eq!(kids.len(), given.len(), "two keys have one id");

    let public = serde_json::to_value(ring.public_jwk_set()).unwrap();
    let published = public["keys"].as_array().unwrap();
    for key in published {
        for secret in ["k", "d", "p", "q", "dp", "dq", "qi"] {
            assert!(key.get(secret).is_none(), "{secret} is published");
        }
    }
    let pairs = given.iter().filter(|key| key["kty"] != "oct");
    assert_eq!(
        published.iter().map(|key| &key["kid"]).collect::<Vec<_>>(),
        pairs.map(|key| &key["kid"]).collect::<Vec<_>>()
    );
    if published.is_empty() {
        assert!(KeyRing::from_jwk_set(public.to_string().as_bytes()).is_err(), "a set without keys");
    } else {
        let again = KeyRing::from_jwk_set(public.to_string().as_bytes()).expect("what we publish can be read");
        assert!(again.check_can_sign().is_err(), "a public key signs");
        assert_eq!(serde_json::to_value(again.public_jwk_set()).unwrap(), public);
    }

    let Ok(signer) = Signer::new(&ring) else { return };
    let Ok(token) = signer.sign(&claims()) else { return };
    assert_eq!(verifier(ring.clone()).verify(&token), Ok(claims()));
    // Another implementation takes it, with the first key as it was given.
    if given[0]["kty"] != "oct" {
        let algorithm = algorithm(&given[0]);
        let mut validation = jsonwebtoken::Validation::new(algorithm);
        validation.set_audience(&claims().aud);
        let theirs = jsonwebtoken::decode::<Value>(&token, &decoding_key(&published[0]), &validation);
        assert_eq!(theirs.expect("jsonwebtoken takes it").claims["sub"], json!(claims().sub));
    }
}

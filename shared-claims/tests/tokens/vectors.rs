//! Tokens that other programs made are taken, and ours are the very ones that other programs have verified. See
//! `../vectors/README.md`.

use crate::helpers::*;
use serde_json::{Value, json};
use shared_claims::{Claims, KeyRing, Signer, Verifier};

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn cases() -> Value {
    read(include_str!("../vectors/cases.json"))
}

const ALGORITHMS: [&str; 4] = ["HS256", "EdDSA", "ES256", "RS256"];

/// The ring whose first key is for this algorithm: that of the secret, or a key pair's.
fn ring(cases: &Value, algorithm: &str) -> KeyRing {
    if algorithm == "HS256" {
        let ring = KeyRing::from_secret(cases["secret"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(ring.key_ids().next(), cases["kid"].as_str());
        ring
    } else {
        jwk_set(&[pair(algorithm)]).unwrap()
    }
}

/// What a verifier has: only public keys where there are such.
fn verifier_s_ring(cases: &Value, algorithm: &str) -> KeyRing {
    if algorithm == "HS256" { ring(cases, algorithm) } else { jwk_set(&[public(algorithm)]).unwrap() }
}

fn claims_of(value: &Value) -> Claims {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let texts = |name: &str| match &value[name] {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        _ => Vec::new(),
    };
    Claims {
        iss: text("iss").unwrap(),
        sub: text("sub").unwrap(),
        aud: texts("aud"),
        iat: value["iat"].as_u64().unwrap(),
        exp: value["exp"].as_u64().unwrap(),
        nbf: value["nbf"].as_u64(),
        jti: text("jti").unwrap(),
        sid: text("sid"),
        scope: text("scope").unwrap_or_default(),
        roles: texts("roles"),
        ver: value["ver"].as_u64(),
        client_id: text("client_id"),
        amr: texts("amr"),
        auth_time: value["auth_time"].as_u64(),
    }
}

#[track_caller]
fn assert_all_taken(tokens: &str) {
    let (cases, tokens) = (cases(), read(tokens));
    for algorithm in ALGORITHMS {
        let ring = verifier_s_ring(&cases, algorithm);
        let verifier = Verifier::builder(ring).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
        for case in cases["cases"].as_array().unwrap() {
            let name = format!("{algorithm}, {}", case["name"]);
            let token = tokens["tokens"][algorithm][case["name"].as_str().unwrap()].as_str().unwrap();
            let claims = verifier.verify_at(token, cases["now"].as_u64().unwrap()).expect(&name);
            assert_eq!(claims, claims_of(&case["claims"]), "{name}");
            assert_eq!(serde_json::to_value(&claims).unwrap(), case["claims"], "{name}");
        }
    }
}

#[test]
fn tokens_made_by_pyjwt_are_taken() {
    assert_all_taken(include_str!("../vectors/pyjwt.json"));
}

#[test]
fn tokens_made_by_jose_are_taken() {
    assert_all_taken(include_str!("../vectors/jose.json"));
}

#[test]
fn the_signer_makes_the_tokens_that_pyjwt_and_jose_have_verified() {
    let (cases, recorded) = (cases(), read(include_str!("../vectors/signet.json")));
    let mut made = json!({});
    for algorithm in ALGORITHMS {
        let signer = Signer::new(&ring(&cases, algorithm)).unwrap();
        for case in cases["cases"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            made[algorithm][name] = signer.sign(&claims_of(&case["claims"])).unwrap().into();
        }
    }
    let signed = |tokens: &Value| -> Value {
        // A signature of ES256 is never the same twice; what it covers is.
        let mut tokens = tokens.clone();
        for token in tokens["ES256"].as_object_mut().unwrap().values_mut() {
            *token = token.as_str().unwrap().rsplit_once('.').unwrap().0.into();
        }
        tokens
    };
    assert_eq!(signed(&recorded["tokens"]), signed(&made), "made now: {made:#}");
    assert_all_taken(include_str!("../vectors/signet.json"));
}

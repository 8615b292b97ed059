//! What holds for all claims and all strings, and against another implementation.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "no time that is compared here is negative or beyond what f64 holds exactly"
)]

use crate::helpers::*;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};
use shared_claims::Claims;

const MAX_INTEGER: u64 = (1 << 53) - 1;

prop_compose! {
    fn any_claims()(
        sub in ".{1,40}", jti in ".{1,40}", sid in any::<Option<String>>(), scope in ".{0,60}",
        others in prop::collection::vec(".{0,20}", 0..4), place in any::<prop::sample::Index>(),
        iat in 0..=NOW + 30, exp in NOW - 29..=MAX_INTEGER, nbf in prop::option::of(0..=NOW + 30),
        roles in prop::collection::vec(".{0,20}", 0..4), ver in prop::option::of(0..=MAX_INTEGER),
        (client_id, amr, auth_time) in (
            prop::option::of(".{0,20}"), prop::collection::vec(".{0,10}", 0..3), prop::option::of(0..=MAX_INTEGER),
        ),
    ) -> Claims {
        let mut aud = others;
        aud.insert(place.index(aud.len() + 1), AUDIENCE.to_owned());
        Claims { iss: ISSUER.to_owned(), sub, aud, iat, exp, nbf, jti, sid, scope, roles, ver, client_id, amr, auth_time }
    }
}

/// Values that a careless, a strange or a hostile issuer might put into a claim.
fn odd_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just(json!(NOW)),
        Just(json!(NOW + 900)),
        Just(json!(NOW - 900)),
        Just(json!(-1)),
        Just(json!(0)),
        Just(json!(1.5)),
        Just(json!(1e300)),
        Just(json!(u64::MAX)),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ];
    let text = prop_oneof![
        Just(json!(ISSUER)),
        Just(json!(AUDIENCE)),
        Just(json!("")),
        Just(json!("none")),
        Just(json!("HS256")),
        Just(json!("at+jwt")),
        Just(json!(kid())),
        ".{0,12}".prop_map(Value::from),
    ];
    let leaf = prop_oneof![number, text, Just(Value::Null), any::<bool>().prop_map(Value::from)];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[a-c]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

const CLAIM_NAMES: [&str; 16] = [
    "iss",
    "sub",
    "aud",
    "iat",
    "exp",
    "nbf",
    "jti",
    "sid",
    "scope",
    "roles",
    "ver",
    "client_id",
    "amr",
    "auth_time",
    "x",
    "",
];

/// What jsonwebtoken makes of a token, set to the same rules as far as it has them.
fn by_jsonwebtoken(token: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = 30;
    validation.validate_nbf = true;
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    jsonwebtoken::decode::<Value>(token, &DecodingKey::from_secret(SECRET), &validation).map(|data| data.claims)
}

/// Both must read the same clock: jsonwebtoken has only the system's.
fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

#[track_caller]
fn assert_no_laxer_than_jsonwebtoken(token: &str) {
    if let Ok(ours) = verifier().verify_at(token, now()) {
        let mut theirs = by_jsonwebtoken(token).expect("what we take, jsonwebtoken takes");
        let ours = serde_json::to_value(ours).unwrap();
        // We give one audience as an array, and no claim that is absent or empty or that we do not know.
        if theirs["aud"].is_string() {
            theirs["aud"] = json!([theirs["aud"]]);
        }
        for (name, value) in ours.as_object().unwrap() {
            let same = match (value.as_u64(), theirs[name].as_f64()) {
                (Some(ours), Some(theirs)) if theirs.fract() != 0.0 => ours.abs_diff(theirs as u64) <= 1,
                (Some(ours), Some(theirs)) => ours == theirs as u64,
                _ => *value == theirs[name],
            };
            assert!(same, "{name}: {value} is not {}", theirs[name]);
        }
        for (name, value) in theirs.as_object().unwrap() {
            let empty = value == "" || value.as_array().is_some_and(Vec::is_empty);
            let known = CLAIM_NAMES[..14].contains(&name.as_str());
            assert!(!known || empty || ours.get(name).is_some(), "{name} was lost");
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_signed_comes_back_as_it_was(claims in any_claims()) {
        let token = signer().sign(&claims).unwrap();
        prop_assert_eq!(verifier().verify(&token).unwrap(), claims);
    }

    #[test]
    fn a_token_with_any_one_character_changed_is_refused(
        claims in any_claims(), place in any::<prop::sample::Index>(), character in any::<char>(), near in "[A-Za-z0-9._=-]",
    ) {
        let token = signer().sign(&claims).unwrap();
        let place = place.index(token.len());
        for new in [character.to_string(), near, String::new()] {
            let mut changed = token.clone();
            changed.replace_range(place..=place, &new);
            if changed != token {
                prop_assert!(verifier().verify(&changed).is_err());
            }
            let mut longer = token.clone();
            longer.insert_str(place, &new);
            if longer != token {
                prop_assert!(verifier().verify(&longer).is_err());
            }
        }
    }

    #[test]
    fn no_string_makes_the_verifier_panic(token in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(verifier().verify(&token).is_err());
        let _ = verifier().verify(&forge_payload(&bytes));
        let _ = verifier().verify(&forge_header(&bytes));
        let _ = shared_claims::KeyRing::from_jwk_set(&bytes);
        let _ = shared_claims::KeyRing::from_secret(&bytes);
    }

    #[test]
    fn no_json_makes_the_verifier_panic(header in odd_value(), payload in odd_value()) {
        let _ = verifier().verify(&forge(header.to_string(), payload.to_string()));
    }

    #[test]
    fn what_we_take_jsonwebtoken_takes_with_the_same_claims(
        odd in prop::collection::vec((prop::sample::select(&CLAIM_NAMES[..]), odd_value()), 0..3),
    ) {
        let now = now();
        let mut payload = payload();
        payload["iat"] = json!(now);
        payload["exp"] = json!(now + 900);
        for (name, value) in odd {
            payload[name] = value;
        }
        assert_no_laxer_than_jsonwebtoken(&forge_payload(payload.to_string()));
    }

    #[test]
    fn around_the_limits_of_time_we_are_no_laxer_than_jsonwebtoken(
        name in prop::sample::select(&["exp", "nbf", "iat"][..]), offset in -40.0..40.0_f64, whole in any::<bool>(),
    ) {
        let now = now();
        let mut payload = payload();
        payload["iat"] = json!(now);
        payload["exp"] = json!(now + 900);
        let time = now as f64 + offset;
        payload[name] = if whole { json!(time as u64) } else { json!(time) };
        // The second may turn between the two calls: only a verdict that holds for a moment longer counts.
        let token = forge_payload(payload.to_string());
        if verifier().verify_at(&token, now + 2).is_ok() && verifier().verify_at(&token, now).is_ok() {
            prop_assert!(by_jsonwebtoken(&token).is_ok());
        }
    }

    #[test]
    fn with_any_header_we_are_no_laxer_than_jsonwebtoken(
        odd in prop::collection::vec((prop::sample::select(&["alg", "typ", "kid", "crit", "jwk", "x"][..]), odd_value()), 0..3),
    ) {
        let now = now();
        let mut payload = payload();
        payload["iat"] = json!(now);
        payload["exp"] = json!(now + 900);
        let mut header = header();
        for (name, value) in odd {
            header[name] = value;
        }
        let token = forge(header.to_string(), payload.to_string());
        if verifier().verify_at(&token, now).is_ok() && header.get("jwk").is_none() {
            assert_no_laxer_than_jsonwebtoken(&token);
        }
    }
}

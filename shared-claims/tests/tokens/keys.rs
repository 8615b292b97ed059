//! Which keys make a ring, and which are refused.

use crate::helpers::*;
use serde_json::json;
use shared_claims::{Claims, ErrorKind, KeyErrorKind, KeyRing, Signer, Verifier};

const NEW_SECRET: &[u8] = b"Xw6@eB2!uQ9#oM4$iZ7%aT1^yK5&gD3*";

#[track_caller]
fn assert_refused(secret: &[u8], kind: KeyErrorKind) {
    let text = String::from_utf8_lossy(secret).into_owned();
    let error = KeyRing::from_secret(secret).expect_err(&text);
    assert_eq!(error.kind(), kind, "{text}");
    assert!(!format!("{error} {error:?}").contains(&text), "{error}");
}

#[track_caller]
fn assert_set_refused(set: &str, kind: KeyErrorKind) {
    assert_eq!(KeyRing::from_jwk_set(set.as_bytes()).expect_err(set).kind(), kind, "{set}");
}

#[test]
fn a_secret_of_fewer_than_32_bytes_is_refused() {
    assert_eq!(KeyRing::from_secret(b"").unwrap_err().kind(), KeyErrorKind::TooShort);
    assert_refused(&SECRET[..31], KeyErrorKind::TooShort);
    assert!(KeyRing::from_secret(&SECRET[..32]).is_ok());
}

#[test]
fn published_secrets_are_refused_in_every_form() {
    for secret in [
        "a-string-secret-at-least-256-bits-long",
        "A-String-Secret-At-Least-256-Bits-Long",
        "a-string-secret-at-least-256-bits-long!",
        "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "09D25E094FAA6CA2556C818166B7A9563B93F7099F6F0F4CAA6CF63B88E8D3E7",
        "09f26e402586e2faa8da4c98a35f1b20d6b033c60",
        "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
        // The same, decoded from hexadecimal.
        "@NcRfUjXn2r5u8x/A?D(G+KbPdSgVkYp",
        "5367566B59703373367639792F423F4528482B4D6251655468576D5A71347437",
        "JWTAuthenticationHIGHsecuredPasswordVVVp1OH7Xzyr",
        "super-secret-jwt-token-with-at-least-32-characters-long",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
    ] {
        assert_refused(secret.as_bytes(), KeyErrorKind::WellKnown);
    }
}

#[test]
fn placeholders_are_refused() {
    for secret in [
        "changeme-changeme-or-be-sorry-012345",
        "please_change_me_before_you_deploy_this",
        "Replace-Me-With-Something-Random-0123456",
        "my-super-secret-key-that-nobody-will-guess",
        "django-insecure-8x!kq2#v9zr4m7w1c5b3n6",
        "your_jwt_secret_goes_here_and_is_long_enough",
    ] {
        assert_refused(secret.as_bytes(), KeyErrorKind::WellKnown);
    }
}

#[test]
fn secrets_that_repeat_or_count_or_hold_few_bytes_are_refused() {
    let counting: Vec<u8> = (0..32).collect();
    let down: Vec<u8> = (0..64).rev().collect();
    for secret in [
        "a".repeat(64).as_bytes(),
        "0123456789abcdef".repeat(2).as_bytes(),
        "kPz3vN8qWb5xTy1m".repeat(4).as_bytes(),
        "kPz3vN8qWb5xTy1mRc7dGf2hJs9uLe4".repeat(2).as_bytes(),
        b"abcdefghijklmnopqrstuvwxyz0123456789",
        b"abababbabaabcabcbabcbacbabcabbabcabc",
        &counting,
        &down,
        &[0; 32],
    ] {
        assert_refused(secret, KeyErrorKind::Weak);
    }
}

#[test]
fn random_secrets_of_any_usual_form_are_taken() {
    for secret in [
        "b2f1c8e07d5a4936fe01bc7742d98a35",
        "31415926535897932384626433832795",
        "q8Jm2Zk5Vx9Tb4Wn7Rc1Yd6Hf3Lg0Sp+aE/uIoOiPQ4=",
        "correct horse battery staple, twice over and then some",
    ] {
        assert!(KeyRing::from_secret(secret.as_bytes()).is_ok(), "{secret}");
    }
}

#[test]
fn the_kid_of_a_secret_is_the_same_everywhere_and_differs_between_secrets() {
    assert_eq!(ring().key_ids().collect::<Vec<_>>(), [kid()]);
    assert_eq!(kid().len(), 11);
    assert_ne!(KeyRing::from_secret(NEW_SECRET).unwrap().key_ids().next().unwrap(), kid());
}

#[test]
fn the_first_key_signs_and_all_verify() {
    let old = jwk_set(&[jwk("old", SECRET)]).unwrap();
    let both = jwk_set(&[jwk("new", NEW_SECRET), jwk("old", SECRET)]).unwrap();
    let new = jwk_set(&[jwk("new", NEW_SECRET)]).unwrap();
    assert_eq!(both.key_ids().collect::<Vec<_>>(), ["new", "old"]);

    let verifier = |ring: &KeyRing| Verifier::builder(ring.clone()).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    let by_old = Signer::new(&old).unwrap().sign(&claims()).unwrap();
    let by_both = Signer::new(&both).unwrap().sign(&claims()).unwrap();
    assert!(verifier(&both).verify_at(&by_old, NOW).is_ok());
    assert!(verifier(&both).verify_at(&by_both, NOW).is_ok());
    assert!(verifier(&new).verify_at(&by_both, NOW).is_ok());
    assert_eq!(verifier(&old).verify_at(&by_both, NOW).unwrap_err().kind(), ErrorKind::UnknownKey);
    assert_eq!(verifier(&new).verify_at(&by_old, NOW).unwrap_err().kind(), ErrorKind::UnknownKey);
}

#[test]
fn a_token_under_one_key_s_name_and_the_other_s_signature_is_refused() {
    let both = jwk_set(&[jwk("new", NEW_SECRET), jwk("old", SECRET)]).unwrap();
    let crossed = jwk_set(&[jwk("old", NEW_SECRET)]).unwrap();
    let verifier = Verifier::builder(both).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    let token = Signer::new(&crossed).unwrap().sign(&claims()).unwrap();
    assert_eq!(verifier.verify_at(&token, NOW).unwrap_err().kind(), ErrorKind::Signature);
}

#[test]
fn a_set_without_usable_keys_is_refused() {
    assert_set_refused(r#"{"keys":[]}"#, KeyErrorKind::Empty);
    for not_a_set in
        ["", "{}", "[]", "null", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[]} x"#, r#"{"keys":null}"#]
    {
        assert_set_refused(not_a_set, KeyErrorKind::Malformed);
    }
    assert_eq!(KeyRing::from_jwk_set(b"\xff{}").unwrap_err().kind(), KeyErrorKind::Malformed);
}

#[test]
fn a_set_with_a_member_twice_is_refused() {
    let k = encode(SECRET);
    let key = format!(r#"{{"kty":"oct","kid":"a","alg":"HS256","k":"{k}"}}"#);
    assert!(KeyRing::from_jwk_set(format!(r#"{{"keys":[{key}],"x":1}}"#).as_bytes()).is_ok());
    assert_set_refused(&format!(r#"{{"keys":[{key}],"keys":[{key}]}}"#), KeyErrorKind::Malformed);
    assert_set_refused(&format!(r#"{{"keys":[{key}],"x":1,"x":1}}"#), KeyErrorKind::Malformed);
    for member in [r#""kid":"b""#, r#""alg":"HS256""#, r#""x":1,"x":1"#, r#""x":{"y":1,"y":1}"#] {
        let twice = key.replace('}', &format!(",{member}}}"));
        assert_set_refused(&format!(r#"{{"keys":[{twice}]}}"#), KeyErrorKind::Malformed);
    }
}

#[test]
fn every_key_needs_a_kid_of_its_own() {
    let mut nameless = jwk("a", SECRET);
    nameless.as_object_mut().unwrap().remove("kid");
    assert_eq!(jwk_set(&[nameless]).unwrap_err().kind(), KeyErrorKind::MissingKeyId);
    assert_eq!(jwk_set(&[jwk("", SECRET)]).unwrap_err().kind(), KeyErrorKind::MissingKeyId);
    let error = jwk_set(&[jwk("a", SECRET), jwk("b", NEW_SECRET), jwk("a", NEW_SECRET)]).unwrap_err();
    assert_eq!((error.kind(), error.key_id()), (KeyErrorKind::DuplicateKeyId, Some("a")));
}

#[test]
fn a_key_with_another_type_algorithm_or_use_is_refused() {
    for (member, value, kind) in [
        ("kty", json!("RSA"), KeyErrorKind::UnsupportedAlgorithm),
        ("kty", json!("EC"), KeyErrorKind::UnsupportedAlgorithm),
        ("kty", json!("OKP"), KeyErrorKind::UnsupportedAlgorithm),
        ("kty", json!("OCT"), KeyErrorKind::UnsupportedType),
        ("kty", json!("AKP"), KeyErrorKind::UnsupportedType),
        ("kty", json!(1), KeyErrorKind::Malformed),
        ("alg", json!("HS512"), KeyErrorKind::UnsupportedAlgorithm),
        ("alg", json!("none"), KeyErrorKind::UnsupportedAlgorithm),
        ("alg", json!("RS256"), KeyErrorKind::UnsupportedAlgorithm),
        ("use", json!("enc"), KeyErrorKind::NotForSignatures),
        ("key_ops", json!(["encrypt"]), KeyErrorKind::NotForSignatures),
        ("key_ops", json!([]), KeyErrorKind::NotForSignatures),
        ("key_ops", json!("verify"), KeyErrorKind::Malformed),
    ] {
        let mut key = jwk("a", SECRET);
        key[member] = value;
        assert_eq!(jwk_set(&[jwk("fine", NEW_SECRET), key.clone()]).unwrap_err().kind(), kind, "{key}");
    }
    for (member, kind) in
        [("kty", KeyErrorKind::Malformed), ("alg", KeyErrorKind::UnsupportedAlgorithm), ("k", KeyErrorKind::Malformed)]
    {
        let mut key = jwk("a", SECRET);
        key.as_object_mut().unwrap().remove(member);
        assert_eq!(jwk_set(&[key]).unwrap_err().kind(), kind, "{member}");
    }
}

#[test]
fn a_key_that_is_weak_or_not_strict_base64url_is_refused() {
    let with_k = |k: &str| {
        let mut key = jwk("a", SECRET);
        key["k"] = json!(k);
        jwk_set(&[key]).unwrap_err().kind()
    };
    assert_eq!(with_k(&encode(&SECRET[..31])), KeyErrorKind::TooShort);
    assert_eq!(with_k(&encode([7; 32])), KeyErrorKind::Weak);
    // RFC 7515 A.1
    let published = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    assert_eq!(with_k(published), KeyErrorKind::WellKnown);
    let k = encode(SECRET);
    for k in [format!("{k}="), format!("{k} "), k.replace(&k[..1], "+"), format!("{}B", &k[..k.len() - 1])] {
        assert_eq!(with_k(&k), KeyErrorKind::Malformed, "{k}");
    }
}

#[test]
fn a_key_that_may_only_verify_cannot_come_first_in_a_signer() {
    let mut verify_only = jwk("a", SECRET);
    verify_only["key_ops"] = json!(["verify"]);
    let ring = jwk_set(&[verify_only.clone()]).unwrap();
    assert_eq!(Signer::new(&ring).unwrap_err().kind(), KeyErrorKind::CannotSign);
    let ring = jwk_set(&[jwk("b", NEW_SECRET), verify_only]).unwrap();
    assert!(Signer::new(&ring).is_ok());
}

#[test]
fn debug_output_shows_no_keys() {
    let ring = jwk_set(&[jwk("visible", SECRET)]).unwrap();
    let signer = Signer::new(&ring).unwrap();
    let builder = || Verifier::builder(ring.clone()).issuer("i").audience("a");
    let shown = format!("{ring:?} {signer:?} {:?} {:?}", builder(), builder().build().unwrap());
    assert!(shown.contains("visible"));
    assert!(!shown.contains("kPz3") && !shown.contains(&encode(SECRET)[..8]) && !shown.contains("107, 80"), "{shown}");
}

#[test]
fn a_kid_with_quotes_survives_the_header() {
    let ring = jwk_set(&[jwk("quo\"te\\ é\u{1}", SECRET)]).unwrap();
    let token = Signer::new(&ring).unwrap().sign(&Claims { jti: "j".to_owned(), ..claims() }).unwrap();
    let verifier = Verifier::builder(ring).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    assert!(verifier.verify_at(&token, NOW).is_ok());
}

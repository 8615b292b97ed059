//! What the verifier takes, and everything it refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::helpers::*;
use serde_json::{Value, json};
use shared_claims::{Claims, Error, ErrorKind, KeyRing, MAX_TOKEN_BYTES, Signer, Verifier, VerifierBuilderError};

#[track_caller]
fn assert_refused(token: &str, kind: ErrorKind) {
    let error = verifier().verify(token).expect_err("the token should be refused");
    assert_eq!(error.kind(), kind, "{error}");
    let code = if kind == ErrorKind::Expired { "token_expired" } else { "token_invalid" };
    assert_eq!(error.code(), code);
}

#[track_caller]
fn assert_taken(token: &str) -> Claims {
    verifier().verify(token).expect("the token should be taken")
}

#[test]
fn a_signed_token_gives_its_claims_back() {
    let token = signer().sign(&claims()).unwrap();
    assert_eq!(assert_taken(&token), claims());
}

#[test]
fn the_forge_makes_what_the_signer_makes() {
    assert_taken(&forge(header().to_string(), payload().to_string()));
}

#[test]
fn the_verifier_can_be_cloned_and_shared_between_threads() {
    fn assert_shared<T: Clone + Send + Sync + 'static>() {}
    assert_shared::<Verifier>();
    assert_shared::<Signer>();
    assert_shared::<KeyRing>();
}

// Header

#[test]
fn alg_none_is_refused_with_and_without_a_signature() {
    for none in ["none", "None", "NONE", ""] {
        assert_refused(&forge_header(with_header("alg", json!(none))), ErrorKind::AlgorithmMismatch);
    }
    let header = encode(with_header("alg", json!("none")));
    let payload = encode(payload().to_string());
    assert_refused(&format!("{header}.{payload}."), ErrorKind::Malformed);
    assert_refused(&format!("{header}.{payload}.AA"), ErrorKind::AlgorithmMismatch);
}

#[test]
fn an_algorithm_other_than_the_key_s_is_refused() {
    for alg in ["HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256", "hs256", "HS256 "] {
        assert_refused(&forge_header(with_header("alg", json!(alg))), ErrorKind::AlgorithmMismatch);
    }
}

#[test]
fn alg_must_be_a_string_and_present() {
    for alg in [Value::Null, json!(1), json!(["HS256"]), json!({"alg": "HS256"}), json!(true)] {
        assert_refused(&forge_header(with_header("alg", alg)), ErrorKind::Malformed);
    }
    assert_refused(&forge_header(r#"{"alg":null,"typ":"at+jwt","kid":"k"}"#), ErrorKind::Malformed);
}

#[test]
fn typ_is_a_media_type_with_or_without_its_prefix_in_any_case() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert_taken(&forge_header(with_header("typ", json!(typ))));
    }
}

#[test]
fn another_typ_is_refused() {
    for typ in [Value::Null, json!("JWT"), json!("jwt"), json!(""), json!("text/at+jwt"), json!("at+jwt; x=y")] {
        assert_refused(&forge_header(with_header("typ", typ)), ErrorKind::Type);
    }
    assert_refused(&forge_header(with_header("typ", json!(["at+jwt"]))), ErrorKind::Malformed);
}

#[test]
fn a_missing_or_unknown_kid_is_refused() {
    for other in [Value::Null, json!(""), json!("other"), json!(format!("{} ", kid())), json!("../../etc/passwd")] {
        assert_refused(&forge_header(with_header("kid", other)), ErrorKind::UnknownKey);
    }
    assert_refused(&forge_header(with_header("kid", json!(0))), ErrorKind::Malformed);
}

#[test]
fn crit_is_refused_whatever_it_says() {
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("x"), json!({})] {
        assert_refused(&forge_header(with_header("crit", crit)), ErrorKind::Critical);
    }
    let null = header().to_string().replace('}', r#","crit":null}"#);
    assert_refused(&forge_header(null), ErrorKind::Critical);
}

#[test]
fn keys_and_addresses_in_the_header_change_nothing() {
    let with = |name, value| forge_header(with_header(name, value));
    assert_taken(&with("jku", json!("https://evil.example/jwks.json")));
    assert_taken(&with("x5u", json!("file:///etc/passwd")));
    assert_taken(&with("x5c", json!(["MII"])));
    assert_taken(&with("cty", json!({"deep": [1, {"er": null}]})));
    let jwk = json!({"kty": "oct", "k": encode("an attacker's key of thirty-two b"), "kid": kid(), "alg": "HS256"});
    let attackers = KeyRing::from_jwk_set(json!({"keys": [jwk.clone()]}).to_string().as_bytes()).unwrap();
    let token = Signer::new(&attackers).unwrap().sign(&claims()).unwrap();
    assert_refused(&token, ErrorKind::Signature);
    assert_taken(&with("jwk", jwk));
}

#[test]
fn a_header_with_a_member_twice_is_refused() {
    let kid = kid();
    for header in [
        format!(r#"{{"alg":"HS256","alg":"HS256","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{kid}","alg":"HS256"}}"#),
        format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"other","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"HS256","typ":"at+jwt","t\u0079p":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}","x":1,"x":1}}"#),
        format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}","x":{{"y":1,"y":1}}}}"#),
    ] {
        assert_refused(&forge_header(header), ErrorKind::Malformed);
    }
}

#[test]
fn a_header_that_is_not_one_json_object_is_refused() {
    for not_an_object in ["", "null", "[]", "\"HS256\"", "1", "{", "{}", "{} {}", "{\"alg\":\"HS256\",}", "{'alg':1}"] {
        let token = forge_header(not_an_object);
        assert_refused(&token, ErrorKind::Malformed);
    }
    assert_refused(&forge_header(format!("{} x", header())), ErrorKind::Malformed);
    assert_refused(&forge_header(format!("\u{feff}{}", header())), ErrorKind::Malformed);
    assert_refused(&forge_header(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}"), ErrorKind::Malformed);
    assert_refused(&forge_header(format!("{}{}", "[".repeat(2000), "]".repeat(2000))), ErrorKind::Malformed);
}

// Encoding and form

#[test]
fn a_changed_payload_or_signature_is_refused() {
    let token = signer().sign(&claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let admin = encode(with_claim("roles", json!(["admin"])));
    assert_refused(&format!("{}.{admin}.{}", parts[0], parts[2]), ErrorKind::Signature);
    let other = signer().sign(&Claims { jti: "j2".to_owned(), ..claims() }).unwrap();
    let other = other.rsplit_once('.').unwrap().1;
    assert_refused(&format!("{}.{}.{other}", parts[0], parts[1]), ErrorKind::Signature);
}

#[test]
fn a_signature_of_the_wrong_length_is_refused() {
    let token = signer().sign(&claims()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for signature in
        [&signature[..40], &signature[..4], &encode([0; 33]), &encode([0; 64]), &encode([0; 65]), &encode([0; 512])]
    {
        assert_refused(&format!("{signed}.{signature}"), ErrorKind::Signature);
    }
}

#[test]
fn a_payload_is_not_parsed_before_its_signature_is_checked() {
    let header = encode(header().to_string());
    for payload in ["e30", "not json", "%%%"] {
        assert_refused(&format!("{header}.{payload}.{}", encode([0; 32])), ErrorKind::Signature);
    }
}

#[test]
fn padding_is_refused_in_every_part() {
    let pad = |part: &str| format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4));
    // Lengths that would want padding.
    let header = encode(format!("{:<2$}{}", header().to_string().trim_end_matches('}'), "}", 82));
    let payload = encode(format!("{:<2$}{}", payload().to_string().trim_end_matches('}'), "}", 235));
    assert!(header.len() % 4 != 0 && payload.len() % 4 != 0);
    let token = sign_parts(&header, &payload);
    assert_taken(&token);
    assert_refused(&sign_parts(&pad(&header), &payload), ErrorKind::Malformed);
    assert_refused(&sign_parts(&header, &pad(&payload)), ErrorKind::Malformed);
    assert_refused(&pad(&token.replace('.', "")).replace(&token.replace('.', ""), &token), ErrorKind::Malformed);
    assert_refused(&format!("{token}="), ErrorKind::Malformed);
    assert_refused(&format!("{token}=="), ErrorKind::Malformed);
}

#[test]
fn whitespace_and_other_characters_are_refused_in_every_part() {
    let token = signer().sign(&claims()).unwrap();
    let (header, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    for stranger in [" ", "\n", "\t", "\0", "+", "/", "é", "%3D"] {
        assert_refused(&sign_parts(&format!("{header}{stranger}"), payload), ErrorKind::Malformed);
        assert_refused(&sign_parts(&format!("{stranger}{header}"), payload), ErrorKind::Malformed);
        assert_refused(&sign_parts(header, &format!("{payload}{stranger}")), ErrorKind::Malformed);
        assert_refused(&sign_parts(header, &format!("{stranger}{payload}")), ErrorKind::Malformed);
        assert_refused(&format!("{header}.{payload}.{signature}{stranger}"), ErrorKind::Malformed);
        assert_refused(&format!("{header}.{payload}.{stranger}{signature}"), ErrorKind::Malformed);
    }
}

#[test]
fn bits_beyond_the_last_byte_are_refused() {
    let token = signer().sign(&claims()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    // 32 bytes leave two spare bits in the last of 43 characters.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = signature.split_at(signature.len() - 1);
    let index = alphabet.find(last).unwrap();
    assert_eq!(index % 4, 0);
    for spare in 1..4 {
        let last = &alphabet[index + spare..=index + spare];
        assert_refused(&format!("{signed}.{start}{last}"), ErrorKind::Malformed);
    }
    let header = encode(header().to_string() + " ".repeat((3 - header().to_string().len() % 3) % 3 + 1).as_str());
    let (start, last) = header.split_at(header.len() - 1);
    let index = alphabet.find(last).unwrap();
    let changed = format!("{start}{}", &alphabet[index + 1..=index + 1]);
    assert_taken(&sign_parts(&header, &encode(payload().to_string())));
    assert_refused(&sign_parts(&changed, &encode(payload().to_string())), ErrorKind::Malformed);
}

#[test]
fn anything_but_three_parts_is_refused() {
    let token = signer().sign(&claims()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    for token in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_owned(),
        signed.to_owned(),
        format!("{signed}."),
        format!(".{payload}.{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{header}.{payload}.{signature}.{signature}"),
    ] {
        assert_refused(&token, ErrorKind::Malformed);
    }
    assert_refused(&format!("{header}..{signature}"), ErrorKind::Signature);
    assert_refused(&sign_parts(header, ""), ErrorKind::Malformed);
}

#[test]
fn a_token_longer_than_8_kib_is_refused_and_one_of_8_kib_is_taken() {
    // Four characters for every three bytes of payload, so the last steps are taken one by one.
    let spaces = (MAX_TOKEN_BYTES - forge_payload(payload().to_string()).len()) / 4 * 3 - 10;
    let tokens: Vec<String> =
        (spaces..spaces + 20).map(|spaces| forge_payload(format!("{}{}", payload(), " ".repeat(spaces)))).collect();
    let longest = tokens.iter().rfind(|token| token.len() <= MAX_TOKEN_BYTES).unwrap();
    let too_long = tokens.iter().find(|token| token.len() > MAX_TOKEN_BYTES).unwrap();
    assert!(longest.len() >= MAX_TOKEN_BYTES - 1);
    assert_taken(longest);
    assert_refused(too_long, ErrorKind::TooLong);
    assert_refused(&"a.".repeat(9 * 1024 / 2), ErrorKind::TooLong);
}

// Payload

#[test]
fn a_payload_that_is_not_one_json_object_is_refused() {
    for not_an_object in ["null", "[]", "[1]", "\"text\"", "1", "true", "{", "{\"iss\"}", "{,}", "nul", "\u{feff}{}"] {
        assert_refused(&forge_payload(not_an_object), ErrorKind::Malformed);
    }
    assert_refused(&forge_payload(format!("{} {{}}", payload())), ErrorKind::Malformed);
    assert_refused(&forge_payload(format!("[{}]", payload())), ErrorKind::Malformed);
    assert_refused(&forge_payload("[".repeat(5000)), ErrorKind::Malformed);
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    assert_refused(
        &forge_payload(payload().to_string().replace('{', &format!("{{\"x\":{deep},"))),
        ErrorKind::Malformed,
    );
}

#[test]
fn a_payload_that_is_not_utf_8_is_refused() {
    let mut bytes = payload().to_string().into_bytes();
    let place = bytes.windows(3).position(|part| part == b"018").unwrap();
    bytes[place] = 0xff;
    assert_refused(&forge_payload(&bytes), ErrorKind::Malformed);
    bytes.splice(place..=place, *b"\xed\xa0\x80");
    assert_refused(&forge_payload(&bytes), ErrorKind::Malformed);
    assert_refused(&forge_payload(payload().to_string().replace("j1", r"\ud800")), ErrorKind::Malformed);
    let utf_16: Vec<u8> = payload().to_string().encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_refused(&forge_payload(utf_16), ErrorKind::Malformed);
}

#[test]
fn a_payload_with_a_member_twice_is_refused() {
    let payload = payload().to_string();
    for member in [
        r#""sub":"root""#,
        r#""exp":1800000900"#,
        r#""s\u0075b":"root""#,
        r#""x":1,"x":1"#,
        r#""x":1,"\u0078":2"#,
        r#""":1,"":1"#,
        r#""x":{"y":1,"y":2}"#,
        r#""x":[{"z":{"y":1,"y":2}}]"#,
    ] {
        let twice = payload.replace('}', &format!(",{member}}}"));
        assert_refused(&forge_payload(twice), ErrorKind::Malformed);
    }
}

#[test]
fn unknown_claims_are_read_past() {
    assert_taken(&forge_payload(with_claim("cnf", json!({"jkt": "x", "more": [1, 2.5, -1, true, null, "é"]}))));
}

#[test]
fn every_required_claim_is_required() {
    for name in ["iss", "sub", "aud", "iat", "exp", "jti"] {
        assert_refused(&forge_payload(with_claim(name, Value::Null)), ErrorKind::Claims);
        let null = with_claim(name, json!("@")).replace("\"@\"", "null");
        assert_refused(&forge_payload(null), ErrorKind::Claims);
    }
    assert_refused(&forge_payload("{}"), ErrorKind::Claims);
}

#[test]
fn a_claim_of_the_wrong_type_is_refused() {
    for name in ["iss", "sub", "jti", "sid", "scope", "client_id"] {
        for value in [json!(1), json!(true), json!(["a"]), json!({"a": 1})] {
            assert_refused(&forge_payload(with_claim(name, value)), ErrorKind::Claims);
        }
    }
    for name in ["iat", "exp", "nbf", "ver", "auth_time"] {
        for value in [json!("1800000000"), json!(true), json!([1_800_000_000]), json!({})] {
            assert_refused(&forge_payload(with_claim(name, value)), ErrorKind::Claims);
        }
    }
    for name in ["aud", "roles", "amr"] {
        for value in [json!(1), json!([1]), json!([AUDIENCE, null]), json!({}), json!([[AUDIENCE]])] {
            assert_refused(&forge_payload(with_claim(name, value)), ErrorKind::Claims);
        }
    }
    for name in ["roles", "amr"] {
        assert_refused(&forge_payload(with_claim(name, json!("admin"))), ErrorKind::Claims);
    }
    for name in ["sub", "jti"] {
        assert_refused(&forge_payload(with_claim(name, json!(""))), ErrorKind::Claims);
    }
    for name in ["nbf", "sid", "scope", "roles", "ver", "client_id", "amr", "auth_time"] {
        let null = with_claim(name, json!("@")).replace("\"@\"", "null");
        assert_refused(&forge_payload(null), ErrorKind::Claims);
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for name in ["iat", "exp", "nbf", "auth_time"] {
        for number in
            ["-1", "-0.5", "-1e300", "1e300", "18446744073709551616", "18446744073709551615", "9007199254740992"]
        {
            let payload = with_claim(name, json!("@")).replace("\"@\"", number);
            assert_refused(&forge_payload(payload), ErrorKind::Claims);
        }
        for number in ["NaN", "Infinity", "01", "+1", ".5", "0x10", "1_000"] {
            let payload = with_claim(name, json!("@")).replace("\"@\"", number);
            assert_refused(&forge_payload(payload), ErrorKind::Malformed);
        }
    }
    for number in ["-1", "1.5", "1e3", "9007199254740992"] {
        let payload = with_claim("ver", json!("@")).replace("\"@\"", number);
        assert_refused(&forge_payload(payload), ErrorKind::Claims);
    }
}

#[test]
fn a_number_with_a_fraction_is_rounded_towards_less_validity() {
    let claims = assert_taken(&forge_payload(with_claim("exp", json!(1_800_000_100.9))));
    assert_eq!(claims.exp, 1_800_000_100);
    let claims = assert_taken(&forge_payload(with_claim("nbf", json!(1_799_999_999.1))));
    assert_eq!(claims.nbf, Some(NOW));
    let payload = with_claim("exp", json!("@")).replace("\"@\"", "1.8000009e9");
    assert_eq!(assert_taken(&forge_payload(payload)).exp, NOW + 900);
}

#[test]
fn another_issuer_is_refused() {
    for issuer in ["https://evil.example", "https://id.example/", "HTTPS://ID.EXAMPLE", ""] {
        assert_refused(&forge_payload(with_claim("iss", json!(issuer))), ErrorKind::Issuer);
    }
}

#[test]
fn the_verifier_s_own_name_must_be_in_aud() {
    for audience in [json!([]), json!("user-service"), json!(["user-service", "resource"]), json!(""), json!([""])] {
        assert_refused(&forge_payload(with_claim("aud", audience)), ErrorKind::Audience);
    }
    let claims = assert_taken(&forge_payload(with_claim("aud", json!(AUDIENCE))));
    assert_eq!(claims.aud, [AUDIENCE]);
    assert_taken(&forge_payload(with_claim("aud", json!(["a", AUDIENCE, "b"]))));
}

// Time

#[test]
fn a_token_expires_when_the_leeway_is_over() {
    let verifier = verifier();
    let token = signer().sign(&Claims { exp: NOW, iat: NOW - 900, ..claims() }).unwrap();
    assert!(verifier.verify_at(&token, NOW - 1).is_ok());
    assert!(verifier.verify_at(&token, NOW + 29).is_ok());
    for late in [NOW + 30, NOW + 31, u64::MAX] {
        assert_eq!(verifier.verify_at(&token, late).unwrap_err().kind(), ErrorKind::Expired);
    }
}

#[test]
fn without_leeway_a_token_is_dead_at_exp_and_alive_at_nbf() {
    let verifier = Verifier::builder(ring()).issuer(ISSUER).audience(AUDIENCE).leeway_seconds(0).build().unwrap();
    let token = signer().sign(&Claims { nbf: Some(NOW + 10), exp: NOW + 20, ..claims() }).unwrap();
    let kind = |now| verifier.verify_at(&token, now).map_err(|error| error.kind());
    assert_eq!(kind(NOW + 9), Err(ErrorKind::NotYetValid));
    assert!(kind(NOW + 10).is_ok());
    assert!(kind(NOW + 19).is_ok());
    assert_eq!(kind(NOW + 20), Err(ErrorKind::Expired));
}

#[test]
fn a_token_is_not_taken_before_nbf_or_iat_beyond_the_leeway() {
    for claims in [Claims { nbf: Some(NOW + 31), ..claims() }, Claims { iat: NOW + 31, ..claims() }] {
        let token = signer().sign(&claims).unwrap();
        assert_refused(&token, ErrorKind::NotYetValid);
        assert!(verifier().verify_at(&token, NOW + 1).is_ok());
    }
    assert_taken(&signer().sign(&Claims { nbf: Some(NOW + 30), iat: NOW + 30, ..claims() }).unwrap());
}

#[test]
fn a_clock_at_zero_takes_nothing() {
    let token = signer().sign(&claims()).unwrap();
    assert_eq!(verifier().verify_at(&token, 0).unwrap_err().kind(), ErrorKind::NotYetValid);
}

#[test]
fn only_a_token_that_is_otherwise_right_is_called_expired() {
    let expired = Claims { exp: NOW - 900, iat: NOW - 1800, ..claims() };
    assert_refused(&signer().sign(&expired).unwrap(), ErrorKind::Expired);
    let elsewhere = Claims { aud: vec!["other".to_owned()], ..expired };
    assert_refused(&signer().sign(&elsewhere).unwrap(), ErrorKind::Audience);
}

#[test]
fn the_clock_is_read_at_every_call() {
    let clock = Arc::new(AtomicU64::new(NOW));
    let time = Arc::clone(&clock);
    let verifier = Verifier::builder(ring())
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(Arc::new(move || time.load(Ordering::Relaxed)))
        .build()
        .unwrap();
    let token = signer().sign(&claims()).unwrap();
    assert!(verifier.verify(&token).is_ok());
    clock.store(NOW + 930, Ordering::Relaxed);
    assert_eq!(verifier.verify(&token).map_err(|error| error.kind()), Err(ErrorKind::Expired));
}

#[test]
fn the_system_clock_is_the_default() {
    let verifier = Verifier::builder(ring()).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let token = |iat| signer().sign(&Claims { iat, exp: iat + 900, ..claims() }).unwrap();
    assert!(verifier.verify(&token(now)).is_ok());
    assert_eq!(verifier.verify(&token(now - 1000)).unwrap_err().kind(), ErrorKind::Expired);
    assert_eq!(verifier.verify(&token(now + 1000)).unwrap_err().kind(), ErrorKind::NotYetValid);
}

// Building and issuing

#[test]
fn a_verifier_needs_an_issuer_and_an_audience_and_a_leeway_of_30_seconds_at_most() {
    let error = |builder: shared_claims::VerifierBuilder| builder.build().unwrap_err();
    assert_eq!(error(Verifier::builder(ring()).audience("a")), VerifierBuilderError::Issuer);
    assert_eq!(error(Verifier::builder(ring()).issuer("i")), VerifierBuilderError::Audience);
    let builder = || Verifier::builder(ring()).issuer("i").audience("a");
    assert_eq!(error(builder().leeway_seconds(31)), VerifierBuilderError::Leeway);
    assert!(builder().leeway_seconds(30).build().is_ok());
}

#[test]
fn the_signer_refuses_what_no_verifier_would_take() {
    let kind = |claims: Claims| signer().sign(&claims).unwrap_err().kind();
    assert_eq!(kind(Claims { iss: String::new(), ..claims() }), ErrorKind::Claims);
    assert_eq!(kind(Claims { sub: String::new(), ..claims() }), ErrorKind::Claims);
    assert_eq!(kind(Claims { jti: String::new(), ..claims() }), ErrorKind::Claims);
    assert_eq!(kind(Claims { aud: vec![], ..claims() }), ErrorKind::Claims);
    assert_eq!(kind(Claims { exp: 1 << 53, ..claims() }), ErrorKind::Claims);
    assert_eq!(kind(Claims { ver: Some(u64::MAX), ..claims() }), ErrorKind::Claims);
    assert_eq!(kind(Claims { scope: "s".repeat(MAX_TOKEN_BYTES), ..claims() }), ErrorKind::TooLong);
}

#[test]
fn claims_that_are_absent_or_empty_are_left_out_of_the_token() {
    let claims = Claims { scope: String::new(), ..claims() };
    let mut names: Vec<String> = serde_json::to_value(&claims).unwrap().as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "sub"]);
    assert_eq!(assert_taken(&signer().sign(&claims).unwrap()), claims);
}

#[test]
fn scopes_are_whole_words_and_client_tokens_are_known_by_client_id() {
    let claims = Claims { scope: " persons:read  users:write ".to_owned(), ..claims() };
    assert_eq!(claims.scopes().collect::<Vec<_>>(), ["persons:read", "users:write"]);
    assert!(claims.has_scope("persons:read"));
    for other in ["", " ", "persons", "persons:read users:write", "persons:read ", "Persons:Read"] {
        assert!(!claims.has_scope(other), "{other:?}");
    }
    assert!(!claims.is_client());
    assert!(Claims { client_id: Some("c".to_owned()), ..claims }.is_client());
}

#[test]
fn errors_repeat_nothing_of_the_token() {
    let marker = "Secret0Marker";
    let tokens = [
        forge_payload(with_claim("iss", json!(marker))),
        forge_payload(with_claim("aud", json!(marker))),
        forge_payload(with_claim("exp", json!(marker))),
        forge_payload(with_claim(marker, json!(1)).replace('}', &format!(",\"{marker}\":1}}"))),
        forge_payload(marker),
        forge_header(with_header("kid", json!(marker))),
        forge_header(with_header("alg", json!(marker))),
        forge_header(marker),
        marker.to_owned(),
    ];
    for token in tokens {
        let error: Error = verifier().verify(&token).unwrap_err();
        let shown = format!("{error} {error:?} {}", error.reason());
        assert!(!shown.contains(marker) && !shown.contains(&encode(marker)[..8]), "{shown}");
    }
}

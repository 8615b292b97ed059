//! Key pairs in a JWK Set: which are taken, what they sign and verify, and what of them is published.

use crate::helpers::*;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};
use shared_claims::{ErrorKind, KeyErrorKind, KeyRing, Signer, Verifier};

const PAIRS: [&str; 3] = ["EdDSA", "ES256", "RS256"];

fn verifier_of(ring: &KeyRing) -> Verifier {
    Verifier::builder(ring.clone()).issuer(ISSUER).audience(AUDIENCE).build().unwrap()
}

/// The key with one member set; `null` takes it away.
fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    key
}

fn octets(key: &Value, member: &str) -> Vec<u8> {
    decode(key[member].as_str().unwrap())
}

/// Every one of these values makes the key one that is refused, and for this reason.
#[track_caller]
fn assert_refused(key: &Value, member: &str, values: &[Value], kind: KeyErrorKind) {
    for value in values {
        let error = jwk_set(&[with(key.clone(), member, value.clone())]).expect_err(member);
        assert_eq!((error.kind(), error.key_id()), (kind, key["kid"].as_str()), "{member}: {value}");
    }
}

#[test]
fn a_pair_signs_and_its_public_key_verifies() {
    for algorithm in PAIRS {
        let (whole, public_only) = (jwk_set(&[pair(algorithm)]).unwrap(), jwk_set(&[public(algorithm)]).unwrap());
        let token = Signer::new(&whole).unwrap().sign(&claims()).unwrap();
        for ring in [&whole, &public_only] {
            assert_eq!(verifier_of(ring).verify_at(&token, NOW).unwrap(), claims(), "{algorithm}");
        }
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let admin = encode(with_claim("scope", "users:write".into()));
        let octets = decode(signature);
        let mut changed = octets.clone();
        changed[40] ^= 1;
        for token in [
            format!("{header}.{admin}.{signature}"),
            format!("{signed}.{}", encode(&changed)),
            format!("{signed}.{}", encode(&octets[..octets.len() - 1])),
            format!("{signed}.{}", encode([&octets[..], &[0]].concat())),
            format!("{signed}.{}", encode([&[0], &octets[..]].concat())),
            format!("{signed}.{}", encode([0; 64])),
            format!("{signed}.{}", encode([0; 256])),
            format!("{signed}.{}", encode([0; 4000])),
        ] {
            let error = verifier_of(&public_only).verify_at(&token, NOW).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Signature, "{algorithm}");
        }
        let padded = format!("{token}=");
        assert_eq!(verifier_of(&whole).verify_at(&padded, NOW).unwrap_err().kind(), ErrorKind::Malformed);
    }
}

#[test]
fn the_same_claims_give_the_same_token_except_with_es256() {
    for algorithm in PAIRS {
        let signer = Signer::new(&jwk_set(&[pair(algorithm)]).unwrap()).unwrap();
        let same = signer.sign(&claims()).unwrap() == signer.sign(&claims()).unwrap();
        assert_eq!(same, algorithm != "ES256", "{algorithm}");
    }
}

#[test]
fn a_public_key_signs_nothing() {
    for algorithm in PAIRS {
        let ring = jwk_set(&[public(algorithm), pair(algorithm)].map(|key| {
            let kid = if key.get("d").is_some() { "whole" } else { "public" };
            with(key, "kid", kid.into())
        }))
        .unwrap();
        let error = Signer::new(&ring).unwrap_err();
        assert_eq!((error.kind(), error.key_id()), (KeyErrorKind::CannotSign, Some("public")), "{algorithm}");
    }
}

#[test]
fn key_ops_and_use_bind_pairs_too() {
    for algorithm in PAIRS {
        let signs = |operations: Value| {
            jwk_set(&[with(pair(algorithm), "key_ops", operations)]).map(|ring| Signer::new(&ring).is_ok())
        };
        assert_eq!(signs(json!(["sign", "verify"])), Ok(true));
        assert_eq!(signs(json!(["verify"])), Ok(false));
        for refused in [json!(["sign"]), json!([]), json!(["encrypt"]), json!(["sign, verify"])] {
            assert_eq!(signs(refused).unwrap_err().kind(), KeyErrorKind::NotForSignatures);
        }
        // RFC 7517 §4.3
        assert_eq!(signs(json!(["verify", "verify"])).unwrap_err().kind(), KeyErrorKind::Malformed);
        assert_refused(&public(algorithm), "use", &["enc".into(), "".into()], KeyErrorKind::NotForSignatures);
    }
}

#[test]
fn members_that_are_not_known_are_read_past_and_none_may_occur_twice() {
    for algorithm in PAIRS {
        let mut key = pair(algorithm);
        key["x5c"] = json!(["not a certificate"]);
        key["x5u"] = "http://127.0.0.1:1/".into();
        key["iat"] = NOW.into();
        key["exp"] = 1.into();
        key["ext"] = true.into();
        jwk_set(&[key]).unwrap();
        for key in [pair(algorithm), public(algorithm)] {
            for (member, value) in key.as_object().unwrap() {
                let twice = key.to_string().replacen('{', &format!("{{\"{member}\":{value},"), 1);
                let error = KeyRing::from_jwk_set(format!("{{\"keys\":[{twice}]}}").as_bytes()).unwrap_err();
                assert_eq!(error.kind(), KeyErrorKind::Malformed, "{member}");
            }
        }
    }
}

#[test]
fn every_member_that_a_pair_needs_is_demanded_as_strict_base64url() {
    for algorithm in PAIRS {
        let key = pair(algorithm);
        assert_refused(&key, "kty", &[Value::Null], KeyErrorKind::Malformed);
        for member in key.as_object().unwrap().keys() {
            let error = jwk_set(&[with(key.clone(), member, json!(1))]).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Malformed, "{member}");
        }
        assert_refused(&key, "kty", &["rsa".into(), "ec".into(), "okp".into()], KeyErrorKind::UnsupportedType);
        let others = [Value::Null, "HS256".into(), "none".into(), "ES384".into(), "PS256".into(), "Ed25519".into()];
        assert_refused(&key, "alg", &others, KeyErrorKind::UnsupportedAlgorithm);
        for member in ["x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi"] {
            let Some(value) = key[member].as_str() else { continue };
            let damaged = [
                String::new(),
                format!("{value}="),
                format!(" {value}"),
                format!("{value}\n"),
                format!("+{}", &value[1..]),
                format!("{}.{}", &value[..2], &value[2..]),
            ];
            assert_refused(&key, member, &damaged.map(Value::from), KeyErrorKind::Malformed);
            // Without d, an Ed25519 or P-256 key is a public one.
            if member == "d" && algorithm != "RS256" {
                jwk_set(&[with(key.clone(), "d", Value::Null)]).unwrap();
            } else {
                assert_refused(&key, member, &[Value::Null], KeyErrorKind::Malformed);
            }
        }
    }
}

#[test]
fn ed25519_keys_have_32_octets_and_are_points_of_the_curve() {
    let key = pair("EdDSA");
    assert_refused(&key, "crv", &[Value::Null], KeyErrorKind::Malformed);
    let others = ["Ed448", "X25519", "P-256", "ed25519", ""].map(Value::from);
    assert_refused(&key, "crv", &others, KeyErrorKind::UnsupportedCurve);
    for member in ["x", "d"] {
        let value = octets(&key, member);
        let lengths = [encode(&value[..31]), encode([&value[..], &[0]].concat()), encode([])];
        assert_refused(&key, member, &lengths.map(Value::from), KeyErrorKind::Malformed);
    }
    assert_refused(&key, "d", &[encode([7; 32]).into()], KeyErrorKind::PrivateKeyMismatch);

    let point = |lowest: u8, others: u8, highest: u8| {
        let mut octets = [others; 32];
        (octets[0], octets[31]) = (lowest, highest);
        encode(octets).into()
    };
    // No point; then small order: 0, 1, -1; then 1 written as p + 1.
    let none = [point(2, 0, 0), point(0, 0, 0), point(1, 0, 0), point(0xec, 0xff, 0x7f), point(0xee, 0xff, 0x7f)];
    assert_refused(&public("EdDSA"), "x", &none, KeyErrorKind::InvalidPublicKey);
    jwk_set(&[with(public("EdDSA"), "x", point(3, 0, 0))]).unwrap();
}

#[test]
fn p256_keys_have_32_octets_and_are_points_of_the_curve() {
    let key = pair("ES256");
    assert_refused(&key, "crv", &[Value::Null], KeyErrorKind::Malformed);
    let others = ["P-384", "P-521", "secp256k1", "p-256", "Ed25519"].map(Value::from);
    assert_refused(&key, "crv", &others, KeyErrorKind::UnsupportedCurve);
    for member in ["x", "y", "d"] {
        let value = octets(&key, member);
        let lengths = [encode(&value[1..]), encode([&[0], &value[..]].concat()), encode([])];
        assert_refused(&key, member, &lengths.map(Value::from), KeyErrorKind::Malformed);
    }
    let prime = "_____wAAAAEAAAAAAAAAAAAAAAD_______________8";
    let order = "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE";
    let none = [key["y"].clone(), encode([0; 32]).into(), encode([255; 32]).into(), prime.into()];
    assert_refused(&public("ES256"), "x", &none, KeyErrorKind::InvalidPublicKey);
    let others = [encode([0; 32]).into(), encode([7; 32]).into(), encode([255; 32]).into(), order.into()];
    assert_refused(&key, "d", &others, KeyErrorKind::PrivateKeyMismatch);
}

#[test]
fn a_coordinate_of_p256_keeps_its_leading_zeros() {
    let point = std::iter::repeat_with(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        .map(|pair| pair.public_key().as_ref().to_vec())
        .find(|point| point[1] == 0)
        .unwrap();
    let key = with(with(public("ES256"), "x", encode(&point[1..33]).into()), "y", encode(&point[33..]).into());
    jwk_set(std::slice::from_ref(&key)).unwrap();
    assert_refused(&key, "x", &[encode(&point[2..33]).into()], KeyErrorKind::Malformed);
}

#[test]
fn rsa_keys_have_2048_to_8192_bits_and_a_sound_exponent() {
    let key = public("RS256");
    let modulus = octets(&key, "n");
    let zero_first = encode([&[0], &modulus[..]].concat());
    assert_refused(&key, "n", &[zero_first.into()], KeyErrorKind::Malformed);

    let bits = |first: u8, length: usize| {
        let mut number = vec![0xab; length];
        number[0] = first;
        Value::from(encode(number))
    };
    // 2047, 1024, 8193 and 16384 bits.
    let sizes = [bits(0x7f, 256), bits(0x80, 128), bits(1, 1025), bits(0x80, 2048)];
    assert_refused(&key, "n", &sizes, KeyErrorKind::UnsupportedSize);
    let mut even = modulus.clone();
    *even.last_mut().unwrap() &= 0xfe;
    assert_refused(&key, "n", &[encode(even).into()], KeyErrorKind::InvalidPublicKey);

    assert_refused(&key, "e", &[encode([0, 1, 0, 1]).into(), encode([0]).into()], KeyErrorKind::Malformed);
    // 1, 3, 65535, 65536, 2^33 + 1, 2^64 + 1
    let exponents: [&[u8]; 6] = [&[1], &[3], &[0xff, 0xff], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 0, 0, 0, 1]];
    assert_refused(&key, "e", &exponents.map(|e| encode(e).into()), KeyErrorKind::InvalidPublicKey);
    // 2^32 + 1
    jwk_set(&[with(key.clone(), "e", encode([1, 0, 0, 0, 1]).into())]).unwrap();

    let largest = jwk_set(&[with(key, "n", bits(0x80, 1024))]).unwrap();
    let token = Signer::new(&jwk_set(&[pair("RS256")]).unwrap()).unwrap().sign(&claims()).unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let token = format!("{signed}.{}", encode([0x55; 1024]));
    assert_eq!(verifier_of(&largest).verify_at(&token, NOW).unwrap_err().kind(), ErrorKind::Signature);
}

#[test]
fn the_private_members_of_an_rsa_key_come_together_and_belong_together() {
    let key = pair("RS256");
    for member in ["p", "q", "dp", "dq", "qi"] {
        assert_refused(&key, member, &[Value::Null], KeyErrorKind::Malformed);
        let lonely = with(public("RS256"), member, key[member].clone());
        assert_eq!(jwk_set(&[lonely]).unwrap_err().kind(), KeyErrorKind::Malformed, "{member}");
    }
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        let value = octets(&key, member);
        assert_refused(&key, member, &[encode([&[0], &value[..]].concat()).into()], KeyErrorKind::Malformed);
        let mut other = value;
        *other.last_mut().unwrap() ^= 2;
        assert_refused(&key, member, &[encode(other).into()], KeyErrorKind::PrivateKeyMismatch);
    }
    let mut other = octets(&key, "n");
    other[100] ^= 1;
    assert_refused(&key, "n", &[encode(other).into()], KeyErrorKind::PrivateKeyMismatch);
    let swapped = with(with(key.clone(), "p", key["q"].clone()), "q", key["p"].clone());
    assert_eq!(jwk_set(&[swapped]).unwrap_err().kind(), KeyErrorKind::PrivateKeyMismatch);
}

#[test]
fn published_pairs_are_refused_with_and_without_the_private_key() {
    let examples: Vec<Value> = serde_json::from_str(include_str!("../vectors/rfc.json")).unwrap();
    let mut pairs: Vec<Value> = examples
        .into_iter()
        .filter(|example| example["alg"] != "HS256")
        .map(|example| with(with(example["key"].clone(), "alg", example["alg"].clone()), "kid", "k".into()))
        .collect();
    assert_eq!(pairs.len(), 3);
    // jwt.io
    pairs.push(json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k",
        "x": "EVs_o5-uQbTjL3chynL4wXgUg2R9q9UU8I5mEovUf84", "y": "kGe5DgSIycKp8w9aJmoHhB1sB3QTugfnRWm5nU_TzsY",
    }));
    for key in pairs {
        let mut public = key.clone();
        public.as_object_mut().unwrap().retain(|name, _| !["d", "p", "q", "dp", "dq", "qi"].contains(&name.as_str()));
        for key in [key, public] {
            assert_eq!(jwk_set(&[key]).unwrap_err().kind(), KeyErrorKind::WellKnownPair);
        }
    }
}

/// The modulus is made for this test: no primes, but a power of 65537 modulo each of the first 38 odd primes.
#[test]
fn a_modulus_that_can_be_factored_because_of_how_it_was_made_is_refused() {
    let modulus = "gAAAAarZBbzWVvtcVcKK94hHAVIqoYvDVBFfUDwrCdbGjewYUa5JiInO-sg1fiIm5ZA9VsbQZCGjr0SpqGVe0mgSxlfHgLovyeBW3G-G4PNv8_GIaK_Yl8jKAfmqzlf4eYOIswWr54AgHHq9bLlppHn45cExhQ3khTJT_qmzfv4_NFaBb_gARpi3j5PxhmYV37MMmrzNcPiIq6WqHq0VDlcAi-Ab898HikpmToQjeeCa95a_n64N5l8Cg2e_AnqC3hitDSlR6qPkcPQhq8UIvtXMpnF2gxSovu_kIV5EDHPW1E3RRUhl-FKba40AQD00yZ-XTDFQSnqUTj3hlhD5FQ";
    assert_refused(&public("RS256"), "n", &[modulus.into()], KeyErrorKind::WeakPair);
}

#[test]
fn a_secret_next_to_a_public_key_is_refused_and_next_to_a_whole_pair_is_not() {
    for algorithm in PAIRS {
        let secret = jwk("secret", SECRET);
        for set in [[secret.clone(), public(algorithm)], [public(algorithm), secret.clone()]] {
            let error = jwk_set(&set).unwrap_err();
            assert_eq!((error.kind(), error.key_id()), (KeyErrorKind::MixedSet, public(algorithm)["kid"].as_str()));
        }
        let verify_only = with(pair(algorithm), "key_ops", json!(["verify"]));
        for key in [pair(algorithm), verify_only] {
            jwk_set(&[secret.clone(), key]).unwrap();
        }
    }
}

/// From one secret to a pair whose private key only the issuer has, while tokens of both are about.
#[test]
fn a_ring_goes_from_a_secret_to_a_pair_without_refusing_a_token() {
    for algorithm in PAIRS {
        let secret = jwk("secret", SECRET);
        let steps = [
            vec![secret.clone()],
            vec![secret.clone(), pair(algorithm)],
            vec![pair(algorithm), secret],
            vec![pair(algorithm)],
        ]
        .map(|keys| jwk_set(&keys).unwrap());
        let verifiers = [&steps[..], &[jwk_set(&[public(algorithm)]).unwrap()]].concat();
        for (step, ring) in steps.iter().enumerate() {
            let token = Signer::new(ring).unwrap().sign(&claims()).unwrap();
            // A verifier is a step behind or ahead at most.
            for verifier in &verifiers[step.saturating_sub(1)..=step + 1] {
                verifier_of(verifier).verify_at(&token, NOW).unwrap();
            }
        }
    }
}

#[test]
fn public_keys_are_published_and_nothing_else() {
    let keys = [pair("RS256"), jwk("secret", SECRET), pair("EdDSA"), pair("ES256")];
    let ring = jwk_set(&keys).unwrap();
    let published = serde_json::to_value(ring.public_jwk_set()).unwrap();
    assert_eq!(published, json!({ "keys": [public("RS256"), public("EdDSA"), public("ES256")] }));

    let read_back = KeyRing::from_jwk_set(published.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(read_back.public_jwk_set()).unwrap(), published);
    let secret_only = jwk_set(&[jwk("secret", SECRET)]).unwrap();
    assert_eq!(serde_json::to_value(secret_only.public_jwk_set()).unwrap(), json!({ "keys": [] }));
}

#[test]
fn a_ring_tells_the_id_and_the_algorithm_of_each_key() {
    let ring = jwk_set(&[pair("EdDSA"), jwk("secret", SECRET), pair("ES256"), pair("RS256")]).unwrap();
    let told = serde_json::to_value(ring.keys_info().collect::<Vec<_>>()).unwrap();
    assert_eq!(
        told,
        json!([
            {"kid": "ed", "alg": "EdDSA"}, {"kid": "secret", "alg": "HS256"},
            {"kid": "p256", "alg": "ES256"}, {"kid": "rsa", "alg": "RS256"},
        ])
    );
}

#[test]
fn debug_output_shows_no_private_key() {
    let ring = jwk_set(&PAIRS.map(pair)).unwrap();
    let shown = format!("{ring:?} {:?} {:?}", Signer::new(&ring).unwrap(), ring.public_jwk_set());
    for key in PAIRS.map(pair) {
        assert!(shown.contains(key["kid"].as_str().unwrap()));
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(key[member].as_str().is_none_or(|value| !shown.contains(&value[..8])), "{member}: {shown}");
        }
    }
    let damaged = with(pair("RS256"), "p", "AQAB".into());
    let error = jwk_set(std::slice::from_ref(&damaged)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(&damaged["d"].as_str().unwrap()[..8]));
}

#[test]
fn jsonwebtoken_verifies_our_tokens_with_the_keys_that_we_publish() {
    let ring = jwk_set(&PAIRS.map(pair)).unwrap();
    let published = serde_json::to_string(&ring.public_jwk_set()).unwrap();
    let published: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&published).unwrap();
    for algorithm in PAIRS {
        let token = Signer::new(&jwk_set(&[pair(algorithm)]).unwrap()).unwrap().sign(&claims()).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        let key = published.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = Validation::new(algorithm.parse().unwrap());
        validation.set_audience(&[AUDIENCE]);
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap();
        assert_eq!(read.claims, payload(), "{algorithm}");
    }
}

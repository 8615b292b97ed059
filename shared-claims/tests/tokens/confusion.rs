//! Tokens that would be taken if the verifier let the token choose: the key, its type, or what to do with it.

use crate::helpers::*;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{hmac, signature::KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shared_claims::{ErrorKind, KeyErrorKind, KeyRing, Signer, Verifier};

const PAIRS: [&str; 3] = ["EdDSA", "ES256", "RS256"];

fn verify(ring: &KeyRing, token: &str) -> Result<(), ErrorKind> {
    let verifier = Verifier::builder(ring.clone()).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    verifier.verify_at(token, NOW).map(drop).map_err(|error| error.kind())
}

/// Header and payload as a token has them, without a signature.
fn unsigned(header: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(payload().to_string()))
}

fn header_of(key: &Value) -> Value {
    json!({"alg": key["alg"], "typ": "at+jwt", "kid": key["kid"]})
}

fn token(unsigned: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{unsigned}.{}", encode(signature))
}

fn member(key: &Value, name: &str) -> Vec<u8> {
    decode(key[name].as_str().unwrap())
}

fn hmac_of(secret: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes()).as_ref().to_vec()
}

fn p256(key: &Value, algorithm: &'static EcdsaSigningAlgorithm, message: &str) -> Vec<u8> {
    let point = [&[4], &member(key, "x")[..], &member(key, "y")].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &member(key, "d"), &point).unwrap();
    pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
}

fn rsa_pair(key: &Value) -> RsaKeyPair {
    let part = |name| member(key, name);
    RsaKeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n: part("n"), e: part("e") },
        d: part("d"),
        p: part("p"),
        q: part("q"),
        dP: part("dp"),
        dQ: part("dq"),
        qInv: part("qi"),
    })
    .unwrap()
}

fn rsa(key: &Value, encoding: &'static dyn RsaEncoding, message: &str) -> Vec<u8> {
    let pair = rsa_pair(key);
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    signature
}

/// A good signature by any key.
fn signature_by(key: &Value, message: &str) -> Vec<u8> {
    match key["kty"].as_str().unwrap() {
        "oct" => hmac_of(&member(key, "k"), message),
        "OKP" => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(&member(key, "d"), &member(key, "x")).unwrap();
            pair.sign(message.as_bytes()).as_ref().to_vec()
        }
        "EC" => p256(key, &ECDSA_P256_SHA256_FIXED_SIGNING, message),
        "RSA" => rsa(key, &RSA_PKCS1_SHA256, message),
        other => panic!("{other}"),
    }
}

/// An attacker's key: one that an RFC has published.
fn their_key(algorithm: &str) -> Value {
    let examples: Vec<Value> = serde_json::from_str(include_str!("../vectors/rfc.json")).unwrap();
    examples.iter().find(|example| example["alg"] == algorithm).unwrap()["key"].clone()
}

/// The key of each algorithm, under an id of our choice.
fn key_named(algorithm: &str, kid: &str) -> Value {
    let mut key = if algorithm == "HS256" { jwk(kid, SECRET) } else { pair(algorithm) };
    key["kid"] = kid.into();
    key
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// Everything that an attacker could take for the secret, knowing the public key.
fn public_forms(key: &Value) -> Vec<Vec<u8>> {
    let mut forms = vec![key.to_string().into_bytes(), json!({ "keys": [key] }).to_string().into_bytes()];
    for name in ["n", "e", "x", "y"] {
        if let Some(text) = key[name].as_str() {
            forms.extend([text.as_bytes().to_vec(), decode(text)]);
        }
    }
    let der = match key["alg"].as_str().unwrap() {
        "RS256" => {
            let components = PublicKeyComponents { n: member(key, "n"), e: member(key, "e") };
            // PKCS#1, and what its PEM file has.
            forms.push(rsa_pair(&pair("RS256")).public_key().as_ref().to_vec());
            AsDer::<PublicKeyX509Der<'_>>::as_der(&components).unwrap().as_ref().to_vec()
        }
        "ES256" => {
            let point = [&[4], &member(key, "x")[..], &member(key, "y")].concat();
            // RFC 5480: id-ecPublicKey, prime256v1, then the point.
            let start = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=";
            forms.push(point.clone());
            [STANDARD.decode(start).unwrap(), point].concat()
        }
        "EdDSA" => [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &member(key, "x")].concat(),
        other => panic!("{other}"),
    };
    let text = pem(&der);
    forms.extend([der, text.trim_end().as_bytes().to_vec(), text.replace('\n', "\r\n").into(), text.into()]);
    forms
}

#[test]
fn the_forge_makes_tokens_that_are_taken() {
    for algorithm in ["HS256", "EdDSA", "ES256", "RS256"] {
        let key = key_named(algorithm, "k");
        let unsigned = unsigned(&header_of(&key));
        let token = token(&unsigned, signature_by(&key, &unsigned));
        assert_eq!(verify(&jwk_set(&[key]).unwrap(), &token), Ok(()), "{algorithm}");
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    for algorithm in PAIRS {
        let rings = [vec![public(algorithm)], vec![pair(algorithm)], vec![pair(algorithm), jwk("s", SECRET)]];
        for form in public_forms(&public(algorithm)) {
            for ring in rings.iter().map(|keys| jwk_set(keys).unwrap()) {
                let mut header = header_of(&pair(algorithm));
                let honest = unsigned(&header);
                assert_eq!(verify(&ring, &token(&honest, hmac_of(&form, &honest))), Err(ErrorKind::Signature));
                header["alg"] = "HS256".into();
                let forged = unsigned(&header);
                let forged = token(&forged, hmac_of(&form, &forged));
                assert_eq!(verify(&ring, &forged), Err(ErrorKind::AlgorithmMismatch), "{algorithm}");
            }
        }
    }
}

#[test]
fn a_public_key_in_a_pem_file_is_no_common_secret() {
    for algorithm in PAIRS {
        for form in public_forms(&public(algorithm)).iter().filter(|form| form.starts_with(b"-----BEGIN")) {
            assert_eq!(KeyRing::from_secret(form).unwrap_err().kind(), KeyErrorKind::WellKnown);
            let spaced = [b"\n ", &form[..]].concat();
            assert_eq!(KeyRing::from_secret(&spaced).unwrap_err().kind(), KeyErrorKind::WellKnown);
        }
    }
}

#[test]
fn a_key_of_another_type_under_the_same_kid_takes_nothing() {
    let all = ["HS256", "EdDSA", "ES256", "RS256"];
    for ours in all {
        let ring = jwk_set(&[key_named(ours, "k")]).unwrap();
        for theirs in all.into_iter().filter(|theirs| *theirs != ours) {
            let mut header = header_of(&key_named(theirs, "k"));
            let honest = unsigned(&header);
            let honest = token(&honest, signature_by(&key_named(theirs, "k"), &honest));
            assert_eq!(verify(&ring, &honest), Err(ErrorKind::AlgorithmMismatch), "{theirs} for {ours}");
            header["alg"] = ours.into();
            let disguised = unsigned(&header);
            let disguised = token(&disguised, signature_by(&key_named(theirs, "k"), &disguised));
            assert_eq!(verify(&ring, &disguised), Err(ErrorKind::Signature), "{theirs} as {ours}");
        }
    }
}

#[test]
fn no_other_name_of_an_algorithm_is_taken() {
    for algorithm in PAIRS {
        let ring = jwk_set(&[public(algorithm)]).unwrap();
        let names = [
            "none", "None", "NONE", "nOnE", "", " none", "none\0", "HS256", "RS384", "RS512", "PS256", "ES384",
            "ES512", "ES256K", "Ed25519", "Ed448", "rs256", "es256", "eddsa", "EDDSA",
        ];
        for name in names.into_iter().filter(|name| *name != algorithm) {
            let mut header = header_of(&public(algorithm));
            header["alg"] = name.into();
            let unsigned = unsigned(&header);
            let signed = token(&unsigned, signature_by(&pair(algorithm), &unsigned));
            assert_eq!(verify(&ring, &signed), Err(ErrorKind::AlgorithmMismatch), "{algorithm} as {name}");
            assert_eq!(verify(&ring, &format!("{unsigned}.")), Err(ErrorKind::Malformed), "{name}");
            assert_eq!(verify(&ring, &unsigned), Err(ErrorKind::Malformed), "{name}");
        }
    }
}

#[test]
fn keys_and_addresses_that_a_token_brings_along_are_not_followed() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}/keys", listener.local_addr().unwrap());

    for algorithm in PAIRS {
        let theirs = their_key(algorithm);
        let ring = jwk_set(&[public(algorithm)]).unwrap();
        for (name, value) in [
            ("jwk", theirs.clone()),
            ("jku", address.clone().into()),
            ("x5u", address.clone().into()),
            ("x5c", json!([STANDARD.encode(b"a certificate")])),
            ("x5t", "AAAA".into()),
            ("x5t#S256", "AAAA".into()),
        ] {
            let mut header = header_of(&public(algorithm));
            header[name] = value;
            let plain = unsigned(&header);
            let ours = token(&plain, signature_by(&pair(algorithm), &plain));
            assert_eq!(verify(&ring, &ours), Ok(()), "{algorithm} {name}");
            let forged = token(&plain, signature_by(&theirs, &plain));
            assert_eq!(verify(&ring, &forged), Err(ErrorKind::Signature), "{algorithm} {name}");
            for kid in ["theirs", "", &address] {
                header["kid"] = kid.into();
                let plain = unsigned(&header);
                let forged = token(&plain, signature_by(&theirs, &plain));
                assert_eq!(verify(&ring, &forged), Err(ErrorKind::UnknownKey), "{algorithm} {name}");
            }
        }
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody called");
}

#[test]
fn a_signature_of_the_same_key_in_another_scheme_is_refused() {
    let unsigned = |algorithm| unsigned(&header_of(&public(algorithm)));
    let (es256, rs256) = (unsigned("ES256"), unsigned("RS256"));
    for (algorithm, token) in [
        ("ES256", token(&es256, p256(&pair("ES256"), &ECDSA_P256_SHA256_ASN1_SIGNING, &es256))),
        ("RS256", token(&rs256, rsa(&pair("RS256"), &RSA_PSS_SHA256, &rs256))),
        ("RS256", token(&rs256, rsa(&pair("RS256"), &RSA_PKCS1_SHA512, &rs256))),
    ] {
        assert_eq!(verify(&jwk_set(&[public(algorithm)]).unwrap(), &token), Err(ErrorKind::Signature), "{algorithm}");
    }
}

#[test]
fn signatures_made_of_special_numbers_are_refused() {
    let one = |length: usize| [vec![0; length - 1], vec![1]].concat();
    let (zero, order) = ([0; 32], decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE"));
    let halves = [&zero[..], &one(32), &order, &[255; 32]];
    for r in halves {
        for s in halves {
            for algorithm in ["ES256", "EdDSA"] {
                let ring = jwk_set(&[public(algorithm)]).unwrap();
                let token = token(&unsigned(&header_of(&public(algorithm))), [r, s].concat());
                assert_eq!(verify(&ring, &token), Err(ErrorKind::Signature), "{algorithm} {r:?} {s:?}");
            }
        }
    }
    let ring = jwk_set(&[public("RS256")]).unwrap();
    let modulus = member(&public("RS256"), "n");
    let mut less = modulus.clone();
    *less.last_mut().unwrap() -= 1;
    for number in [vec![0; 256], one(256), less, modulus, vec![255; 256], vec![], vec![1]] {
        let token = token(&unsigned(&header_of(&public("RS256"))), &number);
        let kind = if number.is_empty() { ErrorKind::Malformed } else { ErrorKind::Signature };
        assert_eq!(verify(&ring, &token), Err(kind), "{number:?}");
    }
}

/// RFC 8032 §5.1.7: S must be below the order of the group, or every signature has another that is as good.
#[test]
fn the_other_s_of_an_ed25519_signature_is_refused() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    let ring = jwk_set(&[public("EdDSA")]).unwrap();
    let unsigned = unsigned(&header_of(&public("EdDSA")));
    let mut signature = signature_by(&pair("EdDSA"), &unsigned);
    assert_eq!(verify(&ring, &token(&unsigned, &signature)), Ok(()));
    let mut carry = 0;
    for (place, add) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*place) + u16::from(add) + carry;
        [*place, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(verify(&ring, &token(&unsigned, &signature)), Err(ErrorKind::Signature));
}

/// The other half of the order gives a second signature too. RFC 7518 §3.4 allows both, so that tokens of other programs
/// are taken; that a token is not the only one of its kind matters to nobody, as none is looked up by its text.
#[test]
fn both_s_of_an_es256_signature_are_taken() {
    let ring = jwk_set(&[public("ES256")]).unwrap();
    let unsigned = unsigned(&header_of(&public("ES256")));
    let order = decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE");
    let signature = signature_by(&pair("ES256"), &unsigned);
    let mut other = signature.clone();
    let mut borrow = 0;
    for place in (0..32).rev() {
        let difference = i16::from(order[place]) - i16::from(signature[32 + place]) - borrow;
        [other[32 + place], _] = difference.to_le_bytes();
        borrow = i16::from(difference < 0);
    }
    assert_eq!(verify(&ring, &token(&unsigned, &signature)), Ok(()));
    assert_eq!(verify(&ring, &token(&unsigned, &other)), Ok(()));
}

#[test]
fn the_signer_of_one_ring_is_a_stranger_to_another_with_the_same_kid() {
    for algorithm in PAIRS {
        let theirs = their_key(algorithm);
        let ring = jwk_set(&[public(algorithm)]).unwrap();
        let ours = Signer::new(&jwk_set(&[pair(algorithm)]).unwrap()).unwrap().sign(&claims()).unwrap();
        let (unsigned, _) = ours.rsplit_once('.').unwrap();
        assert_eq!(verify(&ring, &ours), Ok(()));
        let forged = token(unsigned, signature_by(&theirs, unsigned));
        assert_eq!(verify(&ring, &forged), Err(ErrorKind::Signature), "{algorithm}");
    }
}

//! The JSON Web Signature, Key and Crypto vectors of Project Wycheproof (C2SP/wycheproof, `testvectors_v1`), run
//! against what checks a JWS and what reads a JWK.
//!
//! The vectors are not part of this project: `WYCHEPROOF_DIR` names the folder that holds them. Without it nothing runs
//! and one line says so; with `REQUIRE_WYCHEPROOF=1` that is a failure.
//!
//! Every case is run. What is expected of it follows from these rules, and a case that fits none of them fails:
//!
//! 1. An algorithm that we do not take ([`OTHER_ALGORITHMS`]) and a JWE: the key must be refused, so no token of it can
//!    be taken, whatever the case says.
//! 2. [`STRICTER`]: the case calls a token valid that RFC 7515 does not allow. It must be refused.
//! 3. [`CONTRADICTED`]: the case calls a token invalid that another case, with the same key, calls valid.
//! 4. Any other case: valid means taken, invalid means refused, by the key's fault or the token's.
//!
//! Some vectors are made with keys that a ring refuses because everybody has them. Tokens are therefore run against the
//! layer below that judgement. [`REFUSED_KEYS`] lists in full which keys are refused.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{KeyErrorKind, KeyRing};
use crate::error::{Error, ErrorKind};
use crate::jws::{self, Compact, Header};

const SIGNATURE: &str = "json_web_signature_test.json";
const KEY: &str = "json_web_key_test.json";
const CRYPTO: &str = "json_web_crypto_test.json";

/// The `alg` of keys that are not for us, and their curve where they have one. `ES521` is how the vectors write ES512.
const OTHER_ALGORITHMS: [(&str, Option<&str>); 8] = [
    ("HS384", None),
    ("HS512", None),
    ("RS384", None),
    ("RS512", None),
    ("PS256", None),
    ("PS384", None),
    ("PS512", None),
    ("ES521", Some("P-521")),
];

/// Cases of [`SIGNATURE`] that put a `?` into the header or the payload of a token, leave its MAC as it
/// was, and call it valid: a decoder that skips what is not base64url may take it. RFC 7515 §2 knows no such decoder,
/// and the MAC covers the characters as they stand (§5.2), so it cannot match either.
const STRICTER: [u64; 2] = [372, 373];

/// Cases of [`SIGNATURE`] that lost what made them invalid, padding, when they were written down: byte
/// for byte they are the token of the other case, which is valid (issue 236 of C2SP/wycheproof).
const CONTRADICTED: [(u64, u64); 2] = [(367, 357), (370, 357)];

/// Every group with a key of ours that a ring refuses, and why.
const REFUSED_KEYS: [(&str, &str, KeyErrorKind); 24] = [
    // 32 zeros.
    (SIGNATURE, "base64", KeyErrorKind::Weak),
    // The examples of RFC 7520: one secret, one RSA pair with `use` and with `key_ops`.
    (SIGNATURE, "rfc7520", KeyErrorKind::WellKnown),
    (SIGNATURE, "rfc7520", KeyErrorKind::WellKnownPair),
    (SIGNATURE, "rfc7520WithKeyOps", KeyErrorKind::WellKnownPair),
    (SIGNATURE, "rsa_encryption", KeyErrorKind::UnsupportedAlgorithm),
    (SIGNATURE, "ec_key_for_encryption", KeyErrorKind::UnsupportedAlgorithm),
    (KEY, "jws_mixedSymmetryKeyset", KeyErrorKind::MixedSet),
    // The second of the two secrets is not strict base64url: its last character has bits set that belong to no octet.
    (KEY, "jws_duplicate_kid", KeyErrorKind::Malformed),
    (KEY, "rs256", KeyErrorKind::UnsupportedAlgorithm),
    (KEY, "jws_rsa_roca_key", KeyErrorKind::WeakPair),
    (KEY, "keysize_too_small", KeyErrorKind::UnsupportedSize),
    (KEY, "exponentOne", KeyErrorKind::InvalidPublicKey),
    (KEY, "HS256", KeyErrorKind::TooShort),
    // 64 bytes that count from 0.
    (KEY, "HS256", KeyErrorKind::Weak),
    (KEY, "wrong_algorithm", KeyErrorKind::UnsupportedAlgorithm),
    (KEY, "invalid_algorithm", KeyErrorKind::UnsupportedAlgorithm),
    (KEY, "invalid_use", KeyErrorKind::NotForSignatures),
    (KEY, "invalid_point", KeyErrorKind::InvalidPublicKey),
    (KEY, "wrong_curve", KeyErrorKind::UnsupportedCurve),
    (KEY, "wrong_kty", KeyErrorKind::UnsupportedAlgorithm),
    (KEY, "invalid_aes_gcm_key", KeyErrorKind::UnsupportedAlgorithm),
    (KEY, "invalid_aes_kw_key", KeyErrorKind::UnsupportedAlgorithm),
    (CRYPTO, "jws_rsa_roca_key", KeyErrorKind::WeakPair),
    (CRYPTO, "jws_mixedSymmetryKeyset", KeyErrorKind::MixedSet),
];

/// What a ring holds against keys that everybody has. A case that calls a token invalid means more than that.
const EVERYBODY_S: [KeyErrorKind; 3] = [KeyErrorKind::Weak, KeyErrorKind::WellKnown, KeyErrorKind::WellKnownPair];

/// How many cases went which way. Counted, so that an empty file cannot pass.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    taken: usize,
    refused: usize,
    stricter: usize,
    contradicted: usize,
    other_algorithm: usize,
    encrypted: usize,
    /// Private keys that signed what their public key then verified.
    signed: usize,
}

#[test]
fn the_vectors_of_wycheproof_give_the_expected_results() {
    let Some(folder) = folder() else {
        // Not by a macro, whose output is shown only if the test fails.
        let line = "the Wycheproof vectors did not run: WYCHEPROOF_DIR does not name the folder that holds them\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    let signature =
        Count { taken: 18, refused: 294, stricter: 2, contradicted: 2, other_algorithm: 85, encrypted: 0, signed: 9 };
    run(&folder, SIGNATURE, 401, &signature);
    let key = Count { taken: 3, refused: 17, other_algorithm: 6, signed: 6, ..Count::default() };
    run(&folder, KEY, 26, &key);
    let crypto = Count { taken: 4, refused: 45, encrypted: 34, signed: 5, ..Count::default() };
    run(&folder, CRYPTO, 83, &crypto);
}

#[allow(clippy::disallowed_methods, reason = "tests have no configuration but these variables")]
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("WYCHEPROOF_DIR").map(PathBuf::from);
    let required = std::env::var_os("REQUIRE_WYCHEPROOF").is_some_and(|value| value == "1");
    assert!(folder.is_some() || !required, "WYCHEPROOF_DIR must name the folder of the Wycheproof vectors");
    folder
}

fn run(folder: &Path, file: &str, cases: usize, expected: &Count) {
    let vectors = read(&folder.join(file));
    let mut count = Count::default();
    let mut refused_keys = BTreeSet::new();
    for group in vectors["testGroups"].as_array().unwrap() {
        let group = Group::new(file, group);
        if let Some(kind) = group.refusal() {
            refused_keys.insert(format!("{} {kind:?}", group.comment));
        }
        count.signed += usize::from(group.signs());
        for case in group.cases {
            group.run(case, &mut count);
        }
    }
    assert_eq!(&count, expected, "{file}");
    let counted =
        [count.taken, count.refused, count.stricter, count.contradicted, count.other_algorithm, count.encrypted];
    assert_eq!(counted.iter().sum::<usize>(), cases, "every case of {file} is counted once");
    let listed = REFUSED_KEYS.iter().filter(|(listed, ..)| *listed == file);
    assert_eq!(refused_keys, listed.map(|(_, group, kind)| format!("{group} {kind:?}")).collect(), "{file}");
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Cases that share a key or a set of keys.
struct Group<'v> {
    file: &'v str,
    comment: &'v str,
    /// What a verifier is given: the public keys where there are such.
    verifier: Keys,
    private: Keys,
    cases: &'v [Value],
}

/// A JWK Set, read with and without regard to the quality of its keys.
struct Keys {
    json: Value,
    any_quality: Result<KeyRing, KeyErrorKind>,
    ring: Result<KeyRing, KeyErrorKind>,
}

impl Keys {
    /// From a set, or from a single key made into one.
    fn new(value: &Value) -> Self {
        let json = if value["keys"].is_array() { value.clone() } else { json!({ "keys": [value] }) };
        let text = json.to_string();
        let ring = KeyRing::from_jwk_set(text.as_bytes()).map_err(|error| error.kind());
        let any_quality = KeyRing::from_jwk_set_of_any_quality(text.as_bytes()).map_err(|error| error.kind());
        Self { json, any_quality, ring }
    }

    fn is_of_another_algorithm(&self) -> bool {
        self.json["keys"].as_array().unwrap().iter().any(|key| {
            let (alg, crv) = (key["alg"].as_str().unwrap_or_default(), key["crv"].as_str());
            OTHER_ALGORITHMS.contains(&(alg, crv))
        })
    }
}

impl<'v> Group<'v> {
    fn new(file: &'v str, group: &'v Value) -> Self {
        let public = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        Self {
            file,
            comment: group["comment"].as_str().unwrap(),
            verifier: Keys::new(public),
            private: Keys::new(&group["private"]),
            cases: group["tests"].as_array().unwrap(),
        }
    }

    /// Why a ring of these keys is refused, if they are for an algorithm of ours.
    fn refusal(&self) -> Option<KeyErrorKind> {
        let ours = !self.is_encrypted() && !self.verifier.is_of_another_algorithm();
        self.verifier.ring.as_ref().err().copied().filter(|_| ours)
    }

    fn is_encrypted(&self) -> bool {
        self.cases.iter().any(|case| !case["jwe"].is_null())
    }

    /// Whether a private key was there; what it signs, the verifier's keys must verify.
    fn signs(&self) -> bool {
        let (Ok(private), Ok(verifier)) = (&self.private.any_quality, &self.verifier.any_quality) else { return false };
        let Some(key) = private.keys().first().filter(|key| key.may_sign()) else { return false };
        let signature = URL_SAFE_NO_PAD.encode(key.sign(b"a.b").unwrap());
        verifier.by_id(key.id()).unwrap().check_signature(b"a.b", &signature).unwrap();
        assert!(verifier.by_id(key.id()).unwrap().check_signature(b"a.c", &signature).is_err());
        true
    }

    fn run(&self, case: &Value, count: &mut Count) {
        let id = case["tcId"].as_u64().unwrap();
        let name = format!("{} {id}, {} {}", self.file, self.comment, case["comment"]);
        let valid = match case["result"].as_str() {
            Some("valid") => true,
            Some("invalid") => false,
            other => panic!("{name}: what is {other:?}?"),
        };
        if self.is_encrypted() {
            assert_eq!(self.verifier.ring.as_ref().err(), Some(&KeyErrorKind::UnsupportedAlgorithm), "{name}");
            count.encrypted += 1;
            return;
        }
        if self.verifier.is_of_another_algorithm() {
            assert_eq!(self.verifier.ring.as_ref().err(), Some(&KeyErrorKind::UnsupportedAlgorithm), "{name}");
            count.other_algorithm += 1;
            return;
        }
        // The JSON serialization is an object in one place and text in another.
        let token = case["jws"].as_str().map_or_else(|| case["jws"].to_string(), str::to_owned);
        let signatures = self.file == SIGNATURE;
        if let Some((_, other)) = CONTRADICTED.iter().find(|(of, _)| signatures && *of == id) {
            let other = self.cases.iter().find(|case| case["tcId"] == *other).unwrap();
            assert!(!valid && other["result"] == "valid" && other["jws"] == token, "{name}: no longer an exception");
            count.contradicted += 1;
        } else if signatures && STRICTER.contains(&id) {
            assert!(valid, "{name}: no longer an exception");
            let kind = verify(self.verifier.any_quality.as_ref().unwrap(), &token).unwrap_err().kind();
            assert!(matches!(kind, ErrorKind::Malformed | ErrorKind::Signature), "{name}: {kind:?}");
            count.stricter += 1;
        } else if valid {
            let ring = self.verifier.any_quality.as_ref().unwrap_or_else(|kind| panic!("{name}: {kind:?}"));
            verify(ring, &token).unwrap_or_else(|error| panic!("{name}: {error}"));
            count.taken += 1;
        } else {
            let by_key = matches!(self.verifier.ring, Err(kind) if !EVERYBODY_S.contains(&kind));
            assert!(by_key || verify(self.verifier.any_quality.as_ref().unwrap(), &token).is_err(), "{name}");
            count.refused += 1;
        }
    }
}

/// What the verifier does with a token before it looks at the claims, but for its `typ`, which no vector has.
fn verify(ring: &KeyRing, token: &str) -> Result<Vec<u8>, Error> {
    const UNKNOWN: Error = Error::new(ErrorKind::UnknownKey, "no such key");

    let compact = Compact::split(token)?;
    let json = jws::decode(compact.header)?;
    let header = Header::read(&json)?;
    let key = header.kid.as_deref().and_then(|kid| ring.by_id(kid)).ok_or(UNKNOWN)?;
    header.permits(key)?;
    compact.verified_payload(key, &mut [0; 1024]).map(std::borrow::Cow::into_owned)
}

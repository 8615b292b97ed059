//! Keys that a test holds itself, to make tokens that auth-service would not make.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    bn::{BigNum, BigNumContext, BigNumRef},
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rand::rand_bytes,
    rsa::Rsa,
    sign::Signer,
};
use serde_json::{Value, json};

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `HS256`: whoever verifies with it can sign, too.
    CommonSecret,
    /// `EdDSA`.
    KeyPair,
    /// `ES256`.
    EllipticCurve,
    /// `RS256`.
    Rsa,
}

/// A key.
pub(crate) struct Key {
    pub(crate) kid: &'static str,
    pub(crate) kind: Kind,
    material: PKey<Private>,
    jwk: Value,
    /// The secret, or the public key in the form that somebody might take for a secret.
    pub(crate) octets: Vec<u8>,
}

impl Key {
    pub(crate) fn new(kind: Kind, id: &'static str) -> Self {
        match kind {
            Kind::CommonSecret => {
                let mut octets = vec![0; 32];
                rand_bytes(&mut octets).unwrap();
                let jwk = json!({ "kty": "oct", "alg": "HS256", "k": encoded(&octets) });
                Self { kid: id, kind, material: PKey::hmac(&octets).unwrap(), jwk, octets }
            }
            Kind::KeyPair => {
                let material = PKey::generate_ed25519().unwrap();
                let octets = material.raw_public_key().unwrap();
                let d = encoded(&material.raw_private_key().unwrap());
                let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": encoded(&octets), "d": d });
                Self { kid: id, kind, material, jwk, octets }
            }
            Kind::EllipticCurve => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
                let key = EcKey::generate(&group).unwrap();
                let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
                let mut context = BigNumContext::new().unwrap();
                key.public_key().affine_coordinates(&group, &mut x, &mut y, &mut context).unwrap();
                let [x, y, d] = [&*x, &*y, key.private_key()].map(|number| padded(number, 32));
                let jwk = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": x, "y": y, "d": d });
                let octets = key.public_key_to_pem().unwrap();
                Self { kid: id, kind, material: PKey::from_ec_key(key).unwrap(), jwk, octets }
            }
            Kind::Rsa => {
                let key = Rsa::generate(2048).unwrap();
                let parts = [
                    ("n", Some(key.n())),
                    ("e", Some(key.e())),
                    ("d", Some(key.d())),
                    ("p", key.p()),
                    ("q", key.q()),
                    ("dp", key.dmp1()),
                    ("dq", key.dmq1()),
                    ("qi", key.iqmp()),
                ];
                let mut jwk = json!({ "kty": "RSA", "alg": "RS256" });
                for (name, number) in parts {
                    jwk[name] = encoded(&number.unwrap().to_vec()).into();
                }
                let octets = key.public_key_to_pem().unwrap();
                Self { kid: id, kind, material: PKey::from_rsa(key).unwrap(), jwk, octets }
            }
        }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::CommonSecret => "HS256",
            Kind::KeyPair => "EdDSA",
            Kind::EllipticCurve => "ES256",
            Kind::Rsa => "RS256",
        }
    }

    /// The header of an access token that is signed with it.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "typ": "at+jwt", "kid": self.kid })
    }

    /// A token of this header and these claims, signed with it whatever the header says.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = match self.kind {
            Kind::CommonSecret | Kind::Rsa => {
                let mut signer = Signer::new(MessageDigest::sha256(), &self.material).unwrap();
                signer.sign_oneshot_to_vec(message.as_bytes()).unwrap()
            }
            Kind::KeyPair => {
                let mut signer = Signer::new_without_digest(&self.material).unwrap();
                signer.sign_oneshot_to_vec(message.as_bytes()).unwrap()
            }
            Kind::EllipticCurve => {
                let mut signer = Signer::new(MessageDigest::sha256(), &self.material).unwrap();
                let der = signer.sign_oneshot_to_vec(message.as_bytes()).unwrap();
                let signature = EcdsaSig::from_der(&der).unwrap();
                [signature.r(), signature.s()].map(|number| number.to_vec_padded(32).unwrap()).concat()
            }
        };
        format!("{message}.{}", encoded(&signature))
    }
}

/// A token of this header and these claims with a MAC under these octets.
pub(crate) fn mac(digest: MessageDigest, octets: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let key = PKey::hmac(octets).unwrap();
    let signature = Signer::new(digest, &key).unwrap().sign_oneshot_to_vec(message.as_bytes()).unwrap();
    format!("{message}.{}", encoded(&signature))
}

/// The part of a token that is signed.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()))
}

pub(crate) fn encoded(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn padded(number: &BigNumRef, length: i32) -> String {
    encoded(&number.to_vec_padded(length).unwrap())
}

/// The public part of a key, as an attacker might put it into a header.
pub(crate) fn public_jwk(key: &Key) -> Value {
    let mut jwk = key.jwk.clone();
    jwk.as_object_mut().unwrap().remove("d");
    jwk
}

/// Writes the keys to the file of a ring, the one that signs first.
pub(crate) fn write(keys: &[&Key], file: &Path) {
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| {
            let mut jwk = key.jwk.clone();
            jwk["kid"] = key.kid.into();
            jwk["use"] = "sig".into();
            jwk
        })
        .collect();
    let new = file.with_extension("new");
    std::fs::write(&new, json!({ "keys": keys }).to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}

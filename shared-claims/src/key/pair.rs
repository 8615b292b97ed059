//! Key pairs: the public half checks signatures, the private half, where it is there, makes them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, VerificationAlgorithm,
};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, OctetKeyPairParameters,
    OctetKeyPairType, RSAKeyParameters, RSAKeyType,
};

use super::edwards;
use super::error::KeyErrorKind;
use super::jwk::{Jwk, octets_32, text, unsigned};

/// The longest signature: that of the largest RSA key.
pub(super) const MAX_SIGNATURE_BYTES: usize = 8192 / 8;

/// The signatures of Ed25519 and of ES256, whose two halves are written one after the other (RFC 7518 §3.4).
const CURVE_SIGNATURE_BYTES: usize = 64;

/// What FIPS 186-5 §5.1 asks of a public exponent at least, and the most that AWS-LC takes.
const EXPONENTS: std::ops::Range<u64> = 65537..1 << 33;

/// A key pair, parsed once. Both halves may be used by any number of threads.
pub(super) struct Pair {
    public: ParsedPublicKey,
    private: Option<Private>,
    signature_bytes: usize,
    /// The public half as members of a JWK.
    parameters: AlgorithmParameters,
}

enum Private {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    /// `OKP` with the curve Ed25519 (RFC 8037 §2).
    pub(super) fn ed25519(jwk: &Jwk<'_>) -> Result<Self, KeyErrorKind> {
        check_curve(jwk, "Ed25519")?;
        let public = octets_32(jwk.x.as_deref())?;
        if !edwards::is_public_key(&public) {
            return Err(KeyErrorKind::InvalidPublicKey);
        }
        let private = match jwk.private_key() {
            Some(seed) => Some(Private::Ed25519(
                Ed25519KeyPair::from_seed_and_public_key(octets_32(Some(seed))?.as_slice(), public.as_slice())
                    .map_err(|_| KeyErrorKind::PrivateKeyMismatch)?,
            )),
            None => None,
        };
        Ok(Self {
            public: parse(&ED25519, public.as_slice())?,
            private,
            signature_bytes: CURVE_SIGNATURE_BYTES,
            parameters: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
                key_type: OctetKeyPairType::OctetKeyPair,
                curve: EllipticCurve::Ed25519,
                x: given(jwk.x.as_deref()),
            }),
        })
    }

    /// `EC` with the curve P-256 (RFC 7518 §6.2).
    pub(super) fn p256(jwk: &Jwk<'_>) -> Result<Self, KeyErrorKind> {
        check_curve(jwk, "P-256")?;
        let (x, y) = (octets_32(jwk.x.as_deref())?, octets_32(jwk.y.as_deref())?);
        // SEC 1 §2.3.3, uncompressed.
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let public = parse(&ECDSA_P256_SHA256_FIXED, &point)?;
        let private = match jwk.private_key() {
            Some(number) => Some(Private::P256(
                EcdsaKeyPair::from_private_key_and_public_key(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    octets_32(Some(number))?.as_slice(),
                    &point,
                )
                .map_err(|_| KeyErrorKind::PrivateKeyMismatch)?,
            )),
            None => None,
        };
        Ok(Self {
            public,
            private,
            signature_bytes: CURVE_SIGNATURE_BYTES,
            parameters: AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
                key_type: EllipticCurveKeyType::EC,
                curve: EllipticCurve::P256,
                x: given(jwk.x.as_deref()),
                y: given(jwk.y.as_deref()),
            }),
        })
    }

    /// `RSA` with two primes (RFC 7518 §6.3).
    pub(super) fn rsa(jwk: &Jwk<'_>) -> Result<Self, KeyErrorKind> {
        let (modulus, exponent) = (unsigned(jwk.n.as_deref())?, unsigned(jwk.e.as_deref())?);
        check_modulus(&modulus)?;
        check_exponent(&exponent)?;
        let public = PublicKeyComponents { n: modulus.as_slice(), e: exponent.as_slice() };
        let private = rsa_private(jwk, public)?.map(Private::Rsa);
        Ok(Self {
            public: public
                .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                .map_err(|_| KeyErrorKind::InvalidPublicKey)?,
            private,
            signature_bytes: modulus.len(),
            parameters: AlgorithmParameters::RSA(RSAKeyParameters {
                key_type: RSAKeyType::RSA,
                n: given(jwk.n.as_deref()),
                e: given(jwk.e.as_deref()),
            }),
        })
    }

    /// The pair, or only its public half if it is not to sign.
    pub(super) fn for_signing(mut self, may_sign: bool) -> Self {
        self.private = self.private.filter(|_| may_sign);
        self
    }

    pub(super) fn may_sign(&self) -> bool {
        self.private.is_some()
    }

    /// The members of a JWK that make the public key.
    pub(super) fn public_parameters(&self) -> &AlgorithmParameters {
        &self.parameters
    }

    /// Whether the signature is that of this pair over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == self.signature_bytes && self.public.verify_sig(message, signature).is_ok()
    }

    /// The signature over `message`; nothing without a private key, or if AWS-LC fails.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        // AWS-LC takes its own random numbers whatever is given.
        let random = SystemRandom::new();
        match self.private.as_ref()? {
            Private::Ed25519(pair) => pair.try_sign(message).ok().map(|signature| signature.as_ref().to_vec()),
            Private::P256(pair) => pair.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec()),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok().map(|()| signature)
            }
        }
    }
}

fn check_curve(jwk: &Jwk<'_>, curve: &str) -> Result<(), KeyErrorKind> {
    match jwk.crv.as_deref() {
        Some(given) if given == curve => Ok(()),
        Some(_) => Err(KeyErrorKind::UnsupportedCurve),
        None => Err(KeyErrorKind::Malformed),
    }
}

fn parse(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Result<ParsedPublicKey, KeyErrorKind> {
    ParsedPublicKey::new(algorithm, key).map_err(|_| KeyErrorKind::InvalidPublicKey)
}

/// A member that has been read before. Strict base64url spells a value in one way, so this is how it is published too.
fn given(member: Option<&str>) -> String {
    member.unwrap_or_default().to_owned()
}

fn check_modulus(modulus: &[u8]) -> Result<(), KeyErrorKind> {
    let leading_zeros = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
    if !(2048..=8192).contains(&(modulus.len() * 8 - leading_zeros)) {
        return Err(KeyErrorKind::UnsupportedSize);
    }
    check_odd(modulus)
}

fn check_exponent(exponent: &[u8]) -> Result<(), KeyErrorKind> {
    let number = exponent.iter().try_fold(0_u64, |number, &octet| number.checked_mul(256)?.checked_add(octet.into()));
    if number.is_some_and(|number| EXPONENTS.contains(&number)) {
        check_odd(exponent)
    } else {
        Err(KeyErrorKind::InvalidPublicKey)
    }
}

fn check_odd(number: &[u8]) -> Result<(), KeyErrorKind> {
    if number.last().is_some_and(|octet| octet % 2 == 1) { Ok(()) } else { Err(KeyErrorKind::InvalidPublicKey) }
}

/// The private half of an RSA key. RFC 7518 §6.3.2 allows `d` alone, but the other members make signing several times
/// as fast and show that all belong together, so they are demanded.
fn rsa_private(jwk: &Jwk<'_>, public_key: PublicKeyComponents<&[u8]>) -> Result<Option<RsaKeyPair>, KeyErrorKind> {
    let factors = [&jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi];
    if jwk.d.is_none() {
        let half = factors.iter().any(|member| member.is_some());
        return if half { Err(KeyErrorKind::Malformed) } else { Ok(None) };
    }
    let read = |member| unsigned(text(member));
    let components = KeyPairComponents {
        public_key,
        d: read(jwk.d.as_ref())?,
        p: read(jwk.p.as_ref())?,
        q: read(jwk.q.as_ref())?,
        dP: read(jwk.dp.as_ref())?,
        dQ: read(jwk.dq.as_ref())?,
        qInv: read(jwk.qi.as_ref())?,
    };
    RsaKeyPair::from_components(&components).map(Some).map_err(|_| KeyErrorKind::PrivateKeyMismatch)
}

//! Which common secrets are refused: those that everybody knows, and those that can be guessed.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::key::KeyErrorKind;

/// HS256 wants a key of at least the size of its hash (RFC 7518 §3.2).
pub(crate) const MIN_SECRET_BYTES: usize = 32;

/// Secrets that documentation, tutorials and RFCs have published, as they are printed there.
const PUBLISHED: &[&str] = &[
    // jwt.io
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-384-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    // RFC 7515 A.1 and RFC 7520 §3.5
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
    // FastAPI
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    // Express
    "09f26e402586e2faa8da4c98a35f1b20d6b033c6097befa8be3486a829587fe2f90a832bd3ff9d42710a4da095a2ce285b009f0c3730cd9b8e1af3eb84df6611",
    // Spring
    "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
    "5367566B59703373367639792F423F4528482B4D6251655468576D5A71347437",
    // ASP.NET
    "JWTAuthenticationHIGHsecuredPasswordVVVp1OH7Xzyr",
    // Supabase
    "super-secret-jwt-token-with-at-least-32-characters-long",
];

/// What stands in a secret that was meant to be replaced, once lower-cased and freed of separators.
const PLACEHOLDERS: &[&str] = &[
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "replacewith",
    "placeholder",
    "yoursecret",
    "yourjwtsecret",
    "yoursupersecret",
    "your256bitsecret",
    "supersecret",
    "mysecret",
    "jwtsecret",
    "secretkey",
    "examplesecret",
    "insecure",
    "donotuse",
    "atleast32",
    "atleast256bits",
];

/// Refuses a secret that is short, well known, or easy to guess.
pub(crate) fn check(secret: &[u8]) -> Result<(), KeyErrorKind> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeyErrorKind::TooShort);
    }
    if is_published(secret) || is_placeholder(secret) || is_pem(secret) {
        return Err(KeyErrorKind::WellKnown);
    }
    if has_few_bytes(secret) || repeats(secret) || counts_up_or_down(secret) {
        return Err(KeyErrorKind::Weak);
    }
    Ok(())
}

/// Published secrets are taken as text by one program and decoded by the next, and shortened or lengthened at times.
fn is_published(secret: &[u8]) -> bool {
    let alike = |published: &[u8]| {
        let shorter = secret.len().min(published.len());
        shorter >= MIN_SECRET_BYTES && secret[..shorter].eq_ignore_ascii_case(&published[..shorter])
    };
    PUBLISHED.iter().any(|published| {
        alike(published.as_bytes())
            || crate::jws::decode(published).is_ok_and(|bytes| alike(&bytes))
            || STANDARD.decode(published).is_ok_and(|bytes| alike(&bytes))
            || decode_hex(published).is_some_and(|bytes| alike(&bytes))
    })
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some((digit(*pair.first()?)? << 4) | digit(*pair.get(1)?)?)).collect()
}

fn is_placeholder(secret: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(secret) else { return false };
    let letters: zeroize::Zeroizing<String> = zeroize::Zeroizing::new(
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect(),
    );
    PLACEHOLDERS.iter().any(|placeholder| letters.contains(placeholder))
}

/// A key or a certificate: most likely a public one, and meant for another algorithm.
fn is_pem(secret: &[u8]) -> bool {
    secret.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// Random hexadecimal digits show about fourteen different bytes in 32; eight is far below chance.
fn has_few_bytes(secret: &[u8]) -> bool {
    secret.iter().collect::<BTreeSet<_>>().len() < 8
}

/// Something shorter than [`MIN_SECRET_BYTES`], written twice or more.
fn repeats(secret: &[u8]) -> bool {
    let longest = (MIN_SECRET_BYTES - 1).min(secret.len() / 2);
    (1..=longest).any(|period| secret[period..].iter().eq(&secret[..secret.len() - period]))
}

/// `abcdef…`, `0123456789…`, the bytes 0 to 31: most neighbours differ by one.
fn counts_up_or_down(secret: &[u8]) -> bool {
    let steps = secret.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    steps * 4 >= (secret.len() - 1) * 3
}

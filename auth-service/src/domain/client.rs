//! OAuth clients: programs that have a name and a secret of their own here.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use service_kit::{Secret, Timestamp, validate::Invalid};

use super::ScopeSet;

const ID_PREFIX: &str = "cli_";
/// What every secret begins with, so that scanners for leaked secrets recognize one.
const SECRET_PREFIX: &str = "scs_";

/// A client's id: `cli_` and 128 random bits in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId(String);

impl ClientId {
    /// From random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(prefixed(ID_PREFIX, &bytes))
    }

    /// Reads an id; nothing for a text that cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(ID_PREFIX)?;
        let mut bytes = [0; 16];
        let decoded = encoded.len() == 22 && URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()? == bytes.len();
        decoded.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A client's secret, as it is shown once: `scs_` and 256 random bits in base64url.
pub struct ClientSecret(Secret);

impl ClientSecret {
    /// From random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from(prefixed(SECRET_PREFIX, &bytes)))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// What somebody says is a client's secret.
impl From<Secret> for ClientSecret {
    fn from(text: Secret) -> Self {
        Self(text)
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret")
    }
}

fn prefixed(prefix: &str, bytes: &[u8]) -> String {
    let mut text = prefix.to_owned();
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    text
}

/// What is kept of a secret: its SHA-256, in hexadecimal digits.
///
/// A slow hash makes guessing dear, and 256 random bits cannot be guessed at any price: it would only make each request
/// of a client dear.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash(String);

impl SecretHash {
    /// The hash of a secret.
    pub fn of(secret: &ClientSecret) -> Self {
        use fmt::Write as _;

        let mut text = String::with_capacity(64);
        for byte in digest::digest(&digest::SHA256, secret.expose().as_bytes()).as_ref() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The hash as the database has it.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the hash of this secret, told in constant time.
    pub fn matches(&self, presented: &ClientSecret) -> bool {
        let presented = Self::of(presented);
        constant_time::verify_slices_are_equal(self.0.as_bytes(), presented.0.as_bytes()).is_ok()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// What an operator calls a client: 1 to 100 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

impl ClientName {
    const MAX_CHARACTERS: usize = 100;

    /// Takes a name without the white space around it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Invalid::new("required", "The name must not be empty."));
        }
        if text.chars().count() > Self::MAX_CHARACTERS {
            let message = format!("The name must have at most {} characters.", Self::MAX_CHARACTERS);
            return Err(Invalid::new("too_long", message));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("invalid", "The name must not have control characters."));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A client to be made.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Its id.
    pub id: ClientId,
    /// What it is called.
    pub name: ClientName,
    /// The hash of its secret.
    pub secret_hash: SecretHash,
    /// The most that its tokens may do.
    pub scope: ScopeSet,
    /// When.
    pub created_at: Timestamp,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// What it is called.
    pub name: String,
    /// The hash of its secret.
    pub secret_hash: SecretHash,
    /// The most that its tokens may do.
    pub scope: ScopeSet,
    /// Its authorization version (`ver`): tokens of an older one are revoked.
    pub version: i64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last proved who it is, to the hour.
    pub last_used_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_comes_back_as_it_was(bytes: [u8; 16]) {
            let id = ClientId::from_bytes(bytes);
            prop_assert_eq!(ClientId::parse(id.as_str()), Some(id.clone()));
            prop_assert_eq!(ClientId::parse(&format!("{}A", id.as_str())), None);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,60}") {
            prop_assert!(ClientId::parse(&text).is_none_or(|id| id.as_str() == text));
        }

        #[test]
        fn a_hash_matches_its_own_secret_and_no_other(bytes: [u8; 32], other: [u8; 32]) {
            let (secret, other) = (ClientSecret::from_bytes(bytes), ClientSecret::from_bytes(other));
            let hash = SecretHash::of(&secret);
            prop_assert!(hash.matches(&secret));
            prop_assert_eq!(hash.matches(&other), secret.expose() == other.expose());
            prop_assert!(SecretHash::from_stored(hash.as_str().to_owned()).matches(&secret));
        }
    }

    #[test]
    fn the_hash_is_sha_256_in_hexadecimal() {
        // FIPS 180-4's example.
        let hash = SecretHash::of(&ClientSecret::from(Secret::from("abc".to_owned())));
        assert_eq!(hash.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_printed_of_a_secret_is_not_the_secret() {
        let secret = ClientSecret::from(Secret::from("scs_hidden".to_owned()));
        assert!(!format!("{secret:?} {:?}", SecretHash::of(&secret)).contains("hidden"));
        assert!(!format!("{:?}", SecretHash::of(&secret)).contains(SecretHash::of(&secret).as_str()));
    }

    #[test]
    fn a_name_has_one_to_a_hundred_characters_and_no_control_characters() {
        assert_eq!(ClientName::parse("  nightly import ").unwrap().as_str(), "nightly import");
        assert!(ClientName::parse(&"é".repeat(100)).is_ok());
        for (text, code) in [("", "required"), ("  ", "required"), (&*"é".repeat(101), "too_long"), ("a\0b", "invalid")]
        {
            assert_eq!(ClientName::parse(text).unwrap_err().code, code, "{text:?}");
        }
    }
}

//! Refresh tokens: a session's id, a number and a MAC under a key that only auth-service holds.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::SessionId;

/// What every refresh token begins with, so that scanners for leaked secrets recognize one.
const PREFIX: &str = "srt_";
const MAC_LABEL: &[u8] = b"signet refresh token 1";
const KEY_ID_LABEL: &[u8] = b"signet refresh key id";

const KEY_ID_BYTES: usize = 4;
const BODY_BYTES: usize = KEY_ID_BYTES + 16 + 8;
const TOKEN_BYTES: usize = BODY_BYTES + 32;

/// The place in a session's line of refresh tokens that a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session.
    pub session: SessionId,
    /// The number in its line: 1, 2, 3 …
    pub number: i64,
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    mac: hmac::Key,
}

impl Key {
    fn new(secret: &[u8]) -> Self {
        let mac = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hmac::sign(&mac, KEY_ID_LABEL).as_ref()[..KEY_ID_BYTES]);
        Self { id, mac }
    }
}

/// The ring of keys under refresh tokens: the first makes them, all are taken.
pub struct RefreshKeys(Vec<Key>);

impl RefreshKeys {
    /// A ring of the present secret and, while it is being replaced, the one before.
    pub fn new(secret: &[u8], previous: Option<&[u8]>) -> Self {
        Self(std::iter::once(secret).chain(previous).map(Key::new).collect())
    }

    /// The token as a client holds it. The same place always gives the same token.
    pub fn encode(&self, token: RefreshToken) -> String {
        let mut out = String::with_capacity(PREFIX.len() + TOKEN_BYTES.div_ceil(3) * 4);
        if let Some(key) = self.0.first() {
            let mut bytes = [0; TOKEN_BYTES];
            let (body, mac) = bytes.split_at_mut(BODY_BYTES);
            body[..KEY_ID_BYTES].copy_from_slice(&key.id);
            body[KEY_ID_BYTES..KEY_ID_BYTES + 16].copy_from_slice(token.session.as_bytes());
            body[KEY_ID_BYTES + 16..].copy_from_slice(&token.number.to_be_bytes());
            mac.copy_from_slice(sign(key, body).as_ref());
            out.push_str(PREFIX);
            URL_SAFE_NO_PAD.encode_string(bytes, &mut out);
        }
        out
    }

    /// Reads a token that this ring made; nothing for any other text. The MAC is compared in constant time.
    pub fn decode(&self, text: &str) -> Option<RefreshToken> {
        let text = text.strip_prefix(PREFIX)?;
        let mut bytes = [0; TOKEN_BYTES];
        if text.len() != TOKEN_BYTES.div_ceil(3) * 4
            || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != TOKEN_BYTES
        {
            return None;
        }
        let (body, mac) = bytes.split_at(BODY_BYTES);
        let key = self.0.iter().find(|key| body.starts_with(&key.id))?;
        let mut signed = hmac::Context::with_key(&key.mac);
        signed.update(MAC_LABEL);
        signed.update(body);
        aws_lc_rs::constant_time::verify_slices_are_equal(signed.sign().as_ref(), mac).ok()?;
        let (session, number) = body[KEY_ID_BYTES..].split_first_chunk::<16>()?;
        Some(RefreshToken {
            session: SessionId::from_bytes(*session),
            number: i64::from_be_bytes(number.try_into().ok()?),
        })
    }
}

fn sign(key: &Key, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&key.mac);
    context.update(MAC_LABEL);
    context.update(body);
    context.sign()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8] = b"a secret for these tests, 32 bytes";

    fn token(session: [u8; 16], number: i64) -> RefreshToken {
        RefreshToken { session: SessionId::from_bytes(session), number }
    }

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_was(session: [u8; 16], number in 1i64..i64::MAX) {
            let keys = RefreshKeys::new(SECRET, None);
            let text = keys.encode(token(session, number));
            prop_assert_eq!(keys.decode(&text), Some(token(session, number)));
            prop_assert_eq!(keys.encode(token(session, number)), text);
        }

        #[test]
        fn a_token_with_any_character_changed_is_refused(session: [u8; 16], at in 0usize..84, other in "[A-Za-z0-9_=. -]") {
            let keys = RefreshKeys::new(SECRET, None);
            let text = keys.encode(token(session, 7));
            let mut changed = text.clone();
            changed.replace_range(at..=at, &other);
            prop_assume!(changed != text);
            prop_assert_eq!(keys.decode(&changed), None);
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,120}") {
            prop_assert_eq!(RefreshKeys::new(SECRET, None).decode(&text), None);
        }
    }

    #[test]
    fn the_previous_key_is_still_taken_and_a_stranger_s_is_not() {
        let before = RefreshKeys::new(SECRET, None);
        let after = RefreshKeys::new(b"another secret of at least 32 bytes", Some(SECRET));
        let stranger = RefreshKeys::new(b"a stranger's secret, also 32 bytes", None);
        let text = before.encode(token([7; 16], 3));
        assert_eq!(after.decode(&text), Some(token([7; 16], 3)));
        assert_eq!(stranger.decode(&text), None);
        assert_ne!(after.encode(token([7; 16], 3)), text);
        assert_eq!(before.decode(&after.encode(token([7; 16], 3))), None);
    }
}

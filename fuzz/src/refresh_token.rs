//! Refresh tokens: nothing decodes but what was encoded.

use std::sync::LazyLock;

use auth_service::domain::{RefreshKeys, RefreshToken, SessionId};

const SECRET: &[u8] = b"rT5vYx8nQ2wLm7kZc4jHb9gFd3sPa6uE";
const FORMER: &[u8] = b"Gq7tBn4xKw9zMv2cRj5yLh8pSd3fAe6u";

static RING: LazyLock<RefreshKeys> = LazyLock::new(|| RefreshKeys::new(SECRET, Some(FORMER)));
static FORMER_RING: LazyLock<RefreshKeys> = LazyLock::new(|| RefreshKeys::new(FORMER, None));

/// `=`, 16 bytes of a session's id and 8 of a number, and then two bytes for each change of what they are encoded as; or
/// a text that may be a token.
pub(crate) fn enter(data: &[u8]) {
    let Some((b'=', rest)) = data.split_first() else {
        if let Ok(text) = str::from_utf8(data) {
            assert_encoded(text);
        }
        return;
    };
    let Some((session, rest)) = rest.split_first_chunk::<16>() else { return };
    let Some((number, changes)) = rest.split_first_chunk::<8>() else { return };
    let token = RefreshToken { session: SessionId::from_bytes(*session), number: i64::from_be_bytes(*number) };
    for ring in [&*RING, &*FORMER_RING] {
        let text = ring.encode(token);
        assert_eq!(RING.decode(&text), Some(token));
        let mut other = text.clone().into_bytes();
        for change in changes.chunks_exact(2) {
            let place = usize::from(change[0]) % other.len();
            other[place] = change[1] & 0x7f;
        }
        let other = String::from_utf8(other).expect("ASCII stays ASCII");
        assert_eq!(RING.decode(&other).is_some(), other == text);
        assert_encoded(&other);
    }
}

/// Whatever decodes is letter for letter what one of the rings writes.
fn assert_encoded(text: &str) {
    if let Some(token) = RING.decode(text) {
        assert!([RING.encode(token), FORMER_RING.encode(token)].iter().any(|encoded| encoded == text), "{text}");
    }
}

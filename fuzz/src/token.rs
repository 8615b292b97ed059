//! Access tokens: any text, any header and payload under a genuine signature, and genuine tokens that were changed.

use shared_claims::{KeyRing, Signer};

use crate::signed::{HEADER, KEYS, SECRET, SPACED_HEADER, forge};

/// A text that may be a token; or `=`, then a header, a line break and a payload to be signed.
pub(crate) fn enter(data: &[u8]) {
    if let Some((b'=', parts)) = data.split_first() {
        let mut parts = parts.splitn(2, |byte| *byte == b'\n');
        let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let _ = KEYS[0].agree(&forge(header, payload));
    } else if let Ok(text) = str::from_utf8(data) {
        for key in KEYS.iter() {
            let _ = key.agree(text);
        }
    }
}

/// A payload under our own header. A space before it, or in the header, makes no difference to what it means, but it
/// keeps out the quick ways.
pub(crate) fn enter_payload(data: &[u8]) {
    let spaced = [b" ", data].concat();
    let verdict = KEYS[0].agree(&forge(&HEADER, data));
    assert_eq!(KEYS[0].verifier.verify(&forge(&HEADER, &spaced)), verdict, "the quick reader and the strict one");
    assert_eq!(KEYS[0].verifier.verify(&forge(&SPACED_HEADER, data)), verdict, "the quick header and the strict one");
    if let Ok(claims) = verdict {
        let signer = Signer::new(&KeyRing::from_secret(SECRET).unwrap()).unwrap();
        // Written anew it may be longer than a token can be: escapes and characters take turns.
        if let Ok(token) = signer.sign(&claims) {
            assert_eq!(KEYS[0].verifier.verify(&token), Ok(claims));
        }
    }
}

/// A genuine token of one of the keys, and what to do to it: three bytes for each change.
pub(crate) fn enter_changed(data: &[u8]) {
    const CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0~";

    let Some((which, changes)) = data.split_first() else { return };
    let key = &KEYS[usize::from(*which) % KEYS.len()];
    let mut token = key.genuine.clone().into_bytes();
    for change in changes.chunks_exact(3).take(8) {
        let place = (usize::from(change[0]) * token.len()) >> 8;
        let place = (place + usize::from(change[1] >> 4)).min(token.len().saturating_sub(1));
        let character = CHARACTERS[usize::from(change[2]) % CHARACTERS.len()];
        match change[1] % 4 {
            0 if !token.is_empty() => token[place] = character,
            1 if !token.is_empty() => drop(token.remove(place)),
            2 => token.insert(place, character),
            // The parts of another token.
            _ => {
                let other = &KEYS[usize::from(change[2]) % KEYS.len()].genuine;
                token.truncate(place);
                token.extend_from_slice(other.as_bytes().get(place..).unwrap_or_default());
            }
        }
    }
    let token = String::from_utf8(token).expect("ASCII stays ASCII");
    // Whoever changed it into another token, changed it into a genuine one.
    let genuine = token == key.genuine;
    assert_eq!(key.agree(&token).is_ok(), genuine, "{token}");
}

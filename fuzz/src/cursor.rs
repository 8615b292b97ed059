//! Cursors: they come back for the list that gave them out, and nothing else is taken.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use service_kit::http::Cursor;

/// `=`, and a list of strings in JSON as the place in a list; or a text that may be a cursor.
pub(crate) fn enter(data: &[u8]) {
    let Some((b'=', json)) = data.split_first() else {
        if let Ok(text) = str::from_utf8(data) {
            for parts in 0..3 {
                let Ok(key) = Cursor::decode(text, &"a list", parts) else { continue };
                assert_eq!(key.len(), parts);
                assert_eq!(
                    Cursor::decode(&Cursor::new(&"a list", key.clone()).encode(), &"a list", parts).unwrap(),
                    key
                );
            }
        }
        return;
    };
    // Under a genuine fingerprint, where there is a key for one.
    let key: Option<Vec<String>> = serde_json::from_slice(json).ok();
    let genuine = Cursor::new(&"a list", key.clone().unwrap_or_default()).encode();
    let fingerprint = &URL_SAFE_NO_PAD.decode(&genuine).unwrap()[..8];
    let text = URL_SAFE_NO_PAD.encode([fingerprint, json].concat());
    let parts = key.as_ref().map_or(1, Vec::len);
    assert_eq!(Cursor::decode(&text, &"a list", parts).ok(), key);
    assert!(Cursor::decode(&text, &"a list", parts + 1).is_err());
    assert!(Cursor::decode(&text, &"another list", parts).is_err());
    if let Some(key) = key {
        assert_eq!(Cursor::decode(&genuine, &"a list", parts).unwrap(), key);
    }
}

//! JSON written piece by piece, for the few answers that cost most of what they cost in the writing.

/// Appends a string, byte for byte as `serde_json` writes it.
///
/// `serde_json` looks at one byte after the other; nearly every string has nothing to escape, and that can be told of
/// eight bytes at a time. What has is left to `serde_json`.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // A string cannot fail to be written to memory.
        serde_json::to_writer(out, text).unwrap_or_default();
    }
}

/// Appends an integer.
pub fn push_integer(out: &mut Vec<u8>, number: i64) {
    serde_json::to_writer(out, &number).unwrap_or_default();
}

/// Whether a string stands in JSON as it is: no control character, no quotation mark, no reverse solidus
/// (RFC 8259, 7).
fn is_plain(text: &[u8]) -> bool {
    let escaped = |byte: &u8| *byte < 0x20 || matches!(*byte, b'"' | b'\\');
    let (words, rest) = text.as_chunks::<8>();
    let rest_is_plain = match text.last_chunk::<8>() {
        // Bytes that were looked at already do no harm.
        Some(last) => rest.is_empty() || word_is_plain(*last),
        None => !rest.iter().any(escaped),
    };
    rest_is_plain && words.iter().all(|word| word_is_plain(*word))
}

/// The same of eight bytes, each in its own part of one number.
///
/// Subtracting `n` from a byte below `n` (at most 128) borrows, which sets its highest bit; the bytes above it may be off
/// by the borrow, so the answer is right for the word and not for each byte. A byte that equals `b` is one below 1 after
/// `^ b`. Bytes of 128 and more, which had the bit before, are parts of longer characters and plain.
fn word_is_plain(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    let word = u64::from_ne_bytes(word);
    let control = below(word, 0x20);
    let quotation_mark = below(word ^ (ONES * u64::from(b'"')), 1);
    let reverse_solidus = below(word ^ (ONES * u64::from(b'\\')), 1);
    (control | quotation_mark | reverse_solidus) & HIGHEST == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(text: &str) -> String {
        let mut out = b"[".to_vec();
        push_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_character_that_is_escaped_is_found_wherever_it_stands() {
        for length in 1..24 {
            for place in 0..length {
                for character in (0..=0xff_u8).map(char::from) {
                    let mut text = vec!['a'; length];
                    text[place] = character;
                    let text: String = text.into_iter().collect();
                    assert_eq!(pushed(&text)[1..], serde_json::to_string(&text).unwrap());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_string_is_written_as_serde_json_writes_it(text in ".*|[ -~é\\x00-\\x22\\\\]*") {
            prop_assert_eq!(&pushed(&text)[1..], serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn any_integer_is_written_as_serde_json_writes_it(number in any::<i64>()) {
            let mut out = Vec::new();
            push_integer(&mut out, number);
            prop_assert_eq!(out, serde_json::to_vec(&number).unwrap());
        }
    }
}

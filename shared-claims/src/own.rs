//! The quick way to read a payload: one that is written as [`Claims`] themselves are written.
//!
//! Nearly every token comes from a Signet signer, and its payload has the members of [`Claims`] in their order, with no
//! space between them and nothing escaped. Such a payload is read in one pass. Whatever deviates in any way is left to
//! the strict reader, so this one never has to say what is wrong, and what it takes it must read as the other would.

use memchr::memchr;

use crate::claims::{Claims, MAX_INTEGER};

/// The claims of a payload that a signer wrote; nothing for any other.
pub(crate) fn read(json: &str) -> Option<Claims> {
    // Without these every quote begins or ends a text. All bytes are looked at, since that takes a few instructions for
    // sixteen of them.
    if json.bytes().fold(false, |found, byte| found | matches!(byte, ..0x20 | b'\\')) {
        return None;
    }
    let mut rest = Rest(json);
    let claims = Claims {
        iss: rest.required("{\"iss\":", Rest::text)?,
        sub: rest.required(",\"sub\":", Rest::text)?,
        aud: rest.required(",\"aud\":", Rest::texts)?,
        iat: rest.required(",\"iat\":", Rest::integer)?,
        exp: rest.required(",\"exp\":", Rest::integer)?,
        nbf: rest.optional(",\"nbf\":", Rest::integer)?,
        jti: rest.required(",\"jti\":", Rest::text)?,
        sid: rest.optional(",\"sid\":", Rest::text)?,
        scope: rest.optional(",\"scope\":", Rest::text)?.unwrap_or_default(),
        roles: rest.optional(",\"roles\":", Rest::texts)?.unwrap_or_default(),
        ver: rest.optional(",\"ver\":", Rest::integer)?,
        client_id: rest.optional(",\"client_id\":", Rest::text)?,
        amr: rest.optional(",\"amr\":", Rest::texts)?.unwrap_or_default(),
        auth_time: rest.optional(",\"auth_time\":", Rest::integer)?,
    };
    (rest.0 == "}" && !claims.sub.is_empty() && !claims.jti.is_empty()).then_some(claims)
}

/// What has not been read yet. Every method answers nothing if what stands there is written in another way.
struct Rest<'j>(&'j str);

impl Rest<'_> {
    #[inline]
    fn skip(&mut self, literal: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    #[inline]
    fn required<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.skip(name)?;
        read(self)
    }

    #[inline]
    #[allow(clippy::option_option, reason = "not there is no failure")]
    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.skip(name).is_some() { read(self).map(Some) } else { Some(None) }
    }

    fn text(&mut self) -> Option<String> {
        let inside = self.0.strip_prefix('"')?;
        let end = memchr(b'"', inside.as_bytes())?;
        let (text, rest) = inside.split_at_checked(end)?;
        self.0 = rest.strip_prefix('"')?;
        Some(text.to_owned())
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        self.skip("[")?;
        let mut texts = Vec::new();
        if self.skip("]").is_some() {
            return Some(texts);
        }
        loop {
            texts.push(self.text()?);
            if self.skip("]").is_some() {
                return Some(texts);
            }
            self.skip(",")?;
        }
    }

    /// A fraction or an exponent stops it, and then the next name does not match.
    fn integer(&mut self) -> Option<u64> {
        let length = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(length)?;
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        self.0 = rest;
        digits.parse().ok().filter(|number| *number <= MAX_INTEGER)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claims() -> impl Strategy<Value = Claims> {
        let text = || "[ -~é]{0,12}|.{0,6}";
        let texts = || prop::collection::vec(text(), 0..3);
        let integer = || prop_oneof![0..=MAX_INTEGER + 1, 0..20u64];
        let option = prop::option::of::<&str>;
        let required = (text(), text(), texts(), integer(), integer(), text());
        let optional = (
            prop::option::of(integer()),
            option(text()),
            text(),
            texts(),
            prop::option::of(integer()),
            option(text()),
            texts(),
            prop::option::of(integer()),
        );
        (required, optional).prop_map(|(required, optional)| {
            let (iss, sub, aud, iat, exp, jti) = required;
            let (nbf, sid, scope, roles, ver, client_id, amr, auth_time) = optional;
            Claims { iss, sub, aud, iat, exp, nbf, jti, sid, scope, roles, ver, client_id, amr, auth_time }
        })
    }

    /// What both readers say of a payload must be the same, where this one says anything.
    fn agree(json: &str) -> bool {
        read(json).is_none_or(|claims| Claims::read_strictly(json).is_ok_and(|strict| strict == claims))
    }

    #[test]
    fn what_a_signer_writes_is_read_the_quick_way() {
        let claims = Claims {
            iss: "https://id.example".to_owned(),
            sub: "ada".to_owned(),
            aud: vec!["a".to_owned(), "b".to_owned()],
            jti: "1".to_owned(),
            scope: "persons:read".to_owned(),
            auth_time: Some(MAX_INTEGER),
            ..Claims::default()
        };
        assert_eq!(read(&serde_json::to_string(&claims).unwrap()), Some(claims));
    }

    proptest! {
        #[test]
        fn any_claims_are_read_as_the_strict_reader_reads_them(claims in claims()) {
            let json = serde_json::to_string(&claims).unwrap();
            prop_assert!(agree(&json), "{json}");
        }

        #[test]
        fn a_payload_with_something_else_in_it_is_read_as_the_strict_reader_reads_it(
            claims in claims(),
            place in any::<prop::sample::Index>(),
            removed in 0usize..3,
            added in "[\"\\\\{}\\[\\],:0-9.eE+ \\x00a-z-]{0,3}|,\"(nbf|jti|sid|ver|x)\":(0|1\\.5|01|1e3|\"a\"|null)",
        ) {
            let json: Vec<char> = serde_json::to_string(&claims).unwrap().chars().collect();
            let at = place.index(json.len());
            let end = (at + removed).min(json.len());
            let json: String = json[..at].iter().chain(&added.chars().collect::<Vec<_>>()).chain(&json[end..]).collect();
            prop_assert!(agree(&json), "{json}");
        }
    }
}

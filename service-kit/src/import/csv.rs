//! CSV (RFC 4180): where a record ends in a stream of bytes, its fields, and how fields are written.
//!
//! Lines may end in LF alone, and a quote inside a field that does not begin with one stands for itself, as other
//! readers have it. Text after a closing quote is an error.

use std::borrow::Cow;

/// Follows the bytes of a record to tell a line break that ends it from one inside quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scan {
    /// At the beginning of a field.
    #[default]
    FieldStart,
    /// In a field without quotes, or behind the closing quote where only garbage can follow.
    Unquoted,
    /// Between quotes.
    Quoted,
    /// Behind a quote between quotes: the end of the field, or the first half of a quote that stands for itself.
    QuoteInQuoted,
}

impl Scan {
    /// The state after one more byte.
    pub(super) fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::FieldStart | Self::QuoteInQuoted, b'"') | (Self::Quoted, _) => {
                if self == Self::Quoted && byte == b'"' { Self::QuoteInQuoted } else { Self::Quoted }
            }
            (_, b',') => Self::FieldStart,
            _ => Self::Unquoted,
        }
    }

    /// Whether a line break here is part of a field.
    pub(super) fn is_quoted(self) -> bool {
        self == Self::Quoted
    }
}

/// A record with text after a closing quote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a record, which comes without the line break at its end.
pub(super) fn split(record: &str) -> Result<Vec<Cow<'_, str>>, Malformed> {
    let mut fields = Vec::with_capacity(4);
    let mut rest = record;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            split_quoted(quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (Cow::Borrowed(&rest[..end]), &rest[end..])
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(Malformed),
        }
    }
}

/// A field after its opening quote, and what follows the closing one.
fn split_quoted(text: &str) -> Result<(Cow<'_, str>, &str), Malformed> {
    let mut field = Cow::Borrowed("");
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or(Malformed)?;
        let (part, after) = (&rest[..end], &rest[end + 1..]);
        if field.is_empty() {
            field = Cow::Borrowed(part);
        } else {
            field.to_mut().push_str(part);
        }
        match after.strip_prefix('"') {
            Some(next) => {
                field.to_mut().push('"');
                rest = next;
            }
            None => return Ok((field, after)),
        }
    }
}

/// Writes a record with CRLF at its end (RFC 4180, 2).
pub fn write_fields<'f>(out: &mut Vec<u8>, fields: impl IntoIterator<Item = &'f str>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if field.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n')) {
            out.push(b'"');
            for (part, piece) in field.split('"').enumerate() {
                if part > 0 {
                    out.extend_from_slice(b"\"\"");
                }
                out.extend_from_slice(piece.as_bytes());
            }
            out.push(b'"');
        } else {
            out.extend_from_slice(field.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_are_read_as_rfc_4180_has_them() {
        assert_eq!(split(r#"a,"b ""c"", d",,e"f"#).unwrap(), ["a", "b \"c\", d", "", "e\"f"]);
        assert_eq!(split(r#""""a""#).unwrap(), ["\"a"]);
        assert_eq!(split("").unwrap(), [""]);
        assert_eq!(split(r#""a"b,c"#), Err(Malformed));
        assert_eq!(split(r#""a"#), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_here_and_by_another_reader(fields in prop::collection::vec("[a\",;é\r\n ]{0,6}", 2..5)) {
            let mut out = Vec::new();
            write_fields(&mut out, fields.iter().map(String::as_str));

            let record = str::from_utf8(&out).unwrap().strip_suffix("\r\n").unwrap();
            prop_assert_eq!(&split(record).unwrap(), &fields);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
            let other: Vec<String> = reader.records().next().unwrap().unwrap().iter().map(str::to_owned).collect();
            prop_assert_eq!(other, fields);

            let mut scan = Scan::default();
            for byte in record.bytes() {
                prop_assert!(byte != b'\n' || scan.is_quoted(), "the record ends too early");
                scan = scan.after(byte);
            }
            prop_assert!(!scan.is_quoted(), "the record does not end");
        }
    }
}

//! A stream of bytes in, records and bad lines out.

use std::{borrow::Cow, marker::PhantomData};

use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use utoipa::ToSchema;

use super::{
    Format,
    csv::{self, Scan},
};
use crate::{Error, FieldError, validate::Invalid};

/// The longest record, in bytes.
const MAX_RECORD_BYTES: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a line of a file stands for.
pub trait Record: Sized {
    /// The columns that a header may name; the members of an NDJSON line are called the same.
    const COLUMNS: &'static [&'static str];
    /// Those that a header must name.
    const REQUIRED: &'static [&'static str];
    /// What an NDJSON line is, in words that follow "an object of".
    const SHAPE: &'static str;

    /// A line before anything is checked. It refuses unknown members.
    type Raw: DeserializeOwned + Default;

    /// Takes a field of a CSV line, which is `None` where the field is empty.
    fn fill(raw: &mut Self::Raw, column: &'static str, text: Option<String>) -> Result<(), Invalid>;

    /// Checks a line; the number is that of the line in the file, from 1.
    fn parse(raw: Self::Raw, line: u64) -> Result<Self, Invalid>;
}

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BadLine {
    /// The line in the file, from 1, that the record begins on.
    pub line: u64,
    /// Stable, such as `malformed` or `too_long`.
    pub code: &'static str,
    /// A sentence for a person. It never repeats the line.
    pub message: String,
}

impl From<&BadLine> for FieldError {
    fn from(bad: &BadLine) -> Self {
        Self { field: format!("line {}", bad.line), code: bad.code.into(), message: bad.message.clone() }
    }
}

/// Why a file has no header that can be used: the column, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadHeader {
    column: &'static str,
    invalid: Invalid,
}

impl BadHeader {
    fn new(column: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { column, invalid: Invalid::new(code, message) }
    }
}

impl From<BadHeader> for Error {
    fn from(BadHeader { column, invalid }: BadHeader) -> Self {
        Self::field(if column.is_empty() { "line 1" } else { column }, invalid)
    }
}

/// A bad line has no place for the field's name but its sentence.
pub fn named(field: &str) -> impl Fn(Invalid) -> Invalid {
    move |invalid| Invalid { code: invalid.code, message: format!("{field}: {}", invalid.message) }
}

/// Reads records from a file as its bytes come in. It holds no more than one record and the bytes just pushed.
#[derive(Debug)]
pub(super) struct Records<R> {
    format: Format,
    columns: Option<Vec<&'static str>>,
    buffer: Vec<u8>,
    /// Where in the buffer the present record begins.
    start: usize,
    /// How far the buffer was looked at.
    scanned: usize,
    scan: Scan,
    /// The line that `scanned` is on.
    line: u64,
    /// The line that the present record begins on.
    record_line: u64,
    /// The present record is longer than is taken, and its beginning has been thrown away.
    overflowed: bool,
    ended: bool,
    of: PhantomData<fn() -> R>,
}

/// A whole record in the buffer.
struct Frame {
    start: usize,
    end: usize,
    line: u64,
    too_long: bool,
    unterminated: bool,
}

impl<R: Record> Records<R> {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            columns: None,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            scan: Scan::default(),
            line: 1,
            record_line: 1,
            overflowed: false,
            ended: false,
            of: PhantomData,
        }
    }

    /// Takes the next bytes of the file.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that the file has ended, so that a last line without a line break counts. A file that broke off has not
    /// ended.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether [`Records::end`] was said.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next record or bad line; nothing when more bytes are needed, or at the end.
    pub(super) fn next(&mut self) -> Result<Option<Result<R, BadLine>>, BadHeader> {
        while let Some(frame) = self.frame() {
            if let Some(outcome) = self.parse(&frame)? {
                return Ok(Some(outcome));
            }
        }
        if self.ended && self.format == Format::Csv && self.columns.is_none() {
            let missing = R::REQUIRED.first().copied().unwrap_or_default();
            return Err(BadHeader::new(
                missing,
                "required",
                "The file must begin with a header that names this column.",
            ));
        }
        Ok(None)
    }

    /// Finds the end of the present record.
    fn frame(&mut self) -> Option<Frame> {
        while self.scanned < self.buffer.len() {
            let byte = self.buffer[self.scanned];
            self.scanned += 1;
            if byte == b'\n' {
                self.line += 1;
                if !self.scan.is_quoted() {
                    return Some(self.take(self.scanned - 1));
                }
            }
            if self.format == Format::Csv {
                self.scan = self.scan.after(byte);
            }
        }
        if self.scanned - self.start > MAX_RECORD_BYTES {
            self.overflowed = true;
            self.start = self.scanned;
        }
        if self.ended && (self.start < self.scanned || self.overflowed) {
            return Some(self.take(self.scanned));
        }
        None
    }

    /// Takes the present record, which ends before `end`, and goes on to the next.
    fn take(&mut self, end: usize) -> Frame {
        let frame = Frame {
            start: self.start,
            end,
            line: self.record_line,
            too_long: self.overflowed || end - self.start > MAX_RECORD_BYTES,
            unterminated: self.scan.is_quoted(),
        };
        self.start = self.scanned;
        self.scan = Scan::default();
        self.record_line = self.line;
        self.overflowed = false;
        frame
    }

    /// Reads a record; nothing for a blank line and for the header.
    fn parse(&mut self, frame: &Frame) -> Result<Option<Result<R, BadLine>>, BadHeader> {
        let mut bytes = &self.buffer[frame.start..frame.end];
        if frame.line == 1 {
            bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        }
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.trim_ascii().is_empty() && !frame.too_long {
            return Ok(None);
        }
        let parsed = check_frame(frame, bytes);
        let columns = match (self.format, &self.columns) {
            (Format::Csv, Some(columns)) => Some(columns),
            (Format::Ndjson, _) => None,
            (Format::Csv, None) => {
                let text = parsed.map_err(|invalid| BadHeader { column: "", invalid })?;
                self.columns = Some(parse_header::<R>(text)?);
                return Ok(None);
            }
        };
        let outcome = parsed.and_then(|text| match columns {
            Some(columns) => from_csv(text, columns, frame.line),
            None => from_json(text, frame.line),
        });
        Ok(Some(outcome.map_err(|invalid| BadLine { line: frame.line, code: invalid.code, message: invalid.message })))
    }
}

fn check_frame<'b>(frame: &Frame, bytes: &'b [u8]) -> Result<&'b str, Invalid> {
    if frame.unterminated {
        return Err(Invalid::new("unterminated_quote", "A quote that is opened on this line is never closed."));
    }
    if frame.too_long {
        return Err(Invalid::new("too_long", "A record has at most 65536 bytes."));
    }
    str::from_utf8(bytes).map_err(|_| Invalid::new("invalid_utf8", "The line is not valid UTF-8."))
}

fn malformed_csv() -> Invalid {
    Invalid::new("malformed", "A closing quote must be followed by a comma or the end of the line.")
}

fn parse_header<R: Record>(text: &str) -> Result<Vec<&'static str>, BadHeader> {
    let names = csv::split(text).map_err(|_| BadHeader { column: "", invalid: malformed_csv() })?;
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let Some(column) = R::COLUMNS.iter().copied().find(|known| *known == name.trim()) else {
            let known = enumerated(R::COLUMNS);
            return Err(BadHeader::new("", "unknown", format!("The header may name the columns {known}.")));
        };
        if columns.contains(&column) {
            return Err(BadHeader::new(column, "duplicate", "The header names this column more than once."));
        }
        columns.push(column);
    }
    match R::REQUIRED.iter().find(|column| !columns.contains(column)) {
        Some(missing) => Err(BadHeader::new(missing, "required", "The header must name this column.")),
        None => Ok(columns),
    }
}

/// `a, b and c`.
fn enumerated(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

fn from_csv<R: Record>(text: &str, columns: &[&'static str], line: u64) -> Result<R, Invalid> {
    let fields = csv::split(text).map_err(|_| malformed_csv())?;
    if fields.len() != columns.len() {
        return Err(Invalid::new(
            "field_count",
            format!("The line has {} fields, and the header {}.", fields.len(), columns.len()),
        ));
    }
    let mut raw = R::Raw::default();
    for (column, field) in columns.iter().zip(fields) {
        let text = Some(field).filter(|field| !field.is_empty()).map(Cow::into_owned);
        R::fill(&mut raw, column, text).map_err(named(column))?;
    }
    R::parse(raw, line)
}

fn from_json<R: Record>(text: &str, line: u64) -> Result<R, Invalid> {
    let wrong_type = || Invalid::new("invalid_type", format!("The line must be an object of {}.", R::SHAPE));
    // serde would take an array of values in the order of the members, too.
    if !text.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return Err(wrong_type());
    }
    let raw: R::Raw = serde_json::from_str(text).map_err(|cause| {
        let reason = cause.to_string();
        // serde tells these apart in words only, and its words repeat the value.
        if !cause.is_data() {
            Invalid::new("malformed", "The line is not well-formed JSON.")
        } else if reason.starts_with("unknown field") {
            let known = enumerated(R::COLUMNS);
            Invalid::new("unknown", format!("The line has a member other than {known}."))
        } else if reason.starts_with("duplicate field") {
            Invalid::new("duplicate", "The line has a member more than once.")
        } else if let Some(missing) =
            R::COLUMNS.iter().find(|name| reason.starts_with(&format!("missing field `{name}`")))
        {
            named(missing)(Invalid::new("required", "This field is required."))
        } else {
            wrong_type()
        }
    })?;
    R::parse(raw, line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    /// A name without control characters, and two things that may be missing.
    #[derive(Debug, PartialEq)]
    struct Entry {
        name: String,
        email: Option<String>,
        age: Option<u8>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RawEntry {
        name: String,
        email: Option<String>,
        age: Option<u8>,
    }

    impl Record for Entry {
        const COLUMNS: &'static [&'static str] = &["name", "email", "age"];
        const REQUIRED: &'static [&'static str] = &["name"];
        const SHAPE: &'static str = "the strings name and email and the number age";

        type Raw = RawEntry;

        fn fill(raw: &mut RawEntry, column: &'static str, text: Option<String>) -> Result<(), Invalid> {
            match column {
                "name" => raw.name = text.unwrap_or_default(),
                "email" => raw.email = text,
                _ => {
                    let number = text.map(|text| text.parse()).transpose();
                    raw.age = number.map_err(|_| Invalid::new("invalid", "An age is a number."))?;
                }
            }
            Ok(())
        }

        fn parse(raw: RawEntry, _: u64) -> Result<Self, Invalid> {
            if raw.name.contains(char::is_control) {
                return Err(named("name")(Invalid::new("control_character", "There is a control character in it.")));
            }
            Ok(Self { name: raw.name, email: raw.email, age: raw.age })
        }
    }

    type Outcome = Result<Entry, (u64, &'static str)>;
    type Outcomes = Result<Vec<Outcome>, &'static str>;

    /// What a file gives when it comes in pieces of a size.
    fn read(format: Format, file: &[u8], piece: usize) -> Outcomes {
        let mut records = Records::<Entry>::new(format);
        let mut outcomes = Vec::new();
        let mut drain = |records: &mut Records<Entry>| {
            while let Some(outcome) = records.next().map_err(|header| header.invalid.code)? {
                outcomes.push(outcome.map_err(|bad| (bad.line, bad.code)));
            }
            Ok::<(), &'static str>(())
        };
        for bytes in file.chunks(piece) {
            records.push(bytes);
            drain(&mut records)?;
        }
        records.end();
        drain(&mut records)?;
        Ok(outcomes)
    }

    #[allow(clippy::unnecessary_wraps, reason = "it stands beside bad lines")]
    fn entry(name: &str, email: Option<&str>, age: Option<u8>) -> Outcome {
        Ok(Entry { name: name.to_owned(), email: email.map(str::to_owned), age })
    }

    #[test]
    fn a_csv_file_is_read_alike_however_it_is_cut() {
        let file = "\u{feff}name,age,email\r\n\"Ann \"\"A\"\", Jr.\",30,a@b\n\n  \nZoë,,\r\n\"two\nlines\",1,\nBo,x,\nBo,1\n\"B\"o,1,\nlast,2,"
            .as_bytes();
        let expected = vec![
            entry("Ann \"A\", Jr.", Some("a@b"), Some(30)),
            entry("Zoë", None, None),
            Err((6, "control_character")),
            Err((8, "invalid")),
            Err((9, "field_count")),
            Err((10, "malformed")),
            entry("last", None, Some(2)),
        ];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(Format::Csv, file, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_ndjson_file_is_read_alike_however_it_is_cut() {
        let file = b"\xef\xbb\xbf{\"name\":\"Ann\",\"age\":null}\r\n\n{\"name\":\"A\",\"name\":\"B\"}\n{\"nam\":1}\n{\"age\":1}\n{\"name\":1}\n{\"name\":\n[null,\"Ann\",null,1]\n{\"name\":\"\\u0000\"}\n\xff\n{\"name\":\"Bo\",\"age\":7} x\n{\"name\":\"Bo\",\"age\":7}";
        let expected = vec![
            entry("Ann", None, None),
            Err((3, "duplicate")),
            Err((4, "unknown")),
            Err((5, "required")),
            Err((6, "invalid_type")),
            Err((7, "malformed")),
            Err((8, "invalid_type")),
            Err((9, "control_character")),
            Err((10, "invalid_utf8")),
            Err((11, "malformed")),
            entry("Bo", None, Some(7)),
        ];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(Format::Ndjson, file, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_header_must_be_known_and_name_the_names() {
        for (file, code) in [
            ("", "required"),
            ("\n\n", "required"),
            ("age,email\n", "required"),
            ("name,phone\n", "unknown"),
            ("name,age,name\n", "duplicate"),
            ("\"name\"x\n", "malformed"),
            ("\"name", "unterminated_quote"),
        ] {
            assert_eq!(read(Format::Csv, file.as_bytes(), 3), Err(code), "{file:?}");
        }
        assert_eq!(read(Format::Csv, b"\xff\n", 1), Err("invalid_utf8"));
        assert_eq!(read(Format::Csv, b" name ", 1), Ok(vec![]));
        assert_eq!(read(Format::Ndjson, b"", 1), Ok(vec![]));
    }

    #[test]
    fn a_record_that_is_too_long_is_passed_over_to_its_end() {
        let long = "x".repeat(MAX_RECORD_BYTES + 1);
        let file = format!("name\n{long}\nAnn\n\"{long}\nBo\n\"\nCy\n\"Di");
        let expected = vec![
            Err((2, "too_long")),
            entry("Ann", None, None),
            Err((4, "too_long")),
            entry("Cy", None, None),
            Err((8, "unterminated_quote")),
        ];
        for piece in [1000, 70_000, 1_000_000] {
            assert_eq!(read(Format::Csv, file.as_bytes(), piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn no_more_than_a_record_is_held() {
        let mut records = Records::<Entry>::new(Format::Ndjson);
        for _ in 0..100 {
            records.push(&[b'x'; 10_000]);
            assert_eq!(records.next().unwrap(), None);
        }
        assert!(records.buffer.len() <= MAX_RECORD_BYTES + 20_000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_alike_however_they_are_cut(
            file in prop::collection::vec(prop::sample::select(b"name,\"\r\n{}:1\xc3\xa9\0 ".to_vec()), 0..80),
            piece in 1usize..9,
        ) {
            for format in [Format::Csv, Format::Ndjson] {
                prop_assert_eq!(read(format, &file, piece), read(format, &file, 1000));
            }
        }
    }
}

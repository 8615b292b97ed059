//! The lines of an import: a stream of bytes in, persons and bad lines out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use service_kit::validate::Invalid;

use super::{
    csv::{self, Scan},
    person::{Age, Details, Email, Name, NewPerson, PersonId},
};

/// The longest record, in bytes.
const MAX_RECORD_BYTES: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What an import did with the lines that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    /// Lines that say what was known already.
    pub(crate) unchanged: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
    }
}

/// The format of a file of persons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// CSV with a header (RFC 4180).
    Csv,
    /// One JSON object per line.
    Ndjson,
}

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BadLine {
    /// The line in the file, from 1, that the record begins on.
    pub(crate) line: u64,
    /// Stable, such as `malformed` or `too_long`.
    pub(crate) code: &'static str,
    /// A sentence for a person. It never repeats the line.
    pub(crate) message: String,
}

/// Why a file has no header that can be used: the column, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadHeader {
    pub(crate) column: &'static str,
    pub(crate) invalid: Invalid,
}

impl BadHeader {
    fn new(column: &'static str, code: &'static str, message: &str) -> Self {
        Self { column, invalid: Invalid::new(code, message) }
    }
}

/// A column of a CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Id,
    Name,
    Email,
    Age,
}

impl Column {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Id, "id"), (Self::Name, "name"), (Self::Email, "email"), (Self::Age, "age")];
}

/// Reads persons from a file as its bytes come in. It holds no more than one record and the bytes just pushed.
#[derive(Debug)]
pub(crate) struct Records {
    format: Format,
    columns: Option<Vec<Column>>,
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
}

/// A whole record in the buffer.
struct Frame {
    start: usize,
    end: usize,
    line: u64,
    too_long: bool,
    unterminated: bool,
}

impl Records {
    pub(crate) fn new(format: Format) -> Self {
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
        }
    }

    /// Takes the next bytes of the file.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that the file has ended, so that a last line without a line break counts. A file that broke off has not
    /// ended.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether [`Records::end`] was said.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next person or bad line; nothing when more bytes are needed, or at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Result<NewPerson, BadLine>>, BadHeader> {
        while let Some(frame) = self.frame() {
            if let Some(outcome) = self.parse(&frame)? {
                return Ok(Some(outcome));
            }
        }
        if self.ended && self.format == Format::Csv && self.columns.is_none() {
            return Err(BadHeader::new(
                "name",
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
    fn parse(&mut self, frame: &Frame) -> Result<Option<Result<NewPerson, BadLine>>, BadHeader> {
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
                self.columns = Some(parse_header(text)?);
                return Ok(None);
            }
        };
        let outcome = parsed.and_then(|text| match columns {
            Some(columns) => from_csv(text, columns),
            None => from_json(text),
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

fn parse_header(text: &str) -> Result<Vec<Column>, BadHeader> {
    let names = csv::split(text).map_err(|_| BadHeader { column: "", invalid: malformed_csv() })?;
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let Some((column, known)) = Column::ALL.into_iter().find(|(_, known)| *known == name.trim()) else {
            return Err(BadHeader::new("", "unknown", "The header may name the columns id, name, email and age."));
        };
        if columns.contains(&column) {
            return Err(BadHeader::new(known, "duplicate", "The header names this column more than once."));
        }
        columns.push(column);
    }
    if !columns.contains(&Column::Name) {
        return Err(BadHeader::new("name", "required", "The header must name this column."));
    }
    Ok(columns)
}

fn from_csv(text: &str, columns: &[Column]) -> Result<NewPerson, Invalid> {
    let fields = csv::split(text).map_err(|_| malformed_csv())?;
    if fields.len() != columns.len() {
        return Err(Invalid::new(
            "field_count",
            format!("The line has {} fields, and the header {}.", fields.len(), columns.len()),
        ));
    }
    let mut raw = RawPerson::default();
    for (column, field) in columns.iter().zip(fields) {
        let text = Some(field).filter(|field| !field.is_empty()).map(Cow::into_owned);
        match column {
            Column::Id => raw.id = text,
            Column::Name => raw.name = text.unwrap_or_default(),
            Column::Email => raw.email = text,
            Column::Age => raw.age = text.map(|text| parse_number(&text)).transpose().map_err(named("age"))?,
        }
    }
    raw.parse()
}

fn parse_number(text: &str) -> Result<i64, Invalid> {
    let digits = text.trim_matches(' ');
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Invalid::new("invalid", "An age is a whole number from 0 to 150."));
    }
    digits.parse().map_err(|_| Invalid::new("invalid", "An age is a whole number from 0 to 150."))
}

fn from_json(text: &str) -> Result<NewPerson, Invalid> {
    // serde would take an array of values in the order of the members, too.
    if !text.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return Err(wrong_type());
    }
    let raw: RawPerson = serde_json::from_str(text).map_err(|cause| {
        let reason = cause.to_string();
        // serde tells these apart in words only, and its words repeat the value.
        if !cause.is_data() {
            Invalid::new("malformed", "The line is not well-formed JSON.")
        } else if reason.starts_with("unknown field") {
            Invalid::new("unknown", "The line has a member other than id, name, email and age.")
        } else if reason.starts_with("duplicate field") {
            Invalid::new("duplicate", "The line has a member more than once.")
        } else if reason.starts_with("missing field") {
            Invalid::new("required", "name: This field is required.")
        } else {
            wrong_type()
        }
    })?;
    raw.parse()
}

fn wrong_type() -> Invalid {
    Invalid::new(
        "invalid_type",
        "The line must be an object of the strings id, name and email and the whole number age.",
    )
}

/// A person before anything is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    id: Option<String>,
    name: String,
    email: Option<String>,
    age: Option<i64>,
}

impl RawPerson {
    fn parse(self) -> Result<NewPerson, Invalid> {
        let id = match self.id {
            Some(id) => PersonId::parse(id).map_err(named("id"))?,
            None => PersonId::generate(),
        };
        let name = Name::parse(self.name).map_err(named("name"))?;
        let email = self.email.map(Email::parse).transpose().map_err(named("email"))?;
        let age = self.age.map(Age::parse).transpose().map_err(named("age"))?;
        Ok(NewPerson { id, details: Details { name, email, age } })
    }
}

/// A bad line has no place for the field's name but its sentence.
fn named(field: &'static str) -> impl Fn(Invalid) -> Invalid {
    move |invalid| Invalid { code: invalid.code, message: format!("{field}: {}", invalid.message) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Outcome = Result<(String, Option<String>, Option<i32>), (u64, &'static str)>;
    type Outcomes = Result<Vec<Outcome>, &'static str>;

    /// What a file gives when it comes in pieces of a size.
    fn read(format: Format, file: &[u8], piece: usize) -> Outcomes {
        let mut records = Records::new(format);
        let mut outcomes = Vec::new();
        let mut drain = |records: &mut Records| {
            while let Some(outcome) = records.next().map_err(|header| header.invalid.code)? {
                outcomes.push(match outcome {
                    Ok(person) => Ok((
                        person.details.name.as_str().to_owned(),
                        person.details.email.map(|email| email.as_str().to_owned()),
                        person.details.age.map(Age::years),
                    )),
                    Err(bad) => Err((bad.line, bad.code)),
                });
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
    fn person(name: &str, email: Option<&str>, age: Option<i32>) -> Outcome {
        Ok((name.to_owned(), email.map(str::to_owned), age))
    }

    #[test]
    fn a_csv_file_is_read_alike_however_it_is_cut() {
        let file = "\u{feff}name,age,email\r\n\"Ann \"\"A\"\", Jr.\",30,a@b\n\n  \nZoë,,\r\n\"two\nlines\",1,\nBo,x,\nBo,1\n\"B\"o,1,\nlast,2,"
            .as_bytes();
        let expected = vec![
            person("Ann \"A\", Jr.", Some("a@b"), Some(30)),
            person("Zoë", None, None),
            Err((6, "control_character")),
            Err((8, "invalid")),
            Err((9, "field_count")),
            Err((10, "malformed")),
            person("last", None, Some(2)),
        ];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(Format::Csv, file, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_ndjson_file_is_read_alike_however_it_is_cut() {
        let file = b"\xef\xbb\xbf{\"name\":\"Ann\",\"age\":null}\r\n\n{\"name\":\"A\",\"name\":\"B\"}\n{\"nam\":1}\n{\"age\":1}\n{\"name\":1}\n{\"name\":\n[null,\"Ann\",null,1]\n{\"name\":\"\\u0000\"}\n\xff\n{\"name\":\"Bo\",\"age\":7} x\n{\"name\":\"Bo\",\"age\":7}";
        let expected = vec![
            person("Ann", None, None),
            Err((3, "duplicate")),
            Err((4, "unknown")),
            Err((5, "required")),
            Err((6, "invalid_type")),
            Err((7, "malformed")),
            Err((8, "invalid_type")),
            Err((9, "control_character")),
            Err((10, "invalid_utf8")),
            Err((11, "malformed")),
            person("Bo", None, Some(7)),
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
            ("id,email\n", "required"),
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
            person("Ann", None, None),
            Err((4, "too_long")),
            person("Cy", None, None),
            Err((8, "unterminated_quote")),
        ];
        for piece in [1000, 70_000, 1_000_000] {
            assert_eq!(read(Format::Csv, file.as_bytes(), piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn no_more_than_a_record_is_held() {
        let mut records = Records::new(Format::Ndjson);
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

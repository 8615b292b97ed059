//! Files of records: the same comes out however a file is cut, and what another reader reads.

use std::time::Duration;

use actix_web::{
    FromRequest as _,
    dev::Payload,
    error::PayloadError,
    test::TestRequest,
    web::{self, Bytes},
};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use service_kit::{
    Error,
    http::BodyTimeout,
    import::{self, Format, Record, Rejected, write_csv_fields},
    validate::Invalid,
};

use crate::{at_once, cut};

/// What is sent here is there at once.
const FOREVER: BodyTimeout = BodyTimeout(Duration::MAX);

/// A record of three texts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    email: Option<String>,
    note: Option<String>,
}

impl Record for Entry {
    const COLUMNS: &'static [&'static str] = &["name", "email", "note"];
    const REQUIRED: &'static [&'static str] = &["name"];
    const SHAPE: &'static str = "the strings name, email and note";

    type Raw = Self;

    fn fill(raw: &mut Self, column: &'static str, text: Option<String>) -> Result<(), Invalid> {
        let slot = match column {
            "name" => &mut raw.name,
            "email" => &mut raw.email,
            _ => &mut raw.note,
        };
        *slot = text;
        Ok(())
    }

    fn parse(raw: Self, _: u64) -> Result<Self, Invalid> {
        Ok(raw)
    }
}

/// A byte that says how the file is cut, and a file of CSV.
pub(crate) fn enter_csv(data: &[u8]) {
    let Some((seed, file)) = data.split_first() else { return };
    let outcome = assert_alike(Format::Csv, file, *seed);
    let Ok((entries, rejected)) = outcome else { return };
    if rejected.is_empty() {
        // Fields come back from what they are written as.
        let mut written = b"name,email,note\r\n".to_vec();
        for Entry { name, email, note } in &entries {
            let fields = [name, email, note].map(|field| field.as_deref().unwrap_or_default());
            write_csv_fields(&mut written, fields);
        }
        let blank = |field: &Option<String>| field.as_deref().unwrap_or_default().trim_ascii().is_empty();
        // Blank lines are passed over, and one that is too long is refused.
        if written.len() < 64 * 1024 && !entries.iter().any(|entry| blank(&entry.name) && entry.email.is_none()) {
            let (again, rejected) = read_entries(Format::Csv, &written, 0).unwrap();
            assert!(rejected.is_empty(), "{rejected:?}");
            assert_eq!(again, entries);
        }
        assert_as_the_csv_crate_reads(file, &entries);
    }
}

/// A byte that says how the file is cut, and a file of NDJSON.
pub(crate) fn enter_ndjson(data: &[u8]) {
    let Some((seed, file)) = data.split_first() else { return };
    let (entries, rejected) = assert_alike(Format::Ndjson, file, *seed).expect("it has no header to be wrong");
    let mut expected = Vec::new();
    let mut lines = 0;
    for line in file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file).split(|byte| *byte == b'\n') {
        if line.len() > 32 * 1024 {
            return;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        lines += 1;
        if line.trim_ascii_start().starts_with(b"{") {
            expected.extend(serde_json::from_slice::<Entry>(line));
        }
    }
    assert_eq!(entries, expected);
    let listed = rejected.as_field_errors().len();
    assert_eq!(listed, (lines - entries.len()).min(100));
}

/// What a reader of one of the services gives: the records, shown, and the bad lines.
type Outcome = Result<(Vec<String>, Rejected), Error>;

/// Reads a file in every way there is, whole and in pieces, and gives what the plain reader makes of it.
fn assert_alike(format: Format, file: &[u8], seed: u8) -> Result<(Vec<Entry>, Rejected), Error> {
    let persons = |seed| at_once(resource_service::fuzzing::read_import(payload(file, seed), format));
    let users = |seed| at_once(user_service::fuzzing::read_import(payload(file, seed), format));
    let show = |outcome: Outcome| {
        outcome.map(|(records, rejected)| (records, shown(&rejected))).map_err(|error| error.to_string())
    };
    assert_eq!(show(persons(seed)), show(persons(0)), "the file means something else in pieces");
    assert_eq!(show(users(seed)), show(users(0)), "the file means something else in pieces");

    let whole = read_entries(format, file, 0);
    let pieces = read_entries(format, file, seed);
    let show = |outcome: &Result<(Vec<Entry>, Rejected), Error>| match outcome {
        Ok((entries, rejected)) => Ok((entries.clone(), shown(rejected))),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(show(&pieces), show(&whole), "the file means something else in pieces");
    whole
}

fn shown(rejected: &Rejected) -> String {
    format!("{rejected:?}")
}

fn read_entries(format: Format, file: &[u8], seed: u8) -> Result<(Vec<Entry>, Rejected), Error> {
    let mut entries = Vec::new();
    let rejected =
        at_once(import::read(payload(file, seed), format, FOREVER, async |batch: Vec<Entry>, _: &mut Rejected| {
            entries.extend(batch);
            Ok::<_, Error>(())
        }))?;
    Ok((entries, rejected))
}

fn payload(file: &[u8], seed: u8) -> web::Payload {
    let pieces: Vec<Result<Bytes, PayloadError>> =
        cut(file, seed).into_iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let mut payload = Payload::from(stream::iter(pieces).boxed_local());
    let request = TestRequest::default().to_http_request();
    at_once(web::Payload::from_request(&request, &mut payload)).expect("it is handed on")
}

/// The two differ in what ends a line and in blank ones; where that does not matter, they agree.
fn assert_as_the_csv_crate_reads(file: &[u8], entries: &[Entry]) {
    let blank_lines = file.split(|byte| *byte == b'\n').any(|line| line.trim_ascii().is_empty());
    if file.contains(&b'\r') || (blank_lines && file.contains(&b'"')) {
        return;
    }
    let file: Vec<u8> = file
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !blank_lines || !line.trim_ascii().is_empty())
        .flatten()
        .copied()
        .collect();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file.as_slice());
    let columns: Vec<String> = reader.headers().unwrap().iter().map(|name| name.trim().to_owned()).collect();
    let theirs: Vec<Entry> = reader
        .records()
        .map(|record| {
            let record = record.expect("what we take, the crate csv takes");
            let field = |name: &str| {
                let place = columns.iter().position(|column| column == name)?;
                record.get(place).filter(|text| !text.is_empty()).map(str::to_owned)
            };
            Entry { name: field("name"), email: field("email"), note: field("note") }
        })
        .collect();
    assert_eq!(entries, theirs);
}

//! Files of records that come in as the body of a request: CSV (RFC 4180) with a header, or one JSON object per line.
//!
//! A file may be of any size. It is read line by line as it comes in, and handed on in batches; lines that cannot be
//! taken are counted, and the first of them listed.

mod csv;
mod records;

use actix_web::{HttpMessage as _, HttpRequest, http::header, web};
use futures_util::StreamExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use self::records::Records;
pub use self::{
    csv::write_fields as write_csv_fields,
    records::{BadLine, Record, named},
};
use crate::{Error, FieldError, http::BodyTimeout};

/// A batch is handed on when it has this many records, or when they came in this many bytes.
const BATCH_ROWS: usize = 20_000;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How many bad lines an answer names.
const MAX_LISTED: usize = 100;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CSV with a header (RFC 4180).
    Csv,
    /// One JSON object per line.
    Ndjson,
}

impl Format {
    /// The format that a request says its body has.
    pub fn of(request: &HttpRequest) -> Result<Self, Error> {
        let encoded = request
            .headers()
            .get(header::CONTENT_ENCODING)
            .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if encoded {
            return Err(Error::UnsupportedMediaType { expected: "a body without Content-Encoding" });
        }
        match request.content_type().to_ascii_lowercase().as_str() {
            "text/csv" => Ok(Self::Csv),
            "application/x-ndjson" => Ok(Self::Ndjson),
            _ => Err(Error::UnsupportedMediaType { expected: "text/csv or application/x-ndjson" }),
        }
    }
}

/// What an import did with the lines that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines of what was not known before.
    pub inserted: u64,
    /// Lines that changed what was known.
    pub updated: u64,
    /// Lines that did not.
    pub unchanged: u64,
}

impl Counts {
    /// Adds what became of other lines.
    pub fn add(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
    }
}

/// The bad lines so far.
#[derive(Debug, Default)]
pub struct Rejected {
    count: u64,
    listed: Vec<BadLine>,
}

impl Rejected {
    /// Notes another one.
    pub fn add(&mut self, line: BadLine) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(line);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first of them, as errors of fields that are called after their lines.
    pub fn as_field_errors(&self) -> Vec<FieldError> {
        self.listed.iter().map(FieldError::from).collect()
    }
}

/// The answer to an import: what became of the lines of a file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportReport)]
pub struct Report {
    /// Lines of what was not known before.
    inserted: u64,
    /// Lines that changed what was known.
    updated: u64,
    /// Lines that did not.
    unchanged: u64,
    /// Lines that could not be taken.
    rejected: u64,
    /// The first hundred of those.
    #[schema(max_items = 100)]
    errors: Vec<BadLine>,
}

impl Report {
    /// Puts it together.
    pub fn new(counts: Counts, rejected: Rejected) -> Self {
        let Counts { inserted, updated, unchanged } = counts;
        let Rejected { count, listed: mut errors } = rejected;
        errors.sort_by_key(|bad| bad.line);
        Self { inserted, updated, unchanged, rejected: count, errors }
    }
}

/// Reads a file and hands its records on in batches, the last one when the file has ended; `take` may add to the bad
/// lines. Nothing is held while the client is slow but what it has sent since the last batch, and that no longer than it
/// may be silent.
///
/// Fails where the body breaks off or its next piece does not come, where the header cannot be used, and where `take` does; what was handed on until
/// then is the taker's to keep or to drop.
pub async fn read<R: Record, E: From<Error>>(
    mut payload: web::Payload,
    format: Format,
    silence: BodyTimeout,
    mut take: impl AsyncFnMut(Vec<R>, &mut Rejected) -> Result<(), E>,
) -> Result<Rejected, E> {
    let mut records = Records::<R>::new(format);
    let mut rejected = Rejected::default();
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    loop {
        match silence.limit(payload.next()).await? {
            Some(Ok(bytes)) => {
                batch_bytes += bytes.len();
                records.push(&bytes);
            }
            // The line that was cut must not be mistaken for a whole one.
            Some(Err(_)) => {
                return Err(Error::InvalidRequest("The body broke off before its end.".to_owned()).into());
            }
            None => records.end(),
        }
        let mut read = 0;
        while let Some(outcome) = records.next().map_err(Error::from)? {
            read += 1;
            match outcome {
                Ok(record) => batch.push(record),
                Err(line) => rejected.add(line),
            }
            if batch.len() >= BATCH_ROWS {
                take(std::mem::take(&mut batch), &mut rejected).await?;
                batch_bytes = 0;
            }
        }
        if batch_bytes >= BATCH_BYTES || records.has_ended() {
            if !batch.is_empty() {
                take(std::mem::take(&mut batch), &mut rejected).await?;
            }
            batch_bytes = 0;
        }
        if records.has_ended() {
            return Ok(rejected);
        }
        if read > 0 {
            // A fast client must not keep this worker from everybody else's requests.
            tokio::task::yield_now().await;
        }
    }
}

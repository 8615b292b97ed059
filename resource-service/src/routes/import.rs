//! `POST /persons/import`: a file of persons, read as it comes in.

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, http::header, rt::task::spawn_blocking, web};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use service_kit::{FieldError, Timestamp, http::Query};
use shared_claims::actix::Authorized;

use super::{PersonsWrite, State};
use crate::{
    domain::{BadHeader, BadLine, Counts, Format, NewPerson, Records},
    error::Error,
    storage::Spool,
};

/// A batch is written when it has this many persons, or when they came in this many bytes.
const BATCH_ROWS: usize = 20_000;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How many bad lines an answer names.
const MAX_LISTED: usize = 100;

/// The parameters of an import.
#[derive(Debug, Deserialize)]
pub(crate) struct ImportQuery {
    /// All lines or none.
    #[serde(default)]
    atomic: bool,
}

/// What became of the lines of a file.
#[derive(Debug, Serialize)]
struct ImportResponse {
    inserted: u64,
    updated: u64,
    unchanged: u64,
    rejected: u64,
    errors: Vec<BadLine>,
}

/// The bad lines so far.
#[derive(Debug, Default)]
struct Rejected {
    count: u64,
    listed: Vec<BadLine>,
}

impl Rejected {
    fn add(&mut self, line: BadLine) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(line);
        }
    }
}

/// Imports persons. Nothing is held while the client is slow but what it has sent since the last batch.
pub(crate) async fn import(
    _: Authorized<PersonsWrite>,
    state: web::Data<State>,
    Query(query): Query<ImportQuery>,
    request: HttpRequest,
    mut payload: web::Payload,
) -> Result<HttpResponse, Error> {
    let mut records = Records::new(format(&request)?);
    let mut sink = Sink::new(&state, query.atomic);
    let mut rejected = Rejected::default();
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    loop {
        match payload.next().await {
            Some(Ok(bytes)) => {
                batch_bytes += bytes.len();
                records.push(&bytes);
            }
            // The line that was cut must not be mistaken for a whole one.
            Some(Err(_)) => {
                return Err(service_kit::Error::InvalidRequest("The body broke off before its end.".to_owned()).into());
            }
            None => records.end(),
        }
        let mut read = 0;
        while let Some(outcome) = records.next().map_err(bad_header)? {
            read += 1;
            match outcome {
                Ok(person) => batch.push(person),
                Err(line) => rejected.add(line),
            }
            if batch.len() >= BATCH_ROWS {
                sink.take(std::mem::take(&mut batch), &rejected).await?;
                batch_bytes = 0;
            }
        }
        if batch_bytes >= BATCH_BYTES {
            sink.take(std::mem::take(&mut batch), &rejected).await?;
            batch_bytes = 0;
        }
        if records.has_ended() {
            break;
        }
        if read > 0 {
            // A fast client must not keep this worker from everybody else's requests.
            tokio::task::yield_now().await;
        }
    }
    sink.take(batch, &rejected).await?;
    let counts = sink.finish(&rejected).await?;
    Ok(HttpResponse::Ok().json(ImportResponse {
        inserted: counts.inserted,
        updated: counts.updated,
        unchanged: counts.unchanged,
        rejected: rejected.count,
        errors: rejected.listed,
    }))
}

fn format(request: &HttpRequest) -> Result<Format, Error> {
    let encoded = request
        .headers()
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(service_kit::Error::UnsupportedMediaType { expected: "a body without Content-Encoding" }.into());
    }
    match request.content_type().to_ascii_lowercase().as_str() {
        "text/csv" => Ok(Format::Csv),
        "application/x-ndjson" => Ok(Format::Ndjson),
        _ => Err(service_kit::Error::UnsupportedMediaType { expected: "text/csv or application/x-ndjson" }.into()),
    }
}

fn bad_header(BadHeader { column, invalid }: BadHeader) -> Error {
    let field = if column.is_empty() { "line 1" } else { column };
    service_kit::Error::field(field, invalid).into()
}

/// Where the good lines go.
struct Sink<'a> {
    state: &'a State,
    now: Timestamp,
    counts: Counts,
    atomic: bool,
    /// What an atomic import has read so far, once it has read anything.
    spool: Option<Spool>,
}

impl<'a> Sink<'a> {
    fn new(state: &'a State, atomic: bool) -> Self {
        Self { state, now: state.clock.now(), counts: Counts::default(), atomic, spool: None }
    }

    async fn take(&mut self, batch: Vec<NewPerson>, rejected: &Rejected) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        if !self.atomic {
            self.counts.add(self.state.persons.merge(batch, self.now).await?);
        } else if rejected.count == 0 {
            let spool = self.spool.take();
            let directory = self.state.spool_directory.clone();
            let spooled = spawn_blocking(move || {
                let mut spool = spool.map_or_else(|| Spool::create(directory.as_deref()), Ok)?;
                spool.append(&batch)?;
                Ok::<_, std::io::Error>(spool)
            });
            self.spool = Some(spooled.await.map_err(Error::internal)?.map_err(Error::internal)?);
        }
        Ok(())
    }

    async fn finish(mut self, rejected: &Rejected) -> Result<Counts, Error> {
        if self.atomic && rejected.count > 0 {
            return Err(service_kit::Error::Validation(rejected.listed.iter().map(field_error).collect()).into());
        }
        if let Some(spool) = self.spool.take() {
            self.counts.add(self.state.persons.merge_spool(spool, self.now).await?);
        }
        Ok(self.counts)
    }
}

fn field_error(line: &BadLine) -> FieldError {
    FieldError { field: format!("line {}", line.line), code: line.code.into(), message: line.message.clone() }
}

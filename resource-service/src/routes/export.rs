//! `GET /persons/export`: all persons as a file, in a form that an import takes.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, Bytes},
};
use futures_util::stream;
use serde::Serialize;
use service_kit::import::{Format, write_csv_fields};
use shared_claims::actix::Authorized;

use super::{PersonsRead, State};
use crate::{
    domain::{Age, Email, List, Name, Person, PersonId, Position},
    error::Error,
    storage::Persons,
};

/// How many persons are read, and held, at a time.
const BATCH_ROWS: i64 = 1_000;

/// Exports persons in the order of their ids.
///
/// They are read batch by batch, so that a person who is changed meanwhile may be in it as before or as after; nobody
/// is in it twice. A failure half way breaks the response off, so that it cannot be taken for a whole one.
pub(crate) async fn export(
    _: Authorized<PersonsRead>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let format = negotiate(&request)?;
    // The first batch is read before anything is answered, so that a database that is away is a 503.
    let mut export = Export { persons: state.persons.clone(), format, after: None, done: false };
    let mut first = export.next_batch().await?;
    if format == Format::Csv {
        let mut with_header = Vec::with_capacity(first.len() + 32);
        write_csv_fields(&mut with_header, ["id", "name", "email", "age"]);
        with_header.append(&mut first);
        first = with_header;
    }
    let body = stream::try_unfold((Some(first), export), async |(ready, mut export)| {
        let bytes = match ready {
            Some(bytes) => bytes,
            None if export.done => return Ok(None),
            None => export.next_batch().await?,
        };
        Ok::<_, Error>(Some((Bytes::from(bytes), (None, export))))
    });
    let (media_type, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "persons.csv"),
        Format::Ndjson => ("application/x-ndjson", "persons.ndjson"),
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((header::VARY, "Accept"))
        .streaming(body))
}

/// An export under way.
struct Export {
    persons: Persons,
    format: Format,
    after: Option<Position>,
    done: bool,
}

/// A line of an NDJSON export.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a PersonId,
    name: &'a Name,
    email: Option<&'a Email>,
    age: Option<Age>,
}

impl Export {
    /// The next persons as they stand in the file.
    async fn next_batch(&mut self) -> Result<Vec<u8>, Error> {
        let list = List::default();
        let sort = list.sort;
        let persons = self.persons.scan(list, self.after.take(), BATCH_ROWS).await?;
        let mut out = Vec::with_capacity(persons.len() * 64);
        for person in &persons {
            write(self.format, &mut out, person)?;
        }
        self.done = i64::try_from(persons.len()).is_ok_and(|rows| rows < BATCH_ROWS);
        self.after = persons.last().map(|last| Position::of(last.view(), sort));
        Ok(out)
    }
}

fn write(format: Format, out: &mut Vec<u8>, person: &Person) -> Result<(), Error> {
    let details = &person.details;
    match format {
        Format::Csv => {
            let age = details.age.map(|age| age.years().to_string()).unwrap_or_default();
            let email = details.email.as_ref().map_or("", Email::as_str);
            write_csv_fields(out, [person.id.as_str(), details.name.as_str(), email, &age]);
        }
        Format::Ndjson => {
            let line = Line { id: &person.id, name: &details.name, email: details.email.as_ref(), age: details.age };
            serde_json::to_writer(&mut *out, &line).map_err(Error::internal)?;
            out.push(b'\n');
        }
    }
    Ok(())
}

/// The format that the caller likes best (RFC 9110, 12.5.1); CSV if it does not matter.
fn negotiate(request: &HttpRequest) -> Result<Format, Error> {
    let accept: Vec<&str> = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok()).collect();
    choose(&accept.join(","))
        .ok_or_else(|| service_kit::Error::NotAcceptable { offered: "text/csv and application/x-ndjson" }.into())
}

fn choose(accept: &str) -> Option<Format> {
    if accept.trim().is_empty() {
        return Some(Format::Csv);
    }
    let csv = quality(accept, ["text/csv", "text/*", "*/*"]);
    let ndjson = quality(accept, ["application/x-ndjson", "application/*", "*/*"]);
    match (csv, ndjson) {
        (0, 0) => None,
        (csv, ndjson) if ndjson > csv => Some(Format::Ndjson),
        _ => Some(Format::Csv),
    }
}

/// The quality, in thousandths, that an Accept header gives to a media type: that of the most specific range that
/// covers it, which comes first in `ranges`.
fn quality(accept: &str, ranges: [&str; 3]) -> u16 {
    let given = |range: &str| {
        accept.split(',').find_map(|element| {
            let mut parts = element.split(';').map(str::trim);
            parts.next().filter(|name| name.eq_ignore_ascii_case(range))?;
            let weight = parts
                .filter_map(|parameter| parameter.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
                .map_or(Some(1.0), |(_, weight)| weight.trim().parse::<f32>().ok());
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1000")]
            weight.map(|weight| (weight.clamp(0.0, 1.0) * 1000.0) as u16)
        })
    };
    ranges.into_iter().find_map(given).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_that_is_liked_best_is_chosen() {
        for (accept, format) in [
            ("", Some(Format::Csv)),
            ("*/*", Some(Format::Csv)),
            ("text/html, */*;q=0.1", Some(Format::Csv)),
            ("text/*", Some(Format::Csv)),
            ("application/x-ndjson", Some(Format::Ndjson)),
            ("Application/X-NDJSON, text/csv;q=0.5", Some(Format::Ndjson)),
            ("application/x-ndjson;q=0.5, text/csv;q=0.9", Some(Format::Csv)),
            ("application/*", Some(Format::Ndjson)),
            ("text/csv;q=0, */*", Some(Format::Ndjson)),
            ("application/json", None),
            ("text/csv;q=0", None),
            ("text/html", None),
        ] {
            assert_eq!(choose(accept), format, "{accept:?}");
        }
    }
}

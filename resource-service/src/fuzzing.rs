//! What a fuzzer is shown of this service: what the lines of a file of persons are read as, before they are written
//! anywhere.

use std::time::Duration;

use actix_web::web;
use service_kit::{
    Error,
    http::BodyTimeout,
    import::{self, Format, Rejected},
};

use crate::domain::NewPerson;

/// What a fuzzer sends is there at once.
const FOREVER: BodyTimeout = BodyTimeout(Duration::MAX);

/// Reads a file as `POST /persons/import` does, and shows the persons in it. An id that was made up on the way is left
/// out, since it is never the same twice.
pub async fn read_import(payload: web::Payload, format: Format) -> Result<(Vec<String>, Rejected), Error> {
    let mut persons = Vec::new();
    let rejected = import::read(payload, format, FOREVER, async |batch: Vec<NewPerson>, _: &mut Rejected| {
        persons.extend(batch.into_iter().map(|NewPerson { id, details }| {
            let id = Some(id).filter(|id| uuid::Uuid::try_parse(id.as_str()).is_err());
            format!("{id:?} {details:?}")
        }));
        Ok::<_, Error>(())
    })
    .await?;
    Ok((persons, rejected))
}

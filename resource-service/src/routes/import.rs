//! `POST /persons/import`: a file of persons, read as it comes in.

use actix_web::{HttpRequest, HttpResponse, rt::task::spawn_blocking, web};
use serde::Deserialize;
use service_kit::{
    Timestamp,
    http::{BodyTimeout, Query},
    import::{self, Counts, Format, Rejected, Report},
};
use shared_claims::actix::Authorized;

use super::{PersonsWrite, State};
use crate::{domain::NewPerson, error::Error, storage::Spool};

/// The parameters of an import.
#[derive(Debug, Deserialize)]
pub(crate) struct ImportQuery {
    /// All lines or none.
    #[serde(default)]
    atomic: bool,
}

/// Imports persons.
pub(crate) async fn import(
    _: Authorized<PersonsWrite>,
    state: web::Data<State>,
    Query(query): Query<ImportQuery>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Error> {
    let (format, silence) = (Format::of(&request)?, BodyTimeout::of(&request));
    let mut sink = Sink::new(&state, query.atomic);
    let rejected =
        import::read(payload, format, silence, async |batch, rejected: &mut Rejected| sink.take(batch, rejected).await)
            .await?;
    let counts = sink.finish(&rejected).await?;
    Ok(HttpResponse::Ok().json(Report::new(counts, rejected)))
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
        if !self.atomic {
            self.counts.add(self.state.persons.merge(batch, self.now).await?);
        } else if rejected.is_empty() {
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
        if self.atomic && !rejected.is_empty() {
            return Err(service_kit::Error::Validation(rejected.as_field_errors()).into());
        }
        if let Some(spool) = self.spool.take() {
            self.counts.add(self.state.persons.merge_spool(spool, self.now).await?);
        }
        Ok(self.counts)
    }
}

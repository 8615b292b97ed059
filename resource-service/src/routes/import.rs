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
use crate::{
    domain::NewPerson,
    error::Error,
    storage::{Import, Spool},
};

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
enum Sink<'a> {
    /// Into the table, as they come.
    Table(Import),
    /// Into a file, until all of them are known to be good.
    Spool { state: &'a State, now: Timestamp, spool: Option<Spool> },
}

impl<'a> Sink<'a> {
    fn new(state: &'a State, atomic: bool) -> Self {
        let now = state.clock.now();
        if atomic { Self::Spool { state, now, spool: None } } else { Self::Table(state.persons.import(now)) }
    }

    async fn take(&mut self, batch: Vec<NewPerson>, rejected: &Rejected) -> Result<(), Error> {
        match self {
            Self::Table(import) => import.take(batch).await,
            // Nothing will be written.
            Self::Spool { .. } if !rejected.is_empty() => Ok(()),
            Self::Spool { state, spool, .. } => {
                let begun = spool.take();
                let directory = state.spool_directory.clone();
                let spooled = spawn_blocking(move || {
                    let mut spool = begun.map_or_else(|| Spool::create(directory.as_deref()), Ok)?;
                    spool.append(&batch)?;
                    Ok::<_, std::io::Error>(spool)
                });
                *spool = Some(spooled.await.map_err(Error::internal)?.map_err(Error::internal)?);
                Ok(())
            }
        }
    }

    async fn finish(self, rejected: &Rejected) -> Result<Counts, Error> {
        match self {
            Self::Table(import) => import.finish().await,
            Self::Spool { .. } if !rejected.is_empty() => {
                Err(service_kit::Error::Validation(rejected.as_field_errors()).into())
            }
            Self::Spool { spool: None, .. } => Ok(Counts::default()),
            Self::Spool { state, now, spool: Some(spool) } => state.persons.merge_spool(spool, now).await,
        }
    }
}

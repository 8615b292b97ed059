//! What a fuzzer is shown of this service: what the lines of a file of users are read as, before they are written
//! anywhere.

use std::time::Duration;

use actix_web::web;
use service_kit::{
    Error,
    http::BodyTimeout,
    import::{self, Format, Rejected},
};

use crate::domain::import::ImportedUser;

/// What a fuzzer sends is there at once.
const FOREVER: BodyTimeout = BodyTimeout(Duration::MAX);

/// Reads a file as `POST /users/import` does, and shows the users in it.
pub async fn read_import(payload: web::Payload, format: Format) -> Result<(Vec<String>, Rejected), Error> {
    let mut users = Vec::new();
    let rejected = import::read(payload, format, FOREVER, async |batch: Vec<ImportedUser>, _: &mut Rejected| {
        users.extend(batch.iter().map(|user| format!("{user:?}")));
        Ok::<_, Error>(())
    })
    .await?;
    Ok((users, rejected))
}

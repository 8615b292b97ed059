//! `GET /internal/keys`: which keys there are, and who knows them.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use service_kit::{Error, Timestamp, peer::Internal};
use shared_claims::actix::Authorized;

use super::delivery::no_store;
use crate::app::State;

#[derive(Serialize)]
struct KeysResponse<'a> {
    signing: Option<&'a str>,
    keys: Vec<KeyResponse<'a>>,
    verifiers: Vec<VerifierResponse>,
    access_ttl_seconds: u64,
}

#[derive(Serialize)]
struct KeyResponse<'a> {
    kid: &'a str,
    alg: &'a str,
}

#[derive(Serialize)]
struct VerifierResponse {
    id: String,
    kids: Vec<String>,
    seen_at: Timestamp,
}

/// The ring of the replica that answers, the verifiers that follow the feed on any replica, and how long a token lives
/// at most: a key may sign when every verifier knows it, and may go when its last token has expired.
pub(crate) async fn list(state: web::Data<State>, _caller: Authorized<Internal>) -> Result<HttpResponse, Error> {
    let verifiers = state.feed.verifiers().await?;
    let verifiers = verifiers
        .into_iter()
        .map(|verifier| VerifierResponse {
            id: verifier.id,
            kids: verifier.kids.split(',').filter(|kid| !kid.is_empty()).map(str::to_owned).collect(),
            seen_at: verifier.seen_at,
        })
        .collect();
    let ring = state.keys.ring().current();
    Ok(no_store(StatusCode::OK).json(KeysResponse {
        signing: ring.key_ids().next(),
        keys: ring.keys_info().map(|key| KeyResponse { kid: key.kid, alg: key.alg }).collect(),
        verifiers,
        access_ttl_seconds: state.longest_ttl_seconds,
    }))
}

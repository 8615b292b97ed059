//! `POST /auth/revoke`: a client gives a token back (RFC 7009).

use actix_web::{HttpResponse, http::StatusCode, web};
use serde_json::json;
use service_kit::{
    Error,
    audit::{Actor, Origin},
    http::FormOrJson,
};

use super::{
    client_auth::{Authorization, TokenParameters, demand},
    delivery::no_store,
    introspect::session_of,
};
use crate::{
    app::State,
    domain::{Client, EndReason, NewRevocation, RefreshToken},
    error::OAuthError,
};

const ANOTHER_S: OAuthError = OAuthError::UnauthorizedClient("The token was issued to another client.");

/// Ends the session of a refresh token; kills an access token. A token that is good for nothing is answered alike, since
/// the client has what it wants (RFC 7009, 2.2).
pub(crate) async fn revoke(
    state: web::Data<State>,
    authorization: Authorization,
    origin: Origin,
    body: Result<FormOrJson<TokenParameters>, Error>,
) -> Result<HttpResponse, OAuthError> {
    let (client, token) = body.map_err(OAuthError::of_body)?.0.into_parts();
    let client = demand(&state, authorization, client).await?;
    let token = token?;
    let origin = origin.by_actor(Actor::client(client.id.as_str()));
    match state.issuer.refresh_keys.decode(token.expose()) {
        Some(token) => revoke_refresh_token(&state, token, &client, &origin).await?,
        None => revoke_access_token(&state, token.expose(), &client, &origin).await?,
    }
    Ok(no_store(StatusCode::OK).finish())
}

async fn revoke_refresh_token(
    state: &State,
    token: RefreshToken,
    client: &Client,
    origin: &Origin,
) -> Result<(), OAuthError> {
    let Some(session) = state.sessions.find(token.session).await? else { return Ok(()) };
    if !session.is_open_to(Some(client.id.as_str())) {
        return Err(ANOTHER_S);
    }
    let now = state.clock.now();
    state.sessions.end(session.id, EndReason::RevokedByClient, origin, now).await?;
    Ok(())
}

async fn revoke_access_token(state: &State, token: &str, client: &Client, origin: &Origin) -> Result<(), OAuthError> {
    let Ok(claims) = state.inspector.verify_at(token, state.clock.now().as_seconds()) else { return Ok(()) };
    let holder = match (&claims.client_id, session_of(&claims)) {
        (Some(holder), _) => Some(holder.clone()),
        (None, Some(session)) => state.sessions.find(session).await?.and_then(|session| session.client_id),
        (None, None) => None,
    };
    if holder.is_some_and(|holder| holder != client.id.as_str()) {
        return Err(ANOTHER_S);
    }
    let now = state.clock.now();
    let mut record = origin.record("token_revoked", now).with(json!({ "jti": claims.jti }));
    if !claims.is_client() {
        record = record.to(&claims.sub);
    }
    record.session = claims.sid;
    let revoked = NewRevocation::Token { jti: claims.jti, exp: claims.exp };
    state.revocations.revoke(vec![revoked], vec![record], now).await?;
    Ok(())
}

//! `POST /auth/introspect`: whether a token is good at this moment, and what it says (RFC 7662).

use actix_web::{HttpResponse, http::StatusCode, web};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use service_kit::{Error, http::FormOrJson, peer::Internal};
use shared_claims::{Claims, actix::Authorized};
use utoipa::ToSchema;

use super::{
    client_auth::{Authorization, TokenParameters, demand},
    delivery::no_store,
};
use crate::{
    app::State,
    domain::{Client, Presentation, RefreshToken, SessionId},
    error::OAuthError,
};

/// What is told of a token (RFC 7662, 2.2): of one that is not good, nothing else.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct Introspection {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<String>,
    /// The client that obtained it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    aud: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ver: Option<u64>,
}

/// Answers clients with a secret and services with a token of theirs. The database is asked, so a revocation shows at
/// once.
pub(crate) async fn introspect(
    state: web::Data<State>,
    authorization: Authorization,
    service: Result<Authorized<Internal>, actix_web::Error>,
    body: Result<FormOrJson<TokenParameters>, Error>,
) -> Result<HttpResponse, OAuthError> {
    let (client, token) = body.map_err(OAuthError::of_body)?.0.into_parts();
    let client = match authorization {
        Authorization::Bearer if client.client_secret.is_none() => {
            service.map_err(|rejection| refusal(&rejection))?;
            None
        }
        Authorization::Bearer => {
            let detail = "The caller proves who it is in more than one way.";
            return Err(OAuthError::InvalidRequest(detail.to_owned()));
        }
        authorization => Some(demand(&state, authorization, client).await?),
    };
    let token = token?;
    let told = match state.issuer.refresh_keys.decode(token.expose()) {
        Some(token) => of_refresh_token(&state, token, client.as_ref()).await?,
        None => of_access_token(&state, token.expose()).await?,
    };
    Ok(no_store(StatusCode::OK).json(told.unwrap_or_default()))
}

/// The rejection of a caller's token, in the form of this endpoint.
fn refusal(error: &actix_web::Error) -> OAuthError {
    OAuthError::Other(match error.as_error::<Error>() {
        Some(Error::Token(rejection)) => Error::Token(rejection.clone()),
        _ => Error::internal(std::io::Error::other(error.to_string())),
    })
}

/// A refresh token is good if presenting it now would bring tokens. One that only a certain client can use is nobody
/// else's business.
async fn of_refresh_token(
    state: &State,
    token: RefreshToken,
    client: Option<&Client>,
) -> Result<Option<Introspection>, Error> {
    let now = state.clock.now();
    let Some(session) = state.sessions.find(token.session).await? else { return Ok(None) };
    let visible = client.is_none_or(|client| session.is_open_to(Some(client.id.as_str())));
    let usable = matches!(session.judge(token.number, now, &state.policy), Presentation::Rotate | Presentation::Replay);
    if !visible || !usable {
        return Ok(None);
    }
    let scope = state.issuer.grantable(&session.subject, session.scope_limit.as_ref());
    let idle_end = session.last_used_at.plus_seconds(state.policy.idle_seconds);
    Ok(Some(Introspection {
        active: true,
        scope: Some(scope.to_string()),
        client_id: session.client_id,
        exp: Some(session.expires_at.min(idle_end).as_seconds()),
        // When an older number was issued is not kept.
        iat: (token.number == session.current).then(|| session.rotated_at.as_seconds()),
        sub: Some(session.subject.user_id),
        iss: Some(state.issuer.name.clone()),
        sid: Some(session.id.to_string()),
        roles: session.subject.roles,
        ver: u64::try_from(session.subject.authorization_version).ok(),
        ..Introspection::default()
    }))
}

async fn of_access_token(state: &State, token: &str) -> Result<Option<Introspection>, Error> {
    let now = state.clock.now().as_seconds();
    // The leeway is for other people's clocks.
    let claims = match state.inspector.verify_at(token, now) {
        Ok(claims) if claims.exp > now => claims,
        _ => return Ok(None),
    };
    let Some(kid) = key_id(token) else { return Ok(None) };
    if state.revocations.is_revoked(&claims, &kid).await? {
        return Ok(None);
    }
    let client_id = match (&claims.client_id, session_of(&claims)) {
        (Some(client), _) => Some(client.clone()),
        (None, Some(session)) => state.sessions.find(session).await?.and_then(|session| session.client_id),
        (None, None) => None,
    };
    Ok(Some(Introspection {
        active: true,
        scope: Some(claims.scope),
        client_id,
        token_type: Some("Bearer"),
        exp: Some(claims.exp),
        iat: Some(claims.iat),
        nbf: claims.nbf,
        sub: Some(claims.sub),
        aud: claims.aud,
        iss: Some(claims.iss),
        jti: Some(claims.jti),
        sid: claims.sid,
        roles: claims.roles,
        ver: claims.ver,
    }))
}

/// The key that a verified token was signed with.
fn key_id(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Header {
        kid: String,
    }

    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    serde_json::from_slice::<Header>(&header).ok().map(|header| header.kid)
}

/// The session that a token was issued in.
pub(super) fn session_of(claims: &Claims) -> Option<SessionId> {
    claims.sid.as_deref().and_then(SessionId::parse)
}

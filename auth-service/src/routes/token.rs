//! `POST /auth/token`: the token endpoint of RFC 6749.

use actix_web::{HttpResponse, ResponseError as _, http::StatusCode, web};
use serde::Deserialize;
use service_kit::{
    ApiError as _, Error,
    http::{ClientAddress, FormOrJson},
};

use super::{
    account::{is_disabled, log_in},
    delivery::Delivery,
};
use crate::{
    app::State,
    domain::{Presentation, ScopeSet},
    error::{INVALID_CREDENTIALS, OAuthError},
    issue::Grant,
    users::Credentials,
};

/// The parameters of all grants. Those that a grant does not know are passed over, as RFC 6749, 3.2 demands.
#[derive(Deserialize)]
pub(crate) struct TokenRequest {
    grant_type: Option<String>,
    refresh_token: Option<String>,
    username: Option<String>,
    password: Option<String>,
    scope: Option<String>,
}

/// Issues tokens for a password or a refresh token.
pub(crate) async fn token(
    state: web::Data<State>,
    body: Result<FormOrJson<TokenRequest>, Error>,
    address: ClientAddress,
    delivery: Delivery,
) -> HttpResponse {
    let granted = match body {
        Ok(FormOrJson(request)) => grant(&state, request, address, &delivery).await,
        Err(error) => Err(unreadable(error)),
    };
    granted.unwrap_or_else(|error| {
        let mut response = error.error_response();
        if matches!(error, OAuthError::InvalidGrant(_)) {
            delivery.forget(&mut response);
        }
        response
    })
}

/// A repeated parameter or one of a wrong type makes the request malformed (RFC 6749, 5.2).
fn unreadable(error: Error) -> OAuthError {
    match error {
        Error::Validation(_) | Error::InvalidRequest(_) => OAuthError::InvalidRequest(error.detail()),
        other => OAuthError::Other(other),
    }
}

async fn grant(
    state: &State,
    request: TokenRequest,
    address: ClientAddress,
    delivery: &Delivery,
) -> Result<HttpResponse, OAuthError> {
    let scope = match request.scope.as_deref().filter(|scope| !scope.is_empty()) {
        Some(text) => Some(ScopeSet::parse(text).ok_or(OAuthError::InvalidScope)?),
        None => None,
    };
    match request.grant_type.as_deref() {
        Some("refresh_token") => refresh(state, request.refresh_token.as_deref(), scope.as_ref(), delivery).await,
        Some("password") => password(state, request, scope.as_ref(), address, delivery).await,
        Some(_) => Err(OAuthError::UnsupportedGrantType),
        None => Err(OAuthError::InvalidRequest("The parameter grant_type is required.".to_owned())),
    }
}

async fn refresh(
    state: &State,
    presented: Option<&str>,
    scope: Option<&ScopeSet>,
    delivery: &Delivery,
) -> Result<HttpResponse, OAuthError> {
    const DEAD: OAuthError = OAuthError::InvalidGrant("The refresh token is invalid, expired or revoked.");
    let presented = presented
        .or(delivery.presented())
        .ok_or_else(|| OAuthError::InvalidRequest("The parameter refresh_token is required.".to_owned()))?;
    let token = state.issuer.refresh_keys.decode(presented).ok_or(DEAD)?;
    if let Some(scope) = scope {
        // Asked before the step, so that a refusal leaves the line where it is.
        let session = state.sessions.find(token.session).await?.ok_or(DEAD)?;
        if !scope.is_subset(&state.issuer.grantable(&session.subject, session.scope_limit.as_ref())) {
            return Err(OAuthError::InvalidScope);
        }
    }
    let (outcome, session) = state.sessions.present(token, state.clock.now(), state.policy).await?;
    match (outcome, session) {
        (Presentation::Rotate | Presentation::Replay, Some(session)) => {
            let tokens = state.issuer.issue(&Grant::of(&session), scope)?;
            Ok(delivery.respond(StatusCode::OK, tokens, &state.policy))
        }
        (Presentation::Reuse, Some(session)) => {
            log::warn!(
                target: "audit",
                session = session.id.to_string().as_str(),
                subject = session.subject.user_id.as_str();
                "a refresh token was used again: the session has ended"
            );
            Err(DEAD)
        }
        _ => Err(DEAD),
    }
}

async fn password(
    state: &State,
    request: TokenRequest,
    scope: Option<&ScopeSet>,
    address: ClientAddress,
    delivery: &Delivery,
) -> Result<HttpResponse, OAuthError> {
    let (Some(name), Some(password)) = (request.username, request.password) else {
        return Err(OAuthError::InvalidRequest("The parameters username and password are required.".to_owned()));
    };
    // A user name never holds an @, an e-mail address always does.
    let (email, username) = if name.contains('@') { (Some(name), None) } else { (None, Some(name)) };
    let credentials = Credentials { email, username, password: Some(password) };
    match log_in(state, &credentials, scope, address, delivery).await {
        Ok((tokens, _)) => Ok(delivery.respond(StatusCode::OK, tokens, &state.policy)),
        Err(Error::Forwarded(_, code)) if code == INVALID_CREDENTIALS => {
            Err(OAuthError::InvalidGrant("The user name or the password is wrong."))
        }
        Err(error) if is_disabled(&error) => Err(OAuthError::InvalidGrant("The account is disabled.")),
        Err(error) => Err(unreadable(error)),
    }
}

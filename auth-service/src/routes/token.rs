//! `POST /auth/token`: the token endpoint of RFC 6749.

use actix_web::{HttpResponse, ResponseError as _, http::StatusCode, web};
use serde::Deserialize;
use service_kit::{Error, Secret, audit::Origin, http::FormOrJson};
use utoipa::ToSchema;

use super::{
    account::{LogIn, is_disabled, log_in},
    client_auth::{Authorization, ClientParameters, authenticate, given},
    delivery::{Delivery, with_tokens},
    openapi::GrantType,
};
use crate::{
    app::State,
    domain::{Client, Presentation, ScopeSet},
    error::{INVALID_CREDENTIALS, OAuthError},
    issue::Grant,
    users::Credentials,
};

/// The parameters of all grants. Those that a grant does not know are passed over, as RFC 6749, 3.2 demands.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TokenRequest {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = GrantType, required)]
    grant_type: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    refresh_token: Option<Secret>,
    #[serde(default, deserialize_with = "given")]
    username: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
    #[serde(default, deserialize_with = "given")]
    #[schema(pattern = r"^[ !#-\[\]-~]*$")]
    scope: Option<String>,
    #[serde(default, deserialize_with = "given")]
    client_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    client_secret: Option<Secret>,
}

/// Issues tokens for a password, for a refresh token, or to a client.
pub(crate) async fn token(
    state: web::Data<State>,
    authorization: Authorization,
    body: Result<FormOrJson<TokenRequest>, Error>,
    origin: Origin,
    delivery: Delivery,
) -> HttpResponse {
    let granted = match body {
        Ok(FormOrJson(request)) => grant(&state, authorization, request, origin, &delivery).await,
        Err(error) => Err(OAuthError::of_body(error)),
    };
    granted.unwrap_or_else(|error| {
        let mut response = error.error_response();
        if matches!(error, OAuthError::InvalidGrant(_)) {
            delivery.forget(&mut response);
        }
        response
    })
}

async fn grant(
    state: &State,
    authorization: Authorization,
    mut request: TokenRequest,
    origin: Origin,
    delivery: &Delivery,
) -> Result<HttpResponse, OAuthError> {
    let parameters =
        ClientParameters { client_id: request.client_id.take(), client_secret: request.client_secret.take() };
    let client = authenticate(state, authorization, parameters).await?;
    let scope = match request.scope.as_deref() {
        Some(text) => Some(ScopeSet::parse(text).ok_or(OAuthError::InvalidScope)?),
        None => None,
    };
    match request.grant_type.as_deref() {
        Some("refresh_token") => {
            let presented = request.refresh_token.as_ref().map(Secret::expose);
            refresh(state, client.as_ref(), presented, scope.as_ref(), &origin, delivery).await
        }
        Some("password") => password(state, client.as_ref(), request, scope, origin, delivery).await,
        Some("client_credentials") => {
            let client = client.ok_or(OAuthError::InvalidClient)?;
            client_credentials(state, &client, scope.as_ref())
        }
        Some(_) => Err(OAuthError::UnsupportedGrantType),
        None => Err(OAuthError::InvalidRequest("The parameter grant_type is required.".to_owned())),
    }
}

/// A token for the client itself (RFC 6749, 4.4). Its secret brings another one at any time, so no refresh token comes
/// with it, and no cookie either.
fn client_credentials(state: &State, client: &Client, scope: Option<&ScopeSet>) -> Result<HttpResponse, OAuthError> {
    let scope = scope.unwrap_or(&client.scope);
    if !scope.is_subset(&client.scope) {
        return Err(OAuthError::InvalidScope);
    }
    let tokens = state.issuer.issue_to_client(client, scope)?;
    Ok(with_tokens(StatusCode::OK).json(tokens))
}

/// A session that was begun with a client wants that client to prove who it is (RFC 6749, 6); what it was begun with is
/// not for another one (RFC 6749, 10.4).
fn foreign(client: Option<&Client>) -> OAuthError {
    match client {
        None => OAuthError::InvalidClient,
        Some(_) => OAuthError::InvalidGrant("The refresh token was issued to another client."),
    }
}

async fn refresh(
    state: &State,
    client: Option<&Client>,
    presented: Option<&str>,
    scope: Option<&ScopeSet>,
    origin: &Origin,
    delivery: &Delivery,
) -> Result<HttpResponse, OAuthError> {
    const DEAD: OAuthError = OAuthError::InvalidGrant("The refresh token is invalid, expired or revoked.");
    let presented = presented
        .or(delivery.presented())
        .ok_or_else(|| OAuthError::InvalidRequest("The parameter refresh_token is required.".to_owned()))?;
    let Some(token) = state.issuer.refresh_keys.decode(presented) else {
        state.outcomes.forged();
        return Err(DEAD);
    };
    let client_id = client.map(|client| client.id.as_str());
    if let Some(scope) = scope {
        // Asked before the step, so that a refusal leaves the line where it is.
        let session = state.sessions.find(token.session).await?.ok_or(DEAD)?;
        if !session.is_open_to(client_id) {
            return Err(foreign(client));
        }
        if !scope.is_subset(&state.issuer.grantable(&session.subject, session.scope_limit.as_ref())) {
            return Err(OAuthError::InvalidScope);
        }
    }
    let (outcome, session) = state.sessions.present(token, client_id, origin, state.clock.now(), state.policy).await?;
    state.outcomes.presented(outcome);
    match (outcome, session) {
        (Presentation::Rotate | Presentation::Replay, Some(session)) => {
            let tokens = state.issuer.issue(&Grant::of(&session), scope)?;
            Ok(delivery.respond(StatusCode::OK, tokens, &state.policy))
        }
        (Presentation::Foreign, _) => Err(foreign(client)),
        _ => Err(DEAD),
    }
}

async fn password(
    state: &State,
    client: Option<&Client>,
    request: TokenRequest,
    scope: Option<ScopeSet>,
    origin: Origin,
    delivery: &Delivery,
) -> Result<HttpResponse, OAuthError> {
    let (Some(name), Some(password)) = (request.username, request.password) else {
        return Err(OAuthError::InvalidRequest("The parameters username and password are required.".to_owned()));
    };
    // A user name never holds an @, an e-mail address always does.
    let (email, username) = if name.contains('@') { (Some(name), None) } else { (None, Some(name)) };
    let credentials = Credentials { email, username, password: Some(password) };
    let scope_limit = match client {
        // On a user's behalf a client does no more than it may do itself.
        Some(client) => Some(scope.map_or(client.scope.clone(), |scope| scope.intersection(&client.scope))),
        None => scope,
    };
    let wish = LogIn { scope_limit, client: client.map(|client| &client.id), origin };
    match log_in(state, &credentials, &wish).await {
        Ok((tokens, _)) => Ok(delivery.respond(StatusCode::OK, tokens, &state.policy)),
        Err(Error::Forwarded(_, code)) if code == INVALID_CREDENTIALS => {
            Err(OAuthError::InvalidGrant("The user name or the password is wrong."))
        }
        Err(error) if is_disabled(&error) => Err(OAuthError::InvalidGrant("The account is disabled.")),
        Err(error) => Err(OAuthError::of_body(error)),
    }
}

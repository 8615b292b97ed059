//! Registration, log-in, and who the caller is.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web,
};
use serde::Deserialize;
use service_kit::{
    Error,
    audit::Origin,
    context::within,
    http::{FormOrJson, Query},
    limits::{Attempt, Refusal},
};
use shared_claims::actix::{AnyToken, Authorized};

use super::{
    delivery::{Delivery, no_store},
    random_bytes,
};
use crate::{
    app::State,
    domain::{ClientId, NewSession, ScopeSet, SessionId},
    error::{ACCOUNT_DISABLED, INVALID_CREDENTIALS},
    issue::{Grant, TokenResponse},
    storage::Started,
    users::{Credentials, KnownUser, Registration},
};

/// `POST /auth/register`: makes a user and logs it in.
pub(crate) async fn register(
    state: web::Data<State>,
    body: FormOrJson<Registration>,
    origin: Origin,
    delivery: Delivery,
) -> Result<HttpResponse, Error> {
    let registered = within(state.log_in_patience, async {
        let user = state.users.register(&body.0).await?;
        let log_in = LogIn { scope_limit: None, client: None, origin };
        let tokens = match begin(&state, &user, &log_in, false).await? {
            Some(tokens) => tokens,
            // Somebody changed the new user within these milliseconds: what user-service said last counts.
            None => begin(&state, &user, &log_in, true).await?.ok_or_else(changed_meanwhile)?,
        };
        Ok::<_, Error>(with_user(tokens, user))
    });
    Ok(delivery.respond(StatusCode::CREATED, registered.await?, &state.policy))
}

/// `POST /auth/login`: makes a session for a user whose password is right.
pub(crate) async fn login(
    state: web::Data<State>,
    body: FormOrJson<Credentials>,
    origin: Origin,
    delivery: Delivery,
) -> Result<HttpResponse, Error> {
    let wish = LogIn { scope_limit: None, client: None, origin };
    let (tokens, user) = log_in(&state, &body.0, &wish).await?;
    Ok(delivery.respond(StatusCode::OK, with_user(tokens, user), &state.policy))
}

/// A log-in, apart from whose it is.
pub(super) struct LogIn<'a> {
    /// The most that the session's tokens are to do.
    pub(super) scope_limit: Option<ScopeSet>,
    /// The client that has shown its secret: the session is its own.
    pub(super) client: Option<&'a ClientId>,
    /// Where from, and with what.
    pub(super) origin: Origin,
}

/// Logs a user in: by `/auth/login` and by the grant `password`.
pub(super) async fn log_in(
    state: &State,
    credentials: &Credentials,
    log_in: &LogIn<'_>,
) -> Result<(TokenResponse, KnownUser), Error> {
    let outcome = within(state.log_in_patience, judge(state, credentials, log_in)).await;
    state.outcomes.logged_in(outcome.as_ref());
    outcome
}

/// Lets an attempt through to user-service, if there were not too many wrong ones before it, and takes note of what came
/// of it.
async fn judge(
    state: &State,
    credentials: &Credentials,
    log_in: &LogIn<'_>,
) -> Result<(TokenResponse, KnownUser), Error> {
    if !credentials.is_attempt() {
        return try_log_in(state, credentials, log_in).await;
    }
    let attempt = admit(state, &credentials.account(), log_in.origin.address.as_deref()).await?;
    let outcome = try_log_in(state, credentials, log_in).await;
    match &outcome {
        Ok(_) => attempt.succeeded(),
        Err(Error::Forwarded(problem, code)) if *code == INVALID_CREDENTIALS => {
            attempt.failed(problem.subject.as_deref());
            note_refusal(state, log_in, problem.subject.clone(), code.name).await;
        }
        Err(Error::Forwarded(problem, code)) if *code == ACCOUNT_DISABLED => {
            note_refusal(state, log_in, problem.subject.clone(), code.name).await;
        }
        // It was not judged.
        Err(_) => {}
    }
    outcome
}

async fn admit(state: &State, account: &str, address: Option<&str>) -> Result<Attempt, Error> {
    let ip = address.and_then(|address| address.parse().ok());
    match state.limits.begin(account, ip) {
        Ok(attempt) => Ok(attempt),
        Err(refusal) => {
            // Whoever tries an account from everywhere is not to keep its user out.
            if let (Refusal::WaitUnlessKnown(_, Some(user_id)), Some(address)) = (&refusal, address)
                && state.sessions.was_at(user_id, address).await?
            {
                return Ok(state.limits.begin_known(account, ip)?);
            }
            Err(refusal.into())
        }
    }
}

/// Notes a log-in that was refused for what was presented. What was typed is not noted: it may be a password in the
/// wrong field.
async fn note_refusal(state: &State, log_in: &LogIn<'_>, user_id: Option<String>, code: &'static str) {
    let mut record = log_in.origin.record("login", state.clock.now()).refused(code);
    record.subject = user_id;
    record.client_id = log_in.client.map(|client| client.as_str().to_owned());
    if let Err(cause) = state.audit.add(vec![record]).await {
        // The answer is the same as ever.
        log::warn!("an audit record is lost: {cause}");
    }
}

async fn try_log_in(
    state: &State,
    credentials: &Credentials,
    log_in: &LogIn<'_>,
) -> Result<(TokenResponse, KnownUser), Error> {
    let user = state.users.verify(credentials).await?;
    if let Some(tokens) = begin(state, &user, log_in, false).await? {
        return Ok((tokens, user));
    }
    // The user changed between the check and now, so the check may have been against the former password.
    let user = state.users.verify(credentials).await?;
    let tokens = begin(state, &user, log_in, true).await?.ok_or_else(changed_meanwhile)?;
    Ok((tokens, user))
}

fn changed_meanwhile() -> Error {
    Error::Overloaded { retry_after_seconds: 1 }
}

/// Begins a session and issues its first tokens; nothing if what user-service said of the user is out of date.
async fn begin(
    state: &State,
    user: &KnownUser,
    log_in: &LogIn<'_>,
    trust_user_service: bool,
) -> Result<Option<TokenResponse>, Error> {
    let now = state.clock.now();
    let ends_at = now.plus_seconds(state.policy.absolute_seconds);
    let session = NewSession {
        id: SessionId::from_bytes(random_bytes()?),
        subject: user.subject.clone(),
        scope_limit: log_in.scope_limit.clone(),
        amr: "pwd",
        origin: log_in.origin.clone(),
        client_id: log_in.client.map(|client| client.as_str().to_owned()),
        created_at: now,
        expires_at: ends_at,
    };
    let id = session.id;
    match state.sessions.start(session, trust_user_service).await? {
        Started::Yes => {}
        // What the feed says of the user has been taken back, and these tokens should not meet it any more.
        Started::WentBack => {
            if let Err(cause) = state.feed.settle().await {
                log::warn!("the tokens of this log-in are good in a moment only: {cause}");
            }
        }
        Started::Stale => return Ok(None),
    }
    let grant = Grant {
        session: id,
        subject: &user.subject,
        scope_limit: log_in.scope_limit.as_ref(),
        amr: "pwd",
        authenticated_at: now,
        ends_at,
        number: 1,
    };
    state.issuer.issue(&grant, None).map(Some)
}

fn with_user(mut tokens: TokenResponse, user: KnownUser) -> TokenResponse {
    tokens.user = Some(user.json);
    tokens
}

/// `GET /auth/me` (and `POST`, for clients that send the token in a form): the token's claims.
pub(crate) async fn me(caller: Authorized<AnyToken>) -> Result<HttpResponse, Error> {
    let mut body = Vec::with_capacity(TYPICAL_CLAIMS_BYTES);
    serde_json::to_writer(&mut body, &*caller).map_err(Error::internal)?;
    Ok(no_store(StatusCode::OK).insert_header((header::CONTENT_TYPE, JSON)).body(body))
}

/// What claims take in JSON as a rule, so that a body is written without growing its buffer.
const TYPICAL_CLAIMS_BYTES: usize = 512;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Deserialize)]
pub(crate) struct VerifyQuery {
    #[serde(default)]
    scope: String,
}

/// `GET /auth/verify`: for proxies that ask before they let a request pass.
pub(crate) async fn verify(caller: Authorized<AnyToken>, query: Query<VerifyQuery>) -> Result<HttpResponse, Error> {
    if let Some(missing) = query.0.scope.split_whitespace().find(|scope| !caller.has_scope(scope)) {
        return Err(Error::InsufficientScope { scope: missing.to_owned() });
    }
    let mut response = no_store(StatusCode::NO_CONTENT);
    let roles = caller.roles.join(" ");
    for (name, value) in
        [("x-auth-subject", caller.sub.as_str()), ("x-auth-scope", &caller.scope), ("x-auth-roles", &roles)]
    {
        let value = HeaderValue::from_str(value).map_err(Error::internal)?;
        response.insert_header((HeaderName::from_static(name), value));
    }
    Ok(response.finish())
}

/// Whether a refusal of user-service is one of a disabled account.
pub(super) fn is_disabled(error: &Error) -> bool {
    matches!(error, Error::Forwarded(_, code) if *code == ACCOUNT_DISABLED)
}

//! Log-out, and the list of one's sessions.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use serde::{Deserialize, Serialize};
use service_kit::{
    Error, Secret, Timestamp,
    audit::{Actor, Origin},
    http::{FormOrJson, Query},
};
use shared_claims::actix::{AnyUser, Authorized};
use utoipa::ToSchema;

use super::delivery::{Delivery, no_store};
use crate::{
    app::State,
    domain::{EndReason, Presentation, Session, SessionId},
};

#[derive(Deserialize)]
pub(crate) struct LogOutQuery {
    #[serde(default)]
    all: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogOutBody {
    #[schema(value_type = Option<String>)]
    refresh_token: Option<Secret>,
}

/// `POST /auth/logout`: ends this session, or with `?all=true` every one of this user.
///
/// Who is meant is shown by the access token or, where that has expired, by the refresh token in the body or the
/// cookie.
pub(crate) async fn log_out(
    state: web::Data<State>,
    caller: Result<Authorized<AnyUser>, actix_web::Error>,
    query: Query<LogOutQuery>,
    body: Result<FormOrJson<LogOutBody>, Error>,
    origin: Origin,
    request: HttpRequest,
    delivery: Delivery,
) -> Result<HttpResponse, actix_web::Error> {
    let body = match body {
        Ok(FormOrJson(body)) => body.refresh_token,
        // No body at all is the ordinary case.
        Err(_) if !request.headers().contains_key(header::CONTENT_TYPE) => None,
        Err(error) => return Err(error.into()),
    };
    let (user_id, session, origin) = match caller {
        Ok(caller) => {
            let session = caller.sid.as_deref().and_then(SessionId::parse);
            (caller.sub.clone(), session, origin.by(&caller))
        }
        Err(rejection) => {
            let presented = body.as_ref().map(Secret::expose).or(delivery.presented());
            match presented.and_then(|text| state.issuer.refresh_keys.decode(text)) {
                Some(token) => match holder(&state, token.session, token.number, &origin).await? {
                    Some(session) => {
                        let user_id = session.subject.user_id;
                        let origin = origin.by_actor(Actor::user(&user_id));
                        (user_id, Some(session.id), origin)
                    }
                    None => return Ok(done(&delivery)),
                },
                None => return Err(rejection),
            }
        }
    };
    let now = state.clock.now();
    if query.0.all {
        state.sessions.end_all_of_user(&user_id, EndReason::Logout, &origin, now).await?;
    } else if let Some(session) = session {
        state.sessions.end_of_user(session, &user_id, EndReason::Logout, &origin, now).await?;
    }
    Ok(done(&delivery))
}

/// The session of a genuine refresh token. A token of the line's past shows that somebody holds a copy, so it ends the
/// session just as it would at the token endpoint, and nothing more.
async fn holder(state: &State, session: SessionId, number: i64, origin: &Origin) -> Result<Option<Session>, Error> {
    let now = state.clock.now();
    let Some(session) = state.sessions.find(session).await? else { return Ok(None) };
    match session.judge(number, now, &state.policy) {
        Presentation::Rotate | Presentation::Replay => Ok(Some(session)),
        Presentation::Reuse => {
            state.sessions.end(session.id, EndReason::RefreshReuse, origin, now).await?;
            Ok(None)
        }
        Presentation::Dead | Presentation::Foreign => Ok(None),
    }
}

fn done(delivery: &Delivery) -> HttpResponse {
    let mut response = no_store(StatusCode::NO_CONTENT).finish();
    delivery.forget(&mut response);
    response
}

#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionResponse {
    id: String,
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    #[schema(required)]
    address: Option<String>,
    #[schema(required)]
    user_agent: Option<String>,
    current: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SessionList {
    items: Vec<SessionResponse>,
    #[schema(required)]
    next_cursor: Option<String>,
}

/// `GET /auth/sessions`: where the caller is logged in, the newest session first.
pub(crate) async fn list(state: web::Data<State>, caller: Authorized<AnyUser>) -> Result<HttpResponse, Error> {
    let sessions = state.sessions.live_of_user(&caller.sub, state.clock.now(), state.policy).await?;
    let items = sessions
        .into_iter()
        .map(|session| {
            let id = session.id.to_string();
            SessionResponse {
                current: caller.sid.as_deref() == Some(&id),
                id,
                created_at: session.created_at,
                last_used_at: session.last_used_at,
                expires_at: session.expires_at,
                address: session.address,
                user_agent: session.user_agent,
            }
        })
        .collect();
    Ok(no_store(StatusCode::OK).json(SessionList { items, next_cursor: None }))
}

/// `DELETE /auth/sessions/{id}`: ends one of the caller's sessions.
pub(crate) async fn end(
    state: web::Data<State>,
    caller: Authorized<AnyUser>,
    origin: Origin,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let id = SessionId::parse(&id).ok_or(Error::NotFound)?;
    let (origin, now) = (origin.by(&caller), state.clock.now());
    if state.sessions.end_of_user(id, &caller.sub, EndReason::EndedByUser, &origin, now).await? {
        Ok(no_store(StatusCode::NO_CONTENT).finish())
    } else {
        Err(Error::NotFound)
    }
}

//! `POST /internal/user-events`: what user-service tells of its users.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use service_kit::{Error, http::Json, peer::Internal, validate::Invalid};
use shared_claims::actix::Authorized;

use crate::{
    app::State,
    domain::{AuthorizationChange, SessionId, Subject},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserEvents {
    events: Vec<UserEvent>,
}

/// A user's authorization after a change. Fields that a later user-service adds are passed over, so that it may be
/// rolled out first.
#[derive(Deserialize)]
struct UserEvent {
    user_id: String,
    authorization_version: i64,
    roles: Vec<String>,
    disabled: bool,
    deleted: bool,
    password_changed: bool,
    keep_session: Option<String>,
}

/// Takes changes up, in order, all or none; those that are known already change nothing.
pub(crate) async fn take(
    state: web::Data<State>,
    _caller: Authorized<Internal>,
    body: Json<UserEvents>,
) -> Result<HttpResponse, Error> {
    let changes = body.0.events.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    state.sessions.apply(changes, state.clock.now()).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn read(event: UserEvent) -> Result<AuthorizationChange, Error> {
    let keep_session = match event.keep_session.as_deref() {
        None => None,
        Some(id) => Some(SessionId::parse(id).ok_or_else(|| {
            Error::field("events.keep_session", Invalid::new("invalid", "This is not the id of a session."))
        })?),
    };
    Ok(AuthorizationChange {
        subject: Subject {
            user_id: event.user_id,
            authorization_version: event.authorization_version,
            roles: event.roles,
        },
        disabled: event.disabled,
        deleted: event.deleted,
        password_changed: event.password_changed,
        keep_session,
    })
}

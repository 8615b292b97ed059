//! `/users/me`: what users may do with their own account, whatever their scopes.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::Deserialize;
use service_kit::{
    Error as KitError, Secret,
    audit::Origin,
    http::{IfMatch, Json, present},
    validate::Validator,
};
use shared_claims::{
    Claims,
    actix::{AnyUser, Authorized},
};
use utoipa::ToSchema;

use super::{State, Whose, openapi::PresentedPassword, respond, respond_to_read};
use crate::{
    domain::{
        audit,
        password::Password,
        user::{Changes, Email, Name, UserId, Username},
    },
    error::{Error, codes::INVALID_CREDENTIALS},
    storage::{outbox, users},
};

/// How often a change of the password starts anew because the stored hash was renewed meanwhile.
const MAX_TRIES: usize = 3;

fn own_id(claims: &Claims) -> Result<UserId, Error> {
    UserId::parse(&claims.sub).ok_or_else(Error::not_found)
}

/// `GET /users/me`.
pub(crate) async fn read(
    caller: Authorized<AnyUser>,
    request: HttpRequest,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let user = state.read_user(own_id(&caller)?, Whose::Own).await?;
    Ok(respond_to_read(&request, user))
}

/// What users may change of themselves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::option_option, reason = "absent, null and a value are three different things")]
pub(crate) struct OwnChanges {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Email, required = false)]
    email: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Username>)]
    username: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Name>)]
    name: Option<Option<String>>,
}

impl OwnChanges {
    fn parse(self) -> Result<Changes, KitError> {
        let mut validator = Validator::new();
        let email = validator.optional("email", self.email, |text| Email::parse(&text));
        let username =
            validator.optional("username", self.username, |text| text.map(|text| Username::parse(&text)).transpose());
        let name = validator.optional("name", self.name, |text| text.map(|text| Name::parse(&text)).transpose());
        let changes = (|| Some(Changes { email: email?, username: username?, name: name?, ..Changes::default() }))();
        validator.finish_with(changes)
    }
}

/// `PATCH /users/me`.
pub(crate) async fn change(
    caller: Authorized<AnyUser>,
    origin: Origin,
    if_match: IfMatch,
    body: Json<OwnChanges>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let changes = body.0.parse()?;
    let user = state.change_user(own_id(&caller)?, Whose::Own, if_match, changes, origin.by(&caller)).await?;
    Ok(respond(StatusCode::OK, user))
}

/// `DELETE /users/me`.
pub(crate) async fn delete(
    caller: Authorized<AnyUser>,
    origin: Origin,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    state.delete_user(own_id(&caller)?, Whose::Own, if_match, origin.by(&caller)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The present password and the one to come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChange {
    #[schema(value_type = PresentedPassword, required)]
    current_password: Option<Secret>,
    #[schema(value_type = Password, required)]
    new_password: Option<Secret>,
}

/// `PUT /users/me/password`: ends all other sessions.
pub(crate) async fn change_password(
    caller: Authorized<AnyUser>,
    origin: Origin,
    if_match: IfMatch,
    body: Json<PasswordChange>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let id = own_id(&caller)?;
    let mut validator = Validator::new();
    let current = validator.required("current_password", body.0.current_password, Password::presented);
    let new = validator.required("new_password", body.0.new_password, Password::parse);
    let (current, new) = validator.finish_with(current.zip(new))?;
    let origin = origin.by(&caller);
    let address = origin.address.as_deref().and_then(|address| address.parse().ok());

    let mut new_hash = None;
    for _ in 0..MAX_TRIES {
        let wanted = id.clone();
        let found = state.database.read(move |db| users::find_credentials(db, &wanted)).await?;
        let found = Whose::Own.admit(found, |credentials| &credentials.user)?;
        if_match.require(Some(found.user.version))?;
        let attempt = state.limits.begin_known(id.as_str(), address).map_err(KitError::from)?;
        let verified = state.verify_password(id.as_str(), current.clone(), Some(found.password_hash.clone())).await?;
        if verified.is_match() {
            attempt.succeeded();
        } else {
            attempt.failed(None);
            let refused = audit::password_changed(&found.user, &origin, state.clock.now());
            state.note(refused.refused(INVALID_CREDENTIALS.name)).await;
            return Err(Error::InvalidCredentials);
        }
        let hash = if let Some(hash) = new_hash.take() {
            hash
        } else {
            let hashed = state.hashing.hash(id.as_str(), new.clone(), found.user.password_hints()).await;
            hashed.map_err(|refusal| refusal.of_field("new_password"))?
        };

        let (id, if_match, kept, origin) = (id.clone(), if_match.clone(), hash.clone(), origin.clone());
        let (keep_session, now) = (caller.sid.clone(), state.clock.now());
        let changed = state
            .database
            .write(move |db| {
                let held = Whose::Own.admit(users::lock(db, &id)?, |credentials| &credentials.user)?;
                if_match.require(Some(held.user.version))?;
                // The password was verified against the hash that was read. If it is another one by now, a log-in has
                // renewed it or somebody else has changed the password: another look tells which.
                if held.password_hash != found.password_hash {
                    return Ok::<_, Error>(false);
                }
                let (user, event) = held.user.change_password(keep_session, now);
                users::update(db, &user)?;
                users::replace_hash(db, &id, &found.password_hash, &hash)?;
                outbox::push(db, &event, now)?;
                outbox::push_records(db, &[audit::password_changed(&user, &origin, now)])?;
                Ok(true)
            })
            .await?;
        if changed {
            state.outbox_filled.notify_one();
            state.audit_filled.notify_one();
            return Ok(HttpResponse::NoContent().finish());
        }
        new_hash = Some(kept);
    }
    Err(KitError::Overloaded { retry_after_seconds: 1 }.into())
}

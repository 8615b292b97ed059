//! `/users`: what admins may do with everybody's account.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use serde::Deserialize;
use service_kit::{
    Error as KitError, Secret,
    audit::Origin,
    http::{Cursor, IfMatch, Json, Limit, Page, Query, present},
    validate::{Invalid, Validator},
};
use shared_claims::actix::Authorized;
use utoipa::ToSchema;

use super::{PRIVATE, State, UserResponse, Whose, openapi::BcryptHash, respond, respond_to_read};
use crate::{
    domain::{
        password::{Password, PasswordHash},
        role::{Role, Roles},
        user::{Changes, Email, Name, NewUser, UserId, Username},
    },
    error::Error,
    storage::users::{self, Filter},
};

shared_claims::scope! {
    /// May see all users.
    pub(crate) UsersRead = "users:read";
    /// May make, change and delete users.
    pub(crate) UsersWrite = "users:write";
}

const MAX_SEARCH_CHARACTERS: usize = 200;

/// Which users to list.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    limit: Limit,
    cursor: Option<String>,
    q: Option<String>,
    role: Option<String>,
}

impl ListQuery {
    fn filter(&self) -> Result<Filter, KitError> {
        let mut validator = Validator::new();
        let text = validator.optional("q", self.q.as_deref().filter(|text| !text.is_empty()), parse_search);
        let role = validator.optional("role", self.role.as_deref(), Role::parse);
        validator.finish_with((|| Some(Filter { text: text?, role: role? }))())
    }
}

fn parse_search(text: &str) -> Result<String, Invalid> {
    if text.chars().count() > MAX_SEARCH_CHARACTERS {
        return Err(Invalid::new("too_long", format!("A search has at most {MAX_SEARCH_CHARACTERS} characters.")));
    }
    if text.contains(char::is_control) {
        return Err(Invalid::new("invalid", "A search has no control characters."));
    }
    Ok(text.to_owned())
}

/// `GET /users`.
pub(crate) async fn list(
    _caller: Authorized<UsersRead>,
    query: Query<ListQuery>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let query = query.0;
    let filter = query.filter()?;
    let list = ("users", filter.text.clone(), filter.role.clone());
    let after = match &query.cursor {
        Some(cursor) => Cursor::decode(cursor, &list, 1)?.first().and_then(|id| UserId::parse(id)),
        None => None,
    };
    let found = state.database.read(move |db| users::list(db, &filter, after.as_ref(), query.limit)).await?;
    let page = Page::new(found, query.limit, |last| Cursor::new(&list, vec![last.id.as_str().to_owned()]));
    Ok(HttpResponse::Ok().insert_header(PRIVATE).json(page.map(UserResponse::from)))
}

/// `GET /users/{id}`.
pub(crate) async fn read(
    _caller: Authorized<UsersRead>,
    request: HttpRequest,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let user = state.read_user(parse_id(&id)?, Whose::Anybodys).await?;
    Ok(respond_to_read(&request, user))
}

fn parse_id(text: &str) -> Result<UserId, Error> {
    UserId::parse(text).ok_or_else(Error::not_found)
}

/// A user to make, with a password or with the bcrypt hash of one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Creation {
    #[schema(value_type = Email, required)]
    email: Option<String>,
    #[schema(value_type = Option<Password>)]
    password: Option<Secret>,
    #[schema(value_type = Option<BcryptHash>)]
    password_hash: Option<Secret>,
    #[schema(value_type = Option<Username>)]
    username: Option<String>,
    #[schema(value_type = Option<Name>)]
    name: Option<String>,
    #[schema(value_type = Option<Roles>)]
    roles: Option<Vec<String>>,
    #[serde(default)]
    email_verified: bool,
    #[serde(default)]
    disabled: bool,
}

enum NewPassword {
    Plain(Password),
    Hashed(PasswordHash),
}

impl Creation {
    fn parse(self, default_roles: &Roles) -> Result<(NewUser, NewPassword), KitError> {
        let mut validator = Validator::new();
        let email = validator.required("email", self.email, |text| Email::parse(&text));
        let username = validator.optional("username", self.username, |text| Username::parse(&text));
        let name = validator.optional("name", self.name, |text| Name::parse(&text));
        let roles = validator.optional("roles", self.roles, |names| Roles::parse(&names));
        let password = match (self.password, self.password_hash) {
            (Some(_), Some(_)) => {
                let conflict = Invalid::new("conflict", "Either password or password_hash is taken, not both.");
                validator.check("password_hash", Err(conflict))
            }
            (None, Some(hash)) => {
                validator.check("password_hash", PasswordHash::import(hash.expose())).map(NewPassword::Hashed)
            }
            (password, None) => validator.required("password", password, Password::parse).map(NewPassword::Plain),
        };
        let new = (|| {
            let new = NewUser {
                email: email?,
                username: username?,
                name: name?,
                roles: roles?.unwrap_or_else(|| default_roles.clone()),
                email_verified: self.email_verified,
                disabled: self.disabled,
            };
            Some((new, password?))
        })();
        validator.finish_with(new)
    }
}

/// `POST /users`.
pub(crate) async fn create(
    caller: Authorized<UsersWrite>,
    origin: Origin,
    body: Json<Creation>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let (new, password) = body.0.parse(&state.default_roles)?;
    let hash = match password {
        NewPassword::Hashed(hash) => hash,
        NewPassword::Plain(password) => {
            let hashed = state.hashing.hash(new.email.as_str(), password, new.password_hints()).await;
            hashed.map_err(|refusal| refusal.of_field("password"))?
        }
    };
    let user = new.create(state.clock.now());
    state.create_user(&user, hash, &origin.by(&caller)).await?;
    let location = format!("/users/{}", user.id.as_str());
    let mut response = respond(StatusCode::CREATED, user);
    response.headers_mut().insert(header::LOCATION, location.parse().map_err(Error::internal)?);
    Ok(response)
}

/// What admins may change of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::option_option, reason = "absent, null and a value are three different things")]
pub(crate) struct AnybodysChanges {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Email, required = false)]
    email: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Username>)]
    username: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Name>)]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Roles, required = false)]
    roles: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    disabled: Option<bool>,
}

impl AnybodysChanges {
    fn parse(self) -> Result<Changes, KitError> {
        let mut validator = Validator::new();
        let email = validator.optional("email", self.email, |text| Email::parse(&text));
        let username =
            validator.optional("username", self.username, |text| text.map(|text| Username::parse(&text)).transpose());
        let name = validator.optional("name", self.name, |text| text.map(|text| Name::parse(&text)).transpose());
        let roles = validator.optional("roles", self.roles, |names| Roles::parse(&names));
        let disabled = self.disabled;
        let changes = (|| Some(Changes { email: email?, username: username?, name: name?, roles: roles?, disabled }))();
        validator.finish_with(changes)
    }
}

/// `PATCH /users/{id}`.
pub(crate) async fn change(
    caller: Authorized<UsersWrite>,
    origin: Origin,
    id: web::Path<String>,
    if_match: IfMatch,
    body: Json<AnybodysChanges>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let changes = body.0.parse()?;
    let user = state.change_user(parse_id(&id)?, Whose::Anybodys, if_match, changes, origin.by(&caller)).await?;
    Ok(respond(StatusCode::OK, user))
}

/// `DELETE /users/{id}`.
pub(crate) async fn delete(
    caller: Authorized<UsersWrite>,
    origin: Origin,
    id: web::Path<String>,
    if_match: IfMatch,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    state.delete_user(parse_id(&id)?, Whose::Anybodys, if_match, origin.by(&caller)).await?;
    Ok(HttpResponse::NoContent().finish())
}

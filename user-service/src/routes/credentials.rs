//! `/internal`: registration and log-in, asked by auth-service on behalf of its clients.

use actix_web::{
    HttpResponse, ResponseError as _,
    http::header::{self, HeaderName, HeaderValue},
    web,
};
use serde::{Deserialize, Serialize};
use service_kit::{
    Error as KitError, Secret,
    audit::Origin,
    http::Json,
    peer::{Internal, SUBJECT_HEADER},
    validate::{Invalid, Validator},
};
use shared_claims::actix::Authorized;

use super::{State, UserResponse};
use crate::{
    domain::{
        password::Password,
        role::Roles,
        user::{Email, LoginName, Name, NewUser, User, Username},
    },
    error::Error,
    storage::users,
};

const NO_STORE: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

/// A user and what a token for it must carry.
#[derive(Debug, Serialize)]
struct Account {
    user: UserResponse,
    authorization_version: i64,
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self { authorization_version: user.authorization_version, user: user.into() }
    }
}

/// A user who registers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    email: Option<String>,
    password: Option<Secret>,
    username: Option<String>,
    name: Option<String>,
}

impl Registration {
    fn parse(self, roles: &Roles) -> Result<(NewUser, Password), KitError> {
        let mut validator = Validator::new();
        let email = validator.required("email", self.email, |text| Email::parse(&text));
        let password = validator.required("password", self.password, Password::parse);
        let username = validator.optional("username", self.username, |text| Username::parse(&text));
        let name = validator.optional("name", self.name, |text| Name::parse(&text));
        let new = (|| {
            let (email, username, name, roles) = (email?, username?, name?, roles.clone());
            Some((NewUser { email, username, name, roles, email_verified: false, disabled: false }, password?))
        })();
        validator.finish_with(new)
    }
}

/// `POST /internal/users`.
pub(crate) async fn register(
    _caller: Authorized<Internal>,
    body: Json<Registration>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let (new, password) = body.0.parse(&state.default_roles)?;
    let hashed = state.hashing.hash(new.email.as_str(), password, new.password_hints()).await;
    let hash = hashed.map_err(|refusal| refusal.of_field("password"))?;
    let user = new.create(state.clock.now());
    // From where is told by the record of the log-in that follows, in answer to the same request.
    state.create_user(&user, hash, &Origin::default()).await?;
    Ok(HttpResponse::Created().insert_header(NO_STORE).json(Account::from(user)))
}

/// Whom a log-in names, and the password.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogIn {
    email: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
}

impl LogIn {
    /// The name is `None` if it cannot be anybody's: that is told by the answer to any wrong log-in, after as long.
    fn parse(self) -> Result<(Option<LoginName>, Password), KitError> {
        let mut validator = Validator::new();
        let name = match (self.email, self.username) {
            (Some(_), Some(_)) => validator
                .check("username", Err(Invalid::new("conflict", "Either email or username is taken, not both."))),
            (Some(email), None) => {
                validator.check("email", without_nul(&email)).map(|()| Email::parse(&email).ok().map(LoginName::Email))
            }
            (None, Some(username)) => {
                validator.check("username", without_nul(&username)).map(|()| LoginName::parse(&username))
            }
            (None, None) => {
                validator.check("email", Err(Invalid::new("required", "An email or a username is required.")))
            }
        };
        let password = validator.required("password", self.password, Password::presented);
        validator.finish_with(name.zip(password))
    }
}

fn without_nul(text: &str) -> Result<(), Invalid> {
    if text.contains('\0') { Err(Invalid::new("invalid", "No name has a NUL character.")) } else { Ok(()) }
}

/// `POST /internal/credentials/verify`: an unknown user and a wrong password get the same answer after the same time.
/// That an account is disabled is told only to whoever knows its password. Whose password it would have been stands in a
/// header for auth-service, which writes it into the audit log and tells nobody.
pub(crate) async fn verify(
    _caller: Authorized<Internal>,
    body: Json<LogIn>,
    state: web::Data<State>,
) -> Result<HttpResponse, Error> {
    let (name, password) = body.0.parse()?;
    let claimed = name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default();
    let found = match name {
        Some(name) => state.database.read(move |db| users::find_login(db, &name)).await?,
        None => None,
    };
    let stored = found.as_ref().map(|credentials| credentials.password_hash.clone());
    // One account, by whichever of its names.
    let account = found.as_ref().map_or(claimed.as_str(), |credentials| credentials.user.id.as_str());
    let verified = state.verify_password(account, password, stored).await?;
    let refuse = |error: Error, user: Option<&User>| {
        let mut response = error.error_response();
        if let Some(id) = user.and_then(|user| HeaderValue::from_str(user.id.as_str()).ok()) {
            response.headers_mut().insert(HeaderName::from_static(SUBJECT_HEADER), id);
        }
        Ok(response)
    };
    if !verified.is_match() {
        return refuse(Error::InvalidCredentials, found.as_ref().map(|credentials| &credentials.user));
    }
    let Some(credentials) = found else { return Err(Error::InvalidCredentials) };
    if credentials.user.disabled {
        return refuse(Error::AccountDisabled, Some(&credentials.user));
    }
    if let Some(renewed) = verified.renewed {
        let (id, expected) = (credentials.user.id.clone(), credentials.password_hash.clone());
        // Another log-in may have been first, or the password is another one by now: then there is nothing to renew.
        let renewal = state.database.write_statement(move |db| users::replace_hash(db, &id, &expected, &renewed)).await;
        if let Err(cause) = renewal {
            // The next log-in tries again.
            log::warn!("a password hash could not be renewed: {:#}", anyhow::Error::from(cause));
        }
    }
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(Account::from(credentials.user)))
}

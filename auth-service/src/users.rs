//! What auth-service asks of user-service.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service_kit::{Error, Secret, config::exposed, peer::Peer};
use utoipa::ToSchema;

use crate::{
    domain::Subject,
    error::{LOGIN, REGISTRATION},
    routes::openapi::users as shown,
};

/// The most characters of a password that is held against a stored one.
const MAX_PASSWORD_CHARACTERS: usize = 1024;

/// A registration, as the client wrote it: user-service judges it.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = shown::Email, required)]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = shown::NewPassword, required)]
    password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<shown::Username>)]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<shown::Name>)]
    name: Option<String>,
}

/// A user's name and password, as the client wrote them.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<shown::PresentedName>)]
    pub(crate) email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<shown::PresentedName>)]
    pub(crate) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = shown::PresentedPassword, required)]
    pub(crate) password: Option<Secret>,
}

impl Credentials {
    /// Whether user-service will hold a password against something at all. What it refuses as it stands is no guess.
    pub(crate) fn is_attempt(&self) -> bool {
        let readable = |text: &str| !text.contains('\0');
        self.email.is_some() != self.username.is_some()
            && [&self.email, &self.username].into_iter().flatten().all(|name| readable(name))
            && self
                .password
                .as_ref()
                .map(Secret::expose)
                .is_some_and(|password| readable(password) && password.chars().count() <= MAX_PASSWORD_CHARACTERS)
    }

    /// What the account is called by, in the same letters however it was typed.
    pub(crate) fn account(&self) -> String {
        let name = self.email.as_deref().or(self.username.as_deref()).unwrap_or_default();
        name.trim().to_lowercase()
    }
}

/// A user, as user-service shows it to clients, and what a session needs of it.
#[derive(Debug)]
pub(crate) struct KnownUser {
    pub(crate) subject: Subject,
    pub(crate) json: Box<RawValue>,
}

#[derive(Deserialize)]
struct Answer {
    user: Box<RawValue>,
    authorization_version: i64,
}

#[derive(Deserialize)]
struct UserFields {
    id: String,
    roles: Vec<String>,
}

/// user-service, over HTTP.
pub(crate) struct Users(Peer);

impl Users {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(peer)
    }

    pub(crate) async fn register(&self, registration: &Registration) -> Result<KnownUser, Error> {
        self.ask("/internal/users", registration, REGISTRATION).await
    }

    pub(crate) async fn verify(&self, credentials: &Credentials) -> Result<KnownUser, Error> {
        self.ask("/internal/credentials/verify", credentials, LOGIN).await
    }

    async fn ask(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        known: &[service_kit::Code],
    ) -> Result<KnownUser, Error> {
        let answer: Answer = self.0.call(Method::POST, path, body, known).await?;
        let fields: UserFields = serde_json::from_str(answer.user.get()).map_err(Error::internal)?;
        Ok(KnownUser {
            subject: Subject {
                user_id: fields.id,
                authorization_version: answer.authorization_version,
                roles: fields.roles,
            },
            json: answer.user,
        })
    }
}

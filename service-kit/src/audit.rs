//! What the audit log is made of: who did what to whom, from where, when, and what came of it.
//!
//! auth-service keeps the log. Other services write their records in the transaction of what they tell of, and bring
//! them to auth-service until it has taken them.

use std::{
    borrow::Cow,
    convert::Infallible,
    future::{Ready, ready},
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared_claims::Claims;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Timestamp, context::RequestContext, http::ClientAddress, peer::INTERNAL_SCOPE};

/// What `outcome` says of what was done; of what was refused it says the error's code.
pub const SUCCEEDED: &str = "succeeded";

/// The most characters of a user agent that are kept.
const MAX_USER_AGENT_CHARACTERS: usize = 256;

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActorType {
    /// A user.
    User,
    /// An OAuth client, on its own behalf.
    Client,
    /// A service, or the operator by way of the program.
    Service,
}

impl ActorType {
    /// As the database has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Client => "client",
            Self::Service => "service",
        }
    }

    /// Reads what [`ActorType::as_str`] gave.
    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::User, Self::Client, Self::Service].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct Actor {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ActorType,
    /// A user's id, a client's id or a service's name.
    pub id: String,
}

impl Actor {
    /// A user.
    pub fn user(id: impl Into<String>) -> Self {
        Self { kind: ActorType::User, id: id.into() }
    }

    /// A client.
    pub fn client(id: impl Into<String>) -> Self {
        Self { kind: ActorType::Client, id: id.into() }
    }

    /// Whoever holds a token.
    pub fn of(claims: &Claims) -> Self {
        let kind = if !claims.is_client() {
            ActorType::User
        } else if claims.has_scope(INTERNAL_SCOPE) {
            ActorType::Service
        } else {
            ActorType::Client
        };
        Self { kind, id: claims.sub.clone() }
    }
}

/// Where something that is being done comes from. As an extractor it knows of no actor yet.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Who does it, if that is known.
    pub actor: Option<Actor>,
    /// The session that it is done in.
    pub session: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
}

impl FromRequest for Origin {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let address = ClientAddress::from_request(request, payload).into_inner();
        let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        ready(Ok(Self {
            address: address.ok().and_then(|address| address.0).map(|address| address.to_string()),
            user_agent: user_agent
                .map(|agent| agent.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT_CHARACTERS).collect()),
            ..Self::default()
        }))
    }
}

impl Origin {
    /// Done by whoever holds this token.
    #[must_use]
    pub fn by(self, claims: &Claims) -> Self {
        Self { actor: Some(Actor::of(claims)), session: claims.sid.clone(), ..self }
    }

    /// Done by somebody.
    #[must_use]
    pub fn by_actor(self, actor: Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// A record of something that succeeded from here. It belongs to the request that is being answered, if one is.
    pub fn record(&self, action: &'static str, now: Timestamp) -> AuditRecord {
        AuditRecord {
            id: Uuid::now_v7(),
            at: now,
            action: Cow::Borrowed(action),
            outcome: Cow::Borrowed(SUCCEEDED),
            actor: self.actor.clone(),
            subject: None,
            session: self.session.clone(),
            client_id: None,
            address: self.address.clone(),
            user_agent: self.user_agent.clone(),
            request_id: RequestContext::current().map(|context| context.request_id.as_str().to_owned()),
            details: None,
        }
    }
}

/// One line of the log. Never a secret, and of personal data no more than the address and what the client calls itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AuditRecord {
    /// Its own id: who takes it twice knows by it.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What was done, or was to be done.
    pub action: Cow<'static, str>,
    /// [`SUCCEEDED`], or the code of the error that it was refused with.
    pub outcome: Cow<'static, str>,
    /// By whom, if that is known.
    pub actor: Option<Actor>,
    /// To which user, if any.
    pub subject: Option<String>,
    /// The session that it is about, or was done in.
    pub session: Option<String>,
    /// The client that it is about.
    pub client_id: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// In answer to which request.
    pub request_id: Option<String>,
    /// What else there is to say, an object.
    pub details: Option<Value>,
}

impl AuditRecord {
    /// It was refused, with the error of this code.
    #[must_use]
    pub fn refused(self, code: &'static str) -> Self {
        Self { outcome: Cow::Borrowed(code), ..self }
    }

    /// It was done to this user.
    #[must_use]
    pub fn to(self, user_id: impl Into<String>) -> Self {
        Self { subject: Some(user_id.into()), ..self }
    }

    /// It is about this session.
    #[must_use]
    pub fn about_session(self, session: impl Into<String>) -> Self {
        Self { session: Some(session.into()), ..self }
    }

    /// It is about this client.
    #[must_use]
    pub fn about_client(self, client_id: impl Into<String>) -> Self {
        Self { client_id: Some(client_id.into()), ..self }
    }

    /// With details, an object.
    #[must_use]
    pub fn with(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// Writes it as a line of the service's log, target `audit`, for whoever collects those.
    pub fn log(&self) {
        let level = match (&*self.action, &*self.outcome) {
            ("refresh_reuse", _) => log::Level::Warn,
            _ => log::Level::Info,
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        log::log!(
            target: "audit",
            level,
            outcome = &*self.outcome,
            actor = self.actor.as_ref().map(|actor| actor.id.as_str()).unwrap_or_default(),
            subject = text(&self.subject).as_str(),
            session = text(&self.session).as_str(),
            client = text(&self.client_id).as_str(),
            address = text(&self.address).as_str();
            "{}", self.action
        );
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[actix_web::test]
    async fn a_record_says_where_it_comes_from_and_comes_back_from_json() {
        let request = TestRequest::default()
            .peer_addr("192.0.2.7:4711".parse().unwrap())
            .insert_header(("user-agent", format!("curl/8 {}", "x".repeat(300))))
            .to_http_request();
        let origin = Origin::from_request(&request, &mut Payload::None).await.unwrap().by_actor(Actor::user("ada"));
        let now = Timestamp::from_micros(1_764_000_000_123_456);
        let record =
            origin.record("login", now).refused("invalid_credentials").to("ada").with(serde_json::json!({"a": 1}));
        assert_eq!(record.address.as_deref(), Some("192.0.2.7"));
        assert_eq!(record.user_agent.as_deref().map(str::len), Some(MAX_USER_AGENT_CHARACTERS));
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<AuditRecord>(&json).unwrap(), record);
    }
}

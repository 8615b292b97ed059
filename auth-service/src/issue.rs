//! Makes the tokens of sessions and of clients.

use serde::Serialize;
use serde_json::value::RawValue;
use service_kit::{Clock, Error, Timestamp};
use shared_claims::{Claims, Signer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Client, RefreshKeys, RefreshToken, RoleScopes, ScopeSet, Session, SessionId, Subject};

/// What access tokens are made of, apart from the session.
pub(crate) struct Issuer {
    pub(crate) signer: Signer,
    pub(crate) refresh_keys: RefreshKeys,
    /// `iss`.
    pub(crate) name: String,
    pub(crate) audience: Vec<String>,
    pub(crate) access_ttl_seconds: u32,
    pub(crate) roles: RoleScopes,
    pub(crate) clock: Clock,
}

/// What a token is issued for.
pub(crate) struct Grant<'a> {
    pub(crate) session: SessionId,
    pub(crate) subject: &'a Subject,
    pub(crate) scope_limit: Option<&'a ScopeSet>,
    pub(crate) amr: &'a str,
    pub(crate) authenticated_at: Timestamp,
    /// When the session ends whatever happens; no token of it lives longer.
    pub(crate) ends_at: Timestamp,
    /// The number of the refresh token to go with it.
    pub(crate) number: i64,
}

impl<'a> Grant<'a> {
    /// The newest tokens of a session.
    pub(crate) fn of(session: &'a Session) -> Self {
        Self {
            session: session.id,
            subject: &session.subject,
            scope_limit: session.scope_limit.as_ref(),
            amr: &session.amr,
            authenticated_at: session.created_at,
            ends_at: session.expires_at,
            number: session.current,
        }
    }
}

/// The answer that carries tokens (RFC 6749, 5.1), with the user at a registration or a log-in.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenResponse {
    #[schema(value_type = Option<crate::routes::openapi::users::User>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<Box<RawValue>>,
    pub(crate) access_token: String,
    pub(crate) token_type: &'static str,
    /// Seconds.
    pub(crate) expires_in: u32,
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    pub(crate) scope: String,
}

impl Issuer {
    /// The most that a session's tokens may do.
    pub(crate) fn grantable(&self, subject: &Subject, limit: Option<&ScopeSet>) -> ScopeSet {
        let given = self.roles.of(&subject.roles);
        match limit {
            Some(limit) => given.intersection(limit),
            None => given,
        }
    }

    /// A fresh access token, and the refresh token of the grant's number. `requested` narrows what this access token
    /// may do.
    pub(crate) fn issue(&self, grant: &Grant<'_>, requested: Option<&ScopeSet>) -> Result<TokenResponse, Error> {
        let grantable = self.grantable(grant.subject, grant.scope_limit);
        let scope = requested.map_or(grantable.clone(), |requested| grantable.intersection(requested)).to_string();
        let now = self.clock.now().as_seconds();
        let rest = grant.ends_at.as_seconds().saturating_sub(now);
        let ttl_seconds = u32::try_from(rest).unwrap_or(u32::MAX).min(self.access_ttl_seconds);
        let claims = Claims {
            iss: self.name.clone(),
            sub: grant.subject.user_id.clone(),
            aud: self.audience.clone(),
            iat: now,
            exp: now + u64::from(ttl_seconds),
            nbf: None,
            jti: Uuid::now_v7().to_string(),
            sid: Some(grant.session.to_string()),
            scope: scope.clone(),
            roles: grant.subject.roles.clone(),
            ver: u64::try_from(grant.subject.authorization_version).ok(),
            client_id: None,
            amr: grant.amr.split_whitespace().map(str::to_owned).collect(),
            auth_time: Some(grant.authenticated_at.as_seconds()),
        };
        let refresh_token = RefreshToken { session: grant.session, number: grant.number };
        Ok(TokenResponse {
            user: None,
            access_token: self.signer.sign(&claims).map_err(Error::internal)?,
            token_type: "Bearer",
            expires_in: ttl_seconds,
            refresh_token: Some(self.refresh_keys.encode(refresh_token)),
            scope,
        })
    }

    /// An access token for a client itself (RFC 9068, 2.2: `sub` and `client_id` are the same), with a scope that it has
    /// been found to be good for.
    pub(crate) fn issue_to_client(&self, client: &Client, scope: &ScopeSet) -> Result<TokenResponse, Error> {
        let now = self.clock.now().as_seconds();
        let claims = Claims {
            iss: self.name.clone(),
            sub: client.id.as_str().to_owned(),
            aud: self.audience.clone(),
            iat: now,
            exp: now + u64::from(self.access_ttl_seconds),
            jti: Uuid::now_v7().to_string(),
            scope: scope.to_string(),
            ver: u64::try_from(client.version).ok(),
            client_id: Some(client.id.as_str().to_owned()),
            ..Claims::default()
        };
        Ok(TokenResponse {
            user: None,
            access_token: self.signer.sign(&claims).map_err(Error::internal)?,
            token_type: "Bearer",
            expires_in: self.access_ttl_seconds,
            refresh_token: None,
            scope: claims.scope,
        })
    }
}

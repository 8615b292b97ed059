//! Calls to another service: over HTTP, with a service token of our own making, within a deadline, and with this
//! request's id and trace.

use std::{sync::Mutex, time::Duration};

use anyhow::anyhow;
use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use shared_claims::{Claims, Signer};

use crate::{
    Clock,
    config::ConfigError,
    context::RequestContext,
    problem::{Code, Error, Problem},
};

/// The scope that service tokens carry: it opens `/internal/*` and nothing else.
pub const INTERNAL_SCOPE: &str = "signet:internal";

shared_claims::scope! {
    /// A service token: what `/internal/*` asks for.
    pub Internal = "signet:internal";
}

/// How long a service token lives.
pub const TOKEN_TTL_SECONDS: u64 = 120;

/// Who we are to the other services.
#[derive(Clone)]
pub struct Identity {
    /// Our own name, such as `auth-service`.
    pub name: &'static str,
    /// The issuer that all services agree on.
    pub issuer: String,
    /// Signs our service tokens.
    pub signer: Signer,
    /// Dates them.
    pub clock: Clock,
}

/// Another service.
pub struct Peer {
    name: &'static str,
    base: reqwest::Url,
    client: reqwest::Client,
    identity: Identity,
    token: Mutex<Option<(String, u64)>>,
}

impl Peer {
    /// A service by its name and base URL; `key` is the configuration key that the URL came from. A call fails when it
    /// has no answer within `timeout`.
    pub fn new(
        name: &'static str,
        key: &str,
        base: &str,
        timeout: Duration,
        identity: Identity,
    ) -> Result<Self, ConfigError> {
        let base = reqwest::Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .ok_or_else(|| ConfigError::new(key, "must be a URL such as http://127.0.0.1:8082"))?;
        let client = reqwest::Client::builder()
            .connect_timeout(timeout.min(Duration::from_secs(1)))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|cause| ConfigError::new(key, format_args!("cannot be called: {cause}")))?;
        Ok(Self { name, base, client, identity, token: Mutex::new(None) })
    }

    /// Sends JSON and reads JSON. A refusal that `known` lists is handed on as [`Error::Forwarded`]; anything else that
    /// is not a success means that the service is not available to us.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
        known: &[Code],
    ) -> Result<T, Error> {
        let unavailable = |cause: anyhow::Error| Error::DependencyUnavailable { dependency: self.name, cause };
        let url = self.base.join(path).map_err(Error::internal)?;
        let mut request = self.client.request(method, url).bearer_auth(self.token()?).json(body);
        if let Some(context) = RequestContext::current() {
            request = request
                .header("x-request-id", context.request_id.as_str())
                .header("traceparent", context.trace.to_header());
        }
        // A URL has no place in a log line, even though ours holds no secret.
        let response = request.send().await.map_err(|cause| unavailable(cause.without_url().into()))?;
        let status = response.status();
        let retry_after_seconds =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = response.bytes().await.map_err(|cause| unavailable(cause.without_url().into()))?;
        if status.is_success() {
            let body: &[u8] = if status == StatusCode::NO_CONTENT { b"null" } else { &bytes };
            return serde_json::from_slice(body)
                .map_err(|cause| unavailable(anyhow!("{} answered {status} with {cause}", self.name)));
        }
        let problem: Option<Problem> = serde_json::from_slice(&bytes).ok();
        match problem {
            Some(mut problem) => {
                if let Some(code) =
                    known.iter().find(|code| code.name == problem.code && code.status.as_u16() == status.as_u16())
                {
                    problem.retry_after_seconds = retry_after_seconds;
                    return Err(Error::Forwarded(Box::new(problem), *code));
                }
                Err(unavailable(anyhow!("{} answered {status} {}", self.name, problem.code)))
            }
            None => Err(unavailable(anyhow!("{} answered {status}", self.name))),
        }
    }

    /// Our token for this service: made anew when the last one is near its end.
    fn token(&self) -> Result<String, Error> {
        let now = self.identity.clock.now().as_seconds();
        let mut held = self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((token, refresh_at)) = held.as_ref()
            && (now..now + TOKEN_TTL_SECONDS).contains(refresh_at)
            && now < *refresh_at
        {
            return Ok(token.clone());
        }
        let token = service_token(&self.identity, self.name)?;
        *held = Some((token.clone(), now + TOKEN_TTL_SECONDS / 2));
        Ok(token)
    }
}

/// Makes a service token for another service.
pub fn service_token(identity: &Identity, audience: &str) -> Result<String, Error> {
    let now = identity.clock.now().as_seconds();
    let claims = Claims {
        iss: identity.issuer.clone(),
        sub: identity.name.to_owned(),
        aud: vec![audience.to_owned()],
        iat: now,
        exp: now + TOKEN_TTL_SECONDS,
        nbf: None,
        jti: uuid::Uuid::now_v7().to_string(),
        sid: None,
        scope: INTERNAL_SCOPE.to_owned(),
        roles: Vec::new(),
        ver: None,
        client_id: Some(identity.name.to_owned()),
        amr: Vec::new(),
        auth_time: None,
    };
    identity.signer.sign(&claims).map_err(Error::internal)
}

//! Calls to another service: over HTTP, with a service token, within a deadline, and with this request's id and trace.

use std::time::Duration;

use anyhow::anyhow;
use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use shared_claims::feed::TokenSource;

use crate::{
    config::ConfigError,
    context::RequestContext,
    problem::{Code, Error, Problem},
};

/// The scope that service tokens carry: it opens `/internal/*` and nothing else.
pub use shared_claims::feed::INTERNAL_SCOPE;

shared_claims::scope! {
    /// A service token: what `/internal/*` asks for.
    pub Internal = "signet:internal";
}

/// Whom a refusal is about, told by one service to another and never to a client.
pub const SUBJECT_HEADER: &str = "signet-subject";

/// Another service.
pub struct Peer {
    name: &'static str,
    base: reqwest::Url,
    client: reqwest::Client,
    tokens: TokenSource,
}

impl Peer {
    /// A service by its name and base URL; `key` is the configuration key that the URL came from. A call fails when it
    /// has no answer within `timeout`.
    pub fn new(
        name: &'static str,
        key: &str,
        base: &str,
        timeout: Duration,
        tokens: TokenSource,
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
        Ok(Self { name, base, client, tokens })
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
        let url = self.base.join(path).map_err(Error::internal)?;
        let request = || self.client.request(method.clone(), url.clone()).json(body);
        let (mut answer, token) = self.send(request()).await?;
        // A token may be refused before its time, when its key or its client is revoked; the next one is made or asked
        // for with what holds now.
        if answer.status == StatusCode::UNAUTHORIZED && answer.refusal(known).is_none() {
            self.tokens.forget(&token);
            (answer, _) = self.send(request()).await?;
        }
        if answer.status.is_success() {
            let body: &[u8] = if answer.status == StatusCode::NO_CONTENT { b"null" } else { &answer.body };
            return serde_json::from_slice(body)
                .map_err(|cause| self.unavailable(anyhow!("{} answered {} with {cause}", self.name, answer.status)));
        }
        if let Some((problem, code)) = answer.refusal(known) {
            return Err(Error::Forwarded(Box::new(problem), code));
        }
        let code = answer.problem().map(|problem| problem.code).unwrap_or_default();
        Err(self.unavailable(anyhow!("{} answered {} {code}", self.name, answer.status)))
    }

    /// One attempt, and the token that it showed.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(Answer, String), Error> {
        let token = self.tokens.token().await.map_err(|cause| self.unavailable(cause.into()))?;
        let mut request = request.bearer_auth(&token);
        if let Some(context) = RequestContext::current() {
            request = request
                .header("x-request-id", context.request_id.as_str())
                .header("traceparent", context.trace.to_header());
        }
        // A URL has no place in a log line, even though ours holds no secret.
        let unavailable = |cause: reqwest::Error| self.unavailable(cause.without_url().into());
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        let retry_after_seconds =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let subject = response.headers().get(SUBJECT_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await.map_err(unavailable)?.into();
        Ok((Answer { status, retry_after_seconds, subject, body }, token))
    }

    fn unavailable(&self, cause: anyhow::Error) -> Error {
        Error::DependencyUnavailable { dependency: self.name, cause }
    }
}

/// What a service has answered.
struct Answer {
    status: StatusCode,
    retry_after_seconds: Option<u32>,
    subject: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The problem, if it is one of those that are known.
    fn refusal(&self, known: &[Code]) -> Option<(Problem, Code)> {
        let mut problem = self.problem()?;
        let code =
            known.iter().find(|code| code.name == problem.code && code.status.as_u16() == self.status.as_u16())?;
        problem.retry_after_seconds = self.retry_after_seconds;
        problem.subject.clone_from(&self.subject);
        Some((problem, *code))
    }
}

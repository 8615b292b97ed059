//! Calls to another service: over HTTP, with a service token, within a deadline that travels along, and with this
//! request's id and trace.
//!
//! What was sent is not sent again: only a call that found no connection is, seldom enough not to make an outage worse. A
//! service that is gone is left alone by a circuit, which probes it and closes with its first answer.

mod circuit;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::anyhow;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use rand::RngExt as _;
use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use shared_claims::feed::TokenSource;
use tower::retry::budget::{Budget as _, TpsBudget};

use self::circuit::{Circuit, Passage};
use crate::{
    config::ConfigError,
    context::RequestContext,
    metrics::Labels,
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

/// How long the caller still waits for the answer, in whole milliseconds. Believed on `/internal/*` alone, which only
/// services may call, and a service only ever does less because of it.
pub const TIMEOUT_HEADER: &str = "signet-timeout-ms";

/// No header makes a deadline later than this.
const LONGEST_TIMEOUT: Duration = Duration::from_hours(1);

/// Tries of one call that find no connection, but for the first.
const MOST_RETRIES: u32 = 2;

/// The longest pause before the first of them; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Retries in a second that are always granted, and the share of all calls that is on top of that.
const RETRIES_PER_SECOND: u32 = 2;
const RETRIES_PER_CALL: f32 = 0.1;

/// For how long a call counts towards the retries of others.
const RETRY_WINDOW: Duration = Duration::from_secs(10);

/// What the header [`TIMEOUT_HEADER`] says, if it says anything that can be read.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    text.parse().ok().map(|millis| Duration::from_millis(millis).min(LONGEST_TIMEOUT))
}

/// Another service.
pub struct Peer {
    name: &'static str,
    base: reqwest::Url,
    client: reqwest::Client,
    timeout: Duration,
    tokens: TokenSource,
    health: Arc<Health>,
}

/// How calls to a service fare.
#[derive(Debug)]
struct Health {
    name: &'static str,
    circuit: Circuit,
    budget: TpsBudget,
    retries: AtomicU64,
}

/// Why there is no answer.
enum Failure {
    /// There was nothing to show to the service.
    NoToken(anyhow::Error),
    /// The service is not there, or was gone before it had answered.
    Gone(anyhow::Error),
}

impl Peer {
    /// A service by its name and base URL; `key` is the configuration key that the URL came from. A call fails when it
    /// has no answer within `timeout`, or by the deadline of the request that it is made for.
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
        let mut client = reqwest::Client::builder()
            .connect_timeout(timeout.min(Duration::from_secs(1)))
            // Well before the other side closes it: a call on a connection that is being closed is lost.
            .pool_idle_timeout(Duration::from_secs(15))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if base.scheme() == "http" {
            // The certificates of the system are some hundred files, and megabytes once they are read.
            client = client.tls_certs_only([]);
        }
        let client =
            client.build().map_err(|cause| ConfigError::new(key, format_args!("cannot be called: {cause}")))?;
        Ok(Self { name, base, client, timeout, tokens, health: Arc::new(Health::new(name, 0)) })
    }

    /// After so many calls in a row without an answer no more are made for a while, but for one at a time that finds out
    /// whether there is one again; 0 for never.
    #[must_use]
    pub fn with_circuit(self, opens_after: u32) -> Self {
        Self { health: Arc::new(Health::new(self.name, opens_after)), ..self }
    }

    /// How calls fare, for `/metrics`.
    pub fn figures(&self) -> impl Collector + use<> {
        Figures(self.health.clone())
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
        let now = Instant::now();
        let patience = now + self.timeout;
        let deadline = RequestContext::current().and_then(|context| context.deadline);
        let deadline = deadline.map_or(patience, |deadline| deadline.min(patience));
        let passage = self.health.circuit.enter(now);
        if passage == Passage::Closed {
            return Err(self.unavailable(anyhow!("it has not answered lately and is asked again in a moment")));
        }
        self.health.budget.deposit();
        let request = || self.client.request(method.clone(), url.clone()).json(body);
        let exchange = self.exchange(request, known, deadline, passage == Passage::Free);
        let answer = match tokio::time::timeout_at(deadline.into(), exchange).await {
            Ok(Ok(answer)) => {
                if self.health.circuit.answered() {
                    log::info!("{} answers again", self.name);
                }
                answer
            }
            Ok(Err(Failure::NoToken(cause))) => return Err(self.unavailable(cause)),
            Ok(Err(Failure::Gone(cause))) => {
                self.failed();
                return Err(self.unavailable(cause));
            }
            Err(_) => {
                // Too little time says nothing about the service.
                if deadline == patience {
                    self.failed();
                }
                return Err(self.unavailable(anyhow!("there was no answer within {:?}", deadline - now)));
            }
        };
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

    async fn exchange(
        &self,
        request: impl Fn() -> reqwest::RequestBuilder,
        known: &[Code],
        deadline: Instant,
        may_retry: bool,
    ) -> Result<Answer, Failure> {
        let (answer, token) = self.send(&request, deadline, may_retry).await?;
        // A token may be refused before its time, when its key or its client is revoked; the next one is made or asked
        // for with what holds now. Nothing was done for the one that was refused, so this is no retry of anything.
        if answer.status == StatusCode::UNAUTHORIZED && answer.refusal(known).is_none() {
            self.tokens.forget(&token);
            return Ok(self.send(&request, deadline, may_retry).await?.0);
        }
        Ok(answer)
    }

    /// Sends it, once more if no connection is to be had, and says which token it showed.
    async fn send(
        &self,
        request: &impl Fn() -> reqwest::RequestBuilder,
        deadline: Instant,
        may_retry: bool,
    ) -> Result<(Answer, String), Failure> {
        let mut retries = 0;
        loop {
            match self.attempt(request(), deadline).await? {
                Ok(answered) => return Ok(answered),
                Err(cause) => {
                    let again = cause.is_connect() && may_retry && retries < MOST_RETRIES;
                    if !again || !self.health.budget.withdraw() {
                        // A URL has no place in a log line, even though ours holds no secret.
                        return Err(Failure::Gone(cause.without_url().into()));
                    }
                }
            }
            self.health.retries.fetch_add(1, Ordering::Relaxed);
            let longest = FIRST_PAUSE * (1 << retries);
            // Anything up to the longest, so that those who failed together do not come back together.
            let pause = longest.mul_f64(rand::rng().random_range(0.0..=1.0));
            tokio::time::sleep(pause).await;
            retries += 1;
        }
    }

    async fn attempt(
        &self,
        request: reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Result<(Answer, String), reqwest::Error>, Failure> {
        let token = self.tokens.token().await.map_err(|cause| Failure::NoToken(cause.into()))?;
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let mut request = request.bearer_auth(&token).header(TIMEOUT_HEADER, left.to_string());
        if let Some(context) = RequestContext::current() {
            request = request
                .header("x-request-id", context.request_id.as_str())
                .header("traceparent", context.trace.to_header());
        }
        Ok(async {
            let response = request.send().await?;
            let status = response.status();
            let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            let retry_after_seconds = text(header::RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
            let subject = text(SUBJECT_HEADER).map(str::to_owned);
            let body = response.bytes().await?.into();
            Ok((Answer { status, retry_after_seconds, subject, body }, token))
        }
        .await)
    }

    fn failed(&self) {
        if self.health.circuit.failed(Instant::now()) {
            log::warn!("{} does not answer: it is left alone, but for a call now and then", self.name);
        }
    }

    fn unavailable(&self, cause: anyhow::Error) -> Error {
        Error::DependencyUnavailable { dependency: self.name, cause }
    }
}

impl Health {
    fn new(name: &'static str, opens_after: u32) -> Self {
        Self {
            name,
            circuit: Circuit::new(opens_after),
            budget: TpsBudget::new(RETRY_WINDOW, RETRIES_PER_SECOND, RETRIES_PER_CALL),
            retries: AtomicU64::new(0),
        }
    }
}

/// Reads how calls fare when somebody asks.
#[derive(Debug)]
struct Figures(Arc<Health>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labels: Labels = vec![("peer", self.0.name.to_owned())];
        let (open, turned_away) = self.0.circuit.figures();
        let circuit = Family::<Labels, Gauge>::default();
        circuit.get_or_create(&labels).set(open.into());
        let help = "Whether calls to another service are not made because it does not answer";
        circuit.encode(encoder.encode_descriptor(
            "peer_circuit_open",
            help,
            None,
            EncodeMetric::metric_type(&circuit),
        )?)?;
        for (name, help, count) in [
            (
                "peer_calls_not_made",
                "Calls to another service that were not made because it does not answer",
                turned_away,
            ),
            (
                "peer_retries",
                "Calls to another service that were made again because there was no connection",
                self.0.retries.load(Ordering::Relaxed),
            ),
        ] {
            let counter = Family::<Labels, Counter>::default();
            counter.get_or_create(&labels).inc_by(count);
            counter.encode(encoder.encode_descriptor(name, help, None, EncodeMetric::metric_type(&counter))?)?;
        }
        Ok(())
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

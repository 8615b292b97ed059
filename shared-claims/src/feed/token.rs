//! Where a service gets the token that it shows to another: made with its own key, or asked of auth-service.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use tokio::time::Instant;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use crate::claims::Claims;
use crate::error::{Error, ErrorKind};
use crate::feed::http::{self, BodyError, SetupError};
use crate::signer::Signer;

/// The scope that service tokens carry: it opens `/internal/*` and nothing else.
pub const INTERNAL_SCOPE: &str = "signet:internal";

/// How long a token lives that we sign ourselves.
pub const SERVICE_TOKEN_TTL_SECONDS: u64 = 120;

/// The longest that the token endpoint is waited for.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer of a token endpoint, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How long before its end a token is replaced, at the earliest; one that does not live long is replaced at half time.
const EARLY: Duration = Duration::from_secs(30);

/// How long a token is used whose answer does not say how long it lives.
const UNKNOWN_TTL: Duration = Duration::from_mins(1);

type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Gives out service tokens, which open `/internal/*`: signed with a key of our own, or fetched from auth-service with a
/// client's credentials. A token is used again until its end is near. Clones share it.
#[derive(Clone)]
pub struct TokenSource(Arc<Source>);

enum Source {
    Signed(Signed),
    ClientCredentials(ClientCredentials),
}

impl TokenSource {
    /// Signs tokens with the ring that all services share. They live for 120 seconds, and are made anew at half time or
    /// as soon as the ring signs with another key.
    ///
    /// `name` is the service's own name, `audience` that of the service which is called. `clock` gives the seconds since
    /// the Unix epoch.
    pub fn signed(signer: Signer, issuer: &str, name: &str, audience: &str, clock: Clock) -> Self {
        let template = Claims {
            iss: issuer.to_owned(),
            sub: name.to_owned(),
            aud: vec![audience.to_owned()],
            scope: INTERNAL_SCOPE.to_owned(),
            client_id: Some(name.to_owned()),
            ..Claims::default()
        };
        Self(Arc::new(Source::Signed(Signed { signer, template, clock, held: Mutex::default() })))
    }

    /// Asks a token endpoint, such as `http://127.0.0.1:8081/auth/token`, with the credentials of a registered client
    /// (RFC 6749 §4.4). The client must have been registered with the scope `signet:internal`.
    ///
    /// However many callers wait for a token, one request is under way. The secret goes over the wire as it is: use
    /// https unless the network is your own.
    pub fn client_credentials(token_url: &str, client_id: &str, client_secret: &str) -> Result<Self, SetupError> {
        let token_url = http::parse_url(token_url)?;
        Ok(Self(Arc::new(Source::ClientCredentials(ClientCredentials {
            client: http::client(&token_url)?,
            token_url,
            authorization: basic(client_id, client_secret)?,
            held: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
            failure: Mutex::default(),
        }))))
    }

    /// A token that is good for a while.
    pub async fn token(&self) -> Result<String, TokenSourceError> {
        match &*self.0 {
            Source::Signed(source) => source.token().map_err(TokenSourceError::Signing),
            Source::ClientCredentials(source) => source.token().await,
        }
    }

    /// Does not give out this token again. For one that was refused with 401.
    pub fn forget(&self, token: &str) {
        match &*self.0 {
            Source::Signed(source) => drop(lock(&source.held).take_if(|held| held.token == token)),
            Source::ClientCredentials(source) => drop(lock(&source.held).take_if(|held| held.token == token)),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &*self.0 {
            Source::Signed(_) => "signed",
            Source::ClientCredentials(_) => "client_credentials",
        };
        f.debug_struct("TokenSource").field("kind", &kind).finish_non_exhaustive()
    }
}

/// Why there is no service token. It carries no part of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenSourceError {
    /// It could not be signed.
    #[error("no service token can be signed: {0}")]
    Signing(Error),
    /// The token endpoint did not answer.
    #[error("the token endpoint cannot be reached: {0}")]
    Unreachable(String),
    /// The token endpoint refused.
    #[error("the token endpoint answered {status} {code}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error code of RFC 6749 §5.2, if the answer has one.
        code: String,
    },
    /// What came is not an answer of RFC 6749 §5.1 with a bearer token.
    #[error("the token endpoint gave no bearer token")]
    Malformed,
}

struct Signed {
    signer: Signer,
    template: Claims,
    clock: Clock,
    held: Mutex<Option<SignedToken>>,
}

struct SignedToken {
    token: String,
    key_id: Option<String>,
    issued_at: u64,
}

impl Signed {
    fn token(&self) -> Result<String, Error> {
        const NO_RANDOMNESS: Error = Error::new(ErrorKind::Signing, "there is no randomness to be had");

        let now = (self.clock)();
        let key_id = self.signer.key_id();
        let mut held = lock(&self.held);
        if let Some(held) = &*held
            && held.key_id == key_id
            // A clock that was set back must not leave us with a token from the future.
            && (held.issued_at..held.issued_at.saturating_add(SERVICE_TOKEN_TTL_SECONDS / 2)).contains(&now)
        {
            return Ok(held.token.clone());
        }
        let token = self.signer.sign(&Claims {
            iat: now,
            exp: now.saturating_add(SERVICE_TOKEN_TTL_SECONDS),
            jti: random_id().ok_or(NO_RANDOMNESS)?,
            ..self.template.clone()
        })?;
        *held = Some(SignedToken { token: token.clone(), key_id, issued_at: now });
        Ok(token)
    }
}

/// 128 bits, as 22 characters.
pub(super) fn random_id() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

struct ClientCredentials {
    client: Client,
    token_url: Url,
    authorization: HeaderValue,
    held: Mutex<Option<FetchedToken>>,
    /// Held by whoever asks the endpoint.
    flight: tokio::sync::Mutex<()>,
    /// How often the endpoint has failed, and how it did last: those who waited meanwhile share that.
    failures: AtomicU64,
    failure: Mutex<Option<TokenSourceError>>,
}

struct FetchedToken {
    token: String,
    use_until: Instant,
}

impl ClientCredentials {
    async fn token(&self) -> Result<String, TokenSourceError> {
        if let Some(token) = self.held() {
            return Ok(token);
        }
        let failures = self.failures.load(Ordering::Acquire);
        let _flight = self.flight.lock().await;
        if let Some(token) = self.held() {
            return Ok(token);
        }
        if self.failures.load(Ordering::Acquire) != failures
            && let Some(failure) = &*lock(&self.failure)
        {
            return Err(failure.clone());
        }
        match self.fetch().await {
            Ok(fetched) => {
                let token = fetched.token.clone();
                *lock(&self.held) = Some(fetched);
                Ok(token)
            }
            Err(failure) => {
                *lock(&self.failure) = Some(failure.clone());
                self.failures.fetch_add(1, Ordering::Release);
                Err(failure)
            }
        }
    }

    fn held(&self) -> Option<String> {
        lock(&self.held).as_ref().filter(|held| Instant::now() < held.use_until).map(|held| held.token.clone())
    }

    async fn fetch(&self) -> Result<FetchedToken, TokenSourceError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            token_type: String,
            expires_in: Option<u64>,
        }

        let asked_at = Instant::now();
        let (status, body) = tokio::time::timeout(ENDPOINT_TIMEOUT, self.ask())
            .await
            .map_err(|_| TokenSourceError::Unreachable("no answer in time".to_owned()))??;
        if status != 200 {
            return Err(TokenSourceError::Refused { status, code: error_code(&body) });
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| TokenSourceError::Malformed)?;
        if !answer.token_type.eq_ignore_ascii_case("Bearer") || HeaderValue::from_str(&answer.access_token).is_err() {
            return Err(TokenSourceError::Malformed);
        }
        let ttl = answer.expires_in.map_or(UNKNOWN_TTL, Duration::from_secs);
        let used_for = ttl.saturating_sub(EARLY.min(ttl / 2));
        // Whatever it says, a token that is as old as a day is worth asking for anew.
        let use_until = asked_at + used_for.min(Duration::from_hours(24));
        Ok(FetchedToken { token: answer.access_token, use_until })
    }

    async fn ask(&self) -> Result<(u16, Zeroizing<Vec<u8>>), TokenSourceError> {
        let response = self
            .client
            .post(self.token_url.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .form(&[("grant_type", "client_credentials"), ("scope", INTERNAL_SCOPE)])
            .send()
            .await
            .map_err(|cause| TokenSourceError::Unreachable(http::describe(cause)))?;
        let status = response.status().as_u16();
        match http::body(response, MAX_ANSWER_BYTES).await {
            Ok(body) => Ok((status, Zeroizing::new(body))),
            Err(BodyError::TooLong) => Err(TokenSourceError::Malformed),
            Err(BodyError::Slow) => Err(TokenSourceError::Unreachable("the answer came too slowly".to_owned())),
            Err(BodyError::Cut(cause)) => Err(TokenSourceError::Unreachable(cause)),
        }
    }
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before they are put together.
fn basic(client_id: &str, client_secret: &str) -> Result<HeaderValue, SetupError> {
    let encoded = |text: &str| Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
    let (id, secret) = (encoded(client_id), encoded(client_secret));
    let pair = Zeroizing::new(format!("{}:{}", &*id, &*secret));
    let value = Zeroizing::new(format!("Basic {}", &*Zeroizing::new(STANDARD.encode(&*pair))));
    // Base64 is ASCII throughout.
    let mut value = HeaderValue::from_str(&value).map_err(|cause| SetupError::Client(cause.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The code in an error answer, if it is one that can be logged as it is.
fn error_code(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        error: String,
    }

    let is_code = |code: &String| code.len() <= 40 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    serde_json::from_slice::<Answer>(body).ok().map(|answer| answer.error).filter(is_code).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The way from a command to a stack that runs: its address, the token for it, and its refusals in words.

use std::{fmt, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::Args;
use reqwest::{Method, RequestBuilder, Response, Url, header::HeaderValue};
use service_kit::{Clock, problem::Problem, server::termination};
use shared_claims::{Claims, KeyRing, Signer};

use crate::{cli::Place, config, failure::Failure, ring_file, secrets::SecretsFile};

/// Who signs the tokens that the program makes for itself: `sub` and `client_id`.
const CLIENT_ID: &str = "signet-cli";

/// Long enough for a token to arrive; nobody looks at it again later.
const TOKEN_TTL_SECONDS: u64 = 60;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which stack to talk to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// Where the stack is. The token is `SIGNET_TOKEN` or, on this machine, made with the secrets in the data directory
    #[arg(long, env = "SIGNET_URL", default_value = "http://127.0.0.1:8080", value_parser = parse_url)]
    pub(crate) url: Url,
}

/// auth-service's own port, where what is for operators alone is.
#[derive(Args, Clone, Debug)]
pub(crate) struct AuthTarget {
    /// auth-service's own port: with `signet up`, the one after the stack's
    #[arg(long, env = "SIGNET_AUTH_URL", default_value = "http://127.0.0.1:8081", value_parser = parse_url)]
    pub(crate) auth_url: Url,
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    let Some(mut url) = url else {
        return Err("it must be a URL such as https://id.example".to_owned());
    };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("it must be a URL without a user, a query and a fragment".to_owned());
    }
    // So that paths are appended, not put in the place of the last segment.
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Whether the URL leads to this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// A stack and the right to do one thing there.
pub(crate) struct Connection {
    url: Url,
    client: reqwest::Client,
    authorization: HeaderValue,
    hints: Hints,
}

/// What a complaint tells the operator to do.
#[derive(Clone, Copy)]
struct Hints {
    /// How another address is given.
    address: &'static str,
    /// What else could have put the token right.
    unauthorized: &'static str,
    /// What it may mean that there is nothing at a path that should be there.
    not_found: Option<&'static str>,
}

impl Hints {
    const STACK: Self = Self {
        address: "start the stack with `signet up`, or name another with --url or SIGNET_URL",
        unauthorized: "log in again and put the new access token into SIGNET_TOKEN",
        not_found: None,
    };
    const AUTH_SERVICE: Self = Self {
        address: "start the stack with `signet up`, or name auth-service's own port with --auth-url or SIGNET_AUTH_URL",
        not_found: Some("is this auth-service's own port? No other one leads to what is for operators"),
        ..Self::STACK
    };

    fn self_signed(self) -> Self {
        let unauthorized = "the stack was started with other secrets than those in the data directory: name its \
                            directory with --data-dir, or put a token into SIGNET_TOKEN";
        Self { unauthorized, ..self }
    }
}

impl Connection {
    /// Finds a token with the scope: the one in `SIGNET_TOKEN`, else one that we sign ourselves with the common secret
    /// of a stack on this machine.
    pub(crate) fn open(target: &Target, place: &Place, scope: &str) -> Result<Self, Failure> {
        Self::find_token(&target.url, place, scope, Hints::STACK)
    }

    /// The same at auth-service's own port.
    pub(crate) fn open_auth_service(target: &AuthTarget, place: &Place, scope: &str) -> Result<Self, Failure> {
        Self::find_token(&target.auth_url, place, scope, Hints::AUTH_SERVICE)
    }

    fn find_token(url: &Url, place: &Place, scope: &str, hints: Hints) -> Result<Self, Failure> {
        match config::operator_token() {
            Some(token) => Self::with_token(url.clone(), &token, hints),
            None => Self::with_token(url.clone(), &own_token(url, place, scope)?, hints.self_signed()),
        }
    }

    /// With a token that the stack's own secrets have signed.
    pub(crate) fn with_own_token(url: Url, token: &str) -> Result<Self, Failure> {
        Self::with_token(url, token, Hints::STACK.self_signed())
    }

    /// At auth-service's own port with a token that a key ring has signed.
    pub(crate) fn with_token_of_ring(target: &AuthTarget, token: &str) -> Result<Self, Failure> {
        let unauthorized = "auth-service takes no token of this ring: is it the one that it uses?";
        Self::with_token(target.auth_url.clone(), token, Hints { unauthorized, ..Hints::AUTH_SERVICE })
    }

    fn with_token(url: Url, token: &str, hints: Hints) -> Result<Self, Failure> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| anyhow!("the token in SIGNET_TOKEN holds characters that no token has"))?;
        authorization.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("signet/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().context("no HTTP client could be made")?;
        Ok(Self { url, client, authorization, hints })
    }

    /// Starts a request; the path has no slash in front.
    pub(crate) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let url = self.url.join(path).context("the address of the stack")?;
        Ok(self.client.request(method, url).header(reqwest::header::AUTHORIZATION, self.authorization.clone()))
    }

    /// Sends a request and has its answer, whatever the status.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|cause| {
            if cause.is_connect() {
                anyhow!("nothing answers at {}: {}", self.url, self.hints.address)
            } else {
                anyhow::Error::new(cause.without_url()).context(format!("no answer from {}", self.url))
            }
            .into()
        })
    }

    /// The answer, if it is a success; else what the stack says against it.
    pub(crate) async fn succeed(&self, response: Response) -> Result<Response, Refusal> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let request_id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let problem = response.bytes().await.ok().and_then(|body| serde_json::from_slice::<Problem>(&body).ok());
        let hint = match status {
            reqwest::StatusCode::UNAUTHORIZED => Some(self.hints.unauthorized),
            reqwest::StatusCode::NOT_FOUND => self.hints.not_found,
            _ => None,
        };
        Err(Refusal { status, request_id, problem, hint })
    }
}

/// What the stack says against a request.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: reqwest::StatusCode,
    request_id: Option<String>,
    pub(crate) problem: Option<Problem>,
    hint: Option<&'static str>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Some(problem) => {
                write!(f, "refused: {} ({}", problem.detail.trim_end_matches('.'), problem.code)?;
                match problem.request_id.as_ref().or(self.request_id.as_ref()) {
                    Some(id) => write!(f, ", request id {id})")?,
                    None => write!(f, ")")?,
                }
                // A single one already is what the detail says.
                if problem.errors.len() > 1 {
                    for error in &problem.errors {
                        write!(f, "; {}: {}", error.field, error.message.trim_end_matches('.'))?;
                    }
                }
            }
            None => {
                write!(f, "the answer was {} and not one of a Signet stack: is the address right?", self.status)?;
            }
        }
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal.into())
    }
}

/// A token that the program signs for itself, with the common secret that the data directory or the configuration
/// holds. Only for a stack on this machine: elsewhere, that secret is not this machine's to use.
fn own_token(url: &Url, place: &Place, scope: &str) -> Result<String, Failure> {
    if !is_loopback(url) {
        Err(anyhow!("a token is needed for {url}: log in there and put the access token into SIGNET_TOKEN"))?;
    }
    let sources = config::sources(place, None);
    let mut configuration: config::UpConfig = sources.load()?;
    if configuration.wants_keys() {
        let stored = SecretsFile::in_directory(&place.data_dir).read().map_err(anyhow::Error::new)?;
        configuration.take(stored.unwrap_or_default());
    }
    if configuration.wants_keys() {
        let path = ring_file::in_directory(&place.data_dir);
        if !path.exists() {
            Err(anyhow!(
                "a token is needed: put one into SIGNET_TOKEN, or name the data directory of the stack with \
                 --data-dir ({} is not there)",
                path.display()
            ))?;
        }
        configuration.tokens.jwks_file = Some(path);
    }
    sign(&configuration, scope)
}

/// A short-lived client token with one scope, for every service of the stack.
pub(crate) fn sign(configuration: &config::UpConfig, scope: &str) -> Result<String, Failure> {
    sign_with(&configuration.keys()?.ring().current(), &configuration.tokens.issuer, scope)
}

/// The same with the first key of a ring.
pub(crate) fn sign_with(ring: &KeyRing, issuer: &str, scope: &str) -> Result<String, Failure> {
    let signer = Signer::new(ring).context("the token cannot be signed")?;
    let now = Clock::system().now().as_seconds();
    let claims = Claims {
        iss: issuer.to_owned(),
        sub: CLIENT_ID.to_owned(),
        aud: config::SERVICES.iter().map(|service| (*service).to_owned()).collect(),
        iat: now,
        exp: now + TOKEN_TTL_SECONDS,
        jti: uuid::Uuid::now_v7().to_string(),
        scope: scope.to_owned(),
        client_id: Some(CLIENT_ID.to_owned()),
        ..Claims::default()
    };
    Ok(signer.sign(&claims).context("the token cannot be signed")?)
}

/// Runs a command's conversation with the stack to its end, or until the operator has enough of it: what it has begun
/// is cleaned up then, too.
pub(crate) fn converse<T>(conversation: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for network connections could be made")?;
    runtime.block_on(async {
        tokio::select! {
            result = conversation => result,
            () = termination() => Err(anyhow!("interrupted").into()),
        }
    })
}

/// Reads a JSON answer.
pub(crate) async fn read_json<T: serde::de::DeserializeOwned>(response: Response) -> Result<T, Failure> {
    let body = response
        .bytes()
        .await
        .map_err(|cause| anyhow::Error::new(cause.without_url()).context("the answer broke off"))?;
    Ok(serde_json::from_slice(&body)
        .map_err(|cause| anyhow!("the answer is not one of a Signet stack ({cause}): is the address right?"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_with_and_without_a_path_and_nothing_else() {
        for (given, joined) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/persons/import"),
            ("https://example.org/signet", "https://example.org/signet/persons/import"),
            ("https://example.org/signet/", "https://example.org/signet/persons/import"),
        ] {
            assert_eq!(parse_url(given).unwrap().join("persons/import").unwrap().as_str(), joined);
        }
        for bad in ["127.0.0.1:8080", "ftp://example.org", "http://", "http://ada:pass@example.org", "http://a.b/?x=y"]
        {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_its_own() {
        for (url, own) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080", true),
            ("http://localhost.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("http://10.0.0.1", false),
            ("https://example.org", false),
        ] {
            assert_eq!(is_loopback(&parse_url(url).unwrap()), own, "{url}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_wrong_with_each_field_its_code_and_its_request_id() {
        let body = r#"{"type":"about:blank","title":"Validation failed","status":422,"code":"validation_failed",
            "detail":"2 fields cannot be taken; errors says why.","request_id":"abc",
            "errors":[{"field":"email","code":"invalid","message":"This is no address."},
                      {"field":"password","code":"too_short","message":"At least 8 characters."}]}"#;
        let refusal = Refusal {
            status: reqwest::StatusCode::UNPROCESSABLE_ENTITY,
            request_id: None,
            problem: serde_json::from_str(body).ok(),
            hint: None,
        };
        assert_eq!(
            refusal.to_string(),
            "refused: 2 fields cannot be taken; errors says why (validation_failed, request id abc); \
             email: This is no address; password: At least 8 characters"
        );
    }

    #[test]
    fn an_answer_of_something_else_is_called_so() {
        let refusal = Refusal { status: reqwest::StatusCode::BAD_GATEWAY, request_id: None, problem: None, hint: None };
        assert!(refusal.to_string().contains("502"), "{refusal}");
    }
}

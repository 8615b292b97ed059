//! The way from a command to a stack that runs: its address, the token for it, and its refusals in words.

use std::{fmt, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::Args;
use reqwest::{Method, RequestBuilder, Response, Url, header::HeaderValue};
use service_kit::{Clock, problem::Problem, server::termination};
use shared_claims::{Claims, KeyRing, Signer};

use crate::{cli::Globals, config, failure::Failure, logins, ring_file, secrets::SecretsFile};

/// Who signs the tokens that the program makes for itself: `sub` and `client_id`.
const CLIENT_ID: &str = "signet-cli";

/// Long enough for a token to arrive; nobody looks at it again later.
const TOKEN_TTL_SECONDS: u64 = 60;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// Which stack to talk to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// Where the stack is. The token is `SIGNET_TOKEN`, that of `signet login`, or, on this machine, made with the keys in
    /// the data directory
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

pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
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
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// A client for a stack. It follows no redirection, which could lead a token elsewhere.
pub(crate) fn http_client(url: &Url) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("signet/", env!("CARGO_PKG_VERSION")));
    if is_loopback(url) {
        builder = builder.no_proxy();
        if url.scheme() == "http" {
            // The certificates of the system are some hundred files. Elsewhere a proxy could speak TLS.
            builder = builder.tls_certs_only([]);
        }
    }
    Ok(builder.build().context("no HTTP client could be made")?)
}

/// A stack and the right to do one thing there.
pub(crate) struct Connection {
    url: Url,
    client: reqwest::Client,
    authorization: Option<HeaderValue>,
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

    fn because(self, unauthorized: &'static str) -> Self {
        Self { unauthorized, ..self }
    }

    fn self_signed(self) -> Self {
        self.because(
            "the stack was started with other secrets than those in the data directory: name its directory with \
             --data-dir, log in with `signet login`, or put a token into SIGNET_TOKEN",
        )
    }

    fn logged_in(self) -> Self {
        self.because("the log-in has ended: run `signet login` again")
    }
}

impl Connection {
    /// Finds a token with the scope: the one in `SIGNET_TOKEN`, else that of a log-in there, else one that we sign
    /// ourselves with the keys of a stack on this machine.
    pub(crate) async fn open(target: &Target, globals: &Globals, scope: &str) -> Result<Self, Failure> {
        let (url, hints) = (&target.url, Hints::STACK);
        if let Some(token) = config::operator_token() {
            return Self::with_token(url.clone(), &token, hints);
        }
        if let Some(token) = logins::access_token(url).await? {
            return Self::with_token(url.clone(), &token, hints.logged_in());
        }
        let token = own_token(url, hints, globals, scope).await?;
        Self::with_token(url.clone(), &token, hints.self_signed())
    }

    /// The same at auth-service's own port, where no user's token is of use.
    pub(crate) async fn open_auth_service(
        target: &AuthTarget,
        globals: &Globals,
        scope: &str,
    ) -> Result<Self, Failure> {
        let (url, hints) = (&target.auth_url, Hints::AUTH_SERVICE);
        if let Some(token) = config::operator_token() {
            return Self::with_token(url.clone(), &token, hints);
        }
        let token = own_token(url, hints, globals, scope).await?;
        Self::with_token(url.clone(), &token, hints.self_signed())
    }

    /// With a token that the stack's own secrets have signed.
    pub(crate) fn with_own_token(url: Url, token: &str) -> Result<Self, Failure> {
        Self::with_token(url, token, Hints::STACK.self_signed())
    }

    /// At auth-service's own port with a token that a key ring has signed.
    pub(crate) async fn with_ring(target: &AuthTarget, globals: &Globals, ring: &KeyRing) -> Result<Self, Failure> {
        let unauthorized = "auth-service takes no token of this ring: is it the one that it uses?";
        let hints = Hints::AUTH_SERVICE.because(unauthorized);
        let configuration: config::UpConfig = config::sources(globals, None).load()?;
        let issuer = configured_or_told(&configuration, &target.auth_url, hints).await?;
        let token = sign(ring, &issuer, service_kit::peer::INTERNAL_SCOPE)?;
        Self::with_token(target.auth_url.clone(), &token, hints)
    }

    /// Shows a token whose fate is of interest, whosever it is.
    pub(crate) fn showing(url: Url, token: &str) -> Result<Self, Failure> {
        Self::with_token(url, token, Hints::STACK)
    }

    /// Without a token, for what asks for none; `unauthorized` says what a refusal may mean.
    pub(crate) fn without_token(url: Url, unauthorized: &'static str) -> Result<Self, Failure> {
        let client = http_client(&url)?;
        Ok(Self { url, client, authorization: None, hints: Hints::STACK.because(unauthorized) })
    }

    fn with_token(url: Url, token: &str, hints: Hints) -> Result<Self, Failure> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| anyhow!("the token in SIGNET_TOKEN holds characters that no token has"))?;
        authorization.set_sensitive(true);
        let client = http_client(&url)?;
        Ok(Self { url, client, authorization: Some(authorization), hints })
    }

    /// Starts a request; the path has no slash in front.
    pub(crate) fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let url = self.url.join(path).context("the address of the stack")?;
        let request = self.client.request(method, url);
        Ok(match &self.authorization {
            Some(authorization) => request.header(reqwest::header::AUTHORIZATION, authorization.clone()),
            None => request,
        })
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

    /// All items of a list, page by page.
    pub(crate) async fn all<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Vec<T>, Failure> {
        #[derive(serde::Deserialize)]
        struct Page<T> {
            items: Vec<T>,
            next_cursor: Option<String>,
        }

        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.request(Method::GET, path)?.query(&[("limit", "200")]).query(query);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let answer = self.send(request.timeout(timeout)).await?;
            let page: Page<T> = read_json(self.succeed(answer).await?).await?;
            all.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
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
    pub(crate) status: reqwest::StatusCode,
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

/// A token that the program signs for itself, with the keys that the data directory or the configuration holds. Only
/// for a stack on this machine: elsewhere, they are not this machine's to use.
async fn own_token(url: &Url, hints: Hints, globals: &Globals, scope: &str) -> Result<String, Failure> {
    if !is_loopback(url) {
        Err(anyhow!(
            "a token is needed for {url}: log in with `signet login --url {url}`, or put an access token into SIGNET_TOKEN"
        ))?;
    }
    let AtHand { configuration, ring } = AtHand::find(globals)?;
    let ring = ring.ok_or_else(|| {
        anyhow!(
            "a token is needed: log in with `signet login --url {url}`, put a token into SIGNET_TOKEN, or name the data \
             directory of the stack with --data-dir ({} is not there)",
            ring_file::in_directory(&globals.data_dir).display()
        )
    })?;
    sign(&ring, &configured_or_told(&configuration, url, hints).await?, scope)
}

/// What this machine knows of the stack's keys.
pub(crate) struct AtHand {
    /// The configuration, with the secrets of the data directory in it.
    pub(crate) configuration: config::UpConfig,
    /// The ring, if there is one here.
    pub(crate) ring: Option<KeyRing>,
}

impl AtHand {
    /// Looks into the configuration, then into the data directory.
    pub(crate) fn find(globals: &Globals) -> Result<Self, Failure> {
        let mut configuration: config::UpConfig = config::sources(globals, None).load()?;
        if configuration.wants_keys() {
            let stored = SecretsFile::in_directory(&globals.data_dir).read().map_err(anyhow::Error::new)?;
            configuration.take(stored.unwrap_or_default());
        }
        if configuration.wants_keys() {
            configuration.tokens.jwks_file =
                Some(ring_file::in_directory(&globals.data_dir)).filter(|path| path.exists());
        }
        let ring = if configuration.wants_keys() { None } else { Some(configuration.keys()?.ring().current()) };
        Ok(Self { configuration, ring: ring.map(|ring| KeyRing::clone(&ring)) })
    }
}

/// The issuer of a stack: as configured here, else as the stack itself says.
pub(crate) async fn issuer(configuration: &config::UpConfig, url: &Url) -> Result<String, Failure> {
    configured_or_told(configuration, url, Hints::STACK).await
}

async fn configured_or_told(configuration: &config::UpConfig, url: &Url, hints: Hints) -> Result<String, Failure> {
    match configuration.tokens.issuer.as_str() {
        "" => told(url, hints).await,
        configured => Ok(configured.to_owned()),
    }
}

/// The issuer that a stack says it is.
pub(crate) async fn told_issuer(url: &Url) -> Result<String, Failure> {
    told(url, Hints::STACK).await
}

async fn told(url: &Url, hints: Hints) -> Result<String, Failure> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        issuer: String,
    }

    let stack = Connection { url: url.clone(), client: http_client(url)?, authorization: None, hints };
    let request = stack.request(Method::GET, &metadata_path(url))?.timeout(METADATA_TIMEOUT);
    let answer = stack.succeed(stack.send(request).await?).await?;
    let metadata: Metadata = read_json(answer).await?;
    Ok(metadata.issuer)
}

/// Where a stack says who it is: the well-known path comes first, and that of the URL behind it (RFC 8414, 3.1).
fn metadata_path(url: &Url) -> String {
    format!("/.well-known/oauth-authorization-server{}", url.path().trim_end_matches('/'))
}

/// A short-lived client token with these scopes, for every service of the stack, signed with the first key of a ring.
pub(crate) fn sign(ring: &KeyRing, issuer: &str, scope: &str) -> Result<String, Failure> {
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
    fn the_metadata_of_a_stack_with_a_path_is_at_the_well_known_address_with_that_path_behind_it() {
        for (url, path) in [
            ("https://id.example", "/.well-known/oauth-authorization-server"),
            ("https://id.example/signet/", "/.well-known/oauth-authorization-server/signet"),
        ] {
            assert_eq!(metadata_path(&parse_url(url).unwrap()), path);
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

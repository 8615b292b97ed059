//! A running service with a database, a clock and tokens of the test's own.

use std::{
    net::TcpListener,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
};

use reqwest::{
    Body, Method, Response, StatusCode,
    header::{HeaderName, HeaderValue},
};
use serde::Serialize;
use serde_json::Value;
use service_kit::{Clock, Timestamp, config::Sources};
use shared_claims::{Claims, KeyRing, Signer};
use test_support::{Contract, Exchange, FakeFeed, TestDatabase};

/// The common secret of the tests.
pub(crate) const SECRET: &str = "kX2!vQ9#rT5$wZ8@nB4%mJ7^hG1&fD3*";

const ISSUER: &str = "https://id.example";

/// When the tests' clock starts, in seconds since the epoch.
pub(crate) const START: i64 = 1_800_000_000;

/// The service under test.
pub(crate) struct TestApp {
    /// Where it listens, such as `http://127.0.0.1:40000`.
    pub(crate) base: String,
    client: reqwest::Client,
    now: Arc<AtomicI64>,
    signer: Signer,
    /// A token with `persons:read persons:write`, which requests carry unless told otherwise.
    editor: String,
}

impl TestApp {
    /// Starts the service on a database.
    pub(crate) fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &[])
    }

    /// Starts it with further configuration, as pairs such as `("tokens.leeway_seconds", "0")`.
    pub(crate) fn start_with(database: &TestDatabase, overrides: &[(&str, &str)]) -> Self {
        let now = Arc::new(AtomicI64::new(START * 1_000_000));
        let shown = now.clone();
        let clock = Clock::from_fn(move || Timestamp::from_micros(shown.load(Ordering::SeqCst)));
        let config = config(database, overrides).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = resource_service::build(config, listener, clock).unwrap();
        let base = format!("http://127.0.0.1:{}", service.port());
        actix_web::rt::spawn(service.run_until(std::future::pending()));
        let signer = Signer::new(&KeyRing::from_secret(SECRET.as_bytes()).unwrap()).unwrap();
        let mut app = Self { base, client: reqwest::Client::new(), now, signer, editor: String::new() };
        app.editor = app.token("persons:read persons:write");
        app
    }

    /// Moves the clock.
    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// Claims of a user with these scopes, valid now.
    pub(crate) fn claims(&self, scope: &str) -> Claims {
        let now = self.now.load(Ordering::SeqCst).unsigned_abs() / 1_000_000;
        Claims {
            iss: ISSUER.to_owned(),
            sub: "ada".to_owned(),
            aud: vec!["user-service".to_owned(), "resource-service".to_owned()],
            iat: now,
            exp: now + 900,
            jti: "1".to_owned(),
            scope: scope.to_owned(),
            ..Claims::default()
        }
    }

    /// Signs claims.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        self.signer.sign(claims).unwrap()
    }

    /// A user's token with these scopes.
    pub(crate) fn token(&self, scope: &str) -> String {
        self.sign(&self.claims(scope))
    }

    /// A request without a token.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        RequestBuilder(self.client.request(method, format!("{}{path}", self.base)))
    }

    /// A request with the editor's token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.editor)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    pub(crate) fn patch(&self, path: &str) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// The editor's token itself.
    pub(crate) fn editor(&self) -> &str {
        &self.editor
    }

    /// Imports a file of a media type and gives the report.
    pub(crate) async fn import(&self, media_type: &str, file: impl Into<reqwest::Body>) -> Value {
        let response = self.post("/persons/import").header("content-type", media_type).body(file).send().await.unwrap();
        body(response, StatusCode::OK).await
    }

    /// All persons by id.
    pub(crate) async fn everybody(&self) -> Vec<Value> {
        self.walk("", 200).await
    }

    /// All items of a list, page by page; `query` begins with `&` unless it is empty.
    pub(crate) async fn walk(&self, query: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let response = self.get(&format!("/persons?limit={limit}{query}{cursor}")).send().await.unwrap();
            let mut page = body(response, StatusCode::OK).await;
            let found = page["items"].as_array_mut().unwrap();
            assert!(found.len() <= limit);
            items.append(found);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

/// What every answer is held against.
pub(crate) static CONTRACT: LazyLock<Contract> =
    LazyLock::new(|| Contract::new(resource_service::openapi().value().clone()));

/// A request whose answer must be one that the document knows.
pub(crate) struct RequestBuilder(reqwest::RequestBuilder);

impl RequestBuilder {
    pub(crate) fn bearer_auth(self, token: impl std::fmt::Display) -> Self {
        Self(self.0.bearer_auth(token))
    }

    pub(crate) fn header<N, V>(self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N>,
        <HeaderName as TryFrom<N>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        Self(self.0.header(name, value))
    }

    pub(crate) fn body(self, body: impl Into<Body>) -> Self {
        Self(self.0.body(body))
    }

    pub(crate) fn json(self, body: &(impl Serialize + ?Sized)) -> Self {
        Self(self.0.json(body))
    }

    /// Sends it, and holds the answer against the document.
    pub(crate) async fn send(self) -> reqwest::Result<Response> {
        let (client, request) = self.0.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await?;
        let headers: Vec<(String, String)> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let status = response.status();
        // What comes in pieces is for the test to read as it comes.
        let (body, response) = if response.content_length().is_some() {
            let mut whole = http::Response::builder().status(status);
            *whole.headers_mut().unwrap() = response.headers().clone();
            let body = response.bytes().await?;
            (Some(body.clone()), Response::from(whole.body(body).unwrap()))
        } else {
            (None, response)
        };
        let exchange = Exchange {
            method: method.as_str(),
            path: &path,
            status: status.as_u16(),
            headers: &headers,
            body: body.as_deref(),
        };
        if let Err(fault) = CONTRACT.judge(exchange) {
            panic!("not as documented: {fault}");
        }
        Ok(response)
    }
}

/// The service's configuration on a database.
pub(crate) fn config(
    database: &TestDatabase,
    overrides: &[(&str, &str)],
) -> Result<resource_service::Config, service_kit::ConfigError> {
    let given = [
        ("database.url", database.url()),
        ("database.pool_size", "3"),
        ("server.bind", "127.0.0.1:0"),
        ("server.workers", "1"),
        ("server.shutdown_timeout_seconds", "1"),
        ("tokens.secret", SECRET),
        ("tokens.issuer", ISSUER),
        ("services.auth_url", FakeFeed::quiet()),
    ];
    let overrides = given.iter().chain(overrides).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Sources { overrides: overrides.collect(), ..Sources::default() }.load()
}

/// The JSON body of a response that must have a status.
pub(crate) async fn body(response: Response, status: StatusCode) -> Value {
    let found = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Checks that a response is a problem with a status and a code, and gives its body.
pub(crate) async fn problem(response: Response, status: u16, code: &str) -> Value {
    let media_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let request_id = response.headers().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    let found = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(found.as_u16(), status, "{text}");
    assert_eq!(media_type.as_deref(), Some("application/problem+json"), "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["code"], code, "{text}");
    assert_eq!(body["status"], status, "{text}");
    assert_eq!(body["request_id"], request_id, "{text}");
    body
}

/// The fields that a problem names, with their codes.
pub(crate) fn fields(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    problem["errors"].as_array().unwrap().iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect()
}

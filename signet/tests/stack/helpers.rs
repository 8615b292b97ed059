//! A whole stack in this process, on databases of its own, and short ways to talk to it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, Ordering},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt::task::JoinHandle, web};
use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderValue},
};
use serde_json::{Value, json};
use service_kit::{Clock, Timestamp, config::Sources};
use signet::{Addresses, Stack, StackConfig, config::UpConfig};
use test_support::TestDatabase;
use tokio::sync::{mpsc, oneshot};

pub(crate) const ADMIN_EMAIL: &str = "admin@localhost";
pub(crate) const ADMIN_PASSWORD: &str = "brass-lantern-over-quiet-water";
/// Good enough for zxcvbn.
pub(crate) const PASSWORD: &str = "seventeen wooden owls at dusk";
/// The common secret of a stack in this process.
pub(crate) const SECRET: &str = "KS3xQm0fT7vVw1nZc9yJp4rLd8hBg2aU6eXoYiNtWkM";

/// For stacks whose address changes while tokens live on.
pub(crate) const LASTING_ISSUER: (&str, &str) = ("SIGNET__TOKENS__ISSUER", "http://signet.test");

/// A time that a test sets. It begins at the present, so that tokens made by the real program fit.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Clock::system().now().as_micros())))
    }

    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.0.clone();
        Clock::from_fn(move || Timestamp::from_micros(time.load(Ordering::SeqCst)))
    }
}

/// A database for each service, all on the same system.
pub(crate) struct Databases {
    auth: TestDatabase,
    pub(crate) user: TestDatabase,
    resource: TestDatabase,
}

impl Databases {
    pub(crate) fn next_to(auth: TestDatabase) -> Self {
        let another = || TestDatabase::create(auth.backend()).expect("the first was made");
        Self { user: another(), resource: another(), auth }
    }

    /// A complete configuration on these databases, with pairs such as `("SIGNET__TOKENS__SOURCES", "query")` on top.
    pub(crate) fn configuration(&self, environment: &[(&str, &str)]) -> StackConfig {
        let mut pairs = vec![
            ("SIGNET__SERVER__BIND", "127.0.0.1:0"),
            ("SIGNET__SERVER__WORKERS", "1"),
            ("SIGNET__DATABASE__POOL_SIZE", "3"),
            ("SIGNET__TOKENS__SECRET", SECRET),
            ("SIGNET__REFRESH__SECRET", "pE5uRz8cHw2yNq7dFk4tLm1vBj9xGs3aVo6iTeUcXfQ"),
            ("SIGNET__PASSWORDS__PEPPER", "Zt6nWb3qYf9kMr1xHd8vJc5pLg2sUa7eQo4iVyTwNzE"),
            ("SIGNET__PASSWORDS__COST", "4"),
            ("SIGNET__BOOTSTRAP__ADMIN_EMAIL", ADMIN_EMAIL),
            ("SIGNET__BOOTSTRAP__ADMIN_PASSWORD", ADMIN_PASSWORD),
        ];
        pairs.retain(|(name, _)| environment.iter().all(|(other, _)| name != other));
        pairs.extend_from_slice(environment);
        let environment = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let config: UpConfig = Sources { environment, ..Sources::default() }.load().unwrap();
        let mut config = config.for_stack(std::path::Path::new("/nowhere"));
        config.auth.database.url = self.auth.url().to_owned().into();
        config.user.database.url = self.user.url().to_owned().into();
        config.resource.database.url = self.resource.url().to_owned().into();
        config
    }
}

/// A stack that runs until it is stopped or dropped.
pub(crate) struct TestStack {
    pub(crate) client: Client,
    pub(crate) clock: TestClock,
    pub(crate) addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    /// Declared last: they go when nothing uses them any more.
    pub(crate) databases: Databases,
}

impl TestStack {
    pub(crate) fn start(db: TestDatabase) -> Self {
        Self::start_with(Databases::next_to(db), &[])
    }

    pub(crate) fn start_with(databases: Databases, environment: &[(&str, &str)]) -> Self {
        Self::start_changed(databases, environment, |_| ())
    }

    /// With services that are not configured alike.
    pub(crate) fn start_changed(
        databases: Databases,
        environment: &[(&str, &str)],
        change: impl FnOnce(&mut StackConfig),
    ) -> Self {
        let clock = TestClock::new();
        let mut configuration = databases.configuration(environment);
        change(&mut configuration);
        let stack = Stack::start(configuration, &clock.clock()).unwrap();
        let addresses = stack.addresses();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = actix_web::rt::spawn(async move {
            let stop = async {
                // A test that has failed drops the sender.
                let _ = stopped.await;
            };
            stack.run_until(stop).await.unwrap();
        });
        let client = Client::new(format!("http://{}", addresses.origin));
        Self { client, clock, addresses, stop: Some(stop), running, databases }
    }

    /// Stops it and gives back its databases.
    pub(crate) async fn stop(mut self) -> Databases {
        self.stop.take().unwrap().send(()).unwrap();
        self.running.await.unwrap();
        self.databases
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap<HeaderValue>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// This answer, if it has that status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// That it is this problem.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
        assert_eq!(answer.json()["code"], code, "{answer:?}");
        assert_eq!(answer.json()["request_id"].as_str(), answer.header("x-request-id"));
        answer
    }
}

/// What a client gets with a log-in.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

/// A client of a stack, or of one service.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
}

impl Client {
    pub(crate) fn new(base: String) -> Self {
        Self { http: reqwest::Client::builder().no_proxy().build().unwrap(), base }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    pub(crate) async fn get_without_token(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn register(&self, email: &str) -> Answer {
        self.post("/auth/register", json!({ "email": email, "password": PASSWORD })).await
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/auth/login", json!({ "email": email, "password": password })).await
    }

    pub(crate) async fn admin(&self) -> Tokens {
        Tokens::of(&self.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200))
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.send(self.request(Method::POST, "/auth/token").form(&form)).await
    }
}

/// Stands between user-service and auth-service and tells when auth-service has acknowledged events.
pub(crate) struct Relay {
    pub(crate) url: String,
    target: Arc<OnceLock<String>>,
    acknowledged: mpsc::UnboundedReceiver<Value>,
}

impl Relay {
    pub(crate) fn start() -> Self {
        let (sender, acknowledged) = mpsc::unbounded_channel();
        let target = Arc::new(OnceLock::new());
        let state = web::Data::new((target.clone(), sender, reqwest::Client::builder().no_proxy().build().unwrap()));
        let server = HttpServer::new(move || {
            App::new().app_data(state.clone()).route("/internal/user-events", web::post().to(forward))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, target, acknowledged }
    }

    pub(crate) fn lead_to(&self, auth: std::net::SocketAddr) {
        self.target.set(format!("http://{auth}/internal/user-events")).unwrap();
    }

    /// The next events that auth-service has acknowledged.
    pub(crate) async fn acknowledged(&mut self) -> Vec<Value> {
        let body = self.acknowledged.recv().await.unwrap();
        body["events"].as_array().unwrap().clone()
    }
}

type RelayState = web::Data<(Arc<OnceLock<String>>, mpsc::UnboundedSender<Value>, reqwest::Client)>;

async fn forward(state: RelayState, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let (target, sender, client) = &**state;
    let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
    let answer = client
        .post(target.get().unwrap())
        .header("authorization", header("authorization"))
        .header("content-type", header("content-type"))
        .body(body.to_vec())
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    assert_eq!(status, 204, "{}", answer.text().await.unwrap());
    sender.send(serde_json::from_slice(&body).unwrap()).unwrap();
    HttpResponse::NoContent().finish()
}

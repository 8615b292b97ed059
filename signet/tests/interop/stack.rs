//! A stack that outsiders talk to: on an origin that its issuer names, configured as the page says.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use actix_web::rt::task::JoinHandle;
use reqwest::{Method, Response, header::AUTHORIZATION};
use serde_json::{Value, json};
use service_kit::{Clock, config::Sources};
use signet::{Addresses, Stack, StackConfig, config::UpConfig};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{
    page,
    ring::{self, Key, Kind},
};

pub(crate) const PASSWORD: &str = "seventeen wooden owls at dusk";
/// Nothing that a test waits for takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stack that runs until it is stopped or dropped.
pub(crate) struct TestStack {
    /// The origin, which is the issuer.
    pub(crate) issuer: String,
    /// auth-service's own port.
    pub(crate) auth_url: String,
    pub(crate) http: reqwest::Client,
    /// The keys of the ring, the one that signs first.
    pub(crate) keys: Vec<Key>,
    config: StackConfig,
    running: Option<Running>,
    home: TempDir,
}

struct Running {
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// A registered client.
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// What a log-in brings.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) subject: String,
}

impl TestStack {
    pub(crate) fn start(kind: Kind) -> Self {
        let home = tempfile::Builder::new().prefix("signet-interop.").tempdir().unwrap();
        let keys = vec![Key::new(kind, "first")];
        ring::write(&[&keys[0]], &home.path().join("keys.json"));
        let file = home.path().join("signet.toml");
        fs::write(&file, page::first("toml")).unwrap();

        let (config, addresses, running) = in_some_place(|bind| {
            let keys_file = home.path().join("keys.json");
            let config = configuration(
                &file,
                &[
                    ("SIGNET__SERVER__BIND", bind),
                    ("SIGNET__SERVER__WORKERS", "1"),
                    ("SIGNET__DATABASE__POOL_SIZE", "3"),
                    ("SIGNET__TOKENS__ISSUER", &format!("http://{bind}")),
                    ("SIGNET__TOKENS__JWKS_FILE", keys_file.to_str().unwrap()),
                    ("SIGNET__REFRESH__SECRET", "pE5uRz8cHw2yNq7dFk4tLm1vBj9xGs3aVo6iTeUcXfQ"),
                    ("SIGNET__PASSWORDS__PEPPER", "Zt6nWb3qYf9kMr1xHd8vJc5pLg2sUa7eQo4iVyTwNzE"),
                    ("SIGNET__PASSWORDS__COST", "4"),
                    ("SIGNET__BOOTSTRAP__ADMIN_EMAIL", ""),
                ],
            );
            config.for_stack(home.path())
        });
        Self {
            issuer: format!("http://{}", addresses.origin),
            auth_url: format!("http://{}", addresses.auth),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            keys,
            config,
            running: Some(running),
            home,
        }
    }

    /// Stops listening; what it has stored stays.
    pub(crate) async fn stop(&mut self) {
        let Running { stop, served } = self.running.take().unwrap();
        stop.send(()).unwrap();
        served.await.unwrap();
    }

    /// Listens again, in the same place.
    pub(crate) fn start_again(&mut self) {
        let stack = Stack::start(self.config.clone(), &Clock::system()).unwrap();
        self.running = Some(serve(stack));
    }

    /// The file of its ring.
    pub(crate) fn keys_file(&self) -> PathBuf {
        self.home.path().join("keys.json")
    }

    /// Claims of an access token for `orders` that everybody takes, if it is signed.
    pub(crate) fn claims(&self) -> Value {
        let now = Clock::system().now().as_seconds();
        json!({
            "iss": self.issuer,
            "sub": "somebody",
            "aud": ["auth-service", "orders"],
            "iat": now,
            "exp": now + 600,
            "jti": "a-token",
            "sid": "a-session",
            "scope": "orders:read",
            "roles": ["user"],
            "ver": 3,
        })
    }

    /// What a service asks of auth-service.
    pub(crate) async fn internal(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut claims = self.claims();
        claims["scope"] = "signet:internal".into();
        claims["sub"] = "operator".into();
        claims["client_id"] = "operator".into();
        claims["jti"] = "an-order".into();
        let token = self.keys[0].sign(&self.keys[0].header(), &claims);
        let mut request = self.http.request(method, format!("{}{path}", self.auth_url)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
        response
    }

    /// Revokes as the operator does.
    pub(crate) async fn revoke(&self, order: Value) {
        self.internal(Method::POST, "/internal/revocations", Some(order)).await;
    }

    /// Registers a client.
    pub(crate) async fn client(&self, scope: &str) -> Credentials {
        let body = json!({ "name": "interop", "scope": scope });
        let made: Value = self.internal(Method::POST, "/internal/clients", Some(body)).await.json().await.unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Credentials { id: text("client_id"), secret: text("client_secret") }
    }

    /// A new user, logged in.
    pub(crate) async fn register(&self, email: &str) -> Tokens {
        let body = json!({ "email": email, "password": PASSWORD });
        let request = self.http.post(format!("{}/auth/register", self.issuer)).json(&body);
        let made: Value = request.send().await.unwrap().json().await.unwrap();
        Tokens { subject: made["user"]["id"].as_str().unwrap().to_owned(), ..Tokens::of(&made) }
    }

    /// An answer of the token endpoint.
    pub(crate) async fn grant(&self, client: Option<&Credentials>, parameters: &[(&str, &str)]) -> Value {
        let mut request = self.http.post(format!("{}/auth/token", self.issuer)).form(parameters);
        if let Some(client) = client {
            request = request.basic_auth(&client.id, Some(&client.secret));
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{parameters:?}");
        response.json().await.unwrap()
    }

    /// Logs out; when it returns, the answer is there.
    pub(crate) async fn log_out(&self, access_token: &str) {
        let request = self.http.post(format!("{}/auth/logout", self.issuer)).bearer_auth(access_token);
        assert_eq!(request.send().await.unwrap().status(), 204);
    }
}

impl Tokens {
    fn of(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token"), subject: String::new() }
    }
}

/// How a URL answers: the status, the challenge and the body.
pub(crate) async fn get(http: &reqwest::Client, url: &str, token: Option<&str>) -> (u16, String, String) {
    let mut request = http.get(url);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = request.send().await.unwrap();
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), challenge.unwrap_or_default(), response.text().await.unwrap())
}

/// Asks until the answer is yes, and tells how long that took. Another process is asked, and it tells nobody by itself.
pub(crate) async fn until(what: &str, mut asked: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !asked().await {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
    }
    began.elapsed()
}

fn configuration(file: &std::path::Path, environment: &[(&str, &str)]) -> UpConfig {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { file: Some(file.to_owned()), environment, ..Sources::default() }.load().unwrap()
}

/// Starts a stack on four ports in a row that are free, below those that systems hand out by themselves: the issuer has
/// to be known before there is a listener.
fn in_some_place(configured: impl Fn(&str) -> StackConfig) -> (StackConfig, Addresses, Running) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(process::id() % 2000).unwrap() * 4;
    let mut refusal = String::new();
    for _ in 0..500 {
        let port = 20_000 + (offset + NEXT.fetch_add(4, Ordering::Relaxed)) % 8_000;
        let config = configured(&SocketAddr::from(([127, 0, 0, 1], port)).to_string());
        match Stack::start(config.clone(), &Clock::system()) {
            Ok(stack) => return (config, stack.addresses(), serve(stack)),
            Err(cause) => refusal = cause.to_string(),
        }
    }
    panic!("the stack does not start anywhere: {refusal}");
}

fn serve(stack: Stack) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let served = actix_web::rt::spawn(async move {
        let stop = async {
            // A test that has failed drops the sender.
            let _ = stopped.await;
        };
        stack.run_until(stop).await.unwrap();
    });
    Running { stop, served }
}

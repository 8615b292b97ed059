//! Short ways to talk to a service.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// Good enough for zxcvbn.
pub(crate) const PASSWORD: &str = "seventeen wooden owls at dusk";

/// No answer takes longer, unless the service is gone.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
    pub(crate) text: String,
}

/// An answer, or why there is none.
pub(crate) type Outcome = Result<Answer, reqwest::Error>;

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The `code` of a problem or the `error` of an OAuth endpoint.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["code"].as_str().or(body["error"].as_str()).unwrap_or_default().to_owned()
    }

    /// This answer, if it has that status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// That it is this refusal.
    #[track_caller]
    pub(crate) fn expect_refusal(self, status: u16, code: &str) {
        let answer = self.expect(status);
        assert_eq!(answer.code(), code, "{answer:?}");
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.status == 401 && self.code() == "token_revoked"
    }
}

/// What comes with a log-in or a refresh.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) expires_in: Duration,
}

impl Tokens {
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            expires_in: Duration::from_secs(body["expires_in"].as_u64().unwrap()),
        }
    }

    /// A claim of the access token.
    pub(crate) fn claim(&self, name: &str) -> Value {
        part(&self.access, 1)[name].clone()
    }

    /// A parameter of the access token's header.
    pub(crate) fn header(&self, name: &str) -> String {
        part(&self.access, 0)[name].as_str().unwrap().to_owned()
    }

    /// The key that signed the access token.
    pub(crate) fn kid(&self) -> String {
        self.header("kid")
    }
}

/// A user and one session.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) tokens: Tokens,
}

impl Person {
    /// Registers with auth-service.
    pub(crate) async fn register(auth: &Client, name: &str) -> Self {
        let email = format!("{name}@example.com");
        let answer = auth.register(&email).await.unwrap().expect(201);
        let id = answer.json()["user"]["id"].as_str().unwrap().to_owned();
        Self { id, email, tokens: Tokens::of(&answer) }
    }

    /// Begins another session.
    pub(crate) async fn log_in(&self, auth: &Client) -> Tokens {
        Tokens::of(&auth.log_in(&self.email, PASSWORD).await.unwrap().expect(200))
    }
}

fn part(token: &str, place: usize) -> Value {
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(place).unwrap()).unwrap();
    serde_json::from_slice(&part).unwrap()
}

/// What a registered client proves itself with.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

/// A client of one service, with connections of its own.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub(crate) fn new(base: String) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { http, base }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Outcome {
        let response = request.send().await?;
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        Ok(Answer {
            status: response.status().as_u16(),
            etag: header("etag"),
            retry_after: header("retry-after").and_then(|seconds| seconds.parse().ok()),
            text: response.text().await?,
        })
    }

    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Outcome {
        let mut request = self.request(method, path).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Outcome {
        self.call(Method::GET, path, token, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Outcome {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn register(&self, email: &str) -> Outcome {
        self.post("/auth/register", &json!({ "email": email, "password": PASSWORD })).await
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Outcome {
        self.post("/auth/login", &json!({ "email": email, "password": password })).await
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Outcome {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.send(self.request(Method::POST, "/auth/token").form(&form)).await
    }

    /// Registers a client on auth-service's own port.
    pub(crate) async fn register_client(&self, name: &str, scope: &str, service_token: &str) -> Credentials {
        let body = json!({ "name": name, "scope": scope });
        let made = self.call(Method::POST, "/internal/clients", service_token, Some(&body)).await.unwrap();
        let made = made.expect(201).json();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Credentials { client_id: text("client_id"), client_secret: text("client_secret") }
    }

    /// Introspects or revokes a token.
    pub(crate) async fn with_token(&self, path: &str, token: &str, client: &Credentials) -> Outcome {
        let Credentials { client_id, client_secret } = client;
        let form = [("token", token), ("client_id", client_id), ("client_secret", client_secret)];
        self.send(self.request(Method::POST, path).form(&form)).await
    }
}

//! The service on a port and a database of its own, tokens for it, and a stand-in for auth-service.

use std::{
    net::TcpListener,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use actix_web::{App as ActixApp, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, rt, web};
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_types::Text};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use service_kit::{Clock, Timestamp, config::Sources};
use shared_claims::{Claims, KeyRing, Signer, Verifier};
use test_support::{Backend, Contract, Exchange, FakeFeed, TestDatabase};
use tokio::sync::{oneshot, watch};
use user_service::{App, Config};

pub(crate) const SECRET: &str = "Zk4vQ8w2Lr7pXn1sTb6yHd9cMf3gJa5e";
pub(crate) const ISSUER: &str = "http://signet.test";

/// 2026-01-01T00:00:00Z, in microseconds.
pub(crate) const START: i64 = 1_767_225_600_000_000;

/// A password that is long and odd enough, and bcrypt of it at cost 4, made by Python's bcrypt 4.3.0:
/// `bcrypt.hashpw(password, bcrypt.gensalt(4))`.
pub(crate) const PASSWORD: &str = "seven purple otters rowing";
pub(crate) const PASSWORD_HASH: &str = "$2b$04$NuZABrRV2xBW8I2qId6HH.NANhtpgYAjI3rkeUK415CzKMQaHudc2";

pub(crate) const ADMIN_SCOPE: &str = "persons:read persons:write users:read users:write";

/// The service, listening.
pub(crate) struct TestApp {
    pub(crate) app: App,
    base: String,
    now: Arc<AtomicI64>,
    client: reqwest::Client,
    stop: oneshot::Sender<()>,
    running: rt::task::JoinHandle<std::io::Result<()>>,
}

/// A configuration for tests on a database, with further keys set.
pub(crate) fn config(db: &TestDatabase, overrides: &[(&str, &str)]) -> Result<Config, service_kit::ConfigError> {
    let defaults = [
        ("database.url", db.url()),
        ("tokens.secret", SECRET),
        ("tokens.issuer", ISSUER),
        ("server.workers", "2"),
        ("server.shutdown_timeout_seconds", "2"),
        ("database.pool_size", "4"),
        ("passwords.cost", "4"),
        ("passwords.queue_deadline_ms", "60000"),
        // It has a feed and takes no events, so they stay in the outbox.
        ("services.auth_url", FakeFeed::quiet()),
    ];
    let overrides = defaults.iter().chain(overrides).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Sources { overrides: overrides.collect(), ..Sources::default() }.load()
}

/// The service with the configuration for tests.
pub(crate) async fn spawn(db: &TestDatabase) -> TestApp {
    spawn_with(db, &[]).await
}

/// The service with further keys set.
pub(crate) async fn spawn_with(db: &TestDatabase, overrides: &[(&str, &str)]) -> TestApp {
    let config = config(db, overrides).unwrap();
    let now = Arc::new(AtomicI64::new(START));
    let app = App::new(config, clock(&now)).unwrap();
    let service = app.start(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let base = format!("http://{}", service.address());
    let (stop, stopped) = oneshot::channel();
    let running = rt::spawn(service.run_until(async {
        let _ = stopped.await;
    }));
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
    TestApp { app, base, now, client, stop, running }
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = now.clone();
    Clock::from_fn(move || Timestamp::from_micros(now.load(Ordering::SeqCst)))
}

pub(crate) fn signer() -> Signer {
    Signer::new(&KeyRing::from_secret(SECRET.as_bytes()).unwrap()).unwrap()
}

impl TestApp {
    /// Moves the clock.
    pub(crate) fn advance_seconds(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// Stops the service as a signal would.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }

    fn claims(&self, subject: &str) -> Claims {
        let now = u64::try_from(self.now.load(Ordering::SeqCst) / 1_000_000).unwrap();
        Claims {
            iss: ISSUER.to_owned(),
            sub: subject.to_owned(),
            aud: vec!["user-service".to_owned()],
            iat: now,
            exp: now + 900,
            jti: "1".to_owned(),
            ..Claims::default()
        }
    }

    /// A user's token.
    pub(crate) fn user_token(&self, id: &str, scope: &str) -> String {
        let claims =
            Claims { sid: Some("session-1".to_owned()), scope: scope.to_owned(), ver: Some(1), ..self.claims(id) };
        signer().sign(&claims).unwrap()
    }

    /// A client's token.
    pub(crate) fn client_token(&self, scope: &str) -> String {
        let claims = Claims { client_id: Some("robot".to_owned()), scope: scope.to_owned(), ..self.claims("robot") };
        signer().sign(&claims).unwrap()
    }

    /// Another service's token.
    pub(crate) fn service_token(&self) -> String {
        let claims = Claims {
            client_id: Some("auth-service".to_owned()),
            scope: "signet:internal".to_owned(),
            ..self.claims("auth-service")
        };
        signer().sign(&claims).unwrap()
    }

    /// The token of an admin who needs no account.
    pub(crate) fn admin_token(&self) -> String {
        self.user_token("00000000-0000-7000-8000-000000000000", ADMIN_SCOPE)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request, with a body if it is not null.
    pub(crate) async fn send(&self, method: Method, path: &str, token: &str, body: &Value) -> Answer {
        let mut request = self.request(method, path).bearer_auth(token);
        if !body.is_null() {
            request = request.json(body);
        }
        Answer::of(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, token, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Method::POST, path, token, &body).await
    }

    pub(crate) async fn patch(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, token, &body).await
    }

    /// Makes a user from an imported hash, which takes no hashing. The password is [`PASSWORD`].
    pub(crate) async fn import(&self, email: &str) -> String {
        let body = json!({ "email": email, "password_hash": PASSWORD_HASH });
        let answer = self.post("/users", &self.admin_token(), body).await;
        answer.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn register(&self, body: Value) -> Answer {
        self.post("/internal/users", &self.service_token(), body).await
    }

    pub(crate) async fn log_in(&self, body: Value) -> Answer {
        self.post("/internal/credentials/verify", &self.service_token(), body).await
    }

    pub(crate) async fn change_password(&self, token: &str, current: &str, new: &str) -> Answer {
        let body = json!({ "current_password": current, "new_password": new });
        self.send(Method::PUT, "/users/me/password", token, &body).await
    }
}

/// What every answer is held against.
pub(crate) static CONTRACT: LazyLock<Contract> =
    LazyLock::new(|| Contract::new(user_service::openapi().value().clone()));

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let answer = Self { status, headers, text: response.text().await.unwrap() };
        answer.assert_documented(method.as_str(), &path);
        answer
    }

    /// Holds it against the document.
    fn assert_documented(&self, method: &str, path: &str) {
        let value = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Vec<_> = self.headers.iter().map(|(name, text)| (name.as_str().to_owned(), value(text))).collect();
        let (status, body) = (self.status.as_u16(), Some(self.text.as_bytes()));
        if let Err(fault) = CONTRACT.judge(Exchange { method, path, status, headers: &headers, body }) {
            panic!("not as documented: {fault}");
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn expect(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// Checks a failure: problem+json of this status and code, with a request id.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{self:?}");
    }

    /// Checks that a field was refused with this code.
    #[track_caller]
    pub(crate) fn refused_field(&self, field: &str, code: &str) {
        self.refused(422, "validation_failed");
        let errors = self.json()["errors"].clone();
        let found = errors.as_array().unwrap().iter().any(|error| error["field"] == field && error["code"] == code);
        assert!(found, "{field} {code}: {self:?}");
    }
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    value: String,
}

/// One column of text, named `value`, behind the back of the service.
pub(crate) fn query_texts(db: &TestDatabase, sql: &str) -> Vec<String> {
    let rows: Vec<TextRow> = match db.backend() {
        Backend::Sqlite => {
            let path = db.url().strip_prefix("sqlite:").unwrap();
            let mut connection = SqliteConnection::establish(path).unwrap();
            diesel::sql_query("PRAGMA busy_timeout = 10000").execute(&mut connection).unwrap();
            diesel::sql_query(sql).load(&mut connection).unwrap()
        }
        Backend::Postgres => diesel::sql_query(sql).load(&mut PgConnection::establish(db.url()).unwrap()).unwrap(),
    };
    rows.into_iter().map(|row| row.value).collect()
}

/// The hash that is stored for an address.
pub(crate) fn stored_hash(db: &TestDatabase, email: &str) -> String {
    query_texts(db, &format!("SELECT password_hash AS value FROM users WHERE email = '{email}'")).remove(0)
}

/// A stand-in for auth-service that keeps the events it is brought.
pub(crate) struct FakeAuth {
    pub(crate) url: String,
    received: watch::Receiver<Vec<Value>>,
    state: Arc<FakeState>,
    server: ServerHandle,
}

struct FakeState {
    events: watch::Sender<Vec<Value>>,
    records: watch::Sender<Vec<Value>>,
    refusals: watch::Sender<usize>,
    down: AtomicBool,
    /// The token that is refused from now on.
    refused: Mutex<Option<String>>,
    verifier: Verifier,
    problems: Mutex<Vec<String>>,
}

impl FakeAuth {
    pub(crate) fn start() -> Self {
        let ring = KeyRing::from_secret(SECRET.as_bytes()).unwrap();
        let verifier = Verifier::builder(ring)
            .issuer(ISSUER)
            .audience("auth-service")
            .clock(Arc::new(|| START.unsigned_abs() / 1_000_000))
            .build()
            .unwrap();
        let (events, received) = watch::channel(Vec::new());
        let state = Arc::new(FakeState {
            events,
            records: watch::Sender::new(Vec::new()),
            refusals: watch::Sender::new(0),
            down: AtomicBool::new(false),
            refused: Mutex::default(),
            verifier,
            problems: Mutex::default(),
        });
        let shared = web::Data::from(state.clone());
        let server = HttpServer::new(move || {
            let feed = || async { HttpResponse::Ok().json(json!({ "epoch": "e1", "seq": 0, "entries": [] })) };
            ActixApp::new()
                .app_data(shared.clone())
                // As much as auth-service takes.
                .app_data(web::JsonConfig::default().limit(65_536))
                .route("/internal/user-events", web::post().to(take))
                .route("/internal/audit", web::post().to(take_records))
                .route("/internal/revocations", web::get().to(feed))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        rt::spawn(server);
        Self { url, received, state, server: handle }
    }

    /// Answers 503 from now on, or no longer.
    pub(crate) fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    /// Refuses the token of the next call with 401, as if its key had been revoked, and takes any other.
    pub(crate) fn refuse_next_token(&self) {
        *self.state.refused.lock().unwrap() = Some(String::new());
    }

    /// Waits until it has refused another call.
    pub(crate) async fn refuses(&self) {
        let mut refusals = self.state.refusals.subscribe();
        let seen = *refusals.borrow_and_update();
        within(refusals.wait_for(|count| *count > seen)).await.unwrap();
    }

    /// Waits until there are as many events, and gives them.
    pub(crate) async fn events(&self, count: usize) -> Vec<Value> {
        let mut received = self.received.clone();
        let events = within(received.wait_for(|events| events.len() >= count)).await.unwrap().clone();
        assert_eq!(*self.state.problems.lock().unwrap(), Vec::<String>::new());
        events
    }

    /// Waits until there are as many audit records, and gives them.
    pub(crate) async fn records(&self, count: usize) -> Vec<Value> {
        let mut records = self.state.records.subscribe();
        within(records.wait_for(|records| records.len() >= count)).await.unwrap().clone()
    }

    pub(crate) async fn stop(self) {
        self.server.stop(false).await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("nothing came within 30 s")
}

/// The refusal of a call that is not to be taken.
fn refusal(request: &HttpRequest, state: &FakeState) -> Option<HttpResponse> {
    if state.down.load(Ordering::SeqCst) {
        state.refusals.send_modify(|count| *count += 1);
        return Some(HttpResponse::ServiceUnavailable().finish());
    }
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if let Some(refused) = &mut *state.refused.lock().unwrap() {
        if refused.is_empty() {
            token.clone_into(refused);
        }
        if refused == token {
            return Some(HttpResponse::Unauthorized().finish());
        }
    }
    match state.verifier.verify(token) {
        Ok(claims) if claims.has_scope("signet:internal") && claims.sub == "user-service" => {}
        other => state.problems.lock().unwrap().push(format!("{other:?}")),
    }
    None
}

async fn take_records(request: HttpRequest, body: web::Json<Value>, state: web::Data<FakeState>) -> HttpResponse {
    if let Some(refusal) = refusal(&request, &state) {
        return refusal;
    }
    let records = body["records"].as_array().cloned().unwrap_or_default();
    state.records.send_modify(|kept| kept.extend(records));
    HttpResponse::NoContent().finish()
}

async fn take(request: HttpRequest, body: web::Json<Value>, state: web::Data<FakeState>) -> HttpResponse {
    if let Some(refusal) = refusal(&request, &state) {
        return refusal;
    }
    let events = body["events"].as_array().cloned().unwrap_or_default();
    if !(1..=100).contains(&events.len()) {
        state.problems.lock().unwrap().push(format!("{} events in one call", events.len()));
    }
    state.events.send_modify(|kept| kept.extend(events));
    HttpResponse::NoContent().finish()
}

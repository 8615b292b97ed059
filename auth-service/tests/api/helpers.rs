//! A running auth-service with a database of its own, a clock that the test sets, and a user-service of a few lines.

use std::{
    net::TcpListener,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::{ServerHandle, Service as _},
    web,
};
use auth_service::Config;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use service_kit::{Clock, Timestamp, config::Sources, peer::INTERNAL_SCOPE};
use shared_claims::{Claims, KeyRing, Signer, Verifier};
use test_support::{Contract, Exchange, TestDatabase};
use tokio::sync::oneshot;

pub const SECRET: &str = "kX3vT9qLw7Zr2Yp8Nf5Jc1Hb6Md4Gs0A";
pub const REFRESH_SECRET: &str = "Qe4Rt7Yu1Io9Pa3Sd6Fg8Hj2Kl5Zx0Cv";
pub const ISSUER: &str = "http://127.0.0.1:8080";
pub const START: i64 = 1_800_000_000;

pub struct TestApp {
    pub address: String,
    pub client: reqwest::Client,
    pub users: FakeUsers,
    pub database: Arc<TestDatabase>,
    clock: Arc<AtomicI64>,
    user_url: String,
    server: ServerHandle,
    ask_to_stop: oneshot::Sender<()>,
    running: actix_web::rt::task::JoinHandle<()>,
}

#[derive(Clone)]
pub struct FakeUsers {
    users: Arc<Mutex<Vec<Value>>>,
    pub available: Arc<AtomicBool>,
    /// For how many milliseconds its last caller was to wait.
    pub patience_ms: Arc<AtomicU64>,
}

impl FakeUsers {
    /// Changes a user as user-service would, without telling.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut users = self.users.lock().unwrap();
        change(users.iter_mut().find(|user| user["user"]["id"] == id).unwrap());
    }
}

fn register(users: &web::Data<FakeUsers>, body: &web::Json<Value>) -> HttpResponse {
    if !users.available.load(Ordering::Relaxed) {
        return HttpResponse::BadGateway().finish();
    }
    let mut known = users.users.lock().unwrap();
    if body["email"].is_null() {
        return HttpResponse::UnprocessableEntity().json(json!({
            "type": "about:blank", "title": "Validation failed", "status": 422, "code": "validation_failed",
            "detail": "email: This field is required.",
            "errors": [{"field": "email", "code": "required", "message": "This field is required."}],
        }));
    }
    if known.iter().any(|user| user["user"]["email"] == body["email"]) {
        return HttpResponse::Conflict().json(json!({
            "type": "about:blank", "title": "E-mail address taken", "status": 409, "code": "email_taken",
            "detail": "The e-mail address is taken.",
        }));
    }
    let user = json!({
        "user": {"id": format!("user-{}", known.len() + 1), "email": body["email"], "username": body["username"],
                 "name": body["name"], "roles": ["user"], "email_verified": false, "disabled": false,
                 "created_at": "2027-01-15T08:00:00.000000Z", "updated_at": "2027-01-15T08:00:00.000000Z", "version": 1},
        "authorization_version": 1,
        "password": body["password"],
    });
    known.push(user.clone());
    HttpResponse::Created().json(json!({"user": user["user"], "authorization_version": 1}))
}

fn verify(users: &web::Data<FakeUsers>, body: &web::Json<Value>) -> HttpResponse {
    if !users.available.load(Ordering::Relaxed) {
        return HttpResponse::BadGateway().finish();
    }
    let known = users.users.lock().unwrap();
    let found = known.iter().find(|user| {
        (user["user"]["email"] == body["email"] && !body["email"].is_null())
            || (user["user"]["username"] == body["username"] && !body["username"].is_null())
    });
    match found {
        Some(user) if user["password"] == body["password"] && user["disabled"] == true => HttpResponse::Forbidden()
            .insert_header(("signet-subject", user["user"]["id"].as_str().unwrap()))
            .json(json!({
                "type": "about:blank", "title": "Account disabled", "status": 403, "code": "account_disabled",
                "detail": "This account is disabled.",
            })),
        Some(user) if user["password"] == body["password"] => HttpResponse::Ok()
            .json(json!({"user": user["user"], "authorization_version": user["authorization_version"]})),
        found => {
            let mut refusal = HttpResponse::Unauthorized();
            if let Some(user) = found {
                refusal.insert_header(("signet-subject", user["user"]["id"].as_str().unwrap()));
            }
            refusal.json(json!({
                "type": "about:blank", "title": "Invalid credentials", "status": 401, "code": "invalid_credentials",
                "detail": "The name or the password is wrong.",
            }))
        }
    }
}

type Service = shared_claims::actix::Authorized<service_kit::peer::Internal>;

/// A user-service that answers service tokens only.
fn fake_users(clock: Arc<AtomicI64>) -> (FakeUsers, String) {
    let users = FakeUsers {
        users: Arc::new(Mutex::new(Vec::new())),
        available: Arc::new(AtomicBool::new(true)),
        patience_ms: Arc::new(AtomicU64::new(0)),
    };
    let data = web::Data::new(users.clone());
    let ring = KeyRing::from_secret(SECRET.as_bytes()).unwrap();
    let verifier = web::Data::new(
        Verifier::builder(ring)
            .issuer(ISSUER)
            .audience("user-service")
            .clock(Arc::new(move || u64::try_from(clock.load(Ordering::SeqCst)).unwrap()))
            .build()
            .unwrap(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(verifier.clone())
            .wrap_fn(|request, service| {
                let told = request.headers().get(service_kit::peer::TIMEOUT_HEADER);
                let told = told.map_or(0, |told| told.to_str().unwrap().parse().unwrap());
                request.app_data::<web::Data<FakeUsers>>().unwrap().patience_ms.store(told, Ordering::Relaxed);
                service.call(request)
            })
            .route(
                "/internal/users",
                web::post().to(async |_: Service, users: web::Data<FakeUsers>, body: web::Json<Value>| {
                    register(&users, &body)
                }),
            )
            .route(
                "/internal/credentials/verify",
                web::post()
                    .to(async |_: Service, users: web::Data<FakeUsers>, body: web::Json<Value>| verify(&users, &body)),
            )
    })
    .workers(1)
    .disable_signals()
    .listen(listener)
    .unwrap()
    .run();
    actix_web::rt::spawn(server);
    (users, url)
}

pub fn config(database: &str, user_url: &str, extra: &[(&str, &str)]) -> Config {
    let mut environment = vec![
        ("SIGNET__DATABASE__URL", database),
        ("SIGNET__DATABASE__POOL_SIZE", "4"),
        ("SIGNET__SERVER__BIND", "127.0.0.1:0"),
        ("SIGNET__SERVER__WORKERS", "2"),
        ("SIGNET__SERVER__SHUTDOWN_TIMEOUT_SECONDS", "1"),
        ("SIGNET__TOKENS__SECRET", SECRET),
        ("SIGNET__REFRESH__SECRET", REFRESH_SECRET),
        ("SIGNET__SERVICES__USER_URL", user_url),
    ];
    environment.extend(extra);
    Sources {
        environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..Sources::default()
    }
    .load()
    .unwrap()
}

impl TestApp {
    pub fn start(database: TestDatabase) -> Self {
        Self::start_with(database, &[])
    }

    pub fn start_with(database: TestDatabase, extra: &[(&str, &str)]) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let (users, user_url) = fake_users(clock.clone());
        Self::on(Arc::new(database), clock, users, user_url, extra)
    }

    /// Another replica: on the same database, with the same clock and users.
    pub fn beside(&self, extra: &[(&str, &str)]) -> Self {
        Self::on(self.database.clone(), self.clock.clone(), self.users.clone(), self.user_url.clone(), extra)
    }

    fn on(
        database: Arc<TestDatabase>,
        clock: Arc<AtomicI64>,
        users: FakeUsers,
        user_url: String,
        extra: &[(&str, &str)],
    ) -> Self {
        let shown = clock.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = auth_service::build(
            config(database.url(), &user_url, extra),
            listener,
            Clock::from_fn(move || Timestamp::from_seconds(shown.load(Ordering::SeqCst))),
        )
        .unwrap();
        let address = format!("http://127.0.0.1:{}", service.port());
        let server = service.handle();
        let (ask_to_stop, asked_to_stop) = oneshot::channel();
        let running = actix_web::rt::spawn(async move {
            let asked = async {
                if asked_to_stop.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            service.run_until(asked).await.unwrap();
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, client, users, database, clock, user_url, server, ask_to_stop, running }
    }

    /// Stops the service before its database goes.
    pub async fn stop(self) {
        self.server.stop(false).await;
        self.running.await.unwrap();
    }

    /// Stops the service and starts it again, with the same database.
    pub async fn restart(self, meanwhile: impl FnOnce()) -> Self {
        let (database, clock, users, user_url) =
            (self.database.clone(), self.clock.clone(), self.users.clone(), self.user_url.clone());
        self.stop().await;
        meanwhile();
        Self::on(database, clock, users, user_url, &[])
    }

    /// Asks the service to stop, as a signal would, and waits until it has.
    pub async fn stop_gracefully(self) {
        self.ask_to_stop.send(()).unwrap();
        self.running.await.unwrap();
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::SeqCst)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address))
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Registers a user and gives the whole answer.
    pub async fn register(&self, name: &str) -> Value {
        let body = json!({"email": format!("{name}@example.com"), "username": name, "password": "correct horse"});
        let answer = send(self.post("/auth/register").json(&body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body
    }

    /// Logs a user in and gives the whole answer.
    pub async fn log_in(&self, name: &str) -> Value {
        let body = json!({"username": name, "password": "correct horse"});
        let answer = send(self.post("/auth/login").json(&body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        send(self.post("/auth/token").form(&[("grant_type", "refresh_token"), ("refresh_token", token)])).await
    }

    /// A token made with the common secret, as any holder of it could.
    pub fn mint(&self, change: impl FnOnce(&mut Claims)) -> String {
        let now = u64::try_from(self.now()).unwrap();
        let mut claims = Claims {
            iss: ISSUER.into(),
            sub: "user-1".into(),
            aud: vec!["auth-service".into()],
            iat: now,
            exp: now + 900,
            nbf: None,
            jti: "jti-1".into(),
            sid: None,
            scope: "persons:read".into(),
            roles: vec!["user".into()],
            ver: Some(1),
            client_id: None,
            amr: vec!["pwd".into()],
            auth_time: Some(now),
        };
        change(&mut claims);
        Signer::new(&KeyRing::from_secret(SECRET.as_bytes()).unwrap()).unwrap().sign(&claims).unwrap()
    }

    pub fn service_token(&self) -> String {
        self.mint(|claims| {
            claims.sub = "user-service".into();
            claims.client_id = Some("user-service".into());
            claims.scope = INTERNAL_SCOPE.into();
            claims.roles.clear();
            claims.ver = None;
        })
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn is(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        let body_code = if self.body["code"].is_null() { &self.body["error"] } else { &self.body["code"] };
        assert_eq!(body_code, code, "{}", self.body);
    }
}

/// What every answer is held against.
pub static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::new(auth_service::openapi().value().clone()));

/// Sends a request, and holds the answer against the document.
pub async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let status = response.status();
    let headers = response.headers().clone();
    let bytes = response.bytes().await.unwrap();
    let fields: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let exchange = Exchange {
        method: method.as_str(),
        path: &path,
        status: status.as_u16(),
        headers: &fields,
        body: Some(&bytes),
    };
    if let Err(fault) = CONTRACT.judge(exchange) {
        panic!("not as documented: {fault}");
    }
    let is_json = headers.get("content-type").is_some_and(|value| value.to_str().unwrap().contains("json"));
    let body = if is_json && !bytes.is_empty() { serde_json::from_slice(&bytes).unwrap() } else { Value::Null };
    Answer { status, headers, body }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

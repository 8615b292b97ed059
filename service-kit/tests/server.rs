//! What every service does with a request, whatever its handlers do.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking, and its name says what it shows")]

use std::{
    collections::HashMap,
    future::{Future as _, poll_fn},
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, error::ErrorInternalServerError, rt::task::JoinHandle, web};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use service_kit::{
    Error, Service,
    config::ServerConfig,
    http::{BodyTimeout, Endpoint, Json},
    import,
    metrics::{self, Metrics},
    validate::Invalid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
};

struct Server {
    url: String,
    client: reqwest::Client,
    stop: Arc<Notify>,
    running: JoinHandle<()>,
}

impl Server {
    fn start(routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> Self {
        Self::start_with(|_| (), routes)
    }

    fn start_with(
        change: impl FnOnce(&mut ServerConfig),
        routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        let mut config = ServerConfig {
            bind: "127.0.0.1:0".parse().unwrap(),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            workers: 1,
            header_timeout_seconds: 10,
            body_timeout_seconds: 30,
            write_timeout_seconds: 60,
            keep_alive_seconds: 75,
            shutdown_timeout_seconds: 5,
            hsts_max_age_seconds: 60,
        };
        change(&mut config);
        let metrics = Metrics::new("test", "1");
        let shown = metrics.clone();
        let routes = move |config: &mut web::ServiceConfig| {
            config.configure(&routes).configure(metrics::routes(shown.clone()));
        };
        let listener = TcpListener::bind(config.bind).unwrap();
        let service = Service::start(&config, listener, Some(metrics), routes).unwrap();
        let url = format!("http://{}", service.address());
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let running =
            actix_web::rt::spawn(async move { service.run_until(async { stopped.notified().await }).await.unwrap() });
        Self { url, client: reqwest::Client::builder().no_proxy().build().unwrap(), stop, running }
    }

    async fn send(&self, method: Method, path: &str) -> Response {
        self.client.request(method, format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn stop(self) {
        self.stop.notify_one();
        self.running.await.unwrap();
    }
}

async fn problem(response: Response, status: StatusCode, code: &str) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], code);
    assert_eq!(body["request_id"], id);
    body
}

async fn fine() -> HttpResponse {
    HttpResponse::Ok().body("fine")
}

#[actix_web::test]
async fn a_panic_is_a_500_and_the_worker_lives() {
    async fn panic() -> HttpResponse {
        panic!("the password is hunter2")
    }
    let server = Server::start(|config| {
        config.service(Endpoint::new("/panic").get(panic)).service(Endpoint::new("/fine").get(fine));
    });
    for _ in 0..3 {
        let body =
            problem(server.send(Method::GET, "/panic").await, StatusCode::INTERNAL_SERVER_ERROR, "internal").await;
        assert!(!body.to_string().contains("hunter2"));
    }
    assert_eq!(server.send(Method::GET, "/fine").await.status(), StatusCode::OK);
    let metrics = server.send(Method::GET, "/metrics").await.text().await.unwrap();
    for line in [
        "signet_http_panics_total 3",
        r#"signet_http_requests_total{method="GET",route="-",status="500"} 3"#,
        r#"signet_http_requests_total{method="GET",route="/fine",status="200"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in {metrics}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_failure_that_the_framework_words_itself_becomes_a_problem() {
    async fn fail() -> Result<HttpResponse, actix_web::Error> {
        Err(ErrorInternalServerError("the table users has no column hunter2"))
    }
    async fn number(path: web::Path<u32>) -> String {
        path.to_string()
    }
    let server = Server::start(|config| {
        config.service(Endpoint::new("/fail").get(fail)).service(Endpoint::new("/number/{n}").get(number));
    });
    let body = problem(server.send(Method::GET, "/fail").await, StatusCode::INTERNAL_SERVER_ERROR, "internal").await;
    assert!(!body.to_string().contains("hunter2"));
    problem(server.send(Method::GET, "/number/x").await, StatusCode::NOT_FOUND, "not_found").await;
    problem(server.send(Method::GET, "/nowhere").await, StatusCode::NOT_FOUND, "not_found").await;
    server.stop().await;
}

#[actix_web::test]
async fn head_answers_like_get_and_other_methods_are_refused_with_allow() {
    let server = Server::start(|config| {
        config.service(Endpoint::new("/thing").get(fine).delete(fine));
    });
    let head = server.send(Method::HEAD, "/thing").await;
    assert_eq!((head.status(), head.headers()["content-length"].to_str().unwrap()), (StatusCode::OK, "4"));
    assert!(head.bytes().await.unwrap().is_empty());
    let refused = server.send(Method::PUT, "/thing").await;
    assert_eq!(refused.headers()["allow"], "GET, HEAD, DELETE");
    problem(refused, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").await;
    server.stop().await;
}

#[actix_web::test]
async fn every_answer_has_the_headers_that_keep_it_to_its_caller_and_names_no_program() {
    async fn panic() -> HttpResponse {
        panic!("on purpose")
    }
    async fn fail() -> Result<HttpResponse, actix_web::Error> {
        Err(ErrorInternalServerError("on purpose"))
    }
    async fn public() -> HttpResponse {
        HttpResponse::Ok().insert_header(("cache-control", "public, max-age=60")).body("for all")
    }
    let server = Server::start(|config| {
        for (path, handler) in [("/fine", web::to(fine)), ("/public", web::to(public)), ("/fail", web::to(fail))] {
            config.route(path, handler);
        }
        config.service(Endpoint::new("/panic").get(panic));
    });
    for (method, path, status, caching) in [
        (Method::GET, "/fine", 200, "private, no-cache"),
        (Method::HEAD, "/fine", 200, "private, no-cache"),
        (Method::GET, "/public", 200, "public, max-age=60"),
        (Method::GET, "/nowhere", 404, "no-store"),
        (Method::PUT, "/panic", 405, "no-store"),
        (Method::GET, "/panic", 500, "no-store"),
        (Method::GET, "/fail", 500, "no-store"),
    ] {
        let answer = server.send(method, path).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let all =
            |name: &str| answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-content-type-options"), ["nosniff"], "{path}");
        assert_eq!(all("cache-control"), [caching], "{path}");
        for name in ["server", "x-powered-by", "via", "strict-transport-security"] {
            assert_eq!(all(name), [""; 0], "{path} {name}");
        }
    }
    server.stop().await;
}

#[actix_web::test]
async fn who_came_by_tls_is_told_to_stay_with_it_and_nobody_else_is() {
    async fn panic() -> HttpResponse {
        panic!("on purpose")
    }
    let hsts = async |change: fn(&mut ServerConfig), path: &str, header: (&str, &str)| {
        let server = Server::start_with(change, |config| {
            config.service(Endpoint::new("/fine").get(fine)).service(Endpoint::new("/panic").get(panic));
        });
        let request = server.client.get(format!("{}{path}", server.url)).header(header.0, header.1);
        let answer = request.send().await.unwrap();
        server.stop().await;
        answer.headers().get("strict-transport-security").map(|value| value.to_str().unwrap().to_owned())
    };
    let behind: fn(&mut ServerConfig) = |config| config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let silent: fn(&mut ServerConfig) = |config| {
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.hsts_max_age_seconds = 0;
    };
    let (https, http) = (("x-forwarded-proto", "https"), ("x-forwarded-proto", "http"));
    for path in ["/fine", "/panic", "/nowhere"] {
        assert_eq!(hsts(behind, path, https).await.as_deref(), Some("max-age=60"), "{path}");
        assert_eq!(hsts(behind, path, http).await, None);
        assert_eq!(hsts(behind, path, ("accept", "*/*")).await, None);
        assert_eq!(hsts(|_| (), path, https).await, None, "anybody can write that header");
        assert_eq!(hsts(silent, path, https).await, None);
    }
    assert!(hsts(behind, "/fine", ("forwarded", "for=198.51.100.1;proto=https")).await.is_some());
}

#[actix_web::test]
async fn json_that_is_cut_in_half_reaches_no_handler() {
    async fn take(body: Json<Value>) -> web::Json<Value> {
        web::Json(body.0)
    }
    let server = Server::start(|config| {
        config.service(Endpoint::new("/take").post(take));
    });
    let cut = server.client.post(format!("{}/take", server.url)).header("content-type", "application/json");
    let cut = cut.body(r#"{"a": [1, 2"#).send().await.unwrap();
    problem(cut, StatusCode::BAD_REQUEST, "invalid_request").await;
    server.stop().await;
}

#[actix_web::test]
async fn a_request_in_flight_is_finished_when_the_service_stops() {
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, go) = (arrived.clone(), release.clone());
    let server = Server::start(move |config| {
        let (seen, go) = (seen.clone(), go.clone());
        config.service(Endpoint::new("/slow").get(move || {
            let (seen, go) = (seen.clone(), go.clone());
            async move {
                seen.notify_one();
                go.notified().await;
                "finished"
            }
        }));
    });
    let request = server.client.get(format!("{}/slow", server.url));
    let answer = actix_web::rt::spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    arrived.notified().await;
    server.stop.notify_one();
    release.notify_one();
    assert_eq!(answer.await.unwrap(), "finished");
    server.running.await.unwrap();
}

/// What a connection brings until it is closed, for these bytes and then nothing more.
async fn answer_to(server: &Server, sent: &'static str) -> String {
    let address = server.url.trim_start_matches("http://").to_owned();
    let reading = actix_web::rt::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    reading.await.unwrap()
}

#[actix_web::test]
async fn a_client_that_does_not_go_on_is_not_waited_for() {
    struct Line;

    impl import::Record for Line {
        const COLUMNS: &'static [&'static str] = &["a"];
        const REQUIRED: &'static [&'static str] = &["a"];
        const SHAPE: &'static str = "the string a";

        type Raw = HashMap<String, String>;

        fn fill(_: &mut Self::Raw, _: &'static str, _: Option<String>) -> Result<(), Invalid> {
            Ok(())
        }

        fn parse(_: Self::Raw, _: u64) -> Result<Self, Invalid> {
            Ok(Self)
        }
    }

    async fn take(body: Json<Value>) -> web::Json<Value> {
        web::Json(body.0)
    }
    async fn take_lines(request: HttpRequest, payload: web::Payload) -> Result<&'static str, Error> {
        let silence = BodyTimeout::of(&request);
        import::read(payload, import::Format::Csv, silence, async |_: Vec<Line>, _: &mut _| Ok::<_, Error>(())).await?;
        Ok("read")
    }
    let change = |config: &mut ServerConfig| {
        config.header_timeout_seconds = 1;
        config.body_timeout_seconds = 1;
        config.keep_alive_seconds = 1;
    };
    let server = Server::start_with(change, |config| {
        config.service(Endpoint::new("/take").post(take).get(fine));
        config.service(Endpoint::new("/lines").post(take_lines));
    });
    let (head, body, lines, idle) = tokio::join!(
        answer_to(&server, "POST /take HTTP/1.1\r\nhost: a\r\nx-so-far: "),
        answer_to(
            &server,
            "POST /take HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{\"a\""
        ),
        answer_to(
            &server,
            "POST /lines HTTP/1.1\r\nhost: a\r\ncontent-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n4\r\na\nb\n\r\n"
        ),
        answer_to(&server, "GET /take HTTP/1.1\r\nhost: a\r\n\r\n"),
    );
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    for late in [body, lines] {
        assert!(late.starts_with("HTTP/1.1 400 ") && late.contains("invalid_request"), "{late}");
        assert!(late.contains("did not come in time"), "{late}");
    }
    assert!(idle.starts_with("HTTP/1.1 200 ") && idle.ends_with("fine"), "{idle}");
    server.stop().await;
}

/// Sends all of this, and listens only after a while: how many answers came before the connection was closed.
async fn answers_to_all(server: &Server, requests: &str, deaf: Duration) -> usize {
    let stream = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let listen = async {
        tokio::time::sleep(deaf).await;
        let mut received = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut received)).await;
        let Ok(read) = read else { panic!("the connection stays open") };
        if let Err(cause) = read {
            assert_eq!(cause.kind(), ErrorKind::ConnectionReset);
        }
        received.windows(9).filter(|nine| nine == b"HTTP/1.1 ").count()
    };
    // Whoever was given up cannot send.
    let (_, answers) = tokio::join!(writing.write_all(requests.as_bytes()), listen);
    answers
}

fn request(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n{more}\r\n")
}

#[actix_web::test]
async fn a_client_that_sends_on_while_its_request_takes_long_keeps_nobody_busy() {
    const MORE: usize = 20_000;
    static POLLS: AtomicUsize = AtomicUsize::new(0);

    async fn slow() -> &'static str {
        let mut wait = pin!(tokio::time::sleep(Duration::from_millis(500)));
        poll_fn(|context| {
            POLLS.fetch_add(1, Ordering::Relaxed);
            wait.as_mut().poll(context)
        })
        .await;
        "slow"
    }
    let server = Server::start(|config| {
        config.service(Endpoint::new("/slow").get(slow).post(slow));
        config.service(Endpoint::new("/fast").get(fine));
    });
    let (more, last) = (request("/fast", "").repeat(MORE), request("/fast", "connection: close\r\n"));
    let with_body = "POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 40000\r\n\r\n".to_owned() + &"x".repeat(40_000);
    for first in [request("/slow", ""), with_body] {
        POLLS.store(0, Ordering::Relaxed);
        let requests = first + &more + &last;
        assert!(answers_to_all(&server, &requests, Duration::ZERO).await > 0);
        let polls = POLLS.load(Ordering::Relaxed);
        assert!(polls < 100, "{polls}");
    }
    let requests = request("/slow", "") + &more + &last;
    assert_eq!(answers_to_all(&server, &requests, Duration::ZERO).await, MORE + 2);
    server.stop().await;
}

#[actix_web::test]
async fn a_client_that_does_not_listen_is_waited_for_and_given_up_in_the_end() {
    const REQUESTS: usize = 1_000;

    async fn large() -> String {
        "x".repeat(32 * 1024)
    }
    let requests = request("/large", "").repeat(REQUESTS - 1) + &request("/large", "connection: close\r\n");
    let routes = |config: &mut web::ServiceConfig| {
        config.service(Endpoint::new("/large").get(large));
    };
    let patient = Server::start(routes);
    assert_eq!(answers_to_all(&patient, &requests, Duration::from_millis(1_500)).await, REQUESTS);
    patient.stop().await;
    let impatient = Server::start_with(|config| config.write_timeout_seconds = 1, routes);
    let answers = answers_to_all(&impatient, &requests, Duration::from_millis(2_500)).await;
    assert!(answers < REQUESTS, "{answers}");
    impatient.stop().await;
}

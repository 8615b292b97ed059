//! What calls to another service do when it is well, slow, silent or gone.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking, and its name says what it shows")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::{
    Error,
    context::{RequestContext, within},
    metrics::prometheus_client::{encoding::text, registry::Registry},
    peer::{Peer, TIMEOUT_HEADER},
};
use shared_claims::{KeyRing, Signer, feed::TokenSource};

/// What the service does with a request that it has read.
#[derive(Clone, Copy)]
enum Manner {
    Answer(&'static str),
    /// It says nothing and keeps the connection.
    Silent,
    /// It closes the connection.
    HangUp,
}

/// A service with these manners. It keeps what it was sent.
struct Service {
    url: String,
    manner: Arc<Mutex<Manner>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(manner: Manner) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), manner)
    }

    fn on(listener: TcpListener, manner: Manner) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (manner, requests) = (Arc::new(Mutex::new(manner)), Arc::<Mutex<Vec<String>>>::default());
        let (shown, kept) = (manner.clone(), requests.clone());
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = read(&stream) else { continue };
                kept.lock().unwrap().push(request);
                match *shown.lock().unwrap() {
                    Manner::Answer(answer) => {
                        let length = answer.split("\r\n\r\n").nth(1).unwrap().len();
                        let answer = answer.replacen(
                            "\r\n",
                            &format!("\r\nconnection: close\r\ncontent-length: {length}\r\n"),
                            1,
                        );
                        stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
                    }
                    Manner::Silent => open.push(stream),
                    Manner::HangUp => {}
                }
            }
        });
        Self { url, manner, requests }
    }

    fn now(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// How long the callers said that they wait.
    fn patience(&self) -> Vec<Duration> {
        let millis = |request: String| {
            let line =
                request.lines().find_map(|line| line.strip_prefix(&format!("{TIMEOUT_HEADER}: "))).map(str::to_owned);
            Duration::from_millis(line.unwrap_or_else(|| panic!("{request}")).parse().unwrap())
        };
        self.requests().into_iter().map(millis).collect()
    }
}

fn read(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
    }
    let length = request.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(request + std::str::from_utf8(&body).unwrap())
}

const FINE: Manner = Manner::Answer("200 OK\r\ncontent-type: application/json\r\n\r\n{\"fine\":true}");
const OVERLOADED: Manner = Manner::Answer(
    "503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\r\n\
     {\"type\":\"about:blank\",\"title\":\"Overloaded\",\"status\":503,\"code\":\"overloaded\",\"detail\":\"x\"}",
);

const LONG: Duration = Duration::from_secs(30);

fn peer(url: &str, timeout: Duration) -> Peer {
    let ring = KeyRing::from_secret(b"kX3vT9qLw7Zr2Yp8Nf5Jc1Hb6Md4Gs0A").unwrap();
    let signer = Signer::new(&ring).unwrap();
    let tokens = TokenSource::signed(signer, "http://signet.test", "here", "there", Arc::new(|| 1_800_000_000));
    Peer::new("there", "services.there_url", url, timeout, tokens).unwrap()
}

async fn call(peer: &Peer) -> Result<Value, Error> {
    peer.call(Method::POST, "/internal/thing", &json!({ "a": 1 }), &[]).await
}

#[track_caller]
fn assert_unavailable(outcome: Result<Value, Error>) -> String {
    match outcome.unwrap_err() {
        Error::DependencyUnavailable { dependency: "there", cause } => format!("{cause:#}"),
        other => panic!("{other:?}"),
    }
}

/// The value of a metric of the peer.
fn figure(peer: &Peer, name: &str) -> u64 {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(peer.figures()));
    let mut shown = String::new();
    text::encode(&mut shown, &registry).unwrap();
    let line = shown.lines().find_map(|line| line.strip_prefix(&format!("{name}{{peer=\"there\"}} ")));
    line.unwrap_or_else(|| panic!("no {name} in {shown}")).parse().unwrap()
}

/// A port at which nobody listens, and nobody will before the test is over.
fn nobody() -> (TcpStream, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Its own end of a connection keeps a port from being given out again.
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    std::mem::forget(listener);
    (taken, url)
}

#[actix_web::test]
async fn a_call_carries_what_is_left_of_the_time() {
    let service = Service::start(FINE);
    let peer = peer(&service.url, LONG);
    assert_eq!(call(&peer).await.unwrap(), json!({ "fine": true }));
    let told = service.patience()[0];
    assert!(told <= LONG && told > LONG / 2, "{told:?}");

    // A request that has less time than that passes on what it has; one that has more waits no longer than it would.
    let request = RequestContext::new(None, None);
    request.by(Instant::now() + Duration::from_secs(9)).scope(call(&peer)).await.unwrap();
    let told = service.patience()[0];
    assert!(told <= Duration::from_secs(9) && told > Duration::from_secs(4), "{told:?}");
    request.scope(within(LONG * 2, call(&peer))).await.unwrap();
    assert!(service.patience()[0] <= LONG);
}

#[actix_web::test]
async fn a_call_without_an_answer_ends_with_the_request_that_it_was_made_for() {
    let service = Service::start(Manner::Silent);
    let peer = peer(&service.url, LONG).with_circuit(1);
    let began = Instant::now();
    let deadline = began + Duration::from_millis(100);
    let why = assert_unavailable(RequestContext::new(None, None).by(deadline).scope(call(&peer)).await);
    assert!(why.contains("no answer within"), "{why}");
    assert!((Duration::from_millis(100)..LONG / 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    // That one had little time says nothing about the service.
    assert_eq!(figure(&peer, "peer_circuit_open"), 0);

    let hasty = self::peer(&service.url, Duration::from_millis(100)).with_circuit(1);
    assert_unavailable(call(&hasty).await);
    assert_eq!(figure(&hasty, "peer_circuit_open"), 1);
}

#[actix_web::test]
async fn what_was_sent_is_not_sent_again() {
    let service = Service::start(Manner::HangUp);
    let peer = peer(&service.url, LONG);
    assert_unavailable(call(&peer).await);
    assert_eq!(service.requests().len(), 1);
    service.now(OVERLOADED);
    assert_unavailable(call(&peer).await);
    assert_eq!(service.requests().len(), 1);
    assert_eq!(figure(&peer, "peer_retries_total"), 0);
}

#[actix_web::test]
async fn a_connection_that_is_not_to_be_had_is_tried_again_within_a_budget() {
    let (_taken, url) = nobody();
    let peer = peer(&url, LONG);
    assert_unavailable(call(&peer).await);
    assert_eq!(figure(&peer, "peer_retries_total"), 2, "two for one call");
    for outcome in join_all((0..199).map(|_| call(&peer))).await {
        assert_unavailable(outcome);
    }
    // Two in each of ten seconds, and a tenth of the calls.
    let retries = figure(&peer, "peer_retries_total");
    assert!((38..=40).contains(&retries), "{retries}");
}

#[actix_web::test]
async fn a_connection_that_is_to_be_had_at_the_second_try_is_used() {
    let port = tokio::net::TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let peer = peer(&format!("http://{}", port.local_addr().unwrap()), LONG);
    // It is refused while nobody listens, which the figures show.
    assert_unavailable(call(&peer).await);
    assert_eq!(figure(&peer, "peer_retries_total"), 2);
    let listening = async {
        while figure(&peer, "peer_retries_total") < 3 {
            tokio::task::yield_now().await;
        }
        let listener = port.listen(8).unwrap().into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        Service::on(listener, FINE)
    };
    let (answer, service) = tokio::join!(call(&peer), listening);
    assert_eq!(answer.unwrap(), json!({ "fine": true }));
    assert_eq!(service.requests().len(), 1);
}

#[actix_web::test]
async fn a_service_that_does_not_answer_is_left_alone_until_it_does() {
    let service = Service::start(Manner::HangUp);
    let peer = peer(&service.url, LONG).with_circuit(5);
    for _ in 0..5 {
        assert_eq!(figure(&peer, "peer_circuit_open"), 0);
        assert_unavailable(call(&peer).await);
    }
    assert_eq!(service.requests().len(), 5);
    assert_eq!(figure(&peer, "peer_circuit_open"), 1);

    // In a second a few find out how it is; all the others are turned away without a connection.
    let began = Instant::now();
    let mut calls = 0_u64;
    while began.elapsed() < Duration::from_secs(1) {
        assert_unavailable(call(&peer).await);
        calls += 1;
    }
    let probes = u64::try_from(service.requests().len()).unwrap();
    let turned_away = figure(&peer, "peer_calls_not_made_total");
    assert!((1..=8).contains(&probes), "{probes}");
    assert_eq!(turned_away + probes, calls);

    // A probe that hangs holds up nobody.
    service.now(Manner::Silent);
    let slow = async {
        let limit = Duration::from_secs(2);
        RequestContext::new(None, None).by(Instant::now() + limit).scope(call(&peer)).await
    };
    let recovery = async {
        while service.requests().is_empty() {
            tokio::task::yield_now().await;
            assert!(began.elapsed() < LONG);
            let _ = tokio::time::timeout(Duration::from_millis(5), call(&peer)).await;
        }
        service.now(FINE);
        let back = Instant::now();
        while call(&peer).await.is_err() {
            tokio::task::yield_now().await;
        }
        back.elapsed()
    };
    let (_, took) = tokio::join!(slow, recovery);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(figure(&peer, "peer_circuit_open"), 0);
    call(&peer).await.unwrap();
}

#[actix_web::test]
async fn a_service_that_refuses_is_there() {
    let service = Service::start(OVERLOADED);
    let peer = peer(&service.url, LONG).with_circuit(1);
    for _ in 0..10 {
        assert_unavailable(call(&peer).await);
    }
    assert_eq!(service.requests().len(), 10);
    assert_eq!(figure(&peer, "peer_circuit_open"), 0);
}

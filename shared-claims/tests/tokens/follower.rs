//! The follower against a feed that behaves well, badly, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shared_claims::feed::{Entry, Feed, Follower, Revocation, RevocationList, TokenSource};
use shared_claims::{Claims, KeyRing, LiveKeyRing, Signer, Verifier};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::helpers::{ISSUER, NOW, claims, kid, ring};
use crate::server::{Call, Server, in_time};

/// A follower at work, and all that it was given.
struct Scene {
    server: Server,
    list: RevocationList,
    ring: LiveKeyRing,
    clock: Arc<AtomicU64>,
    id: String,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(|follower| follower).await
    }

    async fn start_with(adjust: impl FnOnce(Follower) -> Follower) -> Self {
        let server = Server::start().await;
        let ring = LiveKeyRing::new(ring());
        let tokens = TokenSource::signed(Signer::live(&ring).unwrap(), ISSUER, "greeter", "auth-service", clock(NOW));
        Self::start_at(server, ring, tokens, adjust)
    }

    fn start_at(
        server: Server,
        ring: LiveKeyRing,
        tokens: TokenSource,
        adjust: impl FnOnce(Follower) -> Follower,
    ) -> Self {
        let list = RevocationList::new();
        let clock = Arc::new(AtomicU64::new(NOW));
        let time = Arc::clone(&clock);
        let follower = Follower::new(&server.url, "greeter", list.clone(), ring.clone(), tokens).unwrap();
        let follower = adjust(follower).clock(Arc::new(move || time.load(Ordering::SeqCst)));
        let id = follower.verifier_id().to_owned();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(follower.run(async {
            let _ = stopped.await;
        }));
        Self { server, list, ring, clock, id, stop: Some(stop), running }
    }

    /// The next poll, which must be for what comes after this number of this epoch, and be held for so long.
    async fn expect(&self, epoch: Option<&str>, after: u64, wait: u64) -> Call {
        let call = self.server.next().await;
        assert_position(&call, epoch, after, wait);
        call
    }

    /// Answers a first poll with these entries; gives the second.
    async fn begin(&self, entries: &[Entry]) -> Call {
        let seq = entries.len() as u64;
        self.expect(None, 0, 0).await.answer(200, feed("e1", seq, entries)).await;
        self.expect(Some("e1"), seq, 25).await
    }

    fn revokes(&self, sid: &str) -> bool {
        self.list.revokes(&Claims { sid: Some(sid.to_owned()), ..claims() }, "k")
    }
}

#[track_caller]
fn assert_position(call: &Call, epoch: Option<&str>, after: u64, wait: u64) {
    let position = (call.query("epoch"), call.query("after"), call.query("wait"));
    assert_eq!(position, (epoch.map(str::to_owned), Some(after.to_string()), Some(wait.to_string())));
}

fn clock(now: u64) -> Arc<dyn Fn() -> u64 + Send + Sync> {
    Arc::new(move || now)
}

fn session(seq: u64, sid: &str) -> Entry {
    Entry { seq, revocation: Revocation::Session { sid: sid.to_owned() }, until: NOW + 1_000 }
}

fn feed(epoch: &str, seq: u64, entries: &[Entry]) -> String {
    serde_json::to_string(&Feed { epoch: epoch.to_owned(), seq, entries: entries.to_vec() }).unwrap()
}

#[tokio::test]
async fn it_begins_with_all_there_is_and_then_asks_for_what_is_new() {
    let scene = Scene::start().await;
    assert_eq!(scene.list.age(), None);
    let call = scene.expect(None, 0, 0).await;
    assert_eq!((call.method.as_str(), call.url.path()), ("GET", "/internal/revocations"));
    assert_eq!(call.query("verifier").as_ref(), Some(&scene.id));
    assert_eq!(call.query("kids"), Some(kid()));
    let at_auth_service =
        Verifier::builder(ring()).issuer(ISSUER).audience("auth-service").clock(clock(NOW)).build().unwrap();
    let caller = at_auth_service.verify(call.token()).unwrap();
    assert_eq!((&*caller.sub, caller.is_client(), &*caller.scope), ("greeter", true, "signet:internal"));

    call.answer(200, feed("e1", 7, &[session(3, "s1")])).await;
    let call = scene.expect(Some("e1"), 7, 25).await;
    assert!(scene.revokes("s1") && !scene.revokes("s2"));
    assert!(scene.list.age().unwrap() < Duration::from_secs(20));
    let status = scene.list.status();
    assert_eq!((status.entries, status.epoch.as_deref(), status.seq, status.connected), (1, Some("e1"), 7, true));

    call.answer(200, feed("e1", 8, &[session(8, "s2")])).await;
    scene.expect(Some("e1"), 8, 25).await;
    assert!(scene.revokes("s1") && scene.revokes("s2"));
}

#[tokio::test]
async fn each_process_has_an_id_of_its_own_under_the_service_s_name() {
    let (one, other) = (Scene::start().await, Scene::start().await);
    assert_ne!(one.id, other.id);
    for id in [&one.id, &other.id] {
        let random = id.strip_prefix("greeter/").unwrap();
        assert!(random.len() == 22 && random.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{id}");
    }
}

#[tokio::test]
async fn a_base_url_may_have_a_path_of_its_own() {
    let server = Server::start().await;
    for (base, path) in
        [("", "/internal/revocations"), ("/", "/internal/revocations"), ("/auth/?x#y", "/auth/internal/revocations")]
    {
        let ring = LiveKeyRing::new(ring());
        let tokens = TokenSource::signed(Signer::live(&ring).unwrap(), ISSUER, "a", "b", clock(NOW));
        let url = format!("{}{base}", server.url);
        let follower = Follower::new(&url, "a", RevocationList::new(), ring, tokens).unwrap();
        let running = tokio::spawn(follower.run(std::future::pending()));
        assert_eq!(server.next().await.url.path(), path);
        running.abort();
    }
}

#[tokio::test]
async fn polls_are_held_for_half_of_the_time_after_which_the_list_is_stale() {
    for (stale_after_seconds, wait) in [(0, 1), (2, 1), (5, 2), (30, 15), (50, 25), (3_600, 25)] {
        let scene = Scene::start_with(|follower| follower.stale_after_seconds(stale_after_seconds)).await;
        scene.expect(None, 0, 0).await.answer(200, feed("e1", 0, &[])).await;
        scene.expect(Some("e1"), 0, wait).await;
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let scene = Scene::start().await;
    let call = scene.expect(None, 0, 0).await.answer_and_go_on(&feed("e1", 1, &[session(1, "s1")])).await;
    assert_position(&call, Some("e1"), 1, 25);
    let call = call.answer_and_go_on(&feed("e1", 2, &[session(2, "s2")])).await;
    assert_position(&call, Some("e1"), 2, 25);
    assert!(scene.revokes("s1") && scene.revokes("s2"));
}

#[tokio::test]
async fn another_epoch_puts_its_entries_in_the_place_of_what_was_known() {
    let scene = Scene::start().await;
    let call = scene.begin(&[session(1, "s1"), session(2, "s2")]).await;
    call.answer(200, feed("e2", 1, &[session(1, "s3")])).await;
    let call = scene.expect(Some("e2"), 1, 25).await;
    assert!(!scene.revokes("s1") && !scene.revokes("s2") && scene.revokes("s3"));

    // A database that was restored from before the first revocation.
    call.answer(200, feed("e3", 0, &[])).await;
    scene.expect(Some("e3"), 0, 25).await;
    assert!(scene.list.is_empty());
}

#[tokio::test]
async fn a_feed_that_knows_less_than_it_told_takes_nothing_back() {
    let scene = Scene::start().await;
    let call = scene.begin(&[session(1, "s1"), session(2, "s2")]).await;
    call.answer(200, feed("e1", 1, &[])).await;
    // The same epoch, from the start: what it has is added, and what it lacks stays.
    let call = scene.expect(Some("e1"), 0, 0).await;
    assert!(!scene.list.status().connected);
    call.answer(200, feed("e1", 1, &[session(1, "s3")])).await;
    scene.expect(Some("e1"), 1, 25).await;
    assert!(["s1", "s2", "s3"].iter().all(|sid| scene.revokes(sid)));
    assert!(scene.list.status().connected);
}

#[tokio::test]
async fn whatever_goes_wrong_the_list_stays_and_the_follower_goes_on_where_it_was() {
    let whole = feed("e1", 9, &[session(9, "s9")]);
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let ok = |body: &str| format!("{}{body}", head(body.len()));
    let status = |line: &str| format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let failures = [
        String::new(),
        "HTTP/1.1 200 O".to_owned(),
        "gibberish\r\n\r\n".to_owned(),
        head(whole.len()),
        format!("{}{}", head(whole.len()), &whole[..whole.len() - 1]),
        format!("{chunked}{:x}\r\n{whole}\r\n", whole.len()),
        format!("{chunked}{:x}\r\n{whole}\r\n0\r\n", whole.len()),
        head(64 * 1024 * 1024 + 1),
        ok(&whole[..whole.len() - 1]),
        ok(&format!("{whole}{whole}")),
        ok(""),
        ok("null"),
        ok("[]"),
        ok("{}"),
        ok("<html>"),
        ok("\u{feff}{}"),
        ok(&whole.replace("e1", "")),
        ok(&whole.replace("\"seq\":9,\"entries", "\"seq\":-1,\"entries")),
        ok(&whole.replace("\"seq\":9,\"entries", "\"seq\":1.5,\"entries")),
        ok(&whole.replace("until", "unti1")),
        ok(&whole.replace("\"s9\"", "9")),
        status("204 No Content"),
        status("301 Moved\r\nlocation: http://127.0.0.1:1/"),
        status("307 Moved\r\nlocation: /internal/revocations"),
        status("400 Bad Request"),
        status("404 Not Found"),
        status("422 Unprocessable"),
        status("429 Too Many"),
        status("500 Internal"),
        status("502 Bad Gateway"),
        status("503 Unavailable\r\nretry-after: 100"),
    ];
    let scene = Scene::start().await;
    let mut call = scene.begin(&[session(1, "s1")]).await;
    for failure in failures {
        call.raw(&failure).await;
        let again = scene.expect(Some("e1"), 1, 0).await;
        assert!(scene.revokes("s1") && scene.list.len() == 1, "{failure:?}");
        assert!(!scene.list.status().connected, "{failure:?}");
        // Heard at once whether anything happened meanwhile, and only then waits again.
        again.answer(200, feed("e1", 1, &[])).await;
        call = scene.expect(Some("e1"), 1, 25).await;
        assert!(scene.list.status().connected, "{failure:?}");
    }
    call.raw(ok(&whole)).await;
    scene.expect(Some("e1"), 9, 25).await;
    assert!(scene.revokes("s1") && scene.revokes("s9"));
}

#[tokio::test]
async fn it_waits_for_an_auth_service_that_is_not_there_yet() {
    let mut absent = Server::start().await;
    // Bound, so that nobody else gets the port, and not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    absent.url = format!("http://{}", socket.local_addr().unwrap());
    let ring = LiveKeyRing::new(ring());
    let tried = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&tried);
    // A token is made for each try, since each is made by a clock that has moved on.
    let count_tries: Arc<dyn Fn() -> u64 + Send + Sync> =
        Arc::new(move || NOW + 100 * count.fetch_add(1, Ordering::SeqCst));
    let tokens = TokenSource::signed(Signer::live(&ring).unwrap(), ISSUER, "greeter", "auth-service", count_tries);
    let scene = Scene::start_at(absent, ring, tokens, |follower| follower);
    in_time(async {
        while tried.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let listener = socket.listen(8).unwrap();
    let (stream, _) = in_time(listener.accept()).await.unwrap();
    drop(stream);
    assert_eq!(scene.list.age(), None);
    assert!(!scene.list.status().connected);
}

#[tokio::test]
async fn an_answer_of_a_hundred_thousand_entries_is_taken_up() {
    let entries: Vec<Entry> = (1..=100_000).map(|seq| session(seq, &format!("session-{seq}"))).collect();
    let scene = Scene::start().await;
    scene.expect(None, 0, 0).await.answer(200, feed("e1", 100_000, &entries)).await;
    scene.expect(Some("e1"), 100_000, 25).await;
    assert_eq!(scene.list.len(), 100_000);
    assert!(scene.revokes("session-1") && scene.revokes("session-100000") && !scene.revokes("session-0"));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let scene = Scene::start().await;
    let call = scene.begin(&[session(1, "s1")]).await;
    let mut endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [&b"100000\r\n"[..], &vec![b' '; 0x10_0000], b"\r\n"].concat();
    for _ in 0..65 {
        endless.extend_from_slice(&chunk);
    }
    call.raw(endless).await;
    scene.expect(Some("e1"), 1, 0).await;
    assert!(scene.revokes("s1"));
}

#[tokio::test]
async fn an_auth_service_that_accepts_and_never_answers_abandoned() {
    let scene = Scene::start().await;
    let call = scene.begin(&[session(1, "s1")]).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(25 + 4)).await;
    assert!(scene.server.is_idle());
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    call.abandoned().await;
    scene.expect(Some("e1"), 1, 0).await;
}

#[tokio::test]
async fn entries_are_dropped_when_their_time_has_come() {
    let scene = Scene::start().await;
    let call = scene.begin(&[session(1, "s1"), Entry { until: NOW + 5_000, ..session(2, "s2") }]).await;
    scene.clock.store(NOW + 1_000 + 60, Ordering::SeqCst);
    // A minute, in which the poll is given up as well.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    call.abandoned().await;
    scene.expect(Some("e1"), 2, 0).await;
    assert!(!scene.revokes("s1") && scene.revokes("s2"));
}

#[tokio::test]
async fn a_clock_that_was_ahead_and_is_set_back_has_everything_told_again() {
    let scene = Scene::start_with(|follower| follower).await;
    let call = scene.begin(&[session(1, "s1")]).await;
    scene.clock.store(NOW + 100_000, Ordering::SeqCst);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    call.abandoned().await;
    let call = scene.expect(Some("e1"), 1, 0).await;
    assert!(!scene.revokes("s1"), "by that clock it is long over");
    scene.clock.store(NOW, Ordering::SeqCst);
    call.answer(200, feed("e1", 1, &[])).await;
    scene.expect(Some("e1"), 0, 0).await.answer(200, feed("e1", 1, &[session(1, "s1")])).await;
    scene.expect(Some("e1"), 1, 25).await;
    assert!(scene.revokes("s1"));
}

#[tokio::test]
async fn a_new_ring_cuts_the_poll_short_and_its_keys_are_named_at_once() {
    let scene = Scene::start().await;
    let call = scene.begin(&[session(1, "s1")]).await;
    assert_eq!(call.query("kids"), Some(kid()));
    let jwk = |kid: &str, k: &str| json!({"kty": "oct", "alg": "HS256", "kid": kid, "k": k});
    let set = json!({"keys": [
        jwk("new", "bmV3LWtleS1vZi10aGlydHktdHdvLWJ5dGVzLTEyMzQ1Njc4"),
        jwk("old one", "b2xkLWtleS1vZi10aGlydHktdHdvLWJ5dGVzLTEyMzQ1Njc4"),
    ]});
    scene.ring.replace(KeyRing::from_jwk_set(set.to_string().as_bytes()).unwrap());
    call.abandoned().await;
    let call = scene.expect(Some("e1"), 1, 25).await;
    assert_eq!(call.query("kids").unwrap(), "new,old one");
    let at_auth_service = Verifier::builder(scene.ring.clone())
        .issuer(ISSUER)
        .audience("auth-service")
        .clock(clock(NOW))
        .build()
        .unwrap();
    at_auth_service.verify(call.token()).expect("the token should be signed with the new key");
    assert!(scene.list.status().connected);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    for status in [401, 403] {
        let endpoint = Server::start().await;
        let tokens = TokenSource::client_credentials(&format!("{}/auth/token", endpoint.url), "id", "secret").unwrap();
        let scene = Scene::start_at(Server::start().await, LiveKeyRing::new(ring()), tokens, |follower| follower);
        let issue = async |token: &str| {
            let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": 900});
            endpoint.next().await.answer(200, answer.to_string()).await;
        };
        let expect = async |token: &str| {
            let call = scene.server.next().await;
            assert_eq!(call.token(), token);
            call
        };
        issue("first").await;
        expect("first").await.answer(status, "").await;
        issue("second").await;
        expect("second").await.answer(status, "").await;
        expect("second").await.answer(status, "").await;
        let call = expect("second").await;
        assert!(endpoint.is_idle(), "the endpoint should not be asked for each try");
        call.answer(200, feed("e1", 0, &[])).await;
        // It worked for a while, so it is worth another one.
        expect("second").await.answer(status, "").await;
        issue("third").await;
        expect("third").await.answer(200, feed("e1", 0, &[])).await;
    }
}

#[tokio::test]
async fn shutdown_ends_it_at_once() {
    let mut scene = Scene::start().await;
    let call = scene.begin(&[session(1, "s1")]).await;
    scene.stop.take().unwrap().send(()).unwrap();
    in_time(&mut scene.running).await.unwrap();
    call.abandoned().await;
    assert!(scene.revokes("s1"));
    assert!(!scene.list.status().connected);
}

#[tokio::test]
async fn shutdown_ends_it_while_it_pauses() {
    let mut scene = Scene::start().await;
    for _ in 0..3 {
        scene.expect(None, 0, 0).await.answer(503, "").await;
    }
    scene.stop.take().unwrap().send(()).unwrap();
    in_time(&mut scene.running).await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_holds_a_poll_is_not_asked_in_a_loop() {
    let scene = Scene::start().await;
    let mut call = scene.begin(&[]).await;
    let began = Instant::now();
    for _ in 0..6 {
        call.answer(200, feed("e1", 0, &[])).await;
        call = scene.expect(Some("e1"), 0, 25).await;
    }
    assert!(began.elapsed() >= 5 * Duration::from_millis(50), "{:?}", began.elapsed());
}

#[tokio::test]
async fn entries_that_come_thick_and_fast_come_together() {
    let scene = Scene::start().await;
    let mut call = scene.begin(&[]).await;
    let began = Instant::now();
    for seq in 1..=10 {
        call.answer(200, feed("e1", seq, &[session(seq, "s")])).await;
        call = scene.expect(Some("e1"), seq, 25).await;
    }
    assert!(began.elapsed() >= 9 * Duration::from_millis(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_follower_shows_neither_its_token_nor_its_keys() {
    let ring = LiveKeyRing::new(ring());
    let tokens = TokenSource::client_credentials("http://127.0.0.1:1/", "the-id", "the-secret").unwrap();
    let follower = Follower::new("http://127.0.0.1:1", "greeter", RevocationList::new(), ring, tokens).unwrap();
    let shown = format!("{follower:?}");
    assert!(shown.contains("greeter/") && !shown.contains("the-secret"), "{shown}");
}

#[test]
fn an_address_that_is_no_url_of_an_http_server_is_refused() {
    for url in ["", "127.0.0.1:8081", "localhost", "ftp://a", "http://", "/auth", "file:///a", "unix:/a"] {
        let ring = LiveKeyRing::new(ring());
        let tokens = TokenSource::signed(Signer::live(&ring).unwrap(), ISSUER, "a", "b", clock(NOW));
        let error = Follower::new(url, "a", RevocationList::new(), ring, tokens).unwrap_err();
        assert!(error.to_string().contains("must be a URL"), "{url}");
        assert!(TokenSource::client_credentials(url, "id", "secret").is_err(), "{url}");
    }
}

#[test]
fn the_feed_s_form_on_the_wire_is_fixed() {
    let entries = [
        (Revocation::Session { sid: "s".into() }, json!({"kind": "session", "sid": "s"})),
        (Revocation::User { sub: "u".into(), min_ver: 3 }, json!({"kind": "user", "sub": "u", "min_ver": 3})),
        (Revocation::Token { jti: "j".into() }, json!({"kind": "token", "jti": "j"})),
        (Revocation::Key { kid: "k".into() }, json!({"kind": "key", "kid": "k"})),
        (Revocation::All { issued_before: 7 }, json!({"kind": "all", "issued_before": 7})),
    ];
    for (revocation, mut expected) in entries {
        let entry = Entry { seq: 1, revocation, until: 9 };
        expected["seq"] = json!(1);
        expected["until"] = json!(9);
        let written: Value = serde_json::to_value(&entry).unwrap();
        assert_eq!(written, expected);
        // More members may come.
        expected["note"] = json!({"x": [1]});
        assert_eq!(serde_json::from_value::<Entry>(expected).unwrap(), entry);
    }
}

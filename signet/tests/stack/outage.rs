//! user-service out of reach: what stops, what goes on, and that nothing has to be restarted.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use actix_web::rt::task::JoinHandle;
use serde_json::json;
use service_kit::Service;
use test_support::{TestDatabase, on_both_databases};
use tokio::sync::oneshot;

use crate::helpers::{Answer, Client, Databases, LASTING_ISSUER, PASSWORD, TestClock, Tokens};

struct RunningService {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl RunningService {
    fn run(service: Service) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = actix_web::rt::spawn(async move {
            let stop = async {
                // A test that has failed drops the sender.
                let _ = stopped.await;
            };
            service.run_until(stop).await.unwrap();
        });
        Self { stop, ended }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

/// A listener on a port that the system gives nobody by itself, so that it can be left and taken again.
fn lasting_port() -> TcpListener {
    let first = 10_000 + u16::try_from(std::process::id() % 8_000).unwrap();
    (first..20_000).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).expect("a free port")
}

#[track_caller]
fn assert_unavailable(answer: Answer, started: Instant) {
    let answer = answer.expect_problem(503, "dependency_unavailable");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let seconds: u32 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&seconds));
}

on_both_databases! {
    async fn without_user_service_only_log_in_waits_and_it_recovers_by_itself(db: TestDatabase) {
        let user_listener = lasting_port();
        let user_address = user_listener.local_addr().unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (auth_listener, resource_listener) = (free(), free());
        let client_of = |address| Client::new(format!("http://{address}"));
        let auth_client = client_of(auth_listener.local_addr().unwrap());
        let resource_client = client_of(resource_listener.local_addr().unwrap());

        let databases = Databases::next_to(db);
        let user_url = format!("http://{user_address}");
        let config = databases.configuration(&[
            LASTING_ISSUER,
            ("SIGNET__SERVICES__USER_URL", &user_url),
            ("SIGNET__SERVICES__AUTH_URL", &auth_client.base),
        ]);
        let clock = TestClock::new();
        let user = || user_service::build(config.user.clone(), user_listener_of(&user_address), clock.clock()).unwrap();
        let user_running = RunningService::run(
            user_service::build(config.user.clone(), user_listener, clock.clock()).unwrap(),
        );
        let auth = RunningService::run(
            auth_service::build(config.auth.clone(), auth_listener, clock.clock()).unwrap(),
        );
        let resource = RunningService::run(
            resource_service::build(config.resource.clone(), resource_listener, clock.clock()).unwrap(),
        );
        let tokens = Tokens::of(&auth_client.register("ada@example.com").await.expect(201));
        let goes_on = async |tokens: Tokens| {
            let tokens = Tokens::of(&auth_client.refresh(&tokens.refresh).await.expect(200));
            resource_client.get("/persons", &tokens.access).await.expect(200);
            auth_client.get("/auth/me", &tokens.access).await.expect(200);
            auth_client.get("/auth/sessions", &tokens.access).await.expect(200);
            tokens
        };

        // Nobody listens.
        user_running.stop().await;
        let started = Instant::now();
        assert_unavailable(auth_client.log_in("ada@example.com", PASSWORD).await, started);
        let tokens = goes_on(tokens).await;

        // Somebody listens and never answers.
        let silent = user_listener_of(&user_address);
        let started = Instant::now();
        assert_unavailable(auth_client.log_in("ada@example.com", PASSWORD).await, started);
        let started = Instant::now();
        let registration = json!({ "email": "eve@example.com", "password": PASSWORD });
        assert_unavailable(auth_client.post("/auth/register", registration).await, started);
        let tokens = goes_on(tokens).await;
        drop(silent);

        let user_running = RunningService::run(user());
        let again = Tokens::of(&auth_client.log_in("ada@example.com", PASSWORD).await.expect(200));
        auth_client.refresh(&again.refresh).await.expect(200);
        goes_on(tokens).await;

        auth.stop().await;
        user_running.stop().await;
        resource.stop().await;
    }

    async fn a_user_service_that_is_gone_is_left_alone_and_found_again_within_a_second(db: TestDatabase) {
        let user_listener = lasting_port();
        let user_address = user_listener.local_addr().unwrap();
        let auth_listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let auth_client = Client::new(format!("http://{}", auth_listener.local_addr().unwrap()));
        let databases = Databases::next_to(db);
        let config = databases.configuration(&[
            LASTING_ISSUER,
            ("SIGNET__SERVICES__USER_URL", &format!("http://{user_address}")),
            ("SIGNET__SERVICES__AUTH_URL", &auth_client.base),
        ]);
        let clock = TestClock::new();
        let user = |listener| RunningService::run(user_service::build(config.user.clone(), listener, clock.clock()).unwrap());
        let user_running = user(user_listener);
        let auth =
            RunningService::run(auth_service::build(config.auth.clone(), auth_listener, clock.clock()).unwrap());
        let tokens = Tokens::of(&auth_client.register("ada@example.com").await.expect(201));
        user_running.stop().await;
        // The queue of connections takes them, and nobody reads.
        let silent = user_listener_of(&user_address);

        let log_in = || auth_client.log_in("ada@example.com", PASSWORD);
        let started = Instant::now();
        for answer in futures_util::future::join_all((0..5).map(|_| log_in())).await {
            assert_unavailable(answer, started);
        }
        // Most are turned away at once now; whoever finds out how it is waits as before, and nobody waits for them.
        let mut at_once = 0;
        for answer in futures_util::future::join_all((0..50).map(async |_| {
            let started = Instant::now();
            assert_unavailable(log_in().await, started);
            started.elapsed()
        })).await {
            at_once += usize::from(answer < Duration::from_secs(1));
        }
        assert!(at_once >= 48, "{at_once}");
        let metrics = auth_client.get_without_token("/metrics").await.expect(200).text;
        assert!(metrics.contains("signet_peer_circuit_open{peer=\"user-service\"} 1"), "{metrics}");
        auth_client.refresh(&tokens.refresh).await.expect(200);

        drop(silent);
        let user_running = user(user_listener_of(&user_address));
        let back = Instant::now();
        while log_in().await.status != 200 {
            assert!(back.elapsed() < Duration::from_secs(10), "it is not found again");
            tokio::task::yield_now().await;
        }
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        let metrics = auth_client.get_without_token("/metrics").await.expect(200).text;
        assert!(metrics.contains("signet_peer_circuit_open{peer=\"user-service\"} 0"), "{metrics}");
        for _ in 0..3 {
            log_in().await.expect(200);
        }
        auth.stop().await;
        user_running.stop().await;
    }
}

fn user_listener_of(address: &std::net::SocketAddr) -> TcpListener {
    TcpListener::bind(address).unwrap()
}

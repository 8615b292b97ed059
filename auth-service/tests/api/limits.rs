//! How often somebody may get a password wrong, and that nobody else has to pay for it.

use reqwest::Method;
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, TestApp, send, text};

const PROXY: (&str, &str) = ("SIGNET__SERVER__TRUSTED_PROXIES", "127.0.0.0/8");

async fn log_in(app: &TestApp, address: &str, name: &str, password: &str) -> Answer {
    let body = json!({ "username": name, "password": password });
    send(app.post("/auth/login").header("x-forwarded-for", address).json(&body)).await
}

async fn wrong(app: &TestApp, address: &str, name: &str) -> Answer {
    log_in(app, address, name, "a wrong one").await
}

async fn right(app: &TestApp, address: &str, name: &str) -> Answer {
    log_in(app, address, name, "correct horse").await
}

#[track_caller]
fn must_wait(answer: &Answer, seconds: &str) {
    answer.is(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), seconds);
}

/// How often each answer was given, as the metrics have it.
async fn counted(app: &TestApp, result: &str) -> u64 {
    let metrics = app.get("/metrics").send().await.unwrap().text().await.unwrap();
    let line = metrics.lines().find(|line| line.starts_with(&format!("signet_logins_total{{result=\"{result}\"}}")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

on_both_databases! {
    async fn after_five_wrong_passwords_the_right_one_has_to_wait_too_but_nowhere_else(db: TestDatabase) {
        let app = TestApp::start_with(db, &[PROXY]);
        app.register("ada").await;
        for _ in 0..5 {
            wrong(&app, "203.0.113.1", "ada").await.is(401, "invalid_credentials");
        }
        must_wait(&right(&app, "203.0.113.1", "ada").await, "1");
        must_wait(&right(&app, "203.0.113.1", " ADA ").await, "1");
        assert_eq!(right(&app, "203.0.113.2", "ada").await.status.as_u16(), 200);
        let form = [("grant_type", "password"), ("username", "ada"), ("password", "correct horse")];
        let by_grant = send(app.post("/auth/token").header("x-forwarded-for", "203.0.113.1").form(&form)).await;
        must_wait_in_oauth(&by_grant);

        app.advance(1);
        wrong(&app, "203.0.113.1", "ada").await.is(401, "invalid_credentials");
        must_wait(&right(&app, "203.0.113.1", "ada").await, "2");
        app.advance(2);
        assert_eq!(right(&app, "203.0.113.1", "ada").await.status.as_u16(), 200);
        wrong(&app, "203.0.113.1", "ada").await.is(401, "invalid_credentials");
        assert_eq!(counted(&app, "limited").await, 4);
        app.stop().await;
    }

    async fn a_name_that_nobody_has_is_treated_alike(db: TestDatabase) {
        let app = TestApp::start_with(db, &[PROXY]);
        app.register("ada").await;
        for name in ["ada", "nobody"] {
            for _ in 0..5 {
                wrong(&app, "203.0.113.1", name).await.is(401, "invalid_credentials");
            }
            must_wait(&wrong(&app, "203.0.113.1", name).await, "1");
        }
        app.stop().await;
    }

    async fn what_is_refused_as_it_stands_is_no_guess_and_does_not_have_to_wait(db: TestDatabase) {
        let extra = [("SIGNET__LIMITS__FAILURES_PER_ADDRESS", "1"), ("SIGNET__LIMITS__FAILURES_BEFORE_DELAY", "1")];
        let app = TestApp::start_with(db, &extra);
        app.register("ada").await;
        let attempt = async |body: &Value| send(app.post("/auth/login").json(body)).await;
        let wrong = json!({ "username": "ada", "password": "a wrong one" });
        attempt(&wrong).await.is(401, "invalid_credentials");
        attempt(&wrong).await.is(429, "rate_limited");
        for body in [
            json!({}),
            json!({ "username": "ada" }),
            json!({ "password": "a wrong one" }),
            json!({ "username": "ada", "email": "ada@example.com", "password": "a wrong one" }),
            json!({ "username": "a\0da", "password": "a wrong one" }),
            json!({ "username": "ada", "password": "x".repeat(1025) }),
        ] {
            // The stand-in for user-service tells them from no other refusal; what counts is that it was asked.
            let refused = attempt(&body).await;
            assert_ne!(refused.status.as_u16(), 429, "{body}");
        }
        app.stop().await;
    }

    async fn an_address_that_tries_many_accounts_has_to_wait_with_its_whole_network(db: TestDatabase) {
        let app = TestApp::start_with(db, &[PROXY, ("SIGNET__LIMITS__FAILURES_PER_ADDRESS", "10")]);
        app.register("ada").await;
        for number in 0..10 {
            wrong(&app, "2001:db8::1", &format!("user-{number}")).await.is(401, "invalid_credentials");
        }
        must_wait(&right(&app, "2001:db8::ffff:1", "ada").await, "1");
        assert_eq!(right(&app, "2001:db8:0:1::1", "ada").await.status.as_u16(), 200);
        app.advance(1);
        assert_eq!(right(&app, "2001:db8::1", "ada").await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn whoever_tries_an_account_from_everywhere_does_not_keep_its_user_out(db: TestDatabase) {
        let app = TestApp::start_with(db, &[PROXY, ("SIGNET__LIMITS__FAILURES_PER_ACCOUNT", "10")]);
        app.register("ada").await;
        assert_eq!(right(&app, "198.51.100.7", "ada").await.status.as_u16(), 200);
        for number in 0..10 {
            wrong(&app, &format!("203.0.113.{number}"), "ada").await.is(401, "invalid_credentials");
        }
        must_wait(&right(&app, "203.0.113.77", "ada").await, "20");
        assert_eq!(right(&app, "198.51.100.7", "ada").await.status.as_u16(), 200);
        assert_eq!(right(&app, "203.0.113.78", "grace").await.status.as_u16(), 401, "another account");
        app.advance(20);
        assert_eq!(right(&app, "203.0.113.77", "ada").await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn many_right_passwords_from_one_address_have_to_wait_for_nothing(db: TestDatabase) {
        let extra = [("SIGNET__LIMITS__FAILURES_PER_ADDRESS", "1"), ("SIGNET__LIMITS__FAILURES_BEFORE_DELAY", "1")];
        let app = TestApp::start_with(db, &extra);
        app.register("ada").await;
        for _ in 0..30 {
            app.log_in("ada").await;
        }
        app.stop().await;
    }

    async fn what_user_service_could_not_judge_is_held_against_nobody(db: TestDatabase) {
        let app = TestApp::start_with(db, &[PROXY, ("SIGNET__LIMITS__FAILURES_BEFORE_DELAY", "1")]);
        app.register("ada").await;
        app.users.available.store(false, std::sync::atomic::Ordering::Relaxed);
        for _ in 0..3 {
            right(&app, "203.0.113.1", "ada").await.is(503, "dependency_unavailable");
        }
        app.users.available.store(true, std::sync::atomic::Ordering::Relaxed);
        let refused = send(app.post("/auth/login").header("x-forwarded-for", "203.0.113.1").json(&json!({}))).await;
        assert!(refused.status.is_client_error());
        app.users.change("user-1", |user| user["disabled"] = json!(true));
        for _ in 0..3 {
            right(&app, "203.0.113.1", "ada").await.is(403, "account_disabled");
        }
        app.stop().await;
    }

    async fn attempts_that_had_to_wait_are_not_in_the_audit_log(db: TestDatabase) {
        let app = TestApp::start_with(db, &[PROXY]);
        app.register("ada").await;
        for _ in 0..8 {
            wrong(&app, "203.0.113.1", "ada").await;
        }
        let token = app.mint(|claims| claims.scope = "users:read".into());
        let log = send(app.request(Method::GET, "/auth/audit?action=login").bearer_auth(token)).await;
        let outcomes: Vec<&str> = log.body["items"].as_array().unwrap().iter().map(|item| text(&item["outcome"])).collect();
        assert_eq!(outcomes, [&["invalid_credentials"; 5][..], &["succeeded"]].concat());
        app.stop().await;
    }
}

#[track_caller]
fn must_wait_in_oauth(answer: &Answer) {
    answer.is(429, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.body["code"], Value::Null);
}

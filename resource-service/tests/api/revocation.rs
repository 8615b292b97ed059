//! A service that follows auth-service's feed: what is revoked there is refused here.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared_claims::Claims;
use test_support::{FakeFeed, TestDatabase, on_both_databases};

use crate::helpers::{TestApp, body, problem};

/// Asks until the answer has this status; fails after ten seconds.
async fn becomes(app: &TestApp, path: &str, token: &str, status: u16) -> reqwest::Response {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = app.anonymous(Method::GET, path).bearer_auth(token).send().await.unwrap();
        if answer.status().as_u16() == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path} still answers {}", answer.status());
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn metrics(app: &TestApp) -> String {
    let answer = app.anonymous(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
    answer.text().await.unwrap()
}

fn value_of(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

on_both_databases! {
    async fn what_the_feed_revokes_is_refused_and_nothing_else(database: TestDatabase) {
        let feed = FakeFeed::start();
        let app = TestApp::start_with(&database, &[("services.auth_url", feed.url())]);
        let in_session = |sid: &str, ver| {
            let claims = Claims { sid: Some(sid.to_owned()), ver: Some(ver), ..app.claims("persons:read") };
            app.sign(&claims)
        };
        let (first, second) = (in_session("s1", 1), in_session("s2", 1));
        body(becomes(&app, "/persons", &first, 200).await, StatusCode::OK).await;

        feed.revoke(json!({ "kind": "session", "sid": "s1" }));
        problem(becomes(&app, "/persons", &first, 401).await, 401, "token_revoked").await;
        body(becomes(&app, "/persons", &second, 200).await, StatusCode::OK).await;

        feed.revoke(json!({ "kind": "user", "sub": "ada", "min_ver": 2 }));
        problem(becomes(&app, "/persons", &second, 401).await, 401, "token_revoked").await;
        body(becomes(&app, "/persons", &in_session("s2", 2), 200).await, StatusCode::OK).await;
    }

    async fn what_was_revoked_before_the_start_is_refused_from_the_first_request_on(database: TestDatabase) {
        let feed = FakeFeed::start();
        feed.revoke(json!({ "kind": "session", "sid": "s1" }));
        let app = TestApp::start_with(&database, &[("services.auth_url", feed.url())]);
        let token = app.sign(&Claims { sid: Some("s1".to_owned()), ..app.claims("persons:read") });
        let answer = app.anonymous(Method::GET, "/persons").bearer_auth(&token).send().await.unwrap();
        problem(answer, 401, "token_revoked").await;
    }

    async fn readyz_and_metrics_tell_how_the_feed_stands(database: TestDatabase) {
        let feed = FakeFeed::start();
        feed.revoke(json!({ "kind": "session", "sid": "s1" }));
        let app = TestApp::start_with(&database, &[("services.auth_url", feed.url())]);
        let ready: Value = body(app.get("/readyz").send().await.unwrap(), StatusCode::OK).await;
        assert_eq!(ready["feed"], json!({ "age_seconds": 0, "entries": 1, "connected": true }));

        let metrics = metrics(&app).await;
        assert!((value_of(&metrics, "signet_feed_entries") - 1.0).abs() < f64::EPSILON, "{metrics}");
        assert!((0.0..30.0).contains(&value_of(&metrics, "signet_feed_age_seconds")), "{metrics}");
        assert!(metrics.contains("signet_build_info{service=\"resource-service\""), "{metrics}");
    }

    async fn without_auth_service_tokens_are_taken_and_readyz_says_that_the_feed_is_missing(database: TestDatabase) {
        // Nobody listens on the discard port.
        let app = TestApp::start_with(&database, &[("services.auth_url", "http://127.0.0.1:9")]);
        body(app.get("/persons").send().await.unwrap(), StatusCode::OK).await;
        let problem = problem(app.get("/readyz").send().await.unwrap(), 503, "dependency_unavailable").await;
        assert_eq!(problem["errors"][0]["field"], "feed", "{problem}");
        body(app.get("/readyz?exclude=feed").send().await.unwrap(), StatusCode::OK).await;
        assert!(value_of(&metrics(&app).await, "signet_feed_age_seconds").is_infinite());
    }

    async fn without_auth_service_tokens_are_refused_with_503_where_that_is_asked_for(database: TestDatabase) {
        let refuse = [("services.auth_url", "http://127.0.0.1:9"), ("tokens.when_feed_is_stale", "refuse")];
        let app = TestApp::start_with(&database, &refuse);
        let answer = app.get("/persons").send().await.unwrap();
        assert_eq!(answer.headers()["retry-after"], "1");
        problem(answer, 503, "dependency_unavailable").await;
    }

    async fn a_service_without_auth_service_has_no_feed_to_wait_for(database: TestDatabase) {
        let app = TestApp::start_with(&database, &[("services.auth_url", "")]);
        body(app.get("/persons").send().await.unwrap(), StatusCode::OK).await;
        let ready = body(app.get("/readyz").send().await.unwrap(), StatusCode::OK).await;
        assert_eq!(ready, json!({ "status": "ready" }));
    }
}

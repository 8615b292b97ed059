//! `/metrics`: what is counted, and under which names.

use reqwest::Method;
use serde_json::json;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, send, text};

async fn metrics(app: &TestApp) -> String {
    let response = app.get("/metrics").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    response.text().await.unwrap()
}

#[track_caller]
fn has(metrics: &str, line: &str) {
    assert!(metrics.lines().any(|found| found == line), "no {line} in\n{metrics}");
}

on_both_databases! {
    async fn log_ins_and_refreshes_are_counted_by_what_became_of_them(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let tokens = app.log_in("ada").await;
        let wrong = json!({"username": "ada", "password": "wrong"});
        send(app.post("/auth/login").json(&wrong)).await.is(401, "invalid_credentials");
        let first = text(&tokens["refresh_token"]);
        let second = app.refresh(first).await;
        app.refresh(first).await;
        app.refresh("garbage").await.is(400, "invalid_grant");
        app.refresh(text(&second.body["refresh_token"])).await;
        app.refresh(first).await.is(400, "invalid_grant");
        app.refresh(first).await.is(400, "invalid_grant");

        let metrics = metrics(&app).await;
        has(&metrics, r#"signet_logins_total{result="succeeded"} 1"#);
        has(&metrics, r#"signet_logins_total{result="refused"} 1"#);
        has(&metrics, r#"signet_logins_total{result="disabled"} 0"#);
        for (outcome, count) in [("rotated", 2), ("replayed", 1), ("reused", 1), ("dead", 1), ("forged", 1)] {
            has(&metrics, &format!("signet_refreshes_total{{outcome=\"{outcome}\"}} {count}"));
        }
        app.stop().await;
    }

    async fn requests_are_counted_by_route_and_never_by_path(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let id = "AAAAAAAAAAAAAAAAAAAAAA";
        send(app.request(Method::DELETE, &format!("/auth/sessions/{id}")).bearer_auth(text(&tokens["access_token"]))).await
            .is(404, "not_found");
        send(app.get("/no/such/path")).await.is(404, "not_found");
        send(app.request(Method::from_bytes(b"BREW").unwrap(), "/auth/me")).await.is(405, "method_not_allowed");

        let metrics = metrics(&app).await;
        let route = |method, route, status| {
            format!("signet_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} 1")
        };
        has(&metrics, &route("POST", "/auth/register", 201));
        has(&metrics, &route("DELETE", "/auth/sessions/{id}", 404));
        has(&metrics, &route("GET", "-", 404));
        has(&metrics, &route("other", "/auth/me", 405));
        has(&metrics, r#"signet_http_request_duration_seconds_count{method="POST",route="/auth/register"} 1"#);
        // This very request.
        has(&metrics, "signet_http_requests_in_flight 1");
        has(&metrics, "signet_key_file_refused 0.0");
        has(&metrics, "signet_database_pool_size 4.0");
        assert!(!metrics.contains(id) && !metrics.contains("BREW") && !metrics.contains("such"), "{metrics}");
        app.stop().await;
    }
}

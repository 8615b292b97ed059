//! user-service follows auth-service's feed: what is revoked there is refused here.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use test_support::{FakeFeed, TestDatabase, on_both_databases};

use crate::helpers::{PASSWORD, TestApp, spawn_with};

async fn becomes_revoked(app: &TestApp, path: &str, token: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = app.get(path, token).await;
        if answer.status != StatusCode::OK {
            return answer.refused(401, "token_revoked");
        }
        assert!(Instant::now() < deadline, "{path} is still answered");
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
}

on_both_databases! {
    async fn what_the_feed_revokes_is_refused_and_nothing_else(db: TestDatabase) {
        let feed = FakeFeed::start();
        let app = spawn_with(&db, &[("services.auth_url", feed.url())]).await;
        let (ada, ben) = (app.import("ada@example.com").await, app.import("ben@example.com").await);
        let (ada, ben_token) = (app.user_token(&ada, ""), app.user_token(&ben, ""));
        app.get("/users/me", &ada).await.expect(StatusCode::OK);

        feed.revoke(json!({ "kind": "user", "sub": ben, "min_ver": 2 }));
        becomes_revoked(&app, "/users/me", &ben_token).await;
        app.get("/users/me", &ada).await.expect(StatusCode::OK);

        feed.revoke(json!({ "kind": "session", "sid": "session-1" }));
        becomes_revoked(&app, "/users/me", &ada).await;
    }

    async fn readyz_and_metrics_tell_how_the_feed_stands(db: TestDatabase) {
        let feed = FakeFeed::start();
        let app = spawn_with(&db, &[("services.auth_url", feed.url())]).await;
        let ready = app.get("/readyz", "").await.expect(StatusCode::OK);
        assert_eq!(ready["feed"], json!({ "age_seconds": 0, "entries": 0, "connected": true }));
        let metrics = app.get("/metrics", "").await;
        assert_eq!(metrics.status, StatusCode::OK);
        assert!(metrics.text.contains("signet_feed_entries 0"), "{metrics:?}");
    }

    async fn metrics_tell_of_the_hashing_threads_and_the_outbox(db: TestDatabase) {
        // The feed is there, and nothing else of auth-service, so events wait.
        let feed = FakeFeed::start();
        let overrides = [("services.auth_url", feed.url()), ("passwords.permits", "1"), ("passwords.queue_length", "7")];
        let app = spawn_with(&db, &overrides).await;
        app.register(json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(StatusCode::CREATED);
        let ben = app.import("ben@example.com").await;
        let role = json!({ "roles": ["editor"] });
        app.patch(&format!("/users/{ben}"), &app.admin_token(), role).await.expect(StatusCode::OK);
        app.advance_seconds(5);

        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let metrics = app.get("/metrics", "").await.text;
            let has = |line: &str| metrics.lines().any(|found| found == line);
            if has("signet_outbox_events 1.0") {
                assert!(has("signet_outbox_oldest_age_seconds 5.0"), "{metrics}");
                for line in [
                    "signet_hashing_threads 1.0",
                    "signet_hashing_busy 0.0",
                    "signet_hashing_queue_length 0.0",
                    "signet_hashing_queue_capacity 7.0",
                    r#"signet_hashing_rejections_total{reason="queue_full"} 0"#,
                    "signet_hashing_duration_seconds_count 1",
                ] {
                    assert!(has(line), "no {line} in {metrics}");
                }
                break;
            }
            assert!(Instant::now() < deadline, "{metrics}");
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

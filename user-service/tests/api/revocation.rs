//! user-service follows auth-service's feed: what is revoked there is refused here.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use test_support::{FakeFeed, TestDatabase, on_both_databases};

use crate::helpers::{TestApp, spawn_with};

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
}

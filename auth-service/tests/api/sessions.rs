//! Log-out, and the list of one's sessions.

use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, send, text};

async fn sessions(app: &TestApp, tokens: &Value) -> Vec<Value> {
    let answer = send(app.get("/auth/sessions").bearer_auth(text(&tokens["access_token"]))).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    answer.body["items"].as_array().unwrap().clone()
}

on_both_databases! {
    async fn log_out_ends_this_session_and_no_other(db: TestDatabase) {
        let app = TestApp::start(db);
        let here = app.register("ada").await;
        let there = app.log_in("ada").await;
        let out = send(app.post("/auth/logout").bearer_auth(text(&here["access_token"]))).await;
        assert_eq!(out.status.as_u16(), 204);
        app.refresh(text(&here["refresh_token"])).await.is(400, "invalid_grant");
        assert_eq!(app.refresh(text(&there["refresh_token"])).await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn log_out_everywhere_ends_all_of_this_user_s_and_nobody_else_s(db: TestDatabase) {
        let app = TestApp::start(db);
        let here = app.register("ada").await;
        let there = app.log_in("ada").await;
        let other = app.register("bob").await;
        let out = send(app.post("/auth/logout?all=true").bearer_auth(text(&here["access_token"]))).await;
        assert_eq!(out.status.as_u16(), 204);
        for dead in [&here, &there] {
            app.refresh(text(&dead["refresh_token"])).await.is(400, "invalid_grant");
        }
        assert_eq!(app.refresh(text(&other["refresh_token"])).await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn log_out_by_refresh_token_works_when_the_access_token_has_expired(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        app.advance(3600);
        let body = json!({"refresh_token": tokens["refresh_token"]});
        assert_eq!(send(app.post("/auth/logout").json(&body)).await.status.as_u16(), 204);
        app.refresh(text(&tokens["refresh_token"])).await.is(400, "invalid_grant");
        send(app.post("/auth/logout").json(&json!({"refresh_token": "srt_made-up"}))).await.is(401, "token_missing");
        send(app.post("/auth/logout").json(&json!({"unknown": 1}))).await.is(422, "validation_failed");
        app.stop().await;
    }

    async fn the_list_shows_where_one_is_logged_in(db: TestDatabase) {
        let app = TestApp::start_with(db, &[("SIGNET__SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]);
        app.register("bob").await;
        let here = app.register("ada").await;
        app.advance(10);
        let body = json!({"username": "ada", "password": "correct horse"});
        let request = app.post("/auth/login").header("user-agent", "Phone/1.0").header("x-forwarded-for", "192.0.2.7");
        send(request.json(&body)).await;
        app.advance(10);
        let refreshed = app.refresh(text(&here["refresh_token"])).await;
        let listed = sessions(&app, &refreshed.body).await;
        assert_eq!(listed.len(), 2, "ada's alone");
        assert_eq!(listed[0]["user_agent"], "Phone/1.0");
        assert_eq!(listed[0]["address"], "192.0.2.7");
        assert_eq!(listed[0]["current"], false);
        assert_eq!(listed[1]["current"], true);
        assert_eq!(listed[1]["address"], "127.0.0.1");
        assert_eq!(listed[1]["created_at"], "2027-01-15T08:00:00.000000Z");
        assert_eq!(listed[1]["last_used_at"], "2027-01-15T08:00:20.000000Z");
        app.stop().await;
    }

    async fn a_session_can_be_ended_from_elsewhere_but_only_by_its_own_user(db: TestDatabase) {
        let app = TestApp::start(db);
        let here = app.register("ada").await;
        let there = app.log_in("ada").await;
        let stranger = app.register("eve").await;
        let id = text(&sessions(&app, &there).await.iter().find(|session| session["current"] == true).unwrap()["id"]).to_owned();
        let end = |tokens: &Value, id: &str| {
            app.request(reqwest::Method::DELETE, &format!("/auth/sessions/{id}")).bearer_auth(text(&tokens["access_token"]))
        };
        send(end(&stranger, &id)).await.is(404, "not_found");
        assert_eq!(app.refresh(text(&there["refresh_token"])).await.status.as_u16(), 200);
        assert_eq!(send(end(&here, &id)).await.status.as_u16(), 204);
        send(end(&here, &id)).await.is(404, "not_found");
        send(end(&here, "nonsense")).await.is(404, "not_found");
        app.refresh(text(&there["refresh_token"])).await.is(400, "invalid_grant");
        assert_eq!(sessions(&app, &here).await.len(), 1);
        app.stop().await;
    }
}

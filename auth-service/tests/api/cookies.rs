//! Browsers: the refresh token in a cookie.

use serde_json::json;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, TestApp, send, text};

fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").to_owned()
}

fn pair(cookie: &str) -> String {
    cookie.split(';').next().unwrap().to_owned()
}

on_both_databases! {
    async fn a_browser_gets_its_refresh_token_in_a_cookie_that_scripts_cannot_read(db: TestDatabase) {
        let app = TestApp::start(db);
        let body = json!({"email": "ada@example.com", "password": "correct horse", "username": "ada"});
        let registered = send(app.post("/auth/register").header("x-session", "cookie").json(&body)).await;
        let set = cookie(&registered);
        assert!(registered.body["refresh_token"].is_null());
        for attribute in ["signet_refresh=srt_", "HttpOnly", "SameSite=Strict", "Path=/auth"] {
            assert!(set.contains(attribute), "{set}");
        }
        assert!(!set.contains("Secure"), "on loopback: {set}");
        let body = json!({"username": "ada", "password": "correct horse"});
        let elsewhere = app.post("/auth/login").header("x-session", "cookie").header("host", "app.example").json(&body);
        assert!(cookie(&send(elsewhere).await).contains("Secure"));

        let refresh = |cookie: &str, session: bool| {
            let request = app.post("/auth/token").header("cookie", pair(cookie)).form(&[("grant_type", "refresh_token")]);
            if session { request.header("x-session", "cookie") } else { request }
        };
        send(refresh(&set, false)).await.is(400, "invalid_request");
        let refreshed = send(refresh(&set, true)).await;
        assert_eq!(refreshed.status.as_u16(), 200, "{}", refreshed.body);
        assert!(refreshed.body["refresh_token"].is_null() && refreshed.body["access_token"].is_string());
        assert_ne!(pair(&cookie(&refreshed)), pair(&set));

        let access = text(&refreshed.body["access_token"]).to_owned();
        let out = send(app.post("/auth/logout").header("x-session", "cookie").bearer_auth(&access)).await;
        assert_eq!(out.status.as_u16(), 204);
        assert!(cookie(&out).starts_with("signet_refresh=;") && cookie(&out).contains("Max-Age=0"), "{}", cookie(&out));
        let dead = send(refresh(&cookie(&refreshed), true)).await;
        dead.is(400, "invalid_grant");
        assert!(cookie(&dead).contains("Max-Age=0"));
        app.stop().await;
    }

    async fn a_browser_whose_access_token_has_expired_logs_out_by_its_cookie(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let body = json!({"username": "ada", "password": "correct horse"});
        let answer = send(app.post("/auth/login").header("x-session", "cookie").json(&body)).await;
        app.advance(3600);
        let access = text(&answer.body["access_token"]).to_owned();
        let request = app.post("/auth/logout").bearer_auth(&access).header("cookie", pair(&cookie(&answer)));
        send(request.try_clone().unwrap()).await.is(401, "token_expired");
        assert_eq!(send(request.header("x-session", "cookie")).await.status.as_u16(), 204);
        let again = app.post("/auth/token").header("cookie", pair(&cookie(&answer))).header("x-session", "cookie");
        send(again.form(&[("grant_type", "refresh_token")])).await.is(400, "invalid_grant");
        app.stop().await;
    }
}

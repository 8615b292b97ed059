//! `POST /auth/revoke`: clients give tokens back.

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::{
    clients::{self, Registered, log_in_through, own_token, refresh_form},
    helpers::{Answer, TestApp, send, text},
};

async fn revoke(app: &TestApp, client: &Registered, token: &Value) -> Answer {
    send(client.authorize(app.post("/auth/revoke")).form(&[("token", text(token))])).await
}

#[track_caller]
fn is_done(answer: &Answer) {
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert_eq!(answer.body, Value::Null);
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn is_active(app: &TestApp, token: &Value) -> bool {
    let ask = app.post("/auth/introspect").bearer_auth(app.service_token()).form(&[("token", text(token))]);
    send(ask).await.body["active"].as_bool().unwrap()
}

fn me(app: &TestApp, token: &Value) -> RequestBuilder {
    app.get("/auth/me").bearer_auth(text(token))
}

on_both_databases! {
    async fn a_refresh_token_that_is_given_back_ends_its_session(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = clients::register(&app, "persons:read").await;
        let (tokens, other) = (log_in_through(&app, &client, "ada").await, log_in_through(&app, &client, "ada").await);
        is_done(&revoke(&app, &client, &tokens["refresh_token"]).await);
        send(me(&app, &tokens["access_token"])).await.is(401, "token_revoked");
        assert!(!is_active(&app, &tokens["access_token"]).await);
        assert!(!is_active(&app, &tokens["refresh_token"]).await);
        send(client.authorize(app.post("/auth/token")).form(&refresh_form(&tokens["refresh_token"])))
            .await
            .is(400, "invalid_grant");
        assert_eq!(send(me(&app, &other["access_token"])).await.status.as_u16(), 200);
        assert!(is_active(&app, &other["refresh_token"]).await);
        app.stop().await;
    }

    async fn a_refresh_token_of_the_past_ends_its_session_too(db: TestDatabase) {
        let app = TestApp::start(db);
        let first = app.register("ada").await;
        let client = clients::register(&app, "").await;
        let second = app.refresh(text(&first["refresh_token"])).await.body;
        let third = app.refresh(text(&second["refresh_token"])).await.body;
        is_done(&revoke(&app, &client, &first["refresh_token"]).await);
        app.refresh(text(&third["refresh_token"])).await.is(400, "invalid_grant");
        app.stop().await;
    }

    async fn an_access_token_that_is_given_back_dies_alone(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "persons:read").await;
        let refreshed = app.refresh(text(&tokens["refresh_token"])).await.body;
        is_done(&revoke(&app, &client, &tokens["access_token"]).await);
        send(me(&app, &tokens["access_token"])).await.is(401, "token_revoked");
        assert!(!is_active(&app, &tokens["access_token"]).await);
        assert_eq!(send(me(&app, &refreshed["access_token"])).await.status.as_u16(), 200);
        assert_eq!(app.refresh(text(&refreshed["refresh_token"])).await.status.as_u16(), 200);

        let (own, another) = (own_token(&app, &client).await.body, own_token(&app, &client).await.body);
        is_done(&revoke(&app, &client, &own["access_token"]).await);
        send(me(&app, &own["access_token"])).await.is(401, "token_revoked");
        assert_eq!(send(me(&app, &another["access_token"])).await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn giving_back_what_is_good_for_nothing_succeeds(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        for token in [
            json!("nonsense"),
            json!("srt_nonsense"),
            json!("a.b.c"),
            json!(app.mint(|claims| claims.exp = claims.iat - 31)),
            json!(app.mint(|claims| claims.aud = vec!["elsewhere".into()])),
        ] {
            is_done(&revoke(&app, &client, &token).await);
        }
        for _ in 0..2 {
            is_done(&revoke(&app, &client, &tokens["access_token"]).await);
        }
        for _ in 0..2 {
            is_done(&revoke(&app, &client, &tokens["refresh_token"]).await);
        }
        app.stop().await;
    }

    async fn a_client_may_not_give_back_what_another_one_got(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = clients::register(&app, "persons:read").await;
        let other = clients::register(&app, "persons:read").await;
        let tokens = log_in_through(&app, &client, "ada").await;
        let own = own_token(&app, &client).await.body;
        let service = json!(app.service_token());
        for token in [&tokens["refresh_token"], &tokens["access_token"], &own["access_token"], &service] {
            let answer = revoke(&app, &other, token).await;
            answer.is(400, "unauthorized_client");
            assert_eq!(answer.body["error_description"], "The token was issued to another client.");
        }
        for token in [&tokens["refresh_token"], &tokens["access_token"], &own["access_token"], &service] {
            assert!(is_active(&app, token).await);
        }
        app.stop().await;
    }

    async fn what_no_client_was_named_for_whoever_holds_it_may_give_back(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        is_done(&revoke(&app, &client, &tokens["access_token"]).await);
        is_done(&revoke(&app, &client, &tokens["refresh_token"]).await);
        assert!(!is_active(&app, &tokens["refresh_token"]).await);
        app.stop().await;
    }

    async fn only_a_client_with_a_secret_gives_tokens_back(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        let form = [("token", text(&tokens["refresh_token"])), ("client_id", "my-spa")];
        for request in [
            app.post("/auth/revoke").form(&form[..1]),
            app.post("/auth/revoke").form(&form),
            app.post("/auth/revoke").basic_auth(&client.id, Some("wrong")).form(&form[..1]),
            app.post("/auth/revoke").bearer_auth(app.service_token()).form(&form[..1]),
            app.post("/auth/revoke").bearer_auth(text(&tokens["access_token"])).form(&form[..1]),
        ] {
            let answer = send(request).await;
            answer.is(401, "invalid_client");
            assert!(answer.header("www-authenticate").starts_with("Basic "));
        }
        assert!(is_active(&app, &tokens["refresh_token"]).await);
        app.stop().await;
    }

    async fn a_hint_is_passed_over_and_the_token_is_required(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = clients::register(&app, "").await;
        let send_form = |form: &[(&str, &str)]| client.authorize(app.post("/auth/revoke")).form(form);
        for (hint, token) in [("access_token", "refresh_token"), ("refresh_token", "access_token"), ("pigeon", "access_token")] {
            let tokens = if token == "access_token" { app.register(hint).await } else { app.register("ada").await };
            let form = [("token", text(&tokens[token])), ("token_type_hint", hint)];
            is_done(&send(send_form(&form)).await);
            assert!(!is_active(&app, &tokens[token]).await, "{hint}");
        }
        send(send_form(&[])).await.is(400, "invalid_request");
        send(send_form(&[("token", "")])).await.is(400, "invalid_request");
        send(send_form(&[("token", "a"), ("token", "b")])).await.is(400, "invalid_request");
        app.stop().await;
    }
}

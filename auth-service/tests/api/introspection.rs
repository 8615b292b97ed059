//! `POST /auth/introspect`: what is told of a token, to whom, and how soon a revocation shows.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::{
    clients::{self, Registered, log_in_through, own_token, refresh_form},
    helpers::{Answer, ISSUER, TestApp, send, text},
};

fn request(app: &TestApp, token: &str) -> RequestBuilder {
    app.post("/auth/introspect").form(&[("token", token)])
}

/// What a client is told of a token.
async fn introspect(app: &TestApp, client: &Registered, token: &Value) -> Value {
    let answer = send(client.authorize(request(app, text(token)))).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    answer.body
}

#[track_caller]
fn is_inactive(told: &Value, why: &str) {
    assert_eq!(*told, json!({"active": false}), "{why}");
}

async fn tell(app: &TestApp, version: i64, change: Value) {
    let mut event = json!({"user_id": "user-1", "authorization_version": version, "roles": ["user"],
        "disabled": false, "deleted": false, "password_changed": false, "keep_session": null});
    event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let body = json!({"events": [event]});
    let answer = send(app.post("/internal/user-events").bearer_auth(app.service_token()).json(&body)).await;
    assert_eq!(answer.status.as_u16(), 204, "{}", answer.body);
}

on_both_databases! {
    async fn of_an_active_access_token_is_told_what_it_says(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        let me = send(app.get("/auth/me").bearer_auth(text(&tokens["access_token"]))).await.body;
        app.advance(60);
        let told = introspect(&app, &client, &tokens["access_token"]).await;
        let expected = json!({"active": true, "scope": "persons:read", "token_type": "Bearer", "exp": me["exp"],
            "iat": me["iat"], "sub": "user-1", "aud": ["auth-service", "user-service", "resource-service"],
            "iss": ISSUER, "jti": me["jti"], "sid": me["sid"], "roles": ["user"], "ver": 1});
        assert_eq!(told, expected);

        let own = own_token(&app, &client).await;
        let told = introspect(&app, &client, &own.body["access_token"]).await;
        assert_eq!((&told["sub"], &told["client_id"]), (&json!(client.id), &json!(client.id)));
        assert_eq!((&told["active"], &told["sid"]), (&json!(true), &Value::Null));

        let through = log_in_through(&app, &client, "ada").await;
        let told = introspect(&app, &client, &through["access_token"]).await;
        assert_eq!((&told["sub"], &told["client_id"]), (&json!("user-1"), &json!(client.id)));

        let later = app.mint(|claims| {
            claims.client_id = Some("batch".into());
            claims.ver = None;
            claims.nbf = Some(claims.iat);
        });
        let told = introspect(&app, &client, &json!(later)).await;
        assert_eq!((&told["active"], &told["nbf"]), (&json!(true), &json!(app.now())));
        app.stop().await;
    }

    async fn of_a_refresh_token_that_would_bring_tokens_is_told_what_they_may_do(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        let sid = send(app.get("/auth/me").bearer_auth(text(&tokens["access_token"]))).await.body["sid"].clone();
        app.advance(60);
        let told = introspect(&app, &client, &tokens["refresh_token"]).await;
        let expected = json!({"active": true, "scope": "persons:read", "exp": app.now() - 60 + 1_209_600,
            "iat": app.now() - 60, "sub": "user-1", "iss": ISSUER, "sid": sid, "roles": ["user"], "ver": 1});
        assert_eq!(told, expected);
        app.stop().await;
    }

    async fn a_refresh_token_is_active_for_as_long_as_presenting_it_would_bring_tokens(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = clients::register(&app, "").await;
        let first = app.register("ada").await["refresh_token"].clone();
        let second = app.refresh(text(&first)).await.body["refresh_token"].clone();
        assert_eq!(introspect(&app, &client, &first).await["active"], true, "within the replay window");
        assert_eq!(introspect(&app, &client, &first).await["iat"], Value::Null);
        app.advance(31);
        assert_eq!(introspect(&app, &client, &first).await["active"], true, "the second was never presented");
        let third = app.refresh(text(&second)).await.body["refresh_token"].clone();
        // Asking is not presenting: it ends nothing.
        is_inactive(&introspect(&app, &client, &first).await, "a token of the past");
        assert_eq!(introspect(&app, &client, &third).await["active"], true);
        assert_eq!(introspect(&app, &client, &second).await["active"], true);
        app.advance(1_209_600);
        is_inactive(&introspect(&app, &client, &third).await, "fourteen idle days");
        app.stop().await;
    }

    async fn of_anything_else_is_told_that_it_is_not_active_and_nothing_more(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        let good = text(&tokens["access_token"]);
        let sid = send(app.get("/auth/me").bearer_auth(good)).await.body["sid"].clone();
        let of_session = |change: &dyn Fn(&mut shared_claims::Claims)| {
            json!(app.mint(|claims| {
                claims.sid = Some(text(&sid).to_owned());
                change(claims);
            }))
        };
        assert_eq!(introspect(&app, &client, &of_session(&|_| {})).await["active"], true, "the others differ from this");
        let mut forged = good.to_owned();
        let last = if forged.ends_with('A') { 'B' } else { 'A' };
        forged.replace_range(forged.len() - 2..forged.len() - 1, &last.to_string());
        for (token, why) in [
            (json!("nonsense"), "no token at all"),
            (json!("srt_nonsense"), "no refresh token"),
            (json!("a.b.c"), "no JWS"),
            (json!("\u{0}"), "not even text"),
            (json!("x".repeat(9000)), "longer than any token"),
            (json!(forged), "a signature that does not match"),
            (json!(client.secret), "a secret"),
            (of_session(&|claims| claims.exp = claims.iat), "expired this second, though the leeway would take it"),
            (of_session(&|claims| claims.nbf = Some(claims.iat + 31)), "not valid yet"),
            (of_session(&|claims| claims.aud = vec!["elsewhere".into()]), "another audience"),
            (of_session(&|claims| claims.iss = "https://elsewhere.example".into()), "another issuer"),
            (of_session(&|claims| claims.sub = "user-9".into()), "a user that is not known"),
            (of_session(&|claims| claims.ver = Some(0)), "an older authorization version"),
            (of_session(&|claims| claims.sid = Some("AAAAAAAAAAAAAAAAAAAAAA".into())), "no such session"),
            (of_session(&|claims| claims.client_id = Some("cli_AAAAAAAAAAAAAAAAAAAAAA".into())), "no such client"),
        ] {
            is_inactive(&introspect(&app, &client, &token).await, why);
        }
        app.stop().await;
    }

    async fn a_revocation_shows_at_once(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = clients::register(&app, "").await;
        let dead = async |tokens: &Value, why: &str| {
            is_inactive(&introspect(&app, &client, &tokens["access_token"]).await, why);
            is_inactive(&introspect(&app, &client, &tokens["refresh_token"]).await, why);
        };
        let tokens = app.register("ada").await;
        send(app.post("/auth/logout").bearer_auth(text(&tokens["access_token"]))).await;
        dead(&tokens, "logged out").await;

        let (ended, other) = (app.log_in("ada").await, app.log_in("ada").await);
        let id = text(&introspect(&app, &client, &ended["access_token"]).await["sid"]).to_owned();
        let end = app.request(Method::DELETE, &format!("/auth/sessions/{id}"));
        send(end.bearer_auth(text(&other["access_token"]))).await;
        dead(&ended, "ended from elsewhere").await;
        assert_eq!(introspect(&app, &client, &other["access_token"]).await["active"], true);

        tell(&app, 2, json!({"roles": ["editor"]})).await;
        is_inactive(&introspect(&app, &client, &other["access_token"]).await, "other roles");
        let told = introspect(&app, &client, &other["refresh_token"]).await;
        assert_eq!((&told["scope"], &told["ver"]), (&json!("persons:read persons:write"), &json!(2)));
        let refreshed = app.refresh(text(&other["refresh_token"])).await.body;
        assert_eq!(introspect(&app, &client, &refreshed["access_token"]).await["active"], true);

        tell(&app, 3, json!({"disabled": true})).await;
        dead(&refreshed, "disabled").await;

        let gone = clients::register(&app, "persons:read").await;
        let own = own_token(&app, &gone).await.body["access_token"].clone();
        assert_eq!(introspect(&app, &client, &own).await["active"], true);
        clients::delete(&app, &gone.id).await;
        is_inactive(&introspect(&app, &client, &own).await, "the client was deleted");
        app.stop().await;
    }

    async fn a_revocation_shows_at_once_on_every_replica(db: TestDatabase) {
        let app = TestApp::start(db);
        let other = app.beside(&[]);
        let client = clients::register(&app, "").await;
        let tokens = app.register("ada").await;
        for _ in 0..5 {
            let tokens = app.log_in("ada").await;
            send(app.post("/auth/logout").bearer_auth(text(&tokens["access_token"]))).await;
            is_inactive(&introspect(&other, &client, &tokens["access_token"]).await, "logged out elsewhere");
            is_inactive(&introspect(&other, &client, &tokens["refresh_token"]).await, "logged out elsewhere");
        }
        assert_eq!(introspect(&other, &client, &tokens["access_token"]).await["active"], true);
        clients::delete(&app, &client.id).await;
        let asked = client.authorize(request(&other, text(&tokens["access_token"])));
        send(asked).await.is(401, "invalid_client");
        other.stop().await;
        app.stop().await;
    }

    async fn a_used_again_refresh_token_takes_all_of_its_session_with_it(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = clients::register(&app, "").await;
        let first = app.register("ada").await;
        let second = app.refresh(text(&first["refresh_token"])).await.body;
        let third = app.refresh(text(&second["refresh_token"])).await.body;
        assert_eq!(introspect(&app, &client, &first["access_token"]).await["active"], true);
        app.refresh(text(&first["refresh_token"])).await.is(400, "invalid_grant");
        for tokens in [&first, &second, &third] {
            is_inactive(&introspect(&app, &client, &tokens["access_token"]).await, "reuse");
            is_inactive(&introspect(&app, &client, &tokens["refresh_token"]).await, "reuse");
        }
        app.stop().await;
    }

    async fn a_refresh_token_that_is_another_client_s_is_nobody_else_s_business(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let (client, other) = (clients::register(&app, "").await, clients::register(&app, "").await);
        let tokens = log_in_through(&app, &client, "ada").await;
        is_inactive(&introspect(&app, &other, &tokens["refresh_token"]).await, "another client's");
        assert_eq!(introspect(&app, &client, &tokens["refresh_token"]).await["client_id"], json!(client.id));
        let service = request(&app, text(&tokens["refresh_token"])).bearer_auth(app.service_token());
        assert_eq!(send(service).await.body["client_id"], json!(client.id));
        // Any service may be shown an access token, so any may ask about one.
        assert_eq!(introspect(&app, &other, &tokens["access_token"]).await["active"], true);
        app.stop().await;
    }

    async fn only_clients_with_a_secret_and_services_may_ask(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let token = text(&tokens["access_token"]);
        let client = clients::register(&app, "persons:read").await;
        let own = own_token(&app, &client).await;
        let expired = app.mint(|claims| claims.exp = claims.iat - 31);
        let client_error = |answer: &Answer| {
            answer.is(401, "invalid_client");
            assert!(answer.header("www-authenticate").starts_with("Basic "));
        };
        for refused in [
            request(&app, token),
            request(&app, token).basic_auth(&client.id, Some("wrong")),
            app.post("/auth/introspect").form(&[("token", token), ("client_id", &client.id)]),
            app.post("/auth/introspect").form(&[("token", token), ("client_id", "my-spa")]),
            request(&app, token).header("x-access-token", app.service_token()),
        ] {
            client_error(&send(refused).await);
        }
        for (bearer, status, error) in [
            (token, 403, "insufficient_scope"),
            (text(&own.body["access_token"]), 403, "insufficient_scope"),
            (&*expired, 401, "invalid_token"),
            ("nonsense", 401, "invalid_token"),
        ] {
            let answer = send(request(&app, token).bearer_auth(bearer)).await;
            answer.is(status, error);
            assert!(answer.header("www-authenticate").contains(&format!("error=\"{error}\"")));
            assert!(answer.body["error_description"].is_string());
            assert!(answer.body["active"].is_null());
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let by_service = send(request(&app, token).bearer_auth(app.service_token())).await;
        assert_eq!(by_service.body["active"], true);
        let both = app.post("/auth/introspect").bearer_auth(app.service_token());
        let form = [("token", token), ("client_id", &client.id), ("client_secret", &client.secret)];
        send(both.form(&form)).await.is(400, "invalid_request");
        app.stop().await;
    }

    async fn a_token_whose_revocation_cannot_be_looked_up_is_called_neither_good_nor_bad(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        own_token(&app, &client).await;
        app.database.execute("ALTER TABLE revocations RENAME TO elsewhere");
        let answer = send(client.authorize(request(&app, text(&tokens["access_token"])))).await;
        answer.is(500, "server_error");
        assert_eq!(answer.body["error_description"], "Something went wrong on our side.");
        assert!(answer.body["active"].is_null());
        app.database.execute("ALTER TABLE elsewhere RENAME TO revocations; ALTER TABLE clients RENAME TO nobody");
        let answer = send(client.authorize(request(&app, text(&tokens["access_token"])))).await;
        answer.is(500, "server_error");
        own_token(&app, &client).await.is(500, "server_error");
        app.stop().await;
    }

    async fn a_question_may_come_as_json_with_a_hint_and_must_hold_one_token(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        let ask = || client.authorize(app.post("/auth/introspect"));
        let (access, refresh) = (text(&tokens["access_token"]), text(&tokens["refresh_token"]));
        for request in [
            ask().json(&json!({"token": access})),
            ask().form(&[("token", access), ("token_type_hint", "refresh_token")]),
            ask().form(&[("token", refresh), ("token_type_hint", "access_token")]),
            ask().form(&[("token", refresh), ("token_type_hint", "pigeon"), ("more", "x")]),
        ] {
            let answer = send(request).await;
            assert_eq!(answer.body["active"], true, "{}", answer.body);
        }
        for request in [
            ask().form(&[("token_type_hint", "access_token")]),
            ask().form(&[("token", "")]),
            ask().form(&[("token", access), ("token", access)]),
            ask().json(&json!({"token": 7})),
            ask().header("content-type", "application/json").body("{"),
        ] {
            send(request).await.is(400, "invalid_request");
        }
        let get = app.get(&format!("/auth/introspect?token={access}"));
        assert_eq!(send(client.authorize(get)).await.status.as_u16(), 405);
        app.stop().await;
    }

    async fn what_was_rotated_through_a_client_stays_that_client_s(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = clients::register(&app, "persons:read").await;
        let tokens = log_in_through(&app, &client, "ada").await;
        let form = refresh_form(&tokens["refresh_token"]);
        let next = send(client.authorize(app.post("/auth/token")).form(&form)).await.body;
        let told = introspect(&app, &client, &next["refresh_token"]).await;
        assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!(client.id)));
        app.stop().await;
    }
}

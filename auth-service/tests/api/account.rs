//! Registration, log-in, the claims of a token, and the question of a proxy.

use std::{sync::atomic::Ordering, time::Instant};

use serde_json::json;
use shared_claims::{KeyRing, Verifier};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{ISSUER, SECRET, START, TestApp, send, text};

on_both_databases! {
    async fn a_registration_answers_with_the_user_and_tokens(db: TestDatabase) {
        let app = TestApp::start(db);
        let body = json!({"email": "ada@example.com", "password": "correct horse", "username": "ada", "name": "Ada"});
        let answer = send(app.post("/auth/register").json(&body)).await;
        assert_eq!(answer.status.as_u16(), 201);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("pragma"), "no-cache");
        assert_eq!(answer.body["user"]["email"], "ada@example.com");
        assert_eq!(answer.body["token_type"], "Bearer");
        assert_eq!(answer.body["expires_in"], 900);
        assert_eq!(answer.body["scope"], "persons:read");
        assert!(answer.body["user"]["password"].is_null());
        app.stop().await;
    }

    async fn user_service_has_as_long_as_the_configuration_says(db: TestDatabase) {
        let app = TestApp::start(db);
        let patient = app.beside(&[("SIGNET__SERVICES__TIMEOUT_MS", "60000")]);
        for (app, name, most) in [(&app, "ada", 2_000), (&patient, "grace", 60_000)] {
            let told = || app.users.patience_ms.load(Ordering::Relaxed);
            app.register(name).await;
            assert!((most / 2..=most).contains(&told()), "{} of {most}", told());
            app.log_in(name).await;
            assert!((most / 2..=most).contains(&told()), "{} of {most}", told());
        }
        patient.stop().await;
        app.stop().await;
    }

    async fn an_access_token_has_the_claims_of_the_profile_and_verifies_elsewhere(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        app.advance(5);
        let tokens = app.log_in("ada").await;
        let verifier = Verifier::builder(KeyRing::from_secret(SECRET.as_bytes()).unwrap())
            .issuer(ISSUER)
            .audience("resource-service")
            .build()
            .unwrap();
        let now = u64::try_from(START).unwrap() + 5;
        let claims = verifier.verify_at(text(&tokens["access_token"]), now).unwrap();
        assert_eq!(claims.sub, "user-1");
        assert_eq!(claims.aud, ["auth-service", "user-service", "resource-service"]);
        assert_eq!((claims.iat, claims.exp), (now, now + 900));
        assert_eq!((claims.ver, claims.auth_time), (Some(1), Some(now)));
        assert_eq!(claims.amr, ["pwd"]);
        assert_eq!(claims.roles, ["user"]);
        assert!(claims.sid.is_some() && claims.client_id.is_none());
        app.stop().await;
    }

    async fn me_tells_the_claims_by_get_and_by_post(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        for request in [app.get("/auth/me"), app.post("/auth/me")] {
            let answer = send(request.bearer_auth(text(&tokens["access_token"]))).await;
            assert_eq!(answer.status.as_u16(), 200);
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.body["sub"], "user-1");
            assert_eq!(answer.body["scope"], "persons:read");
        }
        app.stop().await;
    }

    async fn what_user_service_refuses_is_told_as_it_is(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let taken = json!({"email": "ada@example.com", "password": "correct horse"});
        send(app.post("/auth/register").json(&taken)).await.is(409, "email_taken");
        let answer = send(app.post("/auth/register").json(&json!({"password": "x"}))).await;
        answer.is(422, "validation_failed");
        assert_eq!(answer.body["errors"][0]["field"], "email");
        let answer = send(app.post("/auth/login").json(&json!({"username": "ada", "password": "wrong"}))).await;
        answer.is(401, "invalid_credentials");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        app.users.change("user-1", |user| user["disabled"] = true.into());
        send(app.post("/auth/login").json(&json!({"username": "ada", "password": "correct horse"})))
            .await
            .is(403, "account_disabled");
        app.stop().await;
    }

    async fn an_answer_of_user_service_that_is_none_means_that_it_is_unavailable(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        app.users.available.store(false, Ordering::Relaxed);
        let body = json!({"username": "ada", "password": "correct horse"});
        for path in ["/auth/login", "/auth/register"] {
            let answer = send(app.post(path).json(&body)).await;
            answer.is(503, "dependency_unavailable");
            assert!(!answer.header("retry-after").is_empty());
        }
        let form = [("grant_type", "password"), ("username", "ada"), ("password", "correct horse")];
        let answer = send(app.post("/auth/token").form(&form)).await;
        answer.is(503, "temporarily_unavailable");
        assert!(!answer.header("retry-after").is_empty());
        assert_eq!(app.refresh(text(&tokens["refresh_token"])).await.status.as_u16(), 200);
        app.users.available.store(true, Ordering::Relaxed);
        app.log_in("ada").await;
        app.stop().await;
    }

    async fn a_user_service_that_never_answers_costs_three_seconds_at_most(db: TestDatabase) {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let app = TestApp::start_with(db, &[("SIGNET__SERVICES__USER_URL", &url)]);
        let started = Instant::now();
        let body = json!({"username": "ada", "password": "correct horse"});
        send(app.post("/auth/login").json(&body)).await.is(503, "dependency_unavailable");
        assert!(started.elapsed().as_secs_f64() < 3.0, "{:?}", started.elapsed());
        app.stop().await;
    }

    async fn a_log_in_against_a_password_that_was_just_changed_is_asked_again(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        // auth-service has heard of version 2 already, while user-service's first answer was still of version 1.
        let event = json!({"events": [{"user_id": "user-1", "authorization_version": 2, "roles": ["user", "editor"],
            "disabled": false, "deleted": false, "password_changed": true, "keep_session": null}]});
        let answer = send(app.post("/internal/user-events").bearer_auth(app.service_token()).json(&event)).await;
        assert_eq!(answer.status.as_u16(), 204);
        // The fake's answers stay at version 1: the second one is believed, as after a restored backup.
        let tokens = app.log_in("ada").await;
        assert_eq!(tokens["scope"], "persons:read");
        app.users.change("user-1", |user| {
            user["authorization_version"] = 3.into();
            user["user"]["roles"] = json!(["user", "editor"]);
        });
        assert_eq!(app.log_in("ada").await["scope"], "persons:read persons:write");
        app.stop().await;
    }

    async fn a_proxy_learns_who_calls_and_whether_the_scope_is_there(db: TestDatabase) {
        let app = TestApp::start(db);
        let token = text(&app.register("ada").await["access_token"]).to_owned();
        let answer = send(app.get("/auth/verify").bearer_auth(&token)).await;
        assert_eq!(answer.status.as_u16(), 204);
        assert_eq!(answer.header("x-auth-subject"), "user-1");
        assert_eq!(answer.header("x-auth-scope"), "persons:read");
        assert_eq!(answer.header("x-auth-roles"), "user");
        let answer = send(app.get("/auth/verify?scope=persons:read").bearer_auth(&token)).await;
        assert_eq!(answer.status.as_u16(), 204);
        let answer = send(app.get("/auth/verify?scope=persons:read+persons:write").bearer_auth(&token)).await;
        answer.is(403, "insufficient_scope");
        assert!(answer.header("www-authenticate").contains("insufficient_scope"));
        assert!(answer.header("x-auth-subject").is_empty());
        send(app.get("/auth/verify")).await.is(401, "token_missing");
        app.stop().await;
    }

    async fn a_token_in_the_query_or_a_form_counts_only_where_it_is_turned_on(db: TestDatabase) {
        let app = TestApp::start(db);
        let token = text(&app.register("ada").await["access_token"]).to_owned();
        let query = format!("/auth/me?access_token={token}");
        send(app.get(&query)).await.is(401, "token_missing");
        send(app.post("/auth/me").form(&[("access_token", &token)])).await.is(401, "token_missing");
        let answer = send(app.get("/auth/me").header("x-access-token", &token)).await;
        assert_eq!(answer.status.as_u16(), 200);
        send(app.get("/auth/me").header("x-access-token", &token).bearer_auth(&token)).await.is(400, "invalid_request");
        app.stop().await;

        let Some(db) = TestDatabase::create(test_support::Backend::Sqlite) else { return };
        let app = TestApp::start_with(db, &[("SIGNET__TOKENS__SOURCES", "header,x-access-token,query,form")]);
        let token = text(&app.register("ada").await["access_token"]).to_owned();
        let answer = send(app.get(&format!("/auth/me?access_token={token}"))).await;
        assert_eq!(answer.body["sub"], "user-1");
        let answer = send(app.post("/auth/me").form(&[("access_token", &token)])).await;
        assert_eq!(answer.body["sub"], "user-1");
        app.stop().await;
    }

    async fn the_password_grant_takes_a_user_name_or_an_e_mail_address(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        for name in ["ada", "ada@example.com"] {
            let form = [("grant_type", "password"), ("username", name), ("password", "correct horse"), ("extra", "x")];
            let answer = send(app.post("/auth/token").form(&form)).await;
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
            assert!(answer.body["user"].is_null());
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let form = [("grant_type", "password"), ("username", "ada"), ("password", "wrong")];
        send(app.post("/auth/token").form(&form)).await.is(400, "invalid_grant");
        app.stop().await;
    }

    async fn a_client_may_ask_for_less_but_never_for_more(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        app.users.change("user-1", |user| user["user"]["roles"] = json!(["editor"]));
        let form = |scope| {
            app.post("/auth/token").form(&[
                ("grant_type", "password"), ("username", "ada"), ("password", "correct horse"), ("scope", scope),
            ])
        };
        let narrow = send(form("persons:read users:read")).await;
        assert_eq!(narrow.body["scope"], "persons:read");
        let token = text(&narrow.body["refresh_token"]).to_owned();
        let refresh = |token: String, scope| {
            app.post("/auth/token").form(&[
                ("grant_type", "refresh_token".to_owned()), ("refresh_token", token), ("scope", String::from(scope)),
            ])
        };
        send(refresh(token.clone(), "persons:write")).await.is(400, "invalid_scope");
        send(refresh(token.clone(), "a\"b")).await.is(400, "invalid_scope");
        let answer = send(refresh(token, "persons:read")).await;
        assert_eq!(answer.body["scope"], "persons:read", "{}", answer.body);
        app.stop().await;
    }

    async fn the_token_endpoint_names_what_is_wrong_in_the_form_of_its_rfc(db: TestDatabase) {
        let app = TestApp::start(db);
        for (form, error) in [
            (vec![], "invalid_request"),
            (vec![("grant_type", "")], "invalid_request"),
            (vec![("grant_type", "refresh_token")], "invalid_request"),
            (vec![("grant_type", "refresh_token"), ("refresh_token", "")], "invalid_request"),
            (vec![("grant_type", "password"), ("username", "ada")], "invalid_request"),
            (vec![("grant_type", "implicit")], "unsupported_grant_type"),
            (vec![("grant_type", "password"), ("grant_type", "password")], "invalid_request"),
        ] {
            let answer = send(app.post("/auth/token").form(&form)).await;
            answer.is(400, error);
            assert!(answer.body["error_description"].is_string());
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        app.stop().await;
    }
}

//! What users do with their own account.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, PASSWORD, spawn, spawn_with, stored_hash};

const NEW_PASSWORD: &str = "eleven green herons fishing";

on_both_databases! {
    async fn whoever_holds_a_token_and_guesses_the_password_has_to_wait_ever_longer(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let token = app.user_token(&id, "");
        let new = "eleven green herons fishing";
        for _ in 0..5 {
            app.change_password(&token, "nine wrong herons sleeping", new).await.refused(401, "invalid_credentials");
        }
        let refused = app.change_password(&token, PASSWORD, new).await;
        assert_eq!(refused.headers["retry-after"], "1");
        refused.refused(429, "rate_limited");
        app.advance_seconds(1);
        app.change_password(&token, "nine wrong herons sleeping", new).await.refused(401, "invalid_credentials");
        let refused = app.change_password(&token, PASSWORD, new).await;
        assert_eq!(refused.headers["retry-after"], "2");
        app.advance_seconds(2);
        app.change_password(&token, PASSWORD, new).await.expect(StatusCode::NO_CONTENT);
    }

    async fn users_read_and_change_themselves(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let token = app.user_token(&id, "");
        let body = json!({ "name": "Ada", "username": "ada", "email": "Ada@example.org" });
        let changed = app.patch("/users/me", &token, body).await;
        assert_eq!(changed.header("etag"), "\"2\"");
        let changed = changed.expect(StatusCode::OK);
        assert_eq!((&changed["name"], &changed["username"]), (&json!("Ada"), &json!("ada")));
        assert_eq!(changed["email"], "ada@example.org");
        let read = app.get("/users/me", &token).await;
        assert_eq!(read.header("etag"), "\"2\"");
        assert_eq!(read.expect(StatusCode::OK), changed);
        let request = app.request(Method::GET, "/users/me").bearer_auth(&token).header("if-none-match", "\"2\"");
        assert_eq!(Answer::of(request).await.status, StatusCode::NOT_MODIFIED);
        let request = app.request(Method::PATCH, "/users/me").bearer_auth(&token).header("if-match", "\"1\"");
        Answer::of(request.json(&json!({ "name": null }))).await.refused(412, "precondition_failed");
        let cleared = app.patch("/users/me", &token, json!({ "name": null })).await.expect(StatusCode::OK);
        assert_eq!(cleared["name"], Value::Null);
    }

    async fn users_raise_neither_their_roles_nor_themselves_from_being_disabled(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let token = app.user_token(&id, "");
        for (field, value) in [
            ("roles", json!(["admin"])),
            ("disabled", json!(false)),
            ("email_verified", json!(true)),
            ("password", json!(NEW_PASSWORD)),
            ("id", json!("x")),
        ] {
            app.patch("/users/me", &token, json!({ field: value })).await.refused_field(field, "unknown");
        }
        let user = app.get("/users/me", &token).await.expect(StatusCode::OK);
        assert_eq!((&user["roles"], &user["version"]), (&json!(["user"]), &json!(1)));
    }

    async fn a_disabled_user_may_do_nothing_and_a_deleted_one_is_not_there(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let token = app.user_token(&id, "");
        let passwords = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        let calls = [
            (Method::GET, "/users/me", Value::Null),
            (Method::PATCH, "/users/me", json!({ "name": "x" })),
            (Method::PUT, "/users/me/password", passwords),
            (Method::DELETE, "/users/me", Value::Null),
        ];
        let path = format!("/users/{id}");
        app.patch(&path, &app.admin_token(), json!({ "disabled": true })).await.expect(StatusCode::OK);
        for (method, path, body) in &calls {
            app.send(method.clone(), path, &token, body).await.refused(403, "account_disabled");
        }
        app.patch(&path, &app.admin_token(), json!({ "disabled": false })).await.expect(StatusCode::OK);
        app.send(Method::DELETE, "/users/me", &token, &Value::Null).await.expect(StatusCode::NO_CONTENT);
        for (method, path, body) in &calls {
            app.send(method.clone(), path, &token, body).await.refused(404, "not_found");
        }
        let stranger = app.user_token("not-an-id", "");
        app.get("/users/me", &stranger).await.refused(404, "not_found");
    }

    async fn a_password_is_changed_by_whoever_knows_it(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let token = app.user_token(&id, "");
        let before = stored_hash(&db, "ada@example.com");
        app.change_password(&token, "not the password", NEW_PASSWORD).await.refused(401, "invalid_credentials");
        assert_eq!(stored_hash(&db, "ada@example.com"), before);

        let answer = app.change_password(&token, PASSWORD, NEW_PASSWORD).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""));
        assert!(stored_hash(&db, "ada@example.com").starts_with("$bcrypt-hmac-sha256$v=1$-$2b$04$"));
        let old = json!({ "email": "ada@example.com", "password": PASSWORD });
        app.log_in(old).await.refused(401, "invalid_credentials");
        let new = json!({ "email": "ada@example.com", "password": NEW_PASSWORD });
        let account = app.log_in(new).await.expect(StatusCode::OK);
        assert_eq!((&account["authorization_version"], &account["user"]["version"]), (&json!(2), &json!(2)));
    }

    async fn a_new_password_is_judged_like_a_first_one(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("lovelace.krasnoff@example.com").await;
        let token = app.user_token(&id, "");
        for (new, code) in [
            ("otter-7", "too_short"),
            ("password1234", "too_weak"),
            ("lovelacekrasnoff", "too_weak"),
            ("seven purple\u{0} otters", "invalid"),
        ] {
            let answer = app.change_password(&token, PASSWORD, new).await;
            answer.refused_field("new_password", code);
            assert!(!answer.text.contains(new), "{answer:?}");
        }
        app.change_password(&token, PASSWORD, &"ä".repeat(257)).await.refused_field("new_password", "too_long");
        for (body, field) in [
            (json!({ "new_password": NEW_PASSWORD }), "current_password"),
            (json!({ "current_password": PASSWORD }), "new_password"),
        ] {
            app.send(Method::PUT, "/users/me/password", &token, &body).await.refused_field(field, "required");
        }
        let request = app.request(Method::PUT, "/users/me/password").bearer_auth(&token).header("if-match", "\"7\"");
        let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        Answer::of(request.json(&body)).await.refused(412, "precondition_failed");
        let unchanged = json!({ "email": "lovelace.krasnoff@example.com", "password": PASSWORD });
        app.log_in(unchanged).await.expect(StatusCode::OK);
    }

    async fn of_eight_changes_from_the_same_password_one_wins(db: TestDatabase) {
        // One thread more than there are changes: all verify the old password before the first is written.
        let many = [("passwords.permits", "9"), ("database.pool_size", "9"), ("limits.failures_before_delay", "100")];
        let app = spawn_with(&db, &many).await;
        let id = app.import("ada@example.com").await;
        let token = app.user_token(&id, "");
        let news: Vec<String> = (0..8).map(|number| format!("{NEW_PASSWORD} {number}")).collect();
        let changes = news.iter().map(|new| app.change_password(&token, PASSWORD, new));
        let answers = futures_util::future::join_all(changes).await;
        let won: Vec<usize> = (0..8).filter(|at| answers[*at].status == StatusCode::NO_CONTENT).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        for (at, answer) in answers.iter().enumerate().filter(|(at, _)| *at != won[0]) {
            answer.refused(401, "invalid_credentials");
            let lost = json!({ "email": "ada@example.com", "password": news[at] });
            app.log_in(lost).await.refused(401, "invalid_credentials");
        }
        let new = json!({ "email": "ada@example.com", "password": news[won[0]] });
        assert_eq!(app.log_in(new).await.expect(StatusCode::OK)["authorization_version"], 2);
    }
}

//! What auth-service is told of users' changes, and that nothing of it is lost.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{FakeAuth, PASSWORD, TestApp, query_texts, spawn, spawn_with};

fn event(id: &str, version: i64, roles: &Value, more: &Value) -> Value {
    let mut event = json!({
        "user_id": id, "authorization_version": version, "roles": roles, "disabled": false, "deleted": false,
        "password_changed": false, "keep_session": null,
    });
    for (key, value) in more.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

async fn set_role(app: &TestApp, id: &str, role: &str) {
    let body = json!({ "roles": [role] });
    app.patch(&format!("/users/{id}"), &app.admin_token(), body).await.expect(StatusCode::OK);
}

on_both_databases! {
    async fn every_change_that_ends_sessions_is_told_in_order(db: TestDatabase) {
        let auth = FakeAuth::start();
        let app = spawn_with(&db, &[("services.auth_url", auth.url.as_str())]).await;
        let id = app.import("ada@example.com").await;
        let path = format!("/users/{id}");
        let (admin, own) = (app.admin_token(), app.user_token(&id, ""));
        // Neither of these ends a session.
        app.patch(&path, &admin, json!({ "name": "Ada", "roles": ["user"] })).await.expect(StatusCode::OK);
        app.patch("/users/me", &own, json!({ "email": "ada@example.org" })).await.expect(StatusCode::OK);

        app.patch(&path, &admin, json!({ "roles": ["editor"] })).await.expect(StatusCode::OK);
        let new = "eleven green herons fishing";
        app.change_password(&own, PASSWORD, new).await.expect(StatusCode::NO_CONTENT);
        app.patch(&path, &admin, json!({ "disabled": true })).await.expect(StatusCode::OK);
        app.patch(&path, &admin, json!({ "disabled": false })).await.expect(StatusCode::OK);
        app.send(Method::DELETE, &path, &admin, &Value::Null).await.expect(StatusCode::NO_CONTENT);

        let editor = json!(["editor"]);
        assert_eq!(auth.events(5).await, [
            event(&id, 2, &editor, &json!({})),
            event(&id, 3, &editor, &json!({ "password_changed": true, "keep_session": "session-1" })),
            event(&id, 4, &editor, &json!({ "disabled": true })),
            event(&id, 5, &editor, &json!({})),
            event(&id, 6, &editor, &json!({ "deleted": true })),
        ]);
    }

    async fn a_refused_change_tells_nothing(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        app.import("grace@example.com").await;
        let path = format!("/users/{id}");
        let body = json!({ "roles": ["admin"], "email": "grace@example.com" });
        app.patch(&path, &app.admin_token(), body).await.refused(409, "email_taken");
        let request = app.request(Method::DELETE, &path).bearer_auth(app.admin_token()).header("if-match", "\"9\"");
        assert_eq!(request.send().await.unwrap().status(), StatusCode::PRECONDITION_FAILED);
        assert_eq!(query_texts(&db, "SELECT payload AS value FROM outbox"), Vec::<String>::new());
        let user = app.get(&path, &app.admin_token()).await.expect(StatusCode::OK);
        assert_eq!((&user["roles"], &user["version"]), (&json!(["user"]), &json!(1)));
    }

    async fn events_wait_while_auth_service_is_down_and_then_come_in_order(db: TestDatabase) {
        let auth = FakeAuth::start();
        auth.set_down(true);
        let app = spawn_with(&db, &[("services.auth_url", auth.url.as_str())]).await;
        let id = app.import("ada@example.com").await;
        set_role(&app, &id, "role-2").await;
        auth.refuses().await;
        // More than one call takes.
        for version in 3..=120 {
            set_role(&app, &id, &format!("role-{version}")).await;
        }
        auth.refuses().await;
        auth.set_down(false);
        let events = auth.events(119).await;
        let versions: Vec<i64> = events.iter().map(|event| event["authorization_version"].as_i64().unwrap()).collect();
        assert_eq!(versions, (2..=120).collect::<Vec<_>>());
        assert_eq!(events[118]["roles"], json!(["role-120"]));
    }

    async fn a_service_token_that_is_refused_is_replaced_at_once(db: TestDatabase) {
        let auth = FakeAuth::start();
        auth.refuse_next_token();
        let app = spawn_with(&db, &[("services.auth_url", auth.url.as_str())]).await;
        let id = app.import("ada@example.com").await;
        let began = std::time::Instant::now();
        set_role(&app, &id, "editor").await;
        assert_eq!(auth.events(1).await.len(), 1);
        // The clock of the service stands still, so the first token would be good for ever.
        set_role(&app, &id, "admin").await;
        assert_eq!(auth.events(2).await.len(), 2);
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    }

    async fn events_that_were_left_behind_are_sent_after_a_restart(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        set_role(&app, &id, "editor").await;
        app.send(Method::DELETE, &format!("/users/{id}"), &app.admin_token(), &Value::Null).await
            .expect(StatusCode::NO_CONTENT);
        app.stop().await;
        assert_eq!(query_texts(&db, "SELECT payload AS value FROM outbox").len(), 2);

        let auth = FakeAuth::start();
        let app = spawn_with(&db, &[("services.auth_url", auth.url.as_str())]).await;
        let editor = json!(["editor"]);
        let expected = [event(&id, 2, &editor, &json!({})), event(&id, 3, &editor, &json!({ "deleted": true }))];
        assert_eq!(auth.events(2).await, expected);
        app.stop().await;
        auth.stop().await;
    }

    async fn concurrent_changes_of_many_users_come_in_the_order_of_each(db: TestDatabase) {
        let auth = FakeAuth::start();
        let app = spawn_with(&db, &[("services.auth_url", auth.url.as_str())]).await;
        let mut ids = Vec::new();
        for number in 0..4 {
            ids.push(app.import(&format!("user-{number}@example.com")).await);
        }
        let changes = (0..80).map(|number| {
            let (app, id) = (&app, ids[number % 4].clone());
            async move { set_role(app, &id, &format!("role-{number}")).await }
        });
        futures_util::future::join_all(changes).await;
        let events = auth.events(80).await;
        for id in &ids {
            let own = events.iter().filter(|event| event["user_id"] == id.as_str());
            let mut versions: Vec<i64> = own.map(|event| event["authorization_version"].as_i64().unwrap()).collect();
            // Delivery is at least once: a batch may come again, and then all of it does.
            versions.dedup();
            assert_eq!(versions, (2..=21).collect::<Vec<_>>());
        }
    }
}

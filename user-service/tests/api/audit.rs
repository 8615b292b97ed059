//! What is written down for the audit log, in the transaction of what it tells of.

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{FakeAuth, PASSWORD, PASSWORD_HASH, TestApp, query_texts, spawn, spawn_with};

const ADMIN: &str = "00000000-0000-7000-8000-000000000000";

/// The records that wait, each with its action, outcome, actor, subject and details.
fn records(db: &TestDatabase) -> Vec<Value> {
    query_texts(db, "SELECT payload AS value FROM audit_outbox ORDER BY seq")
        .iter()
        .map(|text| {
            let record: Value = serde_json::from_str(text).unwrap();
            json!([record["action"], record["outcome"], record["actor"]["id"], record["subject"], record["details"]])
        })
        .collect()
}

async fn delete(app: &TestApp, path: &str, token: &str) {
    app.send(Method::DELETE, path, token, &Value::Null).await.expect(StatusCode::NO_CONTENT);
}

on_both_databases! {
    async fn every_change_of_a_user_is_written_down_with_who_made_it(db: TestDatabase) {
        let app = spawn(&db).await;
        let admin = app.admin_token();
        let id = app.import("ada@example.com").await;
        let (path, own) = (format!("/users/{id}"), app.user_token(&id, ""));
        app.patch(&path, &admin, json!({ "roles": ["editor", "user"], "disabled": true, "name": "Ada" })).await
            .expect(StatusCode::OK);
        app.patch(&path, &admin, json!({ "disabled": false })).await.expect(StatusCode::OK);
        app.patch(&path, &admin, json!({ "name": "Ada" })).await.expect(StatusCode::OK);
        app.patch("/users/me", &own, json!({ "email": "ada@example.org" })).await.expect(StatusCode::OK);
        app.change_password(&own, "nine wrong herons sleeping", "eleven green herons fishing").await
            .refused(401, "invalid_credentials");
        app.change_password(&own, PASSWORD, "eleven green herons fishing").await.expect(StatusCode::NO_CONTENT);
        delete(&app, "/users/me", &own).await;
        let other = app.import("grace@example.com").await;
        delete(&app, &format!("/users/{other}"), &admin).await;
        assert_eq!(records(&db), [
            json!(["user_created", "succeeded", ADMIN, id, { "roles": ["user"], "disabled": false }]),
            json!(["roles_changed", "succeeded", ADMIN, id, { "from": ["user"], "to": ["editor", "user"] }]),
            json!(["user_disabled", "succeeded", ADMIN, id, null]),
            json!(["user_changed", "succeeded", ADMIN, id, { "fields": ["name"] }]),
            json!(["user_enabled", "succeeded", ADMIN, id, null]),
            json!(["user_changed", "succeeded", id, id, { "fields": ["email"] }]),
            json!(["password_changed", "invalid_credentials", id, id, null]),
            json!(["password_changed", "succeeded", id, id, null]),
            json!(["user_deleted", "succeeded", id, id, null]),
            json!(["user_created", "succeeded", ADMIN, other, { "roles": ["user"], "disabled": false }]),
            json!(["user_deleted", "succeeded", ADMIN, other, null]),
        ]);
        let all = query_texts(&db, "SELECT payload AS value FROM audit_outbox").concat();
        for secret in [PASSWORD_HASH, PASSWORD, "herons", "example.org", "example.com"] {
            assert!(!all.contains(secret), "{all}");
        }
        let first: Value =
            serde_json::from_str(&query_texts(&db, "SELECT payload AS value FROM audit_outbox ORDER BY seq")[0]).unwrap();
        assert_eq!((&first["address"], &first["session"]), (&json!("127.0.0.1"), &json!("session-1")));
        assert_eq!(first["actor"], json!({ "type": "user", "id": ADMIN }));
        assert_eq!(first["request_id"].as_str().unwrap().len(), 32);
    }

    async fn what_is_refused_or_rehearsed_leaves_no_record(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        app.import("grace@example.com").await;
        let before = records(&db);
        let body = json!({ "roles": ["admin"], "email": "grace@example.com" });
        app.patch(&format!("/users/{id}"), &app.admin_token(), body).await.refused(409, "email_taken");
        let again = json!({ "email": "ada@example.com", "password_hash": PASSWORD_HASH });
        app.post("/users", &app.admin_token(), again).await.refused(409, "email_taken");
        import(&app, "?dry_run=true").await;
        assert_eq!(records(&db), before);
    }

    async fn an_import_leaves_a_record_of_each_batch_and_of_every_change_of_what_a_user_may_do(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let before = records(&db).len();
        import(&app, "?existing=update").await;
        import(&app, "?existing=update").await;
        assert_eq!(records(&db)[before..], [
            json!(["roles_changed", "succeeded", ADMIN, id, { "from": ["user"], "to": ["editor"] }]),
            json!(["users_imported", "succeeded", ADMIN, null, { "inserted": 1, "updated": 1 }]),
        ]);
    }

    async fn records_reach_auth_service_however_large_they_are_together(db: TestDatabase) {
        let auth = FakeAuth::start();
        auth.set_down(true);
        let app = spawn_with(&db, &[("services.auth_url", auth.url.as_str())]).await;
        let id = app.import("ada@example.com").await;
        let path = format!("/users/{id}");
        let agent = "x".repeat(250);
        for number in 0..150 {
            let request = app.request(Method::PATCH, &path).bearer_auth(app.admin_token()).header("user-agent", &agent);
            let answer = request.json(&json!({ "name": format!("Ada {number}") })).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
        auth.set_down(false);
        let records = auth.records(151).await;
        assert_eq!(records[0]["action"], "user_created");
        assert!(records[1..].iter().all(|record| record["subject"] == id.as_str() && record["user_agent"] == agent));
    }

    async fn whose_password_was_wrong_is_told_to_auth_service_alone(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let subject = async |email: &str, password: &str, status: u16| {
            let answer = app.log_in(json!({ "email": email, "password": password })).await;
            assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
            answer.headers.get("signet-subject").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(subject("ada@example.com", "nine wrong herons", 401).await.as_ref(), Some(&id));
        assert_eq!(subject("eve@example.com", PASSWORD, 401).await, None);
        assert_eq!(subject("ada@example.com", PASSWORD, 200).await, None);
        app.patch(&format!("/users/{id}"), &app.admin_token(), json!({ "disabled": true })).await.expect(StatusCode::OK);
        assert_eq!(subject("ada@example.com", PASSWORD, 403).await.as_ref(), Some(&id));
    }
}

/// Sends a file with a user who may be there already, and another one.
async fn import(app: &TestApp, query: &str) {
    let file = format!(
        "email,password_hash,roles\nada@example.com,{PASSWORD_HASH},editor\nalan@example.com,{PASSWORD_HASH},user\n"
    );
    let request = app
        .request(Method::POST, &format!("/users/import{query}"))
        .bearer_auth(app.admin_token())
        .header(header::CONTENT_TYPE, "text/csv")
        .body(file);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
}

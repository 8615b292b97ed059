//! The audit log: what is written into it, who may read it, and that it stays as it is.

use std::sync::Arc;

use auth_service::storage::{AuditStore, MIGRATIONS};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::{
    Timestamp,
    db::{Database, DatabaseUrl},
};
use test_support::{TestDatabase, on_both_databases};

use crate::{
    clients,
    helpers::{Answer, START, TestApp, send, text},
};

async fn read(app: &TestApp, query: &str) -> Answer {
    let token = app.mint(|claims| {
        claims.sub = "auditor".into();
        claims.scope = "users:read".into();
    });
    send(app.get(&format!("/auth/audit{query}")).bearer_auth(token)).await
}

async fn items(app: &TestApp, query: &str) -> Vec<Value> {
    let answer = read(app, query).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.body["items"].as_array().unwrap().clone()
}

/// The newest records first, each with its action, outcome, actor, subject and details.
async fn summary(app: &TestApp) -> Vec<Value> {
    let summary =
        |item: &Value| json!([item["action"], item["outcome"], item["actor"]["id"], item["subject"], item["details"]]);
    items(app, "").await.iter().map(summary).collect()
}

async fn log_in(app: &TestApp, body: Value) -> Answer {
    send(app.post("/auth/login").json(&body)).await
}

fn record(number: usize, seconds: i64, more: &Value) -> Value {
    let mut record = json!({
        "id": format!("01935970-0000-7000-8000-{number:012x}"), "at": Timestamp::from_seconds(START + seconds),
        "action": "user_changed", "outcome": "succeeded", "actor": null, "subject": null, "session": null,
        "client_id": null, "address": null, "user_agent": null, "request_id": null, "details": null,
    });
    for (key, value) in more.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

async fn hand_in(app: &TestApp, records: &[Value]) -> Answer {
    send(app.post("/internal/audit").bearer_auth(app.service_token()).json(&json!({ "records": records }))).await
}

on_both_databases! {
    async fn log_ins_and_their_failures_are_written_down_and_never_what_was_typed(db: TestDatabase) {
        let app = TestApp::start(db);
        let registered = app.register("ada").await;
        let user = &registered["user"]["id"];
        let typed = "my secret in the wrong field";
        log_in(&app, json!({ "username": "ada", "password": typed })).await.is(401, "invalid_credentials");
        let unknown = log_in(&app, json!({ "username": typed, "password": typed })).await;
        unknown.is(401, "invalid_credentials");
        app.users.change("user-1", |user| user["disabled"] = json!(true));
        let disabled = log_in(&app, json!({ "username": "ada", "password": "correct horse" })).await;
        disabled.is(403, "account_disabled");
        let by_grant = [("grant_type", "password"), ("username", "ada"), ("password", typed)];
        send(app.post("/auth/token").form(&by_grant)).await.is(400, "invalid_grant");
        for answer in [unknown, disabled] {
            assert_eq!(answer.header("signet-subject"), "", "whose password it was is nobody's business");
        }

        assert_eq!(summary(&app).await, [
            json!(["login", "invalid_credentials", null, user, null]),
            json!(["login", "account_disabled", null, user, null]),
            json!(["login", "invalid_credentials", null, null, null]),
            json!(["login", "invalid_credentials", null, user, null]),
            json!(["login", "succeeded", user, user, null]),
        ]);
        let answer = read(&app, "").await;
        assert!(!answer.body.to_string().contains("wrong field"));
        let first = &answer.body["items"][4];
        assert_eq!(first["address"], "127.0.0.1");
        assert_eq!(first["at"], "2027-01-15T08:00:00.000000Z");
        assert_eq!(text(&first["session"]).len(), 22);
        app.stop().await;
    }

    async fn the_address_is_the_clients_and_the_request_id_the_answers(db: TestDatabase) {
        let app = TestApp::start_with(db, &[("SIGNET__SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]);
        app.register("ada").await;
        let request = app
            .post("/auth/login")
            .header("x-forwarded-for", "203.0.113.9")
            .header("user-agent", "a browser")
            .header("x-request-id", "order-17")
            .json(&json!({ "username": "ada", "password": "correct horse" }));
        assert_eq!(send(request).await.status.as_u16(), 200);
        let newest = &items(&app, "?limit=1").await[0];
        assert_eq!(newest["address"], "203.0.113.9");
        assert_eq!(newest["user_agent"], "a browser");
        assert_eq!(newest["request_id"], "order-17");
        app.stop().await;
    }

    async fn it_is_told_how_and_by_whom_each_session_was_ended(db: TestDatabase) {
        let app = TestApp::start(db);
        let registered = app.register("ada").await;
        let user = registered["user"]["id"].clone();
        let (second, third, fourth) = (app.log_in("ada").await, app.log_in("ada").await, app.log_in("ada").await);
        let token = |tokens: &Value| text(&tokens["access_token"]).to_owned();

        let sessions = send(app.get("/auth/sessions").bearer_auth(token(&registered))).await.body;
        let of_fourth = sessions["items"].as_array().unwrap().iter().position(|item| item["current"] == true).unwrap();
        assert_eq!(of_fourth, 3, "the oldest is the caller's own");
        let path = format!("/auth/sessions/{}", text(&sessions["items"][0]["id"]));
        send(app.request(Method::DELETE, &path).bearer_auth(token(&registered))).await;
        send(app.post("/auth/logout").bearer_auth(token(&second))).await;
        // A token from the line's past.
        let refresh = text(&third["refresh_token"]).to_owned();
        let next = app.refresh(&refresh).await.body;
        app.refresh(text(&next["refresh_token"])).await;
        app.refresh(&refresh).await.is(400, "invalid_grant");
        let change = json!({ "events": [{ "user_id": user, "authorization_version": 2, "roles": ["user"],
            "disabled": false, "deleted": false, "password_changed": true, "keep_session": null }] });
        send(app.post("/internal/user-events").bearer_auth(app.service_token()).json(&change)).await;
        drop(fourth);

        assert_eq!(summary(&app).await[..4], [
            json!(["session_ended", "succeeded", null, user, { "reason": "password_changed" }]),
            json!(["refresh_reuse", "succeeded", null, user, { "reason": "refresh_reuse" }]),
            json!(["logout", "succeeded", user, user, { "reason": "logout" }]),
            json!(["session_ended", "succeeded", user, user, { "reason": "ended_by_user" }]),
        ]);
        app.stop().await;
    }

    async fn clients_and_revocations_are_written_down_with_the_service_that_ordered_them(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = clients::register(&app, "persons:read").await;
        let token = clients::own_token(&app, &client).await.body;
        let form = [("token", text(&token["access_token"]))];
        send(client.authorize(app.post("/auth/revoke")).form(&form)).await;
        let order = async |order: Value| {
            let answer = send(app.post("/internal/revocations").bearer_auth(app.service_token()).json(&order)).await;
            assert_eq!(answer.status.as_u16(), 204, "{}", answer.body);
        };
        order(json!({ "kind": "key", "kid": "leaked" })).await;
        order(json!({ "kind": "all", "issued_before": START })).await;
        clients::delete(&app, &client.id).await;

        let records = items(&app, "").await;
        let actions: Vec<&str> = records.iter().map(|record| text(&record["action"])).collect();
        assert_eq!(
            actions,
            ["client_deleted", "all_tokens_revoked", "key_revoked", "token_revoked", "client_created"]
        );
        let service = json!({ "type": "service", "id": "user-service" });
        assert_eq!(records[0]["actor"], service);
        assert_eq!(records[0]["client_id"], json!(client.id));
        assert_eq!(records[2]["details"], json!({ "kid": "leaked" }));
        assert_eq!(records[3]["actor"], json!({ "type": "client", "id": client.id }));
        assert_eq!(records[4]["details"], json!({ "name": "nightly import", "scope": "persons:read" }));
        let all = Value::Array(records).to_string();
        assert!(!all.contains(&client.secret) && !all.contains(text(&token["access_token"])));
        app.stop().await;
    }

    async fn a_key_ring_that_changes_is_written_down(db: TestDatabase) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.json");
        let key = |kid: &str| json!({ "kty": "oct", "alg": "HS256", "kid": kid, "k": "pU3KGCUwux1tEyze1iN7LtkeP3IfyxlxF0SU1kk8nVw" });
        std::fs::write(&file, json!({ "keys": [key("first")] }).to_string()).unwrap();
        let extra = [("SIGNET__TOKENS__SECRET", ""), ("SIGNET__TOKENS__JWKS_FILE", file.to_str().unwrap())];
        let app = TestApp::start_with(db, &extra);
        std::fs::write(&file, json!({ "keys": [key("first"), key("second")] }).to_string()).unwrap();
        let store = AuditStore::new(open(&app.database));
        let written = async || store.list(<_>::default(), None, <_>::default()).await.unwrap().pop();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let record = loop {
            if let Some(record) = written().await {
                break record;
            }
            assert!(std::time::Instant::now() < deadline, "the ring was not taken up");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        assert_eq!(record.action, "keys_changed");
        assert_eq!(record.details, Some(json!({ "signing": "first", "keys": ["first", "second"] })));
        app.stop().await;
    }

    async fn the_log_is_read_page_by_page_and_by_what_is_looked_for(db: TestDatabase) {
        let app = TestApp::start(db);
        let records: Vec<Value> = (0..250)
            .map(|number| {
                let seconds = i64::try_from(number / 7).unwrap();
                let actor = json!({ "type": "user", "id": if number % 2 == 0 { "ada" } else { "grace" } });
                record(number, seconds, &json!({ "actor": actor, "subject": format!("user-{}", number % 5) }))
            })
            .collect();
        for order in [&records[125..], &records[..125]] {
            assert_eq!(hand_in(&app, order).await.status.as_u16(), 204);
        }
        let mut ids = Vec::new();
        let mut query = "?limit=99".to_owned();
        loop {
            let page = read(&app, &query).await.body;
            ids.extend(page["items"].as_array().unwrap().iter().map(|item| text(&item["id"]).to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            read(&app, &format!("?limit=99&actor=ada&cursor={cursor}")).await.is(400, "invalid_request");
            query = format!("?limit=99&cursor={cursor}");
        }
        let expected: Vec<&str> = records.iter().rev().map(|record| text(&record["id"])).collect();
        assert_eq!(ids, expected);

        let count = async |query: &str| items(&app, &format!("?limit=200&{query}")).await.len();
        assert_eq!(count("actor=ada").await, 125);
        assert_eq!(count("actor=ada&subject=user-3").await, 25);
        assert_eq!(count("action=user_changed").await, 200);
        assert_eq!(count("action=login").await, 0);
        let at = |seconds: i64| Timestamp::from_seconds(START + seconds).to_string();
        assert_eq!(count(&format!("since={}", at(10))).await, 180);
        assert_eq!(count(&format!("since={}&until={}", at(10), at(12))).await, 14);
        for wrong in ["since=yesterday", "until=2026-01-31", "subject=", "action=%00", "limit=0"] {
            read(&app, &format!("?{wrong}")).await.is(422, "validation_failed");
        }
        app.stop().await;
    }

    async fn a_record_that_is_handed_in_twice_is_there_once_and_a_bad_one_takes_none_along(db: TestDatabase) {
        let app = TestApp::start(db);
        let two = [record(1, 0, &json!({})), record(2, 1, &json!({ "details": { "fields": ["name"] } }))];
        for _ in 0..2 {
            assert_eq!(hand_in(&app, &two).await.status.as_u16(), 204);
        }
        let bad = [record(3, 0, &json!({})), record(4, 0, &json!({ "at": "noon" }))];
        hand_in(&app, &bad).await.is(422, "validation_failed");
        let listed = items(&app, "").await;
        assert_eq!(listed, [two[1].clone(), two[0].clone()]);
        app.stop().await;
    }

    async fn a_record_is_never_changed_and_goes_when_its_time_is_over(db: TestDatabase) {
        let app = TestApp::start(db);
        hand_in(&app, &[record(1, 0, &json!({})), record(2, 100, &json!({}))]).await;
        let database = open(&app.database);
        let change = |sql: &'static str| {
            let database = database.clone();
            async move {
                let change = move |db: &mut service_kit::db::Db| {
                    diesel::connection::SimpleConnection::batch_execute(db, sql).map_err(service_kit::Error::from)
                };
                database.write(change).await
            }
        };
        assert!(change("UPDATE audit SET outcome = 'refused'").await.is_err());
        assert_eq!(items(&app, "").await[0]["outcome"], "succeeded");
        let store = AuditStore::new(database.clone());
        assert_eq!(store.purge(Timestamp::from_seconds(START + 100)).await.unwrap(), 1);
        assert_eq!(items(&app, "").await.len(), 1);
        app.stop().await;
    }
}

fn open(database: &Arc<TestDatabase>) -> Database {
    Database::open(&DatabaseUrl::parse(database.url()).unwrap(), 1, MIGRATIONS).unwrap()
}

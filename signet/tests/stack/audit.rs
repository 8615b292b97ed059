//! The audit log over all services: one list, whoever wrote the record.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Client, PASSWORD, TestStack, Tokens};

/// Reads the log until it has so many records.
async fn records(client: &Client, token: &str, query: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = client.get(&format!("/auth/audit{query}"), token).await.expect(200).json();
        let items = answer["items"].as_array().unwrap();
        if items.len() >= count {
            return items.clone();
        }
        assert!(Instant::now() < deadline, "{items:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

on_both_databases! {
    async fn an_admin_reads_what_befell_a_user_in_all_services(db: TestDatabase) {
        let stack = TestStack::start(db);
        let client = &stack.client;
        let registered = client.register("ada@example.com").await.expect(201);
        let request_id = registered.header("x-request-id").unwrap().to_owned();
        let id = registered.json()["user"]["id"].as_str().unwrap().to_owned();
        client.log_in("ada@example.com", "nine wrong herons").await.expect_problem(401, "invalid_credentials");
        client.log_in("nobody@example.com", "nine wrong herons").await.expect_problem(401, "invalid_credentials");
        let admin = client.admin().await;
        let admin_id = client.get("/users/me", &admin.access).await.expect(200).json()["id"].clone();
        client.call(Method::PATCH, &format!("/users/{id}"), &admin.access, Some(json!({ "roles": ["editor"] }))).await
            .expect(200);
        client.call(Method::PATCH, &format!("/users/{id}"), &admin.access, Some(json!({ "disabled": true }))).await
            .expect(200);
        client.log_in("ada@example.com", PASSWORD).await.expect_problem(403, "account_disabled");

        let records = records(client, &admin.access, &format!("?subject={id}"), 7).await;
        let summary = |record: &Value| json!([record["action"], record["outcome"], record["actor"]["id"]]);
        let mut told: Vec<Value> = records.iter().rev().map(summary).collect();
        // What auth-service does about the disabled user comes when the event does.
        let ended = told.iter().position(|record| record[0] == "session_ended").unwrap();
        assert_eq!(told.remove(ended), json!(["session_ended", "succeeded", null]));
        assert_eq!(told, [
            json!(["user_created", "succeeded", null]),
            json!(["login", "succeeded", id]),
            json!(["login", "invalid_credentials", null]),
            json!(["roles_changed", "succeeded", admin_id]),
            json!(["user_disabled", "succeeded", admin_id]),
            json!(["login", "account_disabled", null]),
        ]);
        let of_registration = records.iter().filter(|record| record["request_id"] == request_id.as_str());
        assert_eq!(of_registration.count(), 2, "user-service's record and auth-service's of the same request");
        assert!(records.iter().all(|record| record["address"] == "127.0.0.1" || record["actor"].is_null()));

        let user = Tokens::of(&client.register("eve@example.com").await.expect(201));
        client.get("/auth/audit", &user.access).await.expect_problem(403, "insufficient_scope");
        stack.stop().await;
    }
}

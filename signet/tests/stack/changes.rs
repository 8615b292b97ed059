//! What changes in user-service, and what auth-service makes of it.

use reqwest::Method;
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, Client, Databases, PASSWORD, Relay, TestStack, Tokens};

/// A stack whose events pass a relay, so that a test can wait for them.
fn start(db: TestDatabase) -> (TestStack, Relay) {
    let relay = Relay::start();
    let stack = TestStack::start_with(Databases::next_to(db), &[("SIGNET__SERVICES__AUTH_URL", &relay.url)]);
    relay.lead_to(stack.addresses.auth);
    (stack, relay)
}

async fn registered(client: &Client, email: &str) -> (String, Tokens) {
    let answer = client.register(email).await.expect(201);
    (answer.json()["user"]["id"].as_str().unwrap().to_owned(), Tokens::of(&answer))
}

async fn change(client: &Client, id: &str, change: Value) {
    let admin = client.admin().await;
    client.call(Method::PATCH, &format!("/users/{id}"), &admin.access, Some(change)).await.expect(200);
}

#[track_caller]
fn assert_ended(answer: Answer) {
    let answer = answer.expect(400);
    assert_eq!(answer.json()["error"], "invalid_grant", "{answer:?}");
}

on_both_databases! {
    async fn a_new_password_ends_every_session_but_the_one_that_changed_it(db: TestDatabase) {
        let (stack, mut relay) = start(db);
        let client = &stack.client;
        let (id, here) = registered(client, "ada@example.com").await;
        let there = Tokens::of(&client.log_in("ada@example.com", PASSWORD).await.expect(200));
        let (_, somebody) = registered(client, "eve@example.com").await;

        let new_password = "eleven copper bells by noon";
        let body = json!({ "current_password": PASSWORD, "new_password": new_password });
        client.call(Method::PUT, "/users/me/password", &here.access, Some(body)).await.expect(204);
        let events = relay.acknowledged().await;
        assert_eq!(events[0]["user_id"], id.as_str());
        assert_eq!(events[0]["password_changed"], true);

        assert_ended(client.refresh(&there.refresh).await);
        let here = Tokens::of(&client.refresh(&here.refresh).await.expect(200));
        client.get("/users/me", &here.access).await.expect(200);
        client.refresh(&somebody.refresh).await.expect(200);
        client.log_in("ada@example.com", PASSWORD).await.expect_problem(401, "invalid_credentials");
        client.log_in("ada@example.com", new_password).await.expect(200);
        stack.stop().await;
    }

    async fn new_roles_are_in_the_next_access_token_and_the_session_lives(db: TestDatabase) {
        let (stack, mut relay) = start(db);
        let client = &stack.client;
        let (id, tokens) = registered(client, "grace@example.com").await;
        let person = json!({ "name": "Somebody" });
        let refused = client.call(Method::PUT, "/persons/p", &tokens.access, Some(person.clone())).await;
        refused.expect_problem(403, "insufficient_scope");

        change(client, &id, json!({ "roles": ["editor"] })).await;
        let events = relay.acknowledged().await;
        assert_eq!(events[0]["roles"], json!(["editor"]));
        let refreshed = Tokens::of(&client.refresh(&tokens.refresh).await.expect(200));
        let claims = client.get("/auth/me", &refreshed.access).await.expect(200).json();
        assert_eq!(claims["roles"], json!(["editor"]));
        assert_eq!(claims["scope"], "persons:read persons:write");
        assert_eq!(claims["ver"], events[0]["authorization_version"]);
        client.call(Method::PUT, "/persons/p", &refreshed.access, Some(person)).await.expect(201);
        stack.stop().await;
    }

    async fn a_disabled_user_is_logged_out_everywhere_and_cannot_come_back_until_enabled(db: TestDatabase) {
        let (stack, mut relay) = start(db);
        let client = &stack.client;
        let (id, tokens) = registered(client, "hedy@example.com").await;

        change(client, &id, json!({ "disabled": true })).await;
        assert_eq!(relay.acknowledged().await[0]["disabled"], true);
        assert_ended(client.refresh(&tokens.refresh).await);
        client.log_in("hedy@example.com", PASSWORD).await.expect_problem(403, "account_disabled");
        client.log_in("hedy@example.com", "quite another one").await.expect_problem(401, "invalid_credentials");

        change(client, &id, json!({ "disabled": false })).await;
        assert_eq!(relay.acknowledged().await[0]["disabled"], false);
        assert_ended(client.refresh(&tokens.refresh).await);
        let back = Tokens::of(&client.log_in("hedy@example.com", PASSWORD).await.expect(200));
        client.refresh(&back.refresh).await.expect(200);
        stack.stop().await;
    }

    async fn a_user_who_leaves_is_gone_with_all_sessions(db: TestDatabase) {
        let (stack, mut relay) = start(db);
        let client = &stack.client;
        let (id, tokens) = registered(client, "joan@example.com").await;
        client.call(Method::DELETE, "/users/me", &tokens.access, None).await.expect(204);
        let events = relay.acknowledged().await;
        assert_eq!((&events[0]["user_id"], &events[0]["deleted"]), (&json!(id), &json!(true)));
        assert_ended(client.refresh(&tokens.refresh).await);
        client.log_in("joan@example.com", PASSWORD).await.expect_problem(401, "invalid_credentials");
        client.get("/users/me", &tokens.access).await.expect_problem(404, "not_found");
        // The address is free again, and whoever takes it is somebody else.
        let (another, tokens) = registered(client, "joan@example.com").await;
        assert_ne!(another, id);
        client.refresh(&tokens.refresh).await.expect(200);
        stack.stop().await;
    }

    async fn a_change_that_grants_nothing_and_takes_nothing_is_not_told(db: TestDatabase) {
        let (stack, mut relay) = start(db);
        let client = &stack.client;
        let (id, tokens) = registered(client, "mary@example.com").await;
        change(client, &id, json!({ "name": "Mary" })).await;
        change(client, &id, json!({ "roles": ["editor"] })).await;
        // Events come in order, and the first one is that of the roles.
        assert_eq!(relay.acknowledged().await[0]["roles"], json!(["editor"]));
        client.refresh(&tokens.refresh).await.expect(200);
        stack.stop().await;
    }

    async fn what_changed_while_the_stack_was_down_half_way_is_told_at_the_next_start(db: TestDatabase) {
        // Nobody is there to hear of it.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let stack = TestStack::start_with(Databases::next_to(db), &[("SIGNET__SERVICES__AUTH_URL", &url)]);
        let client = &stack.client;
        let (id, tokens) = registered(client, "rosa@example.com").await;
        change(client, &id, json!({ "disabled": true })).await;
        client.refresh(&tokens.refresh).await.expect(200);
        let databases = stack.stop().await;
        drop(silent);

        let mut relay = Relay::start();
        let stack = TestStack::start_with(databases, &[("SIGNET__SERVICES__AUTH_URL", &relay.url)]);
        relay.lead_to(stack.addresses.auth);
        assert_eq!(relay.acknowledged().await[0]["user_id"], id.as_str());
        let sessions_gone = stack.client.refresh(&tokens.refresh).await;
        assert_ended(sessions_gone);
        stack.stop().await;
    }
}

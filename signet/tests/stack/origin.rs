//! The one origin: what it serves, what it keeps to itself, and how the stack comes and goes.

use reqwest::Method;
use serde_json::json;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{ADMIN_EMAIL, ADMIN_PASSWORD, Client, TestStack, Tokens};

on_both_databases! {
    async fn what_is_for_operators_and_services_is_on_the_services_own_ports_alone(db: TestDatabase) {
        let stack = TestStack::start(db);
        let admin = stack.client.admin().await;
        for path in ["/healthz", "/readyz", "/metrics", "/internal/credentials/verify", "/internal/user-events"] {
            stack.client.get(path, &admin.access).await.expect_problem(404, "not_found");
            let posted = stack.client.call(Method::POST, path, &admin.access, Some(json!({}))).await;
            posted.expect_problem(404, "not_found");
        }
        for address in [stack.addresses.auth, stack.addresses.user, stack.addresses.resource] {
            let service = Client::new(format!("http://{address}"));
            service.get_without_token("/healthz").await.expect(200);
            service.get_without_token("/readyz").await.expect(200);
        }
        let user = Client::new(format!("http://{}", stack.addresses.user));
        let verify = json!({ "email": ADMIN_EMAIL, "password": ADMIN_PASSWORD });
        let path = "/internal/credentials/verify";
        user.post(path, verify.clone()).await.expect_problem(401, "token_missing");
        user.call(Method::POST, path, &admin.access, Some(verify)).await.expect_problem(403, "insufficient_scope");
        stack.stop().await;
    }

    async fn an_unknown_path_is_a_problem_with_a_request_id(db: TestDatabase) {
        let stack = TestStack::start(db);
        for path in ["/nothing", "/console", "/console/x/nothing.js", "/auth/nothing", "/users/me/nothing", "/person"] {
            stack.client.get_without_token(path).await.expect_problem(404, "not_found");
        }
        stack.stop().await;
    }

    async fn a_stack_that_starts_again_finds_everything_and_makes_no_second_admin(db: TestDatabase) {
        let stack = TestStack::start(db);
        let admin = stack.client.admin().await;
        let person = json!({ "name": "Amara", "email": null, "age": 34 });
        stack.client.call(Method::PUT, "/persons/p-1", &admin.access, Some(person)).await.expect(201);
        let databases = stack.stop().await;

        let another_password = ("SIGNET__BOOTSTRAP__ADMIN_PASSWORD", "copper-kettle-under-the-stairs");
        let another_email = ("SIGNET__BOOTSTRAP__ADMIN_EMAIL", "other@localhost");
        let stack = TestStack::start_with(databases, &[another_email, another_password]);
        // The session is found again, and so are the admin and the person; nobody else was made.
        let admin = Tokens::of(&stack.client.refresh(&admin.refresh).await.expect(200));
        assert_eq!(stack.client.get("/persons/p-1", &admin.access).await.expect(200).json()["name"], "Amara");
        stack.client.admin().await;
        stack.client.log_in(another_email.1, another_password.1).await.expect_problem(401, "invalid_credentials");
        let users = stack.client.get("/users", &admin.access).await.expect(200).json();
        assert_eq!(users["items"].as_array().unwrap().len(), 1, "{users}");
        stack.stop().await;
    }
}

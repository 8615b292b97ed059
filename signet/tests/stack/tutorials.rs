//! The flows of the usual Node tutorials, one test for each of their five systems.

use reqwest::Method;
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::{
    helpers::{Databases, LASTING_ISSUER, PASSWORD, TestStack, Tokens},
    program,
};

on_both_databases! {
    /// Sign up, authenticate, the token in `x-access-token`, in the query or in the body, the decoded claims back,
    /// refused without one.
    async fn express_and_mongo_with_signup_authenticate_and_protected(db: TestDatabase) {
        let databases = Databases::next_to(db);
        let stack = TestStack::start_with(databases, &[LASTING_ISSUER]);
        let client = &stack.client;
        let user = client.register("mona@example.com").await.expect(201).json()["user"].clone();
        let token = Tokens::of(&client.log_in("mona@example.com", PASSWORD).await.expect(200)).access;

        let header = client.request(Method::GET, "/auth/me").header("x-access-token", &token);
        let claims = client.send(header).await.expect(200).json();
        assert_eq!(claims["sub"], user["id"]);
        assert_eq!(claims["scope"], "persons:read");
        assert_eq!(claims["roles"], json!(["user"]));
        client.get_without_token("/auth/me").await.expect_problem(401, "token_missing");

        // Off unless the operator turns them on: a token in a URL ends up in logs.
        let query = format!("/auth/me?access_token={token}");
        client.get_without_token(&query).await.expect_problem(401, "token_missing");
        let form = || [("access_token", token.as_str())];
        client.send(client.request(Method::POST, "/auth/me").form(&form())).await.expect_problem(401, "token_missing");

        let databases = stack.stop().await;
        let sources = [LASTING_ISSUER, ("SIGNET__TOKENS__SOURCES", "header,x-access-token,query,form")];
        let stack = TestStack::start_with(databases, &sources);
        let client = &stack.client;
        let from_query = client.get_without_token(&query).await.expect(200).json();
        let from_form = client.send(client.request(Method::POST, "/auth/me").form(&form())).await.expect(200).json();
        assert_eq!(from_query, claims);
        assert_eq!(from_form, claims);
        client.get_without_token(&format!("/persons?access_token={token}")).await.expect(200);
        client.get_without_token(&format!("/users/me?access_token={token}")).await.expect(200);
        client.get_without_token("/auth/me").await.expect_problem(401, "token_missing");
        client.get_without_token("/auth/me?access_token=nonsense").await.expect_problem(401, "token_invalid");
        let twice = client.get(&query, &token).await.expect(400);
        assert_eq!(twice.json()["code"], "invalid_request");
        stack.stop().await;
    }

    /// Sign-up gives the token and the user name at once; a user name that is taken is refused.
    async fn express_and_sequelize_where_sign_up_answers_with_a_token(db: TestDatabase) {
        let stack = TestStack::start(db);
        let client = &stack.client;
        let sign_up = |email: &str, username: &str| {
            json!({ "email": email, "username": username, "password": PASSWORD, "name": "Sequoia" })
        };
        let answer = client.post("/auth/register", sign_up("sequoia@example.com", "Sequoia")).await.expect(201);
        assert_eq!(answer.json()["user"]["username"], "Sequoia");
        assert_eq!(answer.json()["token_type"], "Bearer");
        let tokens = Tokens::of(&answer);
        client.get("/auth/me", &tokens.access).await.expect(200);
        client.get("/persons", &tokens.access).await.expect(200);
        assert_eq!(client.get("/users/me", &tokens.access).await.expect(200).json()["username"], "Sequoia");

        let taken = client.post("/auth/register", sign_up("other@example.com", "sequoia")).await;
        taken.expect_problem(409, "username_taken");
        let taken = client.post("/auth/register", sign_up("Sequoia@Example.com", "other")).await;
        taken.expect_problem(409, "email_taken");
        client.log_in("other@example.com", PASSWORD).await.expect_problem(401, "invalid_credentials");
        let by_name = json!({ "username": "SEQUOIA", "password": PASSWORD });
        client.post("/auth/login", by_name).await.expect(200);
        stack.stop().await;
    }

    /// Form-encoded bodies, a list of users, Bearer, persons with id, name, email and age, a page on another origin.
    async fn express_mongo_and_a_browser_page_with_createuser_users_authuser_and_persons(db: TestDatabase) {
        const PAGE: &str = "https://page.example";
        let stack =
            TestStack::start_with(Databases::next_to(db), &[("SIGNET__SERVER__CORS_ORIGINS", "https://page.example")]);
        let client = &stack.client;
        let from_page = |method: Method, path: &str| client.request(method, path).header("origin", PAGE);

        let form = [("email", "page@example.com"), ("username", "page"), ("password", PASSWORD)];
        let answer = client.send(from_page(Method::POST, "/auth/register").form(&form)).await.expect(201);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        let form = [("username", "page"), ("password", PASSWORD)];
        let user = Tokens::of(&client.send(from_page(Method::POST, "/auth/login").form(&form)).await.expect(200));

        let admin = client.admin().await;
        let users = client.get("/users", &admin.access).await.expect(200).json();
        let emails: Vec<_> = users["items"].as_array().unwrap().iter().map(|user| user["email"].clone()).collect();
        assert_eq!(emails, ["admin@localhost", "page@example.com"]);
        client.get("/users", &user.access).await.expect_problem(403, "insufficient_scope");

        let person = json!({ "id": "p-1", "name": "Chiara D'Amico", "email": "chiara@example.com", "age": 27 });
        client.call(Method::POST, "/persons", &admin.access, Some(person.clone())).await.expect(201);
        let request = from_page(Method::GET, "/persons").bearer_auth(&user.access);
        let answer = client.send(request).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        let listed = &answer.json()["items"][0];
        for member in ["id", "name", "email", "age"] {
            assert_eq!(listed[member], person[member], "{member}");
        }
        client.send(from_page(Method::GET, "/persons")).await.expect_problem(401, "token_missing");

        // What the browser asks before it sends the token along.
        let preflight = |origin: &str| {
            client
                .request(Method::OPTIONS, "/persons")
                .header("origin", origin)
                .header("access-control-request-method", "GET")
                .header("access-control-request-headers", "authorization")
        };
        let allowed = client.send(preflight(PAGE)).await.expect(200);
        assert_eq!(allowed.header("access-control-allow-origin"), Some(PAGE));
        assert!(allowed.header("access-control-allow-headers").unwrap().to_lowercase().contains("authorization"));
        let elsewhere = client.send(preflight("https://elsewhere.example")).await;
        assert_eq!(elsewhere.header("access-control-allow-origin"), None);
        stack.stop().await;
    }

    /// 401 without a token, refused with a bad one, a refresh token gives a new access token, secrets are made by a
    /// command.
    async fn express_with_sign_up_sign_in_test_and_token(db: TestDatabase) {
        let secret = program::output(&["secret", "generate"]);
        let other = program::output(&["secret", "generate", "--bytes", "48"]);
        let (secret, other) = (secret.trim(), other.trim());
        assert_ne!(secret, other);
        let made = [("SIGNET__TOKENS__SECRET", secret), ("SIGNET__REFRESH__SECRET", other)];
        let stack = TestStack::start_with(Databases::next_to(db), &made);
        let client = &stack.client;

        client.register("tess@example.com").await.expect(201);
        let first = Tokens::of(&client.log_in("tess@example.com", PASSWORD).await.expect(200));
        for route in ["/auth/me", "/users/me", "/persons"] {
            let answer = client.get_without_token(route).await.expect_problem(401, "token_missing");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{answer:?}");
            client.get(route, "nonsense").await.expect_problem(401, "token_invalid");
            let forged = format!("{}x", first.access);
            client.get(route, &forged).await.expect_problem(401, "token_invalid");
            client.get(route, &first.refresh).await.expect_problem(401, "token_invalid");
            client.get(route, &first.access).await.expect(200);
        }

        stack.clock.advance_seconds(1_000);
        client.get("/persons", &first.access).await.expect_problem(401, "token_expired");
        let second = Tokens::of(&client.refresh(&first.refresh).await.expect(200));
        assert_ne!(second.access, first.access);
        assert_ne!(second.refresh, first.refresh);
        client.get("/persons", &second.access).await.expect(200);
        let bad = client.refresh("nonsense").await.expect(400);
        assert_eq!(bad.json()["error"], "invalid_grant");
        stack.stop().await;
    }

    /// The password never comes back, log-out, users create, read, update, delete.
    async fn express_rest_api_with_register_login_me_logout_and_users_crud(db: TestDatabase) {
        let stack = TestStack::start(db);
        let client = &stack.client;
        let mut answers = Vec::new();

        answers.push(client.register("rita@example.com").await.expect(201));
        answers.push(client.log_in("rita@example.com", PASSWORD).await.expect(200));
        let rita = Tokens::of(&answers[1]);
        answers.push(client.get("/auth/me", &rita.access).await.expect(200));
        answers.push(client.get("/users/me", &rita.access).await.expect(200));

        let admin = client.admin().await;
        let new = json!({ "email": "crud@example.com", "password": PASSWORD, "name": "Cruella", "roles": ["editor"] });
        let created = client.call(Method::POST, "/users", &admin.access, Some(new)).await.expect(201);
        let path = created.header("location").unwrap().to_owned();
        let path = path.strip_prefix(&client.base).unwrap_or(&path).to_owned();
        assert_eq!(created.json()["roles"], json!(["editor"]));
        answers.push(created);
        answers.push(client.get(&path, &admin.access).await.expect(200));
        let change = json!({ "name": "Ella", "roles": ["user"] });
        let changed = client.call(Method::PATCH, &path, &admin.access, Some(change)).await.expect(200);
        assert_eq!(changed.json()["name"], "Ella");
        answers.push(changed);
        answers.push(client.get("/users", &admin.access).await.expect(200));
        client.call(Method::DELETE, &path, &admin.access, None).await.expect(204);
        client.get(&path, &admin.access).await.expect_problem(404, "not_found");
        client.log_in("crud@example.com", PASSWORD).await.expect_problem(401, "invalid_credentials");

        for answer in &answers {
            assert!(!answer.text.contains(PASSWORD), "{answer:?}");
            for secret in ["password", "hash", "$2b$"] {
                assert!(!answer.text.contains(secret), "{secret} in {answer:?}");
            }
        }

        let other = Tokens::of(&client.log_in("rita@example.com", PASSWORD).await.expect(200));
        client.call(Method::POST, "/auth/logout", &rita.access, None).await.expect(204);
        let refused = client.refresh(&rita.refresh).await.expect(400);
        assert_eq!(refused.json()["error"], "invalid_grant");
        // The other session lives, and is the only one left.
        let sessions = client.get("/auth/sessions", &other.access).await.expect(200).json();
        let current: Vec<&Value> = sessions["items"].as_array().unwrap().iter().map(|item| &item["current"]).collect();
        // The one that registration began is there, too.
        assert_eq!(current.iter().filter(|current| ***current == json!(true)).count(), 1, "{sessions}");
        assert_eq!(current.len(), 2, "{sessions}");
        client.refresh(&other.refresh).await.expect(200);
        client.call(Method::POST, "/auth/logout?all=true", &other.access, None).await.expect(204);
        client.refresh(&other.refresh).await.expect(400);
        stack.stop().await;
    }
}

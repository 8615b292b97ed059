//! What the headers of each answer keep from whom: caches, browsers that guess, and whoever looks for versions.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, Client, Databases, PASSWORD, TestStack, Tokens};

/// Who may keep an answer.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    /// Nobody: there is a token in it, or it is a failure.
    Nobody,
    /// The caller alone, who has to ask each time whether it still holds.
    Caller,
    /// Everybody: it is the same for all.
    All,
}

#[track_caller]
fn judge(answer: &Answer, keep: Keep) {
    let all = |name: &str| answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("x-content-type-options"), ["nosniff"], "{answer:?}");
    assert_eq!(all("x-request-id").len(), 1, "{answer:?}");
    let caching = all("cache-control");
    match keep {
        Keep::Nobody => assert_eq!(caching, ["no-store"], "{answer:?}"),
        Keep::Caller => assert!(matches!(caching[..], ["no-store" | "private, no-cache"]), "{answer:?}"),
        Keep::All => assert!(matches!(caching[..], [one] if !one.contains("no-store")), "{answer:?}"),
    }
    for name in ["server", "x-powered-by", "via", "x-aspnet-version", "x-runtime"] {
        assert_eq!(all(name), [""; 0], "{answer:?}");
    }
    for (name, value) in &answer.headers {
        let value = value.to_str().unwrap().to_lowercase();
        // What is in a token or an address is the caller's own.
        for program in ["actix", "signet/", "rustc", env!("CARGO_PKG_VERSION")] {
            assert!(name == "etag" || !value.contains(program), "{name}: {value}");
        }
    }
    // Failures tell what was wrong with the request, and nothing of what is behind it.
    if answer.status.is_client_error() || answer.status.is_server_error() {
        let text = answer.text.to_lowercase();
        for program in ["actix", "diesel", "sqlite", "postgres", "rustc", "panicked", ".rs:"] {
            assert!(!text.contains(program), "{answer:?}");
        }
    }
}

/// Every family of public paths, with what each kind of caller gets there.
fn requests(client: &Client, tokens: &Tokens, admin: &Tokens) -> Vec<(RequestBuilder, u16, Keep)> {
    let get = |path: &str| client.request(Method::GET, path);
    let post = |path: &str| client.request(Method::POST, path);
    let log_in = json!({ "email": "ada@example.com", "password": PASSWORD });
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
    let password = [("grant_type", "password"), ("username", "ada@example.com"), ("password", PASSWORD)];
    let (mine, theirs) = (tokens.access.as_str(), admin.access.as_str());
    let json = "application/json";
    let big = "x".repeat(70_000);
    vec![
        // Tokens.
        (post("/auth/login").json(&log_in), 200, Keep::Nobody),
        (post("/auth/token").form(&refresh), 200, Keep::Nobody),
        (post("/auth/token").form(&password), 200, Keep::Nobody),
        (post("/auth/introspect").bearer_auth(mine).form(&[("token", mine)]), 403, Keep::Nobody),
        (post("/auth/revoke").form(&[("token", mine)]), 401, Keep::Nobody),
        (get("/auth/verify").bearer_auth(mine), 204, Keep::Nobody),
        // Personal data.
        (get("/auth/me").bearer_auth(mine), 200, Keep::Nobody),
        (get("/auth/sessions").bearer_auth(mine), 200, Keep::Nobody),
        (get("/auth/audit").bearer_auth(theirs), 200, Keep::Nobody),
        (get("/users/me").bearer_auth(mine), 200, Keep::Caller),
        (get("/users").bearer_auth(theirs), 200, Keep::Caller),
        (
            client.request(Method::PATCH, "/users/me").bearer_auth(mine).json(&json!({ "name": "Ada" })),
            200,
            Keep::Caller,
        ),
        (
            client.request(Method::PUT, "/persons/p-1").bearer_auth(theirs).json(&json!({ "name": "A" })),
            201,
            Keep::Caller,
        ),
        (get("/persons/p-1").bearer_auth(mine), 200, Keep::Caller),
        (get("/persons/p-1").bearer_auth(mine).header("if-none-match", "\"1\""), 304, Keep::Caller),
        (get("/persons").bearer_auth(mine), 200, Keep::Caller),
        (get("/persons/export").bearer_auth(mine).header("accept", "text/csv"), 200, Keep::Caller),
        (
            post("/persons/import").bearer_auth(theirs).header("content-type", "text/csv").body("name\nB\n"),
            200,
            Keep::Caller,
        ),
        // What is the same for all.
        (get("/"), 200, Keep::All),
        (get("/docs"), 200, Keep::All),
        (get("/auth/openapi.json"), 200, Keep::All),
        (get("/users/openapi.json"), 200, Keep::All),
        (get("/persons/openapi.json"), 200, Keep::All),
        (get("/.well-known/oauth-authorization-server"), 200, Keep::All),
        (get("/.well-known/jwks.json"), 200, Keep::All),
        // Failures.
        (post("/auth/login").header("content-type", json).body("{"), 400, Keep::Nobody),
        (post("/auth/token").form(&[("grant_type", "nonsense")]), 400, Keep::Nobody),
        (get("/persons?cursor=nonsense").bearer_auth(mine), 400, Keep::Nobody),
        (get("/auth/me"), 401, Keep::Nobody),
        (get("/users/me").bearer_auth("nonsense"), 401, Keep::Nobody),
        (get("/persons"), 401, Keep::Nobody),
        (get("/users").bearer_auth(mine), 403, Keep::Nobody),
        (client.request(Method::DELETE, "/persons/p-1").bearer_auth(mine), 403, Keep::Nobody),
        (get("/nowhere"), 404, Keep::Nobody),
        (get("/auth/nowhere"), 404, Keep::Nobody),
        (get("/docs/nowhere"), 404, Keep::Nobody),
        (get("/persons/p-0").bearer_auth(mine), 404, Keep::Nobody),
        (get("/internal/keys"), 404, Keep::Nobody),
        (client.request(Method::PUT, "/auth/login"), 405, Keep::Nobody),
        (client.request(Method::DELETE, "/users"), 405, Keep::Nobody),
        (get("/persons/export").bearer_auth(mine).header("accept", "image/png"), 406, Keep::Nobody),
        (post("/auth/register").json(&log_in), 409, Keep::Nobody),
        (
            client.request(Method::DELETE, "/persons/p-1").bearer_auth(theirs).header("if-match", "\"9\""),
            412,
            Keep::Nobody,
        ),
        (post("/auth/login").header("content-type", json).body(big.clone()), 413, Keep::Nobody),
        (
            post("/auth/token").header("content-type", "application/x-www-form-urlencoded").body(big.clone()),
            413,
            Keep::Nobody,
        ),
        (post("/persons").bearer_auth(theirs).header("content-type", json).body(big), 413, Keep::Nobody),
        (post("/auth/login").header("content-type", "text/plain").body("x"), 415, Keep::Nobody),
        (post("/auth/register").json(&json!({ "email": "x" })), 422, Keep::Nobody),
    ]
}

on_both_databases! {
    async fn no_answer_is_kept_by_others_guessed_at_or_tells_what_program_gave_it(db: TestDatabase) {
        let databases = Databases::next_to(db);
        let stack = TestStack::start_with(databases, &[("SIGNET__SERVER__TRUSTED_PROXIES", "127.0.0.1")]);
        let client = &stack.client;
        let first = client.register("ada@example.com").await.expect(201);
        judge(&first, Keep::Nobody);
        let (tokens, admin) = (Tokens::of(&first), client.admin().await);
        for (request, status, keep) in requests(client, &tokens, &admin) {
            let answer = client.send(request.try_clone().unwrap()).await.expect(status);
            judge(&answer, keep);
            assert_eq!(answer.header("strict-transport-security"), None, "it came by plain HTTP: {answer:?}");
        }
        // By TLS, as the proxy says, each is told to stay with it: the failures, too.
        for (request, ..) in requests(client, &tokens, &admin) {
            let answer = client.send(request.header("x-forwarded-proto", "https")).await;
            assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"), "{answer:?}");
        }

        let wrong = json!({ "email": "eve@example.com", "password": "wrong" });
        for _ in 0..5 {
            judge(&client.post("/auth/login", wrong.clone()).await.expect(401), Keep::Nobody);
        }
        judge(&client.post("/auth/login", wrong).await.expect(429), Keep::Nobody);
        judge(&client.call(Method::POST, "/auth/logout", &tokens.access, None).await.expect(204), Keep::Nobody);

        // The services' own ports.
        for address in [stack.addresses.auth, stack.addresses.user, stack.addresses.resource] {
            let service = Client::new(format!("http://{address}"));
            for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/nowhere", 404)] {
                judge(&service.get_without_token(path).await.expect(status), Keep::Caller);
            }
        }
        stack.stop().await;
    }

    async fn a_fault_of_the_service_is_told_without_saying_what_it_is(db: TestDatabase) {
        let stack = TestStack::start(db);
        let tokens = Tokens::of(&stack.client.register("ada@example.com").await.expect(201));
        stack.databases.user.execute("ALTER TABLE users RENAME TO renamed");
        let answer = stack.client.get("/users/me", &tokens.access).await.expect_problem(500, "internal");
        judge(&answer, Keep::Nobody);
        let log_in = stack.client.log_in("ada@example.com", PASSWORD).await.expect_problem(503, "dependency_unavailable");
        judge(&log_in, Keep::Nobody);
        stack.stop().await;
    }
}

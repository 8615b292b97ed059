//! Who may call what: every route with every kind of token.

use reqwest::Method;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, send};

/// What a route answers: to no token, to a user's, to a client's, to a service's.
const MATRIX: &[(&str, &str, [u16; 4])] = &[
    ("POST", "/auth/register", [415, 415, 415, 415]),
    ("POST", "/auth/login", [415, 415, 415, 415]),
    ("POST", "/auth/token", [415, 415, 415, 415]),
    ("POST", "/auth/introspect", [415, 415, 415, 415]),
    ("POST", "/auth/revoke", [415, 415, 415, 415]),
    ("POST", "/auth/logout", [401, 204, 403, 403]),
    ("GET", "/auth/me", [401, 200, 200, 200]),
    ("POST", "/auth/me", [401, 200, 200, 200]),
    ("GET", "/auth/verify", [401, 204, 204, 204]),
    ("GET", "/auth/sessions", [401, 200, 403, 403]),
    ("DELETE", "/auth/sessions/AAAAAAAAAAAAAAAAAAAAAA", [401, 404, 403, 403]),
    ("GET", "/auth/audit", [401, 403, 403, 403]),
    ("GET", "/.well-known/oauth-authorization-server", [200, 200, 200, 200]),
    ("GET", "/.well-known/jwks.json", [200, 200, 200, 200]),
    ("GET", "/internal/clients", [401, 403, 403, 200]),
    ("POST", "/internal/clients", [401, 403, 403, 415]),
    ("DELETE", "/internal/clients/cli_AAAAAAAAAAAAAAAAAAAAAA", [401, 403, 403, 404]),
    ("POST", "/internal/audit", [401, 403, 403, 415]),
    ("POST", "/internal/user-events", [401, 403, 403, 415]),
    ("GET", "/internal/revocations", [401, 403, 403, 200]),
    ("POST", "/internal/revocations", [401, 403, 403, 415]),
    ("GET", "/internal/keys", [401, 403, 403, 200]),
    ("GET", "/healthz", [200, 200, 200, 200]),
    ("GET", "/readyz", [200, 200, 200, 200]),
    ("GET", "/metrics", [200, 200, 200, 200]),
    ("GET", "/auth", [404, 404, 404, 404]),
    ("GET", "/nowhere", [404, 404, 404, 404]),
    ("PUT", "/auth/me", [405, 405, 405, 405]),
    ("GET", "/auth/login", [405, 405, 405, 405]),
];

/// These answer in the form of RFC 6749, 5.2.
const OAUTH: [&str; 3] = ["/auth/token", "/auth/introspect", "/auth/revoke"];

on_both_databases! {
    async fn every_route_lets_in_whom_it_should_and_nobody_else(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = [
            None,
            Some(app.mint(|claims| claims.sid = Some("AAAAAAAAAAAAAAAAAAAAAA".into()))),
            Some(app.mint(|claims| claims.client_id = Some("batch".into()))),
            Some(app.service_token()),
        ];
        for (method, path, expected) in MATRIX {
            for (token, status) in tokens.iter().zip(expected) {
                let mut request = app.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                let answer = send(request).await;
                assert_eq!(answer.status.as_u16(), *status, "{method} {path} {:?}: {}", token.is_some(), answer.body);
                assert!(!answer.header("x-request-id").is_empty());
                if *status >= 400 && !OAUTH.contains(path) {
                    assert_eq!(answer.header("content-type"), "application/problem+json");
                    assert_eq!(answer.body["request_id"], answer.header("x-request-id"));
                }
                if *status == 401 {
                    assert!(answer.header("www-authenticate").starts_with("Bearer"));
                }
                if *status == 405 {
                    assert!(!answer.header("allow").is_empty());
                }
            }
        }
        app.stop().await;
    }
}

//! Who may do what.

use reqwest::{Method, header::WWW_AUTHENTICATE};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, problem};

/// A call, the scope it asks for, and the status that it has for whoever holds that scope.
const CALLS: [(&str, &str, &str, u16); 9] = [
    ("GET", "/persons", "persons:read", 200),
    ("HEAD", "/persons", "persons:read", 200),
    ("GET", "/persons/export", "persons:read", 200),
    ("GET", "/persons/nobody", "persons:read", 404),
    ("POST", "/persons", "persons:write", 415),
    ("POST", "/persons/import", "persons:write", 415),
    ("PUT", "/persons/nobody", "persons:write", 415),
    ("PATCH", "/persons/nobody", "persons:write", 415),
    ("DELETE", "/persons/nobody", "persons:write", 404),
];

on_both_databases! {
    async fn every_call_asks_for_its_scope(database: TestDatabase) {
        let app = TestApp::start(&database);
        let client = |scope: &str| {
            let mut claims = app.claims(scope);
            claims.client_id = Some("reporting".to_owned());
            "reporting".clone_into(&mut claims.sub);
            app.sign(&claims)
        };
        let callers = [
            ("nobody", None, ""),
            ("garbage", Some("garbage".to_owned()), ""),
            ("a user", Some(app.token("persons:read")), "persons:read"),
            ("an editor", Some(app.token("persons:read persons:write")), "persons:read persons:write"),
            ("a user without a scope", Some(app.token("")), ""),
            ("a scope that only begins alike", Some(app.token("persons:reader persons:writer")), ""),
            ("a client", Some(client("persons:read")), "persons:read"),
            ("a service", Some(client("signet:internal")), ""),
        ];
        for (method, path, scope, granted) in CALLS {
            for (caller, token, held) in &callers {
                let mut request = app.anonymous(method.parse::<Method>().unwrap(), path);
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                let response = request.send().await.unwrap();
                let (status, code) = match (token.as_deref(), held.split(' ').any(|held| held == scope)) {
                    (_, true) => (granted, None),
                    (None, _) => (401, Some("token_missing")),
                    (Some("garbage"), _) => (401, Some("token_invalid")),
                    (Some(_), false) => (403, Some("insufficient_scope")),
                };
                assert_eq!(response.status(), status, "{caller}: {method} {path}");
                if let Some(code) = code {
                    let challenge = response.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned();
                    assert!(challenge.starts_with("Bearer"), "{challenge}");
                    if method != "HEAD" {
                        problem(response, status, code).await;
                    }
                }
            }
        }
        assert!(app.everybody().await.is_empty());
    }

    async fn a_token_for_another_service_or_of_another_time_is_refused(database: TestDatabase) {
        let app = TestApp::start(&database);
        let mut elsewhere = app.claims("persons:read");
        elsewhere.aud = vec!["user-service".to_owned()];
        let mut stranger = app.claims("persons:read");
        "https://elsewhere.example".clone_into(&mut stranger.iss);
        for claims in [elsewhere, stranger] {
            let response = app.anonymous(Method::GET, "/persons").bearer_auth(app.sign(&claims)).send().await.unwrap();
            problem(response, 401, "token_invalid").await;
        }
        let token = app.token("persons:read");
        app.advance_seconds(929);
        let get = async || app.anonymous(Method::GET, "/persons").bearer_auth(&token).send().await.unwrap();
        assert_eq!(get().await.status(), 200);
        app.advance_seconds(1);
        problem(get().await, 401, "token_expired").await;
    }

    async fn tokens_are_read_from_the_places_that_are_configured(database: TestDatabase) {
        let app = TestApp::start(&database);
        let token = app.token("persons:read");
        let get = |app: &TestApp, path: String| app.anonymous(Method::GET, &path);
        let response = get(&app, "/persons".to_owned()).header("x-access-token", &token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let response = get(&app, format!("/persons?access_token={token}")).send().await.unwrap();
        problem(response, 401, "token_missing").await;

        let app = TestApp::start_with(&database, &[("tokens.sources", "query")]);
        let response = get(&app, format!("/persons?access_token={token}")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let response = get(&app, "/persons".to_owned()).header("x-access-token", &token).send().await.unwrap();
        problem(response, 401, "token_missing").await;
    }
}

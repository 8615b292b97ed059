//! Who may do what: every route with every kind of token.

use actix_web::{App as ActixApp, test};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{ADMIN_SCOPE, Answer, PASSWORD, PASSWORD_HASH, spawn, spawn_with};

struct Route {
    method: Method,
    /// `{id}` stands for another user.
    path: &'static str,
    body: Value,
    /// The answers to a user, an editor, an admin, a client and a service.
    answers: [u16; 5],
}

fn routes(number: usize) -> Vec<Route> {
    let own = |status| [status, status, status, 403, 403];
    let admins = |status| [403, 403, status, 403, 403];
    let services = |status| [403, 403, 403, 403, status];
    let route = |method, path, body, answers| Route { method, path, body, answers };
    let passwords = json!({ "current_password": PASSWORD, "new_password": "eleven green herons fishing" });
    let created = json!({ "email": format!("new-{number}@example.com"), "password_hash": PASSWORD_HASH });
    let registered = json!({ "email": format!("registered-{number}@example.com"), "password": PASSWORD });
    let logged_in = json!({ "email": format!("caller-{number}@example.com"), "password": PASSWORD });
    vec![
        route(Method::GET, "/users/me", Value::Null, own(200)),
        route(Method::PATCH, "/users/me", json!({ "name": "Ada" }), own(200)),
        route(Method::PUT, "/users/me/password", passwords, own(204)),
        route(Method::DELETE, "/users/me", Value::Null, own(204)),
        route(Method::GET, "/users", Value::Null, admins(200)),
        route(Method::GET, "/users/{id}", Value::Null, admins(200)),
        route(Method::POST, "/users", created, admins(201)),
        // A file is no JSON.
        route(Method::POST, "/users/import", json!({}), admins(415)),
        route(Method::PATCH, "/users/{id}", json!({ "name": "Ada" }), admins(200)),
        route(Method::DELETE, "/users/{id}", Value::Null, admins(204)),
        route(Method::POST, "/internal/users", registered, services(201)),
        route(Method::POST, "/internal/credentials/verify", logged_in, services(200)),
    ]
}

on_both_databases! {
    async fn every_route_admits_those_it_is_for_and_no_others(db: TestDatabase) {
        let app = spawn(&db).await;
        let mut number = 0;
        for route in 0..routes(0).len() {
            for caller in 0..7 {
                number += 1;
                let Route { method, path, body, answers } = routes(number).swap_remove(route);
                let own_id = app.import(&format!("caller-{number}@example.com")).await;
                let other_id = app.import(&format!("other-{number}@example.com")).await;
                let token = match caller {
                    0 => app.user_token(&own_id, "persons:read"),
                    1 => app.user_token(&own_id, "persons:read persons:write"),
                    2 => app.user_token(&own_id, ADMIN_SCOPE),
                    3 => app.client_token("persons:read"),
                    4 => app.service_token(),
                    5 => "garbage".to_owned(),
                    _ => String::new(),
                };
                let path = path.replace("{id}", &other_id);
                let answer = app.send(method.clone(), &path, &token, &body).await;
                match (caller, answers.get(caller)) {
                    (5, _) => answer.refused(401, "token_invalid"),
                    (6, _) => answer.refused(401, "token_missing"),
                    (_, Some(403)) => answer.refused(403, "insufficient_scope"),
                    (_, Some(status)) => assert_eq!(answer.status.as_u16(), *status, "{method} {path} {answer:?}"),
                    (_, None) => unreachable!("there are seven callers"),
                }
                if answer.status == StatusCode::UNAUTHORIZED || answer.status == StatusCode::FORBIDDEN {
                    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
                }
            }
        }
    }

    async fn a_client_with_the_scopes_administers_users_but_has_no_account(db: TestDatabase) {
        let app = spawn(&db).await;
        let token = app.client_token("users:read users:write");
        let id = app.import("ada@example.com").await;
        app.get("/users", &token).await.expect(StatusCode::OK);
        app.patch(&format!("/users/{id}"), &token, json!({ "name": "Ada" })).await.expect(StatusCode::OK);
        app.get("/users/me", &token).await.refused(403, "insufficient_scope");
    }

    async fn a_token_is_read_from_the_tutorials_header_and_expires(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let token = app.user_token(&id, "");
        let request = app.request(Method::GET, "/users/me").header("x-access-token", &token);
        Answer::of(request).await.expect(StatusCode::OK);
        app.advance_seconds(900 + 31);
        app.get("/users/me", &token).await.refused(401, "token_expired");
    }

    async fn a_token_in_the_query_is_taken_only_where_that_is_turned_on(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let path = format!("/users/me?access_token={}", app.user_token(&id, ""));
        Answer::of(app.request(Method::GET, &path)).await.refused(401, "token_missing");
        app.stop().await;
        let app = spawn_with(&db, &[("tokens.sources", "header,query")]).await;
        Answer::of(app.request(Method::GET, &path)).await.expect(StatusCode::OK);
    }

    async fn the_public_routes_hold_nothing_internal(db: TestDatabase) {
        let app = spawn(&db).await;
        let public = test::init_service(ActixApp::new().configure(app.app.public_routes())).await;
        for path in ["/internal/users", "/internal/credentials/verify", "/healthz", "/readyz"] {
            for request in [test::TestRequest::get(), test::TestRequest::post()] {
                let request = request.uri(path).insert_header(("x-access-token", app.service_token()));
                let response = test::call_service(&public, request.to_request()).await;
                assert_eq!(response.status().as_u16(), 404, "{path}");
            }
        }
        let id = app.import("ada@example.com").await;
        let request = test::TestRequest::get().uri("/users/me").insert_header(("x-access-token", app.user_token(&id, "")));
        assert_eq!(test::call_service(&public, request.to_request()).await.status().as_u16(), 200);
    }

    async fn an_unknown_path_and_an_unknown_method_are_problems(db: TestDatabase) {
        let app = spawn(&db).await;
        app.get("/nothing", "").await.refused(404, "not_found");
        app.get("/users/a/b/c", "").await.refused(404, "not_found");
        let answer = app.send(Method::POST, "/users/me", "", &Value::Null).await;
        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), "GET, HEAD, PATCH, DELETE");
        app.get("/healthz", "").await.expect(StatusCode::OK);
        app.get("/readyz", "").await.expect(StatusCode::OK);
    }
}

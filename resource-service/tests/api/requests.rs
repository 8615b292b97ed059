//! Requests that cannot be understood: each with its status and code, and nothing written.

use reqwest::{Method, header::ALLOW};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, fields, problem};

on_both_databases! {
    async fn a_body_that_cannot_be_understood_is_refused(database: TestDatabase) {
        let app = TestApp::start(&database);
        let json = "application/json";
        let large = format!("{{\"name\":\"{}\"}}", "x".repeat(64 * 1024));
        for (media_type, bytes, status, code) in [
            (json, b"{\"name\":\"An".as_slice(), 400, "invalid_request"),
            (json, b"", 400, "invalid_request"),
            (json, b"{\"name\":\"Ann\"} x", 400, "invalid_request"),
            (json, b"{\"name\":\"\xff\"}", 400, "invalid_request"),
            (json, b"{\"name\":\"A\",\"name\":\"B\"}", 422, "validation_failed"),
            (json, b"{\"name\":\"a\\u0000b\"}", 422, "validation_failed"),
            (json, b"null", 422, "validation_failed"),
            (json, large.as_bytes(), 413, "payload_too_large"),
            ("application/x-www-form-urlencoded", b"name=Ann", 415, "unsupported_media_type"),
            ("text/plain", b"{\"name\":\"Ann\"}", 415, "unsupported_media_type"),
        ] {
            for (method, path) in [(Method::POST, "/persons"), (Method::PUT, "/persons/a"), (Method::PATCH, "/persons/a")] {
                let request = app.request(method, path).header("content-type", media_type).body(bytes.to_vec());
                problem(request.send().await.unwrap(), status, code).await;
            }
        }
        let request = app.post("/persons").header("content-type", json).header("content-encoding", "gzip");
        problem(request.body("{\"name\":\"Ann\"}").send().await.unwrap(), 415, "unsupported_media_type").await;
        assert!(app.everybody().await.is_empty());
    }

    async fn a_query_that_cannot_be_taken_is_refused(database: TestDatabase) {
        let app = TestApp::start(&database);
        for (query, field, code) in [
            ("limit=0", "limit", "invalid_type"),
            ("limit=201", "limit", "invalid_type"),
            ("limit=-1", "limit", "invalid_type"),
            ("limit=x", "limit", "invalid_type"),
            ("sort=phone", "sort", "unknown"),
            ("sort=", "sort", "unknown"),
            ("sort=--id", "sort", "unknown"),
            ("sort=id;DROP", "sort", "unknown"),
            ("min_age=151", "min_age", "out_of_range"),
            ("min_age=-1", "min_age", "out_of_range"),
            ("max_age=x", "max_age", "invalid_type"),
            ("q=a%00b", "q", "control_character"),
            (&format!("q={}", "x".repeat(201)), "q", "too_long"),
        ] {
            let response = app.get(&format!("/persons?{query}")).send().await.unwrap();
            let problem = problem(response, 422, "validation_failed").await;
            assert_eq!(fields(&problem), [(field.to_owned(), code.to_owned())], "{query}");
        }
    }

    async fn another_method_is_405_with_what_there_is(database: TestDatabase) {
        let app = TestApp::start(&database);
        for (method, path, allow) in [
            (Method::DELETE, "/persons", "GET, HEAD, POST"),
            (Method::PATCH, "/persons", "GET, HEAD, POST"),
            (Method::POST, "/persons/a", "GET, HEAD, PUT, PATCH, DELETE"),
            (Method::GET, "/persons/import", "POST"),
            (Method::PUT, "/persons/import", "POST"),
            (Method::PUT, "/persons/export", "GET, HEAD"),
        ] {
            let response = app.request(method.clone(), path).send().await.unwrap();
            assert_eq!(response.headers()[ALLOW], allow, "{method} {path}");
            problem(response, 405, "method_not_allowed").await;
        }
        for path in ["/", "/person", "/persons/a/b", "/internal/persons", "/personsx"] {
            problem(app.get(path).send().await.unwrap(), 404, "not_found").await;
        }
    }
}

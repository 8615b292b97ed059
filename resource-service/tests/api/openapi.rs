//! The document that the service tells of itself.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{CONTRACT, TestApp, body, fields, problem};

#[test]
fn every_route_is_documented_and_no_other() {
    let routes: BTreeSet<String> = resource_service::public_routes().into_iter().collect();
    assert_eq!(CONTRACT.routes(), routes);
}

on_both_databases! {
    async fn the_document_is_for_everybody_and_kept_until_it_changes(db: TestDatabase) {
        let app = TestApp::start(&db);
        let response = app.anonymous(Method::GET, "/persons/openapi.json").send().await.unwrap();
        let etag = response.headers()["etag"].clone();
        let document = body(response, StatusCode::OK).await;
        assert_eq!(document, *resource_service::openapi().value());
        assert_eq!(document["openapi"], "3.1.0");
        let again = app.anonymous(Method::GET, "/persons/openapi.json").header("if-none-match", etag);
        assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
    }

    async fn no_person_has_the_document_s_name(db: TestDatabase) {
        let app = TestApp::start(&db);
        let person = serde_json::json!({ "id": "openapi.json", "name": "Ada" });
        let refusal = problem(app.post("/persons").json(&person).send().await.unwrap(), 422, "validation_failed").await;
        assert_eq!(fields(&refusal), [("id".to_owned(), "reserved".to_owned())]);
        let put = app.put("/persons/openapi.json").json(&serde_json::json!({ "name": "Ada" })).send().await.unwrap();
        problem(put, 405, "method_not_allowed").await;
        let report = app.import("text/csv", "id,name\nopenapi.json,Ada\n").await;
        assert_eq!(report["errors"][0]["code"], "reserved", "{report}");
    }
}

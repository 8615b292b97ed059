//! The document that the service tells of itself.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, CONTRACT, spawn};

#[test]
fn every_route_is_documented_and_no_other() {
    let routes: BTreeSet<String> = user_service::public_routes().into_iter().collect();
    assert_eq!(CONTRACT.routes(), routes);
}

on_both_databases! {
    async fn the_document_is_for_everybody_and_kept_until_it_changes(db: TestDatabase) {
        let app = spawn(&db).await;
        let answer = Answer::of(app.request(Method::GET, "/users/openapi.json")).await;
        assert_eq!(answer.expect(StatusCode::OK), *user_service::openapi().value());
        let again = app.request(Method::GET, "/users/openapi.json").header("if-none-match", answer.header("etag"));
        Answer::of(again).await.expect(StatusCode::NOT_MODIFIED);
    }
}

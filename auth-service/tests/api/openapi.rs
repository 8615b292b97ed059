//! The document that the service tells of itself.

use std::collections::BTreeSet;

use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{CONTRACT, TestApp, send};

#[test]
fn every_route_is_documented_and_no_other() {
    let routes: BTreeSet<String> = auth_service::public_routes().into_iter().collect();
    assert_eq!(CONTRACT.routes(), routes);
}

on_both_databases! {
    async fn the_document_is_for_everybody_and_kept_until_it_changes(db: TestDatabase) {
        let app = TestApp::start(db);
        let answer = send(app.get("/auth/openapi.json")).await;
        assert_eq!(answer.body, *auth_service::openapi().value());
        let again = send(app.get("/auth/openapi.json").header("if-none-match", answer.header("etag"))).await;
        assert_eq!(again.status.as_u16(), 304);
        app.stop().await;
    }
}

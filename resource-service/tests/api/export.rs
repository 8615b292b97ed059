//! Exports.

use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE},
};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, problem};

async fn export(app: &TestApp, accept: &str) -> String {
    let response = app.get("/persons/export").header(ACCEPT, accept).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.text().await.unwrap()
}

const FILE: &str = "id,name,email,age\r\n\
    a,\"Robert \"\"Bob\"\" B., Jr.\",,60\r\n\
    b,Zoë O'Neil,zoe@example.com,\r\n\
    c, padded ,\"quoted,local@example.com\",0\r\n\
    d,日本 太郎,,\r\n";

on_both_databases! {
    async fn what_was_imported_is_exported_as_it_was(database: TestDatabase) {
        let app = TestApp::start(&database);
        let report = app.import("text/csv", FILE).await;
        assert_eq!(report["inserted"], 4, "{report}");
        assert_eq!(export(&app, "text/csv").await, FILE);

        let ndjson = export(&app, "application/x-ndjson").await;
        assert_eq!(ndjson.lines().nth(1), Some("{\"id\":\"b\",\"name\":\"Zoë O'Neil\",\"email\":\"zoe@example.com\",\"age\":null}"));
        let report = app.import("application/x-ndjson", ndjson).await;
        assert_eq!((&report["unchanged"], &report["rejected"]), (&4.into(), &0.into()));
    }

    async fn an_export_has_everybody_once_however_many_batches_it_takes(database: TestDatabase) {
        let app = TestApp::start(&database);
        for (persons, already) in [(0, 0), (1_000, 0), (3_500, 1_000)] {
            let file: String = (already..persons).map(|number| format!("p{number:05},Ann\n")).collect();
            app.import("text/csv", format!("id,name\n{file}")).await;
            let exported = export(&app, "*/*").await;
            let ids: Vec<&str> = exported.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
            let expected: Vec<String> = (0..persons).map(|number| format!("p{number:05}")).collect();
            assert_eq!(ids, expected);
            assert_eq!(export(&app, "application/x-ndjson").await.lines().count(), persons);
        }
    }

    async fn the_format_follows_accept(database: TestDatabase) {
        let app = TestApp::start(&database);
        for (accept, media_type, disposition) in [
            ("*/*", "text/csv; charset=utf-8", "attachment; filename=\"persons.csv\""),
            ("text/*;q=0.2, application/x-ndjson", "application/x-ndjson", "attachment; filename=\"persons.ndjson\""),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let response = app.request(method, "/persons/export").header(ACCEPT, accept).send().await.unwrap();
                assert_eq!(response.headers()[CONTENT_TYPE], media_type);
                assert_eq!(response.headers()[CONTENT_DISPOSITION], disposition);
            }
        }
        let response = app.get("/persons/export").header(ACCEPT, "application/json").send().await.unwrap();
        problem(response, 406, "not_acceptable").await;
    }

    async fn an_export_that_cannot_go_on_is_broken_off(database: TestDatabase) {
        let app = TestApp::start(&database);
        let name = "x".repeat(200);
        let file: String = (0..60_000).map(|number| format!("p{number:05},{name}\n")).collect();
        app.import("text/csv", format!("id,name\n{file}")).await;
        let mut response = app.get("/persons/export").send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        // Twelve megabytes do not fit into the buffers on the way, so the service is not through when this happens.
        database.execute("ALTER TABLE persons RENAME TO elsewhere");
        let ended = loop {
            match response.chunk().await {
                Ok(Some(_)) => {}
                ended => break ended,
            }
        };
        assert!(ended.is_err(), "an export that lacks persons must not look whole");
        problem(app.get("/persons/export").send().await.unwrap(), 500, "internal").await;
    }
}

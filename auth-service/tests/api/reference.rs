//! The reference page and its files.

use test_support::{TestDatabase, on_both_databases};

use crate::helpers::TestApp;

on_both_databases! {
    async fn the_reference_page_is_there_with_all_that_it_loads_and_allows_nothing_else(db: TestDatabase) {
        let app = TestApp::start(db);
        let page = app.get("/docs").send().await.unwrap();
        assert_eq!(page.status().as_u16(), 200);
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        let text = page.text().await.unwrap();
        assert!(!text.contains("<style") && !text.contains(" style="), "{text}");
        let mut loaded = 0;
        for path in text.split('"').filter(|part| part.starts_with("docs/")) {
            let file = app.get(&format!("/{path}")).header("accept-encoding", "gzip").send().await.unwrap();
            assert_eq!(file.status().as_u16(), 200, "{path}");
            assert_eq!(file.headers()["content-encoding"], "gzip", "{path}");
            assert_eq!(file.headers()["content-security-policy"], policy.as_str(), "{path}");
            loaded += 1;
        }
        assert_eq!(loaded, 3);
        for document in ["auth", "users", "persons"] {
            assert!(text.contains(&format!("data-document=\"{document}/openapi.json\"")), "{document}");
        }
        assert_eq!(app.get("/docs/nothing.js").send().await.unwrap().status().as_u16(), 404);
        app.stop().await;
    }
}

//! The console as it is served: the page at `/`, its files, and what browsers are told about them.

use reqwest::{Method, Response};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, send};

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// What the page loads, as it names it.
fn loaded(page: &str) -> Vec<String> {
    page.split('"').filter(|part| part.starts_with("console/")).map(|part| format!("/{part}")).collect()
}

on_both_databases! {
    async fn the_page_and_all_that_it_loads_come_with_a_strict_policy(db: TestDatabase) {
        let app = TestApp::start(db);
        let page = app.get("/").send().await.unwrap();
        assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&page, "cache-control"), "no-cache");
        let policy = header(&page, "content-security-policy").to_owned();
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "connect-src 'self';",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");

        let files = loaded(&page.text().await.unwrap());
        assert!(files.len() > 3, "{files:?}");
        for file in files {
            let response = app.get(&file).send().await.unwrap();
            assert_eq!(response.status().as_u16(), 200, "{file}");
            let expected = match file.rsplit('.').next().unwrap() {
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                _ => "image/svg+xml",
            };
            assert_eq!(header(&response, "content-type"), expected, "{file}");
            assert_eq!(header(&response, "cache-control"), "public, max-age=31536000, immutable", "{file}");
            assert_eq!(header(&response, "content-security-policy"), policy);
            assert_eq!(header(&response, "x-content-type-options"), "nosniff");
            assert_eq!(header(&response, "referrer-policy"), "no-referrer");
            assert_eq!(header(&response, "cross-origin-opener-policy"), "same-origin");
        }
        app.stop().await;
    }

    async fn a_file_is_sent_compressed_to_who_takes_it_and_not_at_all_to_who_has_it(db: TestDatabase) {
        let app = TestApp::start(db);
        let page = app.get("/").send().await.unwrap();
        let plain_tag = header(&page, "etag").to_owned();
        let style = loaded(&page.text().await.unwrap()).into_iter().find(|file| file.contains("style.")).unwrap();
        for path in ["/", &style] {
            let plain = app.get(path).send().await.unwrap();
            let gzip = app.get(path).header("accept-encoding", "br, gzip").send().await.unwrap();
            assert_eq!((header(&plain, "content-encoding"), header(&gzip, "content-encoding")), ("", "gzip"));
            assert_eq!((header(&plain, "vary"), header(&gzip, "vary")), ("Accept-Encoding", "Accept-Encoding"));
            let (plain_tag, gzip_tag) = (header(&plain, "etag").to_owned(), header(&gzip, "etag").to_owned());
            assert_ne!(plain_tag, gzip_tag);

            let head = app.request(Method::HEAD, path).send().await.unwrap();
            assert_eq!((head.status().as_u16(), header(&head, "etag")), (200, plain_tag.as_str()));
            assert_eq!(header(&head, "content-length"), header(&plain, "content-length"));
            assert_eq!(head.bytes().await.unwrap().len(), 0);

            let (plain, gzip) = (plain.bytes().await.unwrap(), gzip.bytes().await.unwrap());
            assert!(gzip.starts_with(&[0x1f, 0x8b]) && gzip.len() < plain.len() / 2 + 200, "{path}");

            let again = app.get(path).header("if-none-match", format!("\"other\", {plain_tag}")).send().await.unwrap();
            assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, plain_tag.as_str()));
            assert_eq!(again.bytes().await.unwrap().len(), 0);
            let again = app.get(path).header("if-none-match", &gzip_tag).send().await.unwrap();
            assert_eq!(again.status().as_u16(), 200);
        }
        assert!(plain_tag.starts_with('"'));
        app.stop().await;
    }

    async fn a_page_of_another_version_gets_its_files_but_keeps_none(db: TestDatabase) {
        let app = TestApp::start(db);
        let file = app.get("/console/00000000000000000000/app.js").send().await.unwrap();
        assert_eq!((file.status().as_u16(), header(&file, "cache-control")), (200, "no-cache"));
        app.stop().await;
    }

    async fn what_is_not_there_is_a_problem_and_nothing_but_reading_is_allowed(db: TestDatabase) {
        let app = TestApp::start(db);
        for path in ["/console", "/console/", "/console/x", "/console/x/", "/console/x/../app.js", "/index.html",
                     "/console/x/vendor/LICENSE-htm", "/console/x/%2e%2e/app.js", "/console/x//app.js"] {
            send(app.get(path)).await.is(404, "not_found");
        }
        for path in ["/", "/console/x/app.js"] {
            send(app.post(path)).await.is(405, "method_not_allowed");
        }
        app.stop().await;
    }
}

//! Methods, and what stands behind them.

use crate::site::{Site, assert_problem};

#[test]
fn a_path_is_what_it_is_and_nothing_that_it_could_be_turned_into() {
    let site = Site::start();
    let token = format!("authorization: Bearer {}\r\n", site.token);
    for (path, status) in [
        ("/auth/me", 200),
        // An escape of a character that need not be escaped is that character (RFC 3986, 6.2.2.2).
        ("/auth/%6de", 200),
        ("http://elsewhere.example/auth/me", 200),
        ("/auth%2fme", 404),
        ("/auth/./me", 404),
        ("/auth/x/../me", 404),
        ("/auth/%2e%2e/auth/me", 404),
        ("//auth/me", 404),
        ("/auth//me", 404),
        ("/auth/me/", 404),
        ("/AUTH/ME", 404),
        ("/auth/me%00", 404),
        ("/auth/me%0d%0ax-injected:%20yes", 404),
        ("/auth/me%", 404),
        ("/auth/me%zz", 404),
        ("/auth/me;a=b", 404),
        ("/auth\\me", 404),
        ("/persons/%00", 404),
        ("/persons/%ff", 404),
        ("/persons/%c0%af", 404),
        ("/persons/..%2f..%2fetc%2fpasswd", 404),
        ("/persons/....//....//etc/passwd", 404),
        ("/persons/%252e%252e", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/internal/users", 404),
        ("/%69nternal/users", 404),
        ("/internal%2fusers", 404),
        ("/persons/../internal/users", 404),
        ("/healthz", 404),
        ("/readyz", 404),
        ("/metrics", 404),
        ("*", 404),
        ("/persons?limit=%00", 422),
        ("/persons?q=%00", 422),
        ("/persons?cursor=%00", 400),
        ("/persons?limit=1&limit=2", 422),
        ("/persons?sort=name%27--", 422),
    ] {
        let (answers, _) = site.answers_to(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{token}\r\n").as_bytes());
        assert_eq!(answers.len(), 1, "{path}");
        assert_eq!(answers[0].status, status, "{path}: {:?}", answers[0]);
        assert_eq!(answers[0].header("x-injected"), None);
        if status != 200 {
            assert_problem(&answers[0], status);
        }
    }
    for path in ["auth/me", "?x", "", "/auth/me\u{7f}", "/auth/\u{e9}", "/auth me"] {
        let (answers, closed) = site.answers_to(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{token}\r\n").as_bytes());
        assert_eq!((answers.len(), answers[0].status, closed), (1, 400, true), "{path:?}");
    }
    site.check();
}

#[test]
fn a_method_that_a_path_does_not_have_is_refused() {
    let site = Site::start();
    let long = "A".repeat(5_000);
    for method in ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "get", "G", "M-SEARCH", "PROPFIND", long.as_str()] {
        let (answers, _) = site.answers_to(format!("{method} /auth/me HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
        assert_problem(&answers[0], 405);
        assert_eq!(answers[0].header("allow"), Some("GET, HEAD, POST"), "{method}");
        // What a TRACE would give away.
        assert!(!String::from_utf8_lossy(&answers[0].body).contains("host"), "{method}");
    }
    for method in ["G\u{e9}T", "GE(T", "GE\0T"] {
        let (answers, closed) = site.answers_to(format!("{method} /auth/me HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
        assert_eq!((answers.len(), answers[0].status, closed), (1, 400, true), "{method}");
    }
    site.check();
}

#[test]
fn http_1_0_is_answered_and_closed_unless_it_is_asked_to_stay() {
    let site = Site::start();
    let token = format!("authorization: Bearer {}\r\n", site.token);
    let (answers, closed) = site.answers_to(format!("GET /auth/me HTTP/1.0\r\n{token}\r\n").as_bytes());
    assert_eq!((answers.len(), answers[0].status, closed), (1, 200, true), "{answers:?}");
    let (answers, closed) = site
        .answers_to(format!("GET /auth/me HTTP/1.0\r\nconnection: keep-alive\r\n{token}\r\n{}", site.me()).as_bytes());
    assert_eq!((answers.len(), answers[1].status, closed), (2, 200, false), "{answers:?}");
    site.check();
}

//! Bodies that cannot be taken.

use reqwest::RequestBuilder;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, send};

fn json(request: RequestBuilder, body: impl Into<reqwest::Body>) -> RequestBuilder {
    request.header("content-type", "application/json").body(body)
}

on_both_databases! {
    async fn a_body_that_cannot_be_taken_is_refused_with_its_reason(db: TestDatabase) {
        let app = TestApp::start(db);
        for path in ["/auth/register", "/auth/login"] {
            send(json(app.post(path), r#"{"email": "ada@exa"#)).await.is(400, "invalid_request");
            send(json(app.post(path), "")).await.is(400, "invalid_request");
            send(json(app.post(path), r#"{"email": "a@example.com"} x"#)).await.is(400, "invalid_request");
            send(json(app.post(path), b"{\"email\": \"\xff\xfe\"}".to_vec())).await.is(400, "invalid_request");
            let unknown = send(json(app.post(path), r#"{"email": "a@example.com", "admin": true}"#)).await;
            unknown.is(422, "validation_failed");
            assert_eq!(unknown.body["errors"][0]["field"], "admin");
            assert_eq!(unknown.body["errors"][0]["code"], "unknown");
            let wrong = send(json(app.post(path), r#"{"email": 7}"#)).await;
            wrong.is(422, "validation_failed");
            assert_eq!(wrong.body["errors"][0]["field"], "email");
            assert_eq!(wrong.body["errors"][0]["code"], "invalid_type");
            let twice = send(json(app.post(path), r#"{"email": "a", "email": "b"}"#)).await;
            twice.is(422, "validation_failed");
            assert_eq!(twice.body["errors"][0]["code"], "duplicate");
            send(app.post(path).header("content-type", "text/plain").body("{}")).await.is(415, "unsupported_media_type");
            send(app.post(path).header("content-type", "application/json").header("content-encoding", "gzip").body("x"))
                .await
                .is(415, "unsupported_media_type");
            let large = format!(r#"{{"email": "{}"}}"#, "a".repeat(70_000));
            send(json(app.post(path), large.clone())).await.is(413, "payload_too_large");
            let chunks = reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(large)]));
            send(json(app.post(path), chunks)).await.is(413, "payload_too_large");
        }
        app.stop().await;
    }

    async fn a_form_is_taken_like_json(db: TestDatabase) {
        let app = TestApp::start(db);
        let form = [("email", "ada@example.com"), ("password", "correct horse"), ("username", "ada")];
        let answer = send(app.post("/auth/register").form(&form)).await;
        assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
        let answer = send(app.post("/auth/login").form(&[("username", "ada"), ("password", "correct horse")])).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        let answer = send(app.post("/auth/login").form(&[("user", "ada")])).await;
        answer.is(422, "validation_failed");
        assert_eq!(answer.body["errors"][0]["field"], "user");
        app.stop().await;
    }

    async fn a_request_id_is_kept_if_it_is_sane(db: TestDatabase) {
        let app = TestApp::start(db);
        let kept = send(app.get("/auth/me").header("x-request-id", "my-request.1")).await;
        assert_eq!(kept.header("x-request-id"), "my-request.1");
        assert_eq!(kept.body["request_id"], "my-request.1");
        let replaced = send(app.get("/auth/me").header("x-request-id", "a b")).await;
        assert_eq!(replaced.header("x-request-id").len(), 32);
        app.stop().await;
    }

    async fn a_page_on_a_configured_origin_may_call_and_another_may_not(db: TestDatabase) {
        let app = TestApp::start_with(db, &[("SIGNET__SERVER__CORS_ORIGINS", "https://app.example")]);
        let preflight = |origin: &'static str| {
            app.request(reqwest::Method::OPTIONS, "/auth/login")
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "content-type,x-session")
        };
        let allowed = send(preflight("https://app.example")).await;
        assert_eq!(allowed.header("access-control-allow-origin"), "https://app.example");
        assert_eq!(allowed.header("access-control-allow-credentials"), "true");
        let refused = send(preflight("https://evil.example")).await;
        assert_eq!(refused.header("access-control-allow-origin"), "");
        let answer = send(app.get("/auth/me").header("origin", "https://app.example")).await;
        answer.is(401, "token_missing");
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
        app.stop().await;
    }
}

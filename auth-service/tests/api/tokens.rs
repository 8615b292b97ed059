//! Access tokens that must not be taken, over HTTP. shared-claims tests the rules one by one; here they hold for a
//! running service.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, send};

fn reheader(token: &str, header: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
}

on_both_databases! {
    async fn a_token_that_breaks_any_rule_is_refused(db: TestDatabase) {
        let app = TestApp::start(db);
        let good = app.mint(|_| {});
        assert_eq!(send(app.get("/auth/me").bearer_auth(&good)).await.status.as_u16(), 200);
        let parts: Vec<&str> = good.split('.').collect();
        let header = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let with_payload = |payload: String| format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(payload), parts[2]);
        let bad = [
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#), parts[1]),
            reheader(&good, &header.replace("HS256", "none")),
            reheader(&good, &header.replace("HS256", "HS512")),
            reheader(&good, &header.replace("at+jwt", "JWT")),
            reheader(&good, &header.replace('}', r#","crit":["exp"]}"#)),
            reheader(&good, &header.replace("\"kid\"", "\"kidd\"")),
            with_payload(payload.replace("user-1", "user-2")),
            format!("{good}="),
            format!("{}.{}.{}x", parts[0], parts[1], parts[2]),
            format!("{good}.{}", parts[2]),
            app.mint(|claims| claims.aud = vec!["resource-service".into()]),
            app.mint(|claims| claims.iss = "https://elsewhere.example".into()),
            app.mint(|claims| claims.nbf = Some(claims.iat + 3600)),
            with_payload(payload.replace("user-1", &"x".repeat(9 * 1024))),
        ];
        for token in &bad {
            let answer = send(app.get("/auth/me").bearer_auth(token)).await;
            answer.is(401, "token_invalid");
            assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
            assert!(!answer.body.to_string().contains(parts[1]), "no part of a token comes back");
        }
        let expired = app.mint(|claims| {
            claims.iat -= 1000;
            claims.exp = claims.iat + 900;
        });
        send(app.get("/auth/me").bearer_auth(&expired)).await.is(401, "token_expired");
        app.stop().await;
    }

    async fn an_access_token_lives_for_its_time_and_the_leeway(db: TestDatabase) {
        let app = TestApp::start(db);
        let token = crate::helpers::text(&app.register("ada").await["access_token"]).to_owned();
        app.advance(929);
        assert_eq!(send(app.get("/auth/me").bearer_auth(&token)).await.status.as_u16(), 200);
        app.advance(2);
        send(app.get("/auth/me").bearer_auth(&token)).await.is(401, "token_expired");
        app.stop().await;
    }
}

//! Service tokens: signed, and fetched from a token endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shared_claims::feed::{INTERNAL_SCOPE, TokenSource, TokenSourceError};
use shared_claims::{Claims, KeyRing, LiveKeyRing, Signer, Verifier};

use crate::helpers::{ISSUER, NOW, ring};
use crate::server::Server;

/// A source that signs, its clock and its ring.
fn signed() -> (TokenSource, Arc<AtomicU64>, LiveKeyRing) {
    let ring = LiveKeyRing::new(ring());
    let clock = Arc::new(AtomicU64::new(NOW));
    let time = Arc::clone(&clock);
    let now = Arc::new(move || time.load(Ordering::SeqCst));
    let signer = Signer::live(&ring).unwrap();
    (TokenSource::signed(signer, ISSUER, "greeter", "auth-service", now), clock, ring)
}

fn read(ring: &LiveKeyRing, token: &str, now: u64) -> Claims {
    let verifier = Verifier::builder(ring.clone()).issuer(ISSUER).audience("auth-service").build().unwrap();
    verifier.verify_at(token, now).unwrap()
}

#[tokio::test]
async fn a_signed_token_says_who_calls_whom_and_lives_for_two_minutes() {
    let (source, _, ring) = signed();
    let claims = read(&ring, &source.token().await.unwrap(), NOW);
    let expected = Claims {
        iss: ISSUER.to_owned(),
        sub: "greeter".to_owned(),
        aud: vec!["auth-service".to_owned()],
        iat: NOW,
        exp: NOW + 120,
        jti: claims.jti.clone(),
        scope: INTERNAL_SCOPE.to_owned(),
        client_id: Some("greeter".to_owned()),
        ..Claims::default()
    };
    assert_eq!(claims, expected);
    assert_eq!(claims.jti.len(), 22);
}

#[tokio::test]
async fn a_signed_token_is_used_for_half_of_its_life() {
    let (source, clock, ring) = signed();
    let first = source.token().await.unwrap();
    for (now, is_first) in [(NOW, true), (NOW + 59, true), (NOW + 60, false)] {
        clock.store(now, Ordering::SeqCst);
        assert_eq!(source.token().await.unwrap() == first, is_first);
    }
    let second = source.token().await.unwrap();
    assert_eq!(read(&ring, &second, NOW + 60).iat, NOW + 60);
    assert_ne!(read(&ring, &second, NOW + 60).jti, read(&ring, &first, NOW + 60).jti);
    clock.store(NOW + 59, Ordering::SeqCst);
    assert_eq!(
        read(&ring, &source.token().await.unwrap(), NOW + 59).iat,
        NOW + 59,
        "nothing from the future is given out"
    );
}

#[tokio::test]
async fn a_new_signing_key_signs_at_once() {
    let (source, _, ring) = signed();
    let first = source.token().await.unwrap();
    ring.replace(KeyRing::from_secret(b"Zk3&Wd9^Rf6%Bt1$Mp8@Xs5!Cq2*Ln7#").unwrap());
    let second = source.token().await.unwrap();
    assert_ne!(first, second);
    read(&ring, &second, NOW);
}

#[tokio::test]
async fn a_forgotten_token_is_not_given_out_again_and_no_other_is_forgotten_with_it() {
    let (source, ..) = signed();
    let first = source.token().await.unwrap();
    source.forget("another");
    assert_eq!(source.token().await.unwrap(), first);
    source.forget(&first);
    let second = source.token().await.unwrap();
    assert_ne!(second, first);
    source.forget(&first);
    assert_eq!(source.clone().token().await.unwrap(), second);
}

fn client(server: &Server) -> TokenSource {
    TokenSource::client_credentials(&format!("{}/auth/token", server.url), "client id:ü", "s%cret+/ &").unwrap()
}

fn answer(token: &str, expires_in: Option<u64>) -> String {
    let mut answer = json!({"access_token": token, "token_type": "bearer", "scope": INTERNAL_SCOPE});
    if let Some(expires_in) = expires_in {
        answer["expires_in"] = json!(expires_in);
    }
    answer.to_string()
}

#[tokio::test]
async fn a_token_is_asked_for_as_rfc_6749_says() {
    let server = Server::start().await;
    let source = client(&server);
    let (token, ()) = tokio::join!(source.token(), async {
        let call = server.next().await;
        assert_eq!((call.method.as_str(), call.url.path()), ("POST", "/auth/token"));
        assert_eq!(call.headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!((call.form.len(), &*call.form["grant_type"]), (2, "client_credentials"));
        assert_eq!(call.form["scope"], INTERNAL_SCOPE);
        let basic = call.headers["authorization"].strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
        assert_eq!(pair, "client+id%3A%C3%BC:s%25cret%2B%2F+%26");
        call.answer(200, answer("t1", Some(900))).await;
    });
    assert_eq!(token.unwrap(), "t1");
    assert_eq!(source.token().await.unwrap(), "t1");
    assert!(server.is_idle());
}

#[tokio::test]
async fn a_fetched_token_is_used_until_shortly_before_its_end() {
    // 30 seconds early, or at half time; a minute where nobody says how long it lives.
    for (expires_in, used_for) in [(Some(900), 870), (Some(40), 20), (None, 30), (Some(u64::MAX), 86_400)] {
        let server = Server::start().await;
        let source = client(&server);
        let fetch = async |token: &str| {
            let (fetched, ()) = tokio::join!(source.token(), async {
                server.next().await.answer(200, answer(token, expires_in)).await;
            });
            assert_eq!(fetched.unwrap(), token);
        };
        fetch("t1").await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(used_for - 2)).await;
        assert_eq!(source.token().await.unwrap(), "t1");
        tokio::time::advance(Duration::from_secs(3)).await;
        tokio::time::resume();
        fetch("t2").await;
    }
}

#[tokio::test]
async fn a_token_that_lives_for_no_time_is_given_out_once() {
    let server = Server::start().await;
    let source = client(&server);
    for token in ["t1", "t2"] {
        let (fetched, ()) = tokio::join!(source.token(), async {
            server.next().await.answer(200, answer(token, Some(0))).await;
        });
        assert_eq!(fetched.unwrap(), token);
    }
}

#[tokio::test]
async fn however_many_wait_for_a_token_one_request_is_under_way() {
    let server = Server::start().await;
    let source = client(&server);
    let (tokens, ()) = tokio::join!(join_all((0..20).map(|_| source.token())), async {
        let call = server.next().await;
        assert!(server.is_idle());
        call.answer(200, answer("t1", Some(900))).await;
    });
    assert!(tokens.iter().all(|token| token.as_deref() == Ok("t1")));
    assert!(server.is_idle());
}

#[tokio::test]
async fn those_who_wait_share_a_failure_and_the_next_one_tries_again() {
    let server = Server::start().await;
    let source = client(&server);
    let (tokens, ()) = tokio::join!(join_all((0..20).map(|_| source.token())), async {
        server.next().await.answer(503, "").await;
    });
    let unavailable = TokenSourceError::Refused { status: 503, code: String::new() };
    assert!(tokens.iter().all(|token| token.as_ref() == Err(&unavailable)));
    assert!(server.is_idle());
    let (token, ()) = tokio::join!(source.token(), async {
        server.next().await.answer(200, answer("t1", Some(900))).await;
    });
    assert_eq!(token.unwrap(), "t1");
}

#[tokio::test]
async fn whoever_waits_takes_over_from_one_who_has_given_up() {
    let server = Server::start().await;
    let source = client(&server);
    let (first, second) = (source.clone(), source.clone());
    let first = tokio::spawn(async move { first.token().await });
    let left = server.next().await;
    let second = tokio::spawn(async move { second.token().await });
    first.abort();
    left.abandoned().await;
    server.next().await.answer(200, answer("t1", Some(900))).await;
    assert_eq!(second.await.unwrap().unwrap(), "t1");
}

#[tokio::test]
async fn what_is_no_token_is_an_error_that_tells_no_secret() {
    let refused = |status, code: &str| TokenSourceError::Refused { status, code: code.to_owned() };
    let change = |name: &str, value: Value| {
        let mut changed: Value = serde_json::from_str(&answer("t1", Some(900))).unwrap();
        changed[name] = value;
        changed.to_string()
    };
    let long = "a".repeat(41);
    let cases = [
        (401, r#"{"error":"invalid_client"}"#.to_owned(), refused(401, "invalid_client")),
        (400, r#"{"error":"invalid_scope","error_description":"s%cret"}"#.to_owned(), refused(400, "invalid_scope")),
        (400, r#"{"error":"two\nlines"}"#.to_owned(), refused(400, "")),
        (400, json!({"error": long}).to_string(), refused(400, "")),
        (400, "<html>s%cret".to_owned(), refused(400, "")),
        (302, String::new(), refused(302, "")),
        (204, String::new(), refused(204, "")),
        (200, String::new(), TokenSourceError::Malformed),
        (200, "[]".to_owned(), TokenSourceError::Malformed),
        (200, change("access_token", Value::Null), TokenSourceError::Malformed),
        (200, change("access_token", json!("line\nbreak")), TokenSourceError::Malformed),
        (200, change("token_type", json!("mac")), TokenSourceError::Malformed),
        (200, change("token_type", Value::Null), TokenSourceError::Malformed),
        (200, change("expires_in", json!("soon")), TokenSourceError::Malformed),
        (200, change("expires_in", json!(-1)), TokenSourceError::Malformed),
        (200, change("more", json!("x".repeat(64 * 1024))), TokenSourceError::Malformed),
    ];
    let server = Server::start().await;
    let source = client(&server);
    for (status, body, expected) in cases {
        let (token, ()) = tokio::join!(source.token(), async { server.next().await.answer(status, &body).await });
        let error = token.unwrap_err();
        assert_eq!(error, expected, "{status} {body:.100}");
        let shown = format!("{error} {error:?} {source:?}");
        assert!(!shown.contains("s%cret") && !shown.contains("s%25cret"), "{shown}");
    }
    for cut in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"] {
        let (token, ()) = tokio::join!(source.token(), async { server.next().await.raw(cut).await });
        assert!(matches!(token, Err(TokenSourceError::Unreachable(_))), "{cut}");
    }
}

#[tokio::test]
async fn an_endpoint_that_never_answers_abandoned() {
    let server = Server::start().await;
    let source = client(&server);
    let asking = tokio::spawn(async move { source.token().await });
    let call = server.next().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    call.abandoned().await;
    assert!(matches!(asking.await.unwrap(), Err(TokenSourceError::Unreachable(_))));
}

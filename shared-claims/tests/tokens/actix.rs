//! The extractor and the form middleware, through actix-web services.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, init_service, read_body, try_call_service};
use actix_web::web::Bytes;
use actix_web::{App, HttpRequest, HttpResponse, error, web};
use serde_json::{Value, json};
use shared_claims::Claims;
use shared_claims::actix::{Access, AnyToken, AnyUser, Authorized, BearerConfig, FormToken, Sources};

use crate::helpers::*;

shared_claims::scope! {
    /// May read persons.
    PersonsRead = "persons:read";
    PersonsWrite = "persons:write";
}

struct Auditor;

impl Access for Auditor {
    const DENIED: &'static str = "this is for \"auditors\"";

    fn allows(claims: &Claims) -> bool {
        claims.roles.iter().any(|role| role == "auditor")
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }

    fn challenge(&self) -> &str {
        self.headers.get(WWW_AUTHENTICATE).unwrap().to_str().unwrap()
    }
}

/// Says whose token it was, and what reached the handler of the body and of its announced length.
async fn echo(caller: Authorized<AnyToken>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let length = request.headers().get(CONTENT_LENGTH).map(|value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8_lossy(&body);
    HttpResponse::Ok().json(json!({"sub": caller.sub, "body": body, "length": length}))
}

async fn send_to(config: BearerConfig, request: TestRequest) -> Answer {
    let service = init_service(
        App::new()
            .app_data(web::Data::new(verifier()))
            .app_data(web::PayloadConfig::new(1024 * 1024))
            .app_data(config)
            .wrap(FormToken)
            .route("/read", web::get().to(async |caller: Authorized<PersonsRead>| caller.into_claims().sub))
            .route("/write", web::get().to(async |_: Authorized<PersonsWrite>| "written"))
            .route("/user", web::get().to(async |_: Authorized<AnyUser>| "a user"))
            .route("/audit", web::get().to(async |_: Authorized<Auditor>| "an auditor"))
            .route("/open", web::post().to(async |body: Bytes| body))
            .default_service(web::route().to(echo)),
    )
    .await;
    let response = match try_call_service(&service, request.to_request()).await {
        Ok(response) => response.map_into_boxed_body().into_parts().1,
        Err(error) => error.error_response(),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let body = actix_web::body::to_bytes(response.into_body()).await.unwrap();
    Answer { status, headers, body }
}

async fn send(request: TestRequest) -> Answer {
    send_to(BearerConfig::default(), request).await
}

fn everywhere() -> BearerConfig {
    BearerConfig::default().sources(Sources::from_names(["header", "x-access-token", "query", "form"]).unwrap())
}

fn token() -> String {
    signer().sign(&claims()).unwrap()
}

fn get(path: &str) -> TestRequest {
    TestRequest::with_uri(path)
}

fn get_with(path: &str, claims: &Claims) -> TestRequest {
    get(path).insert_header(("Authorization", format!("Bearer {}", signer().sign(claims).unwrap())))
}

fn post_form(body: impl Into<Bytes>) -> TestRequest {
    let body = body.into();
    TestRequest::post()
        .uri("/echo")
        .insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"))
        .insert_header((CONTENT_LENGTH, body.len()))
        .set_payload(body)
}

#[actix_web::test]
async fn a_token_in_the_authorization_header_lets_the_caller_in() {
    for scheme in ["Bearer", "bearer", "BEARER"] {
        for space in [" ", "  "] {
            let answer =
                send(get("/read").insert_header(("Authorization", format!("{scheme}{space}{}", token())))).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.body, claims().sub);
        }
    }
}

#[actix_web::test]
async fn a_token_in_x_access_token_lets_the_caller_in_unless_the_source_is_off() {
    let request = || get("/read").insert_header(("x-access-token", token()));
    assert_eq!(send(request()).await.status, StatusCode::OK);
    let header_only = BearerConfig::default().sources(Sources::from_names(["header"]).unwrap());
    let answer = send_to(header_only, request()).await;
    assert_eq!((answer.status, &*answer.code()), (StatusCode::UNAUTHORIZED, "token_missing"));
}

#[actix_web::test]
async fn a_token_in_the_query_lets_the_caller_in_only_where_the_source_is_on() {
    let request = || get(&format!("/read?a=b&access%5Ftoken={}&c", token().replace('.', "%2E").replace('-', "%2d")));
    assert_eq!(send(request()).await.code(), "token_missing");
    assert_eq!(send_to(everywhere(), request()).await.status, StatusCode::OK);
    let twice = get(&format!("/read?access_token={0}&access_token={0}", token()));
    assert_eq!(send_to(everywhere(), twice).await.code(), "invalid_request");
    assert_eq!(send_to(everywhere(), get("/read?access_token=")).await.code(), "token_missing");
    assert_eq!(send_to(everywhere(), get("/read?Access_Token=x")).await.code(), "token_missing");
}

#[actix_web::test]
async fn a_form_token_lets_the_caller_in_and_the_handler_reads_the_rest_of_the_form() {
    for (body, rest) in [
        (format!("name=Ada+Lovelace&access_token={}&age=%33%36&a&&b=", token()), "name=Ada+Lovelace&age=%33%36&a&&b="),
        (format!("access_token={}&name=x", token()), "name=x"),
        (format!("name=x&access%5ftoken={}", token().replace('.', "%2E")), "name=x"),
        (format!("access_token={}", token()), ""),
    ] {
        let answer = send_to(everywhere(), post_form(body)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json(), json!({"sub": claims().sub, "body": rest, "length": rest.len().to_string()}));
    }
}

#[actix_web::test]
async fn a_form_token_is_taken_with_every_method_that_has_a_body_and_no_other() {
    let request = |method: Method| post_form(format!("access_token={}&a=b", token())).method(method);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(send_to(everywhere(), request(method)).await.json()["body"], "a=b");
    }
    for method in [Method::GET, Method::OPTIONS] {
        assert_eq!(send_to(everywhere(), request(method)).await.code(), "token_missing");
    }
}

#[actix_web::test]
async fn a_form_is_not_touched_where_the_source_is_off() {
    let body = format!("access_token={}&name=x", token());
    let request = post_form(body.clone());
    assert_eq!(send(request).await.code(), "token_missing");
    let request = post_form(body.clone()).insert_header(("Authorization", format!("Bearer {}", token())));
    assert_eq!(send(request).await.json()["body"], body);
}

#[actix_web::test]
async fn a_form_without_a_token_passes_unchanged() {
    for body in ["", "a=b&&c", "not%a%form&\u{0}", "xaccess_token=1&access_token2=2"] {
        let answer = send_to(everywhere(), post_form(body).uri("/open")).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, body.as_bytes()));
    }
}

#[actix_web::test]
async fn what_is_not_a_plain_form_of_64_kib_at_most_passes_unchanged_and_brings_no_token() {
    let field = format!("access_token={}&a=", token());
    let of_length = |length: usize| format!("{field}{}", "x".repeat(length - field.len()));
    assert_eq!(send_to(everywhere(), post_form(of_length(64 * 1024))).await.status, StatusCode::OK);
    let too_long = of_length(64 * 1024 + 1);
    let without_length = TestRequest::post()
        .insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"))
        .set_payload(too_long.clone());
    for request in [
        post_form(too_long.clone()),
        without_length,
        post_form(too_long.clone()).insert_header((CONTENT_TYPE, "text/plain")),
        post_form(too_long.clone()).insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded-not")),
    ] {
        let answer = send_to(everywhere(), request.uri("/open")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.body == too_long, "{} bytes came through", answer.body.len());
    }
    let body = format!("access_token={}", token());
    let without_length = || TestRequest::post().uri("/echo").set_payload(body.clone());
    let typed = |content_type: &str| without_length().insert_header((CONTENT_TYPE, content_type));
    assert_eq!(send_to(everywhere(), post_form(too_long)).await.code(), "token_missing");
    assert_eq!(send_to(everywhere(), without_length()).await.code(), "token_missing");
    assert_eq!(send_to(everywhere(), typed("multipart/form-data")).await.code(), "token_missing");
    let encoded = typed("application/x-www-form-urlencoded").insert_header(("Content-Encoding", "br"));
    assert_eq!(send_to(everywhere(), encoded).await.code(), "token_missing");
    for content_type in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded ; charset=utf-8"] {
        assert_eq!(send_to(everywhere(), typed(content_type)).await.status, StatusCode::OK);
    }
}

#[actix_web::test]
async fn more_than_one_way_at_once_is_an_invalid_request() {
    let bearer = || ("Authorization", format!("Bearer {}", token()));
    let other = || ("x-access-token", token());
    let uri = || format!("/echo?access_token={}", token());
    let form = || post_form(format!("access_token={}", token()));
    for request in [
        get("/echo").insert_header(bearer()).insert_header(other()),
        get(&uri()).insert_header(bearer()),
        get(&uri()).insert_header(other()),
        form().insert_header(bearer()),
        form().insert_header(other()),
        form().uri(&uri()),
        get("/echo").append_header(bearer()).append_header(bearer()),
        get("/echo").append_header(bearer()).append_header(("Authorization", "Basic YTpi")),
        get("/echo").append_header(other()).append_header(other()),
        post_form(format!("access_token={0}&access_token={0}", token())),
    ] {
        let answer = send_to(everywhere(), request).await;
        assert_eq!((answer.status, &*answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"));
        assert!(answer.challenge().contains(r#"error="invalid_request""#));
    }
}

#[actix_web::test]
async fn without_a_token_the_challenge_names_no_error() {
    for request in [
        get("/read"),
        get("/read").insert_header(("Authorization", "Basic YTpi")),
        get("/read").insert_header(("Authorization", "Bearer")),
        get("/read").insert_header(("Authorization", "Bearer ")),
        get("/read").insert_header(("Authorization", "")),
        get("/read").insert_header(("Authorization", format!("Token {}", token()))),
        get("/read").insert_header(("x-access-token", "")),
    ] {
        let answer = send(request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.code(), "token_missing");
        assert_eq!(answer.challenge(), r#"Bearer realm="resource-service""#);
    }
}

#[actix_web::test]
async fn a_bad_token_is_answered_with_invalid_token_and_why() {
    for value in ["Bearer x", "Bearer a b", "Bearer  . . ", "Bearer ..", "Bearer \u{e9}"] {
        let answer = send(get("/read").insert_header(("Authorization", value))).await;
        assert_eq!((answer.status, &*answer.code()), (StatusCode::UNAUTHORIZED, "token_invalid"), "{value}");
        assert!(answer.challenge().starts_with(r#"Bearer realm="resource-service", error="invalid_token", error_d"#));
    }
    let answer = send(get_with("/read", &Claims { aud: vec!["other".to_owned()], ..claims() })).await;
    assert_eq!(answer.code(), "token_invalid");
    assert_eq!(
        answer.challenge(),
        r#"Bearer realm="resource-service", error="invalid_token", error_description="the token is for another audience""#
    );
}

#[actix_web::test]
async fn an_expired_token_has_a_code_of_its_own() {
    let answer = send(get_with("/read", &Claims { exp: NOW - 30, ..claims() })).await;
    assert_eq!((answer.status, &*answer.code()), (StatusCode::UNAUTHORIZED, "token_expired"));
    assert_eq!(
        answer.challenge(),
        r#"Bearer realm="resource-service", error="invalid_token", error_description="the token has expired""#
    );
}

#[actix_web::test]
async fn a_token_without_the_scope_is_told_which_scope_it_lacks() {
    let answer = send(get_with("/write", &claims())).await;
    assert_eq!((answer.status, &*answer.code()), (StatusCode::FORBIDDEN, "insufficient_scope"));
    assert_eq!(
        answer.challenge(),
        "Bearer realm=\"resource-service\", error=\"insufficient_scope\", \
         error_description=\"this needs the scope persons:write\", scope=\"persons:write\""
    );
    let both = Claims { scope: "persons:read persons:write".to_owned(), ..claims() };
    assert_eq!(send(get_with("/write", &both)).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn a_client_s_token_does_not_pass_for_a_user_s() {
    let client = Claims { client_id: Some("c".to_owned()), sub: "c".to_owned(), ..claims() };
    let answer = send(get_with("/user", &client)).await;
    assert_eq!((answer.status, &*answer.code()), (StatusCode::FORBIDDEN, "insufficient_scope"));
    assert!(!answer.challenge().contains("scope="));
    assert_eq!(send(get_with("/read", &client)).await.status, StatusCode::OK);
    assert_eq!(send(get_with("/user", &claims())).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn access_can_be_any_rule_over_the_claims() {
    let auditor = Claims { roles: vec!["auditor".to_owned()], ..claims() };
    assert_eq!(send(get_with("/audit", &auditor)).await.status, StatusCode::OK);
    let answer = send(get_with("/audit", &claims())).await;
    assert_eq!(answer.json()["detail"], "this is for \"auditors\"");
    assert!(answer.challenge().ends_with(r#"error_description="this is for ?auditors?""#));
}

#[actix_web::test]
async fn a_rejection_is_a_problem_that_nobody_caches() {
    let answer = send(get("/read")).await;
    assert_eq!(answer.headers.get(CONTENT_TYPE).unwrap(), "application/problem+json");
    assert_eq!(answer.headers.get(CACHE_CONTROL).unwrap(), "no-store");
    assert_eq!(
        answer.json(),
        json!({
            "type": "about:blank", "title": "Unauthorized", "status": 401, "code": "token_missing",
            "detail": "the request carries no access token",
        })
    );
}

#[cfg(feature = "feed")]
#[actix_web::test]
async fn while_it_is_not_known_which_tokens_are_revoked_the_fault_is_not_the_caller_s() {
    use shared_claims::feed::{RevocationList, WhenStale};

    let verifier = shared_claims::Verifier::builder(ring())
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(std::sync::Arc::new(|| NOW))
        .revocations(RevocationList::new())
        .when_stale(WhenStale::Refuse)
        .build()
        .unwrap();
    let service =
        init_service(App::new().app_data(web::Data::new(verifier)).default_service(web::route().to(echo))).await;
    let response = actix_web::test::call_service(&service, get_with("/", &claims()).to_request()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers().get("retry-after").unwrap(), "1");
    assert!(response.headers().get(WWW_AUTHENTICATE).is_none());
    let body: Value = serde_json::from_slice(&read_body(response).await).unwrap();
    assert_eq!((&body["title"], &body["code"]), (&json!("Service Unavailable"), &json!("dependency_unavailable")));
}

#[actix_web::test]
async fn a_rejection_repeats_nothing_of_the_token() {
    let token = forge_payload(with_claim("iss", json!("SecretMarker")));
    let answer = send(get("/read").insert_header(("Authorization", format!("Bearer {token}")))).await;
    let shown = format!("{:?} {:?}", answer.headers, answer.body);
    assert!(!shown.contains("SecretMarker") && !shown.contains(&token[..10]) && !shown.contains(&encode("Secret")));
}

#[actix_web::test]
async fn a_service_can_answer_rejections_in_its_own_way() {
    let config = BearerConfig::default().on_reject(|rejection, request| {
        let text = format!("{} at {}: {}", rejection.code(), request.path(), rejection.status());
        error::InternalError::new(text, StatusCode::IM_A_TEAPOT).into()
    });
    let answer = send_to(config, get("/read")).await;
    assert_eq!(answer.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(answer.body, "token_missing at /read: 401");
}

#[actix_web::test]
async fn without_a_verifier_the_fault_is_the_application_s_and_is_not_described_to_callers() {
    let service = init_service(App::new().default_service(web::route().to(echo))).await;
    let request = get_with("/", &claims()).to_request();
    let response = actix_web::test::call_service(&service, request).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(response.headers().get(WWW_AUTHENTICATE).is_none());
    assert_eq!(
        response.response().error().unwrap().to_string(),
        "the application has no web::Data<Verifier> in its app_data"
    );
    let body: Value = serde_json::from_slice(&read_body(response).await).unwrap();
    assert_eq!(body["code"], "internal");
    assert!(body.get("detail").is_none());
}

#[test]
fn sources_are_known_by_name_and_nothing_else_is() {
    let names = |names: &[&str]| Sources::from_names(names);
    assert_eq!(names(&["header", "x-access-token"]).unwrap(), Sources::default());
    assert_eq!(names(&[]).unwrap(), Sources { x_access_token: false, query: false, form: false });
    assert_eq!(names(&["form", "query"]).unwrap(), Sources { x_access_token: false, query: true, form: true });
    assert!(names(&["Query"]).unwrap_err().to_string().contains("\"Query\""));
}

#[actix_web::test]
async fn a_form_that_does_not_come_is_not_waited_for() {
    use actix_web::dev::{Payload, Service as _};
    use futures_util::{StreamExt as _, stream};

    let sources = Sources { form: true, ..Sources::default() };
    let service = init_service(
        App::new()
            .app_data(web::Data::new(verifier()))
            .app_data(BearerConfig::default().sources(sources))
            .wrap(FormToken)
            .route("/", web::post().to(echo)),
    )
    .await;
    let request = TestRequest::post().insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"));
    let mut request = request.to_request();
    let first = stream::iter([Ok(Bytes::from_static(b"a=b&access_to"))]);
    *request.payload() = Payload::from(first.chain(stream::pending()).boxed_local());
    // Time passes as soon as there is nothing to do but to wait for it.
    tokio::time::pause();
    let error = service.call(request).await.map(drop).unwrap_err();
    assert_eq!(error.error_response().status(), StatusCode::BAD_REQUEST);
}

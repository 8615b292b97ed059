//! The layer for tower services.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::{Bytes, HttpBody as _};
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use shared_claims::tower::{BearerLayer, Refusal};
use shared_claims::{Access, AnyUser, Claims, Rejection, Sources};
use tower_layer::Layer;
use tower_service::Service;

use crate::helpers::*;

shared_claims::scope! {
    PersonsRead = "persons:read";
    PersonsWrite = "persons:write";
}

struct Auditor;

impl Access for Auditor {
    const DENIED: &'static str = "für \"auditors\": 100 %";

    fn allows(claims: &Claims) -> bool {
        claims.roles.iter().any(|role| role == "auditor")
    }
}

type Body = Full<Bytes>;

/// Says whose token it was. It must be ready when it is called, and counts how often it is.
#[derive(Default)]
struct Inner {
    is_ready: bool,
    calls: usize,
}

impl Clone for Inner {
    /// A clone has to be asked whether it is ready like any other service.
    fn clone(&self) -> Self {
        Self { is_ready: false, ..*self }
    }
}

impl Service<Request<String>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "it should have been asked whether it is ready");
        self.calls += 1;
        let claims = request.extensions().get::<Claims>().unwrap();
        let said = format!("{} {} {}", claims.sub, request.body(), self.calls);
        ready(Ok(Response::new(Full::from(said))))
    }
}

/// Polls what never has to wait.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("this should be ready"),
    }
}

fn call<S, B>(service: &mut S, request: Request<B>) -> S::Response
where
    S: Service<Request<B>, Error = Infallible>,
{
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    match now(service.call(request)) {
        Ok(response) => response,
        Err(impossible) => match impossible {},
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = now(body.collect()).unwrap().to_bytes().to_vec();
        Self { status: parts.status, headers: parts.headers, body }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }

    fn challenge(&self) -> &str {
        self.headers[WWW_AUTHENTICATE].to_str().unwrap()
    }
}

fn request(uri: &str, headers: &[(&'static str, &str)]) -> Request<String> {
    let mut request = Request::new("body".to_owned());
    *request.uri_mut() = uri.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request
}

fn bearer(claims: &Claims) -> String {
    format!("Bearer {}", signer().sign(claims).unwrap())
}

fn send<A: Access>(layer: &BearerLayer<A>, request: Request<String>) -> Answer {
    Answer::of(call(&mut layer.layer(Inner::default()), request))
}

fn layer() -> BearerLayer {
    BearerLayer::new(verifier())
}

#[test]
fn a_caller_with_a_good_token_comes_through_with_claims_and_body() {
    let token = signer().sign(&claims()).unwrap();
    for headers in [
        ("authorization", format!("Bearer {token}")),
        ("authorization", format!("bearer   {token} ")),
        ("x-access-token", token.clone()),
    ] {
        let answer = send(&layer(), request("/", &[(headers.0, &headers.1)]));
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, format!("{} body 1", claims().sub).as_bytes());
    }
}

/// A URI and headers, and the status and code of the answer.
type Case<'c> = (&'c str, &'c [(&'static str, &'c str)], u16, &'c str);

#[test]
fn every_way_to_present_a_token_wrongly_is_refused_as_the_extractor_refuses_it() {
    let token = signer().sign(&claims()).unwrap();
    let good = format!("Bearer {token}");
    let in_query = format!("/?a=b&access%5Ftoken={token}");
    let twice_in_query = format!("/?access_token={token}&access_token={token}");
    let cases: [Case<'_>; 16] = [
        ("/", &[], 401, "token_missing"),
        ("/", &[("authorization", "Basic YTpi")], 401, "token_missing"),
        ("/", &[("authorization", "Bearer")], 401, "token_missing"),
        ("/", &[("authorization", "Bearer ")], 401, "token_missing"),
        ("/", &[("x-access-token", " ")], 401, "token_missing"),
        (&in_query[..3], &[], 401, "token_missing"),
        ("/?access_token=", &[], 401, "token_missing"),
        ("/", &[("authorization", "Bearer x")], 401, "token_invalid"),
        ("/", &[("authorization", "Bearer é")], 401, "token_invalid"),
        ("/", &[("authorization", &good), ("authorization", &good)], 400, "invalid_request"),
        ("/", &[("authorization", &good), ("authorization", "Basic YTpi")], 400, "invalid_request"),
        ("/", &[("x-access-token", &token), ("x-access-token", &token)], 400, "invalid_request"),
        ("/", &[("authorization", &good), ("x-access-token", &token)], 400, "invalid_request"),
        (&in_query, &[("authorization", &good)], 400, "invalid_request"),
        (&in_query, &[("x-access-token", &token)], 400, "invalid_request"),
        (&twice_in_query, &[], 400, "invalid_request"),
    ];
    let everywhere = Sources::from_names(["x-access-token", "query", "form"]).unwrap();
    for (uri, headers, status, code) in cases {
        let answer = send(&layer().sources(everywhere), request(uri, headers));
        assert_eq!((answer.status.as_u16(), &*answer.code()), (status, code), "{uri} {headers:?}");
        assert!(answer.challenge().starts_with("Bearer realm=\"resource-service\""));
    }
    assert_eq!(send(&layer().sources(everywhere), request(&in_query, &[])).status, StatusCode::OK);
    assert_eq!(send(&layer(), request(&in_query, &[])).code(), "token_missing");
    let header_only = Sources::from_names(["header"]).unwrap();
    assert_eq!(
        send(&layer().sources(header_only), request("/", &[("x-access-token", &token)])).code(),
        "token_missing"
    );
}

#[test]
fn each_layer_asks_for_what_it_is_told_to() {
    let with = |claims: &Claims| request("/", &[("authorization", &bearer(claims))]);
    let user = claims();
    let client = Claims { client_id: Some("c".to_owned()), ..claims() };
    let expired = Claims { exp: NOW - 30, ..claims() };
    assert_eq!(send(&layer().require::<PersonsRead>(), with(&user)).status, StatusCode::OK);
    assert_eq!(send(&layer().require::<AnyUser>(), with(&user)).status, StatusCode::OK);
    assert_eq!(send(&layer(), with(&client)).status, StatusCode::OK);

    let answer = send(&layer().require::<PersonsWrite>(), with(&user));
    assert_eq!((answer.status, &*answer.code()), (StatusCode::FORBIDDEN, "insufficient_scope"));
    assert!(answer.challenge().ends_with("scope=\"persons:write\""));
    let answer = send(&layer().require::<AnyUser>(), with(&client));
    assert_eq!((answer.status, &*answer.code()), (StatusCode::FORBIDDEN, "insufficient_scope"));
    let answer = send(&layer().require::<Auditor>(), with(&user));
    assert_eq!(answer.json()["detail"], "für \"auditors\": 100 %");
    assert!(answer.challenge().ends_with("error_description=\"f?r ?auditors?: 100 %\""));
    assert_eq!(send(&layer(), with(&expired)).code(), "token_expired");
}

#[test]
fn a_refusal_is_a_problem_that_nobody_caches() {
    let answer = send(&layer(), request("/", &[]));
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers[CONTENT_TYPE], "application/problem+json");
    assert_eq!(answer.headers[CACHE_CONTROL], "no-store");
    assert_eq!(answer.challenge(), "Bearer realm=\"resource-service\"");
    let expected = json!({
        "type": "about:blank", "title": "Unauthorized", "status": 401, "code": "token_missing",
        "detail": "the request carries no access token",
    });
    assert_eq!(answer.json(), expected);
}

#[test]
fn nothing_of_a_refused_request_reaches_the_service_and_the_one_that_was_ready_is_called() {
    let mut service = layer().layer(Inner::default());
    let good = || request("/", &[("authorization", &bearer(&claims()))]);
    let body = |response| String::from_utf8(Answer::of(response).body).unwrap();
    assert!(body(call(&mut service, good())).ends_with("body 1"));
    assert_eq!(call(&mut service, request("/", &[])).status(), 401);
    let mut clone = service.clone();
    assert!(body(call(&mut service, good())).ends_with("body 2"));
    assert!(body(call(&mut clone, good())).ends_with("body 2"));
}

/// Cannot say yet, or says that it has broken down.
struct Busy(Poll<Result<(), &'static str>>);

impl Service<Request<String>> for Busy {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = Ready<Result<Response<Body>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.0
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        ready(Err("it failed"))
    }
}

#[test]
fn readiness_and_errors_are_those_of_the_service() {
    let context = &mut Context::from_waker(Waker::noop());
    for readiness in [Poll::Pending, Poll::Ready(Ok(())), Poll::Ready(Err("it broke"))] {
        assert_eq!(layer().layer(Busy(readiness)).poll_ready(context), readiness);
    }
    let mut service = layer().layer(Busy(Poll::Ready(Ok(()))));
    let outcome = now(service.call(request("/", &[("authorization", &bearer(&claims()))])));
    assert_eq!(outcome.err(), Some("it failed"));
}

#[test]
fn a_grpc_refusal_is_a_status_in_the_headers_and_has_no_body() {
    let refuse = |response: Response<Body>| {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        assert!(response.body().is_end_stream());
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        (header("grpc-status"), header("grpc-message"))
    };
    let grpc = |headers: &[(&'static str, &str)]| {
        refuse(call(&mut layer().for_grpc().layer(Inner::default()), request("/pkg.Service/Method", headers)))
    };
    let owned = |status: &str, message: &str| (status.to_owned(), message.to_owned());
    assert_eq!(grpc(&[]), owned("16", "the request carries no access token"));
    assert_eq!(grpc(&[("authorization", "Bearer x")]).0, "16");
    assert_eq!(grpc(&[("authorization", "Bearer x"), ("authorization", "Bearer y")]).0, "16");
    let expired = bearer(&Claims { exp: NOW - 30, ..claims() });
    assert_eq!(grpc(&[("authorization", &expired)]), owned("16", "the token has expired"));
    let auditors = layer().require::<Auditor>().for_grpc();
    let denied =
        refuse(call(&mut auditors.layer(Inner::default()), request("/", &[("authorization", &bearer(&claims()))])));
    assert_eq!(denied, owned("7", "f%C3%BCr \"auditors\": 100 %25"));
}

struct Teapot;

impl<B: Default> Refusal<B> for Teapot {
    fn refuse(rejection: &Rejection) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert("x-code", HeaderValue::from_static(rejection.code()));
        response
    }
}

#[test]
fn a_service_can_refuse_in_its_own_way() {
    let response = call(&mut layer().refuse_with::<Teapot>().layer(Inner::default()), request("/", &[]));
    assert_eq!(
        (response.status(), &response.headers()["x-code"]),
        (StatusCode::IM_A_TEAPOT, &"token_missing".parse().unwrap())
    );
}

#[tokio::test]
async fn it_is_a_layer_for_axum() {
    async fn whoami(Extension(caller): Extension<Claims>) -> String {
        caller.sub
    }

    let mut router = Router::new()
        .route("/me", get(whoami).layer(layer().require::<PersonsRead>()))
        .route("/write", get(whoami).layer(layer().require::<PersonsWrite>()))
        .route("/open", get(async || "open"));
    for (path, token, status) in [
        ("/me", true, StatusCode::OK),
        ("/me", false, StatusCode::UNAUTHORIZED),
        ("/write", true, StatusCode::FORBIDDEN),
        ("/open", false, StatusCode::OK),
    ] {
        let mut request = Request::builder().uri(path);
        if token {
            request = request.header(AUTHORIZATION, bearer(&claims()));
        }
        let response = router.call(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(status != StatusCode::OK || path == "/open" || body == claims().sub);
    }
}

#[cfg(feature = "feed")]
#[test]
fn a_revoked_token_is_refused_and_so_is_any_while_it_is_not_known_which_are() {
    use shared_claims::feed::{Entry, Revocation, RevocationList, WhenStale};

    let list = RevocationList::new();
    let verifier = shared_claims::Verifier::builder(ring())
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(std::sync::Arc::new(|| NOW))
        .revocations(list.clone())
        .when_stale(WhenStale::Refuse)
        .build()
        .unwrap();
    let layer = BearerLayer::new(verifier);
    let good = || request("/", &[("authorization", &bearer(&claims()))]);

    let answer = send(&layer, good());
    assert_eq!((answer.status, &*answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "dependency_unavailable"));
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!answer.headers.contains_key(WWW_AUTHENTICATE), "the token may be good");
    let response = call(&mut layer.clone().for_grpc().layer(Inner::default()), good());
    assert_eq!(response.headers()["grpc-status"], "14");

    list.contacted("e1", 0);
    assert_eq!(send(&layer, good()).status, StatusCode::OK);
    list.apply(&[Entry { seq: 1, revocation: Revocation::Token { jti: claims().jti }, until: NOW + 1_000 }]);
    let answer = send(&layer, good());
    assert_eq!((answer.status, &*answer.code()), (StatusCode::UNAUTHORIZED, "token_revoked"));
    assert_eq!(
        answer.challenge(),
        "Bearer realm=\"resource-service\", error=\"invalid_token\", error_description=\"the token has been revoked\""
    );
    let response = call(&mut layer.for_grpc().layer(Inner::default()), good());
    assert_eq!(response.headers()["grpc-status"], "16");
}

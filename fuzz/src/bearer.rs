//! The token of a request: where it may stand, and that both frameworks say the same of it.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use actix_web::{FromRequest as _, dev::Payload, test::TestRequest, web};
use futures_util::FutureExt as _;
use shared_claims::{
    AnyToken,
    actix::{Authorized, BearerConfig, Sources},
    tower::BearerLayer,
};
use tower_layer::Layer as _;
use tower_service::Service;
use url::form_urlencoded;

use crate::{lines, signed::KEYS};

/// Lines: `A` and the value of an `Authorization`, `X` and that of an `x-access-token`, `Q` and a query, `+x` and `+q` to
/// look into the latter two. A `$` in a value stands for a genuine token.
pub(crate) fn enter(data: &[u8]) {
    let genuine = &KEYS[0].genuine;
    let mut sources = Sources { x_access_token: false, ..Sources::default() };
    let (mut headers, mut query): (Vec<(&'static str, Vec<u8>)>, _) = (Vec::new(), String::new());
    for (kind, text) in lines(data) {
        let text = text.split(|byte| *byte == b'$').collect::<Vec<_>>().join(genuine.as_bytes());
        match kind {
            b'A' => headers.push(("authorization", text)),
            b'X' => headers.push(("x-access-token", text)),
            b'Q' => query = String::from_utf8_lossy(&text).into_owned(),
            b'+' => {
                sources.x_access_token |= text == b"x";
                sources.query |= text == b"q";
            }
            _ => {}
        }
    }
    headers.retain(|(_, value)| http::HeaderValue::from_bytes(value).is_ok());
    let Ok(uri) = format!("/?{query}").parse::<http::Uri>() else { return };
    // actix-web has an older version of that crate, which takes less.
    if uri.to_string().parse::<actix_web::http::Uri>().is_err() {
        return;
    }
    let query = uri.query().unwrap_or_default().to_owned();

    let actix = by_actix(&headers, &uri, sources);
    let tower = by_tower(&headers, uri, sources);
    assert_eq!(actix, tower);

    let expected = expected(&headers, &query, sources);
    match &actix {
        Ok(subject) => assert!(expected.is_taken(), "{subject} came in"),
        Err(refusal) => {
            assert!(!expected.is_taken(), "a genuine token was refused: {refusal:?}");
            assert!(refusal.status == 400 || refusal.status == 401, "{refusal:?}");
            assert_eq!(expected == Expected::Missing, refusal.body.contains("token_missing"), "{refusal:?}");
            assert!(refusal.challenge.starts_with("Bearer realm="), "{refusal:?}");
            assert!(refusal.body.starts_with('{') && !refusal.body.contains(genuine.as_str()), "{refusal:?}");
        }
    }
}

#[derive(Debug, PartialEq)]
struct Refusal {
    status: u16,
    challenge: String,
    body: String,
}

fn by_actix(headers: &[(&'static str, Vec<u8>)], uri: &http::Uri, sources: Sources) -> Result<String, Refusal> {
    let mut request = TestRequest::default()
        .uri(&uri.to_string())
        .app_data(web::Data::new(KEYS[0].verifier.clone()))
        .app_data(BearerConfig::default().sources(sources));
    for (name, value) in headers {
        let value = actix_web::http::header::HeaderValue::from_bytes(value).expect("another version took it");
        request = request.append_header((*name, value));
    }
    let request = request.to_http_request();
    let extracted = Authorized::<AnyToken>::from_request(&request, &mut Payload::None).now_or_never();
    extracted.expect("it takes no await").map(|caller| caller.sub.clone()).map_err(|error| {
        let response = error.error_response();
        let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = actix_web::body::MessageBody::try_into_bytes(response.into_body()).expect("it is in memory");
        Refusal { status, challenge: challenge.unwrap_or_default(), body: String::from_utf8(body.into()).unwrap() }
    })
}

/// What is behind the layer: it answers with the subject.
struct Inside;

impl Service<http::Request<()>> for Inside {
    type Response = http::Response<Vec<u8>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<()>) -> Self::Future {
        let claims = request.extensions().get::<shared_claims::Claims>().expect("the layer lets nobody else in");
        ready(Ok(http::Response::new(claims.sub.clone().into_bytes())))
    }
}

fn by_tower(headers: &[(&'static str, Vec<u8>)], uri: http::Uri, sources: Sources) -> Result<String, Refusal> {
    let mut request = http::Request::new(());
    *request.uri_mut() = uri;
    for (name, value) in headers {
        request.headers_mut().append(*name, http::HeaderValue::from_bytes(value).unwrap());
    }
    let layer = BearerLayer::new(KEYS[0].verifier.clone()).sources(sources);
    let Ok(response) = layer.layer(Inside).call(request).now_or_never().expect("it takes no await");
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8(response.into_body()).unwrap();
    if status == 200 { Ok(body) } else { Err(Refusal { status, challenge: challenge.unwrap_or_default(), body }) }
}

#[derive(Debug, PartialEq)]
enum Expected {
    Taken,
    Missing,
    Refused,
}

impl Expected {
    fn is_taken(&self) -> bool {
        *self == Self::Taken
    }
}

/// The rules, written down a second time.
fn expected(headers: &[(&'static str, Vec<u8>)], query: &str, sources: Sources) -> Expected {
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    let places = [Some("authorization"), sources.x_access_token.then_some("x-access-token")];
    for place in places.into_iter().flatten() {
        let values: Vec<_> = headers.iter().filter(|(name, _)| *name == place).map(|(_, value)| value).collect();
        let [value] = values[..] else {
            if values.is_empty() {
                continue;
            }
            return Expected::Refused;
        };
        if value.iter().any(|byte| !byte.is_ascii() || *byte == 0x7f) {
            return Expected::Refused;
        }
        let token = match place {
            "authorization" if value.len() > 6 && value[..7].eq_ignore_ascii_case(b"bearer ") => &value[7..],
            "authorization" => continue,
            _ => value,
        };
        let token = String::from_utf8_lossy(token);
        tokens.push(token.trim_matches(' ').as_bytes().to_vec());
    }
    if sources.query {
        let found: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "access_token")
            .map(|(_, token)| token.into_owned().into_bytes())
            .collect();
        if found.len() > 1 {
            return Expected::Refused;
        }
        tokens.extend(found);
    }
    tokens.retain(|token| !token.is_empty());
    match &tokens[..] {
        [] => Expected::Missing,
        [token] if *token == KEYS[0].genuine.as_bytes() => Expected::Taken,
        _ => Expected::Refused,
    }
}

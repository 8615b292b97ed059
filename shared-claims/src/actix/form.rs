//! Tokens in a form body (RFC 6750 §2.2): taken out before the handler reads the form.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::PayloadError;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use actix_web::rt::time::timeout;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{Error, HttpMessage};
use futures_util::StreamExt as _;
use futures_util::future::{Either, FutureExt as _, LocalBoxFuture};
use futures_util::stream;
use url::form_urlencoded;

use super::BearerConfig;
use crate::bearer::{FormBearer, PARAMETER};

/// The longest form that is looked into, in bytes.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// How long a form may take.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// The middleware behind [`Sources::form`](super::Sources::form): takes `access_token` out of a form for
/// [`Authorized`](super::Authorized) to find, and hands the rest of the form on as it came.
///
/// It does nothing unless the [`BearerConfig`] of the App turns the source on, and leaves alone what is not a plain
/// `application/x-www-form-urlencoded` body of at most 64 KiB, or comes with GET, HEAD, OPTIONS or TRACE. A form that has
/// not come within 30 seconds is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct FormToken;

impl<S, B> Transform<S, ServiceRequest> for FormToken
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = FormTokenService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(FormTokenService { service: Rc::new(service) }))
    }
}

/// A service wrapped with [`FormToken`].
pub struct FormTokenService<S> {
    service: Rc<S>,
}

impl<S> fmt::Debug for FormTokenService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormTokenService").finish_non_exhaustive()
    }
}

impl<S, B> Service<ServiceRequest> for FormTokenService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = Either<S::Future, LocalBoxFuture<'static, Result<Self::Response, Error>>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.service.poll_ready(context)
    }

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let on = BearerConfig::of(request.request()).is_some_and(|config| config.sources.form);
        if !on || !is_form(&request) {
            return Either::Left(self.service.call(request));
        }
        let service = Rc::clone(&self.service);
        Either::Right(
            async move {
                take_token(&mut request).await?;
                service.call(request).await
            }
            .boxed_local(),
        )
    }
}

fn is_form(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    let method = request.method();
    // RFC 6750 §2.2: a method for which a body has meaning, and never GET.
    let has_body = ![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method);
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    has_body
        && media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && !headers.contains_key(CONTENT_ENCODING)
        && length.is_none_or(|length| length <= MAX_FORM_BYTES)
}

async fn take_token(request: &mut ServiceRequest) -> Result<(), PayloadError> {
    let mut payload = request.take_payload();
    let mut body = BytesMut::new();
    let whole = {
        let mut reading = pin!(read_form(&mut payload, &mut body));
        // Nearly always it is there already, and no timer is needed.
        match reading.as_mut().now_or_never() {
            Some(whole) => whole?,
            None => timeout(FORM_TIMEOUT, reading).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??,
        }
    };
    if !whole {
        // Too long after all: on it goes, what was read and then the rest.
        let read = stream::iter([Ok(body.freeze())]);
        request.set_payload(Payload::from(read.chain(payload).boxed_local()));
        return Ok(());
    }
    let (bearer, rest) = split_form(body.freeze());
    if let Some(bearer) = bearer {
        request.extensions_mut().insert(bearer);
        if request.headers().contains_key(CONTENT_LENGTH) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(rest.len()));
        }
    }
    request.set_payload(Payload::from(rest));
    Ok(())
}

/// Reads a form to its end, or until it is too long to be looked into: whether it was the end.
async fn read_form(payload: &mut Payload, body: &mut BytesMut) -> Result<bool, PayloadError> {
    while let Some(chunk) = payload.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > MAX_FORM_BYTES {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The token and the other fields, which keep their very bytes.
fn split_form(body: Bytes) -> (Option<FormBearer>, Bytes) {
    let mut bearer = None;
    let mut rest: Vec<&[u8]> = Vec::new();
    for field in body.split(|byte| *byte == b'&') {
        match form_urlencoded::parse(field).next() {
            Some((name, token)) if name.as_bytes() == PARAMETER => {
                bearer = Some(match bearer {
                    None => FormBearer::One(token.into_owned()),
                    Some(_) => FormBearer::Many,
                });
            }
            _ => rest.push(field),
        }
    }
    if bearer.is_none() {
        return (None, body);
    }
    (bearer, Bytes::from(rest.join(&b'&')))
}

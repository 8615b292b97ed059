//! How a layer words its refusals.

use std::fmt::Write as _;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::rejection::Rejection;

/// A way to refuse a caller, for answers with bodies of type `B`.
pub trait Refusal<B>: 'static {
    /// The answer to a caller who was turned away.
    fn refuse(rejection: &Rejection) -> Response<B>;
}

/// Refuses over HTTP: with the status, an `application/problem+json` body (RFC 9457) and the challenge of RFC 6750 §3.
#[derive(Clone, Copy, Debug)]
pub struct Problem;

impl<B: From<Vec<u8>>> Refusal<B> for Problem {
    fn refuse(rejection: &Rejection) -> Response<B> {
        let mut response = Response::new(B::from(rejection.problem_json()));
        *response.status_mut() = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A challenge is printable ASCII throughout.
        if let Some(challenge) = rejection.www_authenticate().and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = rejection.retry_after_seconds() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Refuses as gRPC does when it has nothing to answer but a status: in the headers, with HTTP's 200 and no body.
///
/// The status is 16 (`UNAUTHENTICATED`), 7 (`PERMISSION_DENIED`) for a token that does not suffice, or 14
/// (`UNAVAILABLE`) while it is not known which tokens are revoked.
#[derive(Clone, Copy, Debug)]
pub struct GrpcStatus;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

impl<B: Default> Refusal<B> for GrpcStatus {
    fn refuse(rejection: &Rejection) -> Response<B> {
        let status = match rejection.status() {
            403 => "7",
            503 => "14",
            _ => "16",
        };
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from_static(status));
        // Percent-encoded, it is printable ASCII throughout.
        if let Ok(message) = HeaderValue::try_from(percent_encoded(rejection.detail())) {
            headers.insert(GRPC_MESSAGE, message);
        }
        response
    }
}

/// As gRPC over HTTP/2 wants `grpc-message`: printable ASCII stays, but for the percent sign itself.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

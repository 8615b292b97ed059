//! Failures as clients see them: `application/problem+json` (RFC 9457) with a stable code.
//!
//! [`Error`] holds the failures that every service shares. A service has one error enum of its own, with a variant for
//! each further thing that a client can act on and `#[from] Error` for these; it implements [`ApiError`] and gets its
//! `ResponseError` from [`impl_response_error!`](crate::impl_response_error). A failure of status 500 logs its cause
//! once, when it is turned into a response, and sends none of it.

use std::borrow::Cow;

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{context::RequestContext, db::StorageError};

/// A stable error code with its status and title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code, such as `not_found`. Clients may match on it.
    pub name: &'static str,
    /// The HTTP status that goes with it.
    pub status: StatusCode,
    /// A short summary, the same for every occurrence (RFC 9457, 3.1.3).
    pub title: &'static str,
}

impl Code {
    /// A code with its status and title.
    pub const fn new(status: StatusCode, name: &'static str, title: &'static str) -> Self {
        Self { name, status, title }
    }
}

/// The codes that every service shares.
pub mod codes {
    use super::{Code, StatusCode};

    /// Malformed JSON or form, unknown cursor.
    pub const INVALID_REQUEST: Code = Code::new(StatusCode::BAD_REQUEST, "invalid_request", "Invalid request");
    /// No token came with the request.
    pub const TOKEN_MISSING: Code = Code::new(StatusCode::UNAUTHORIZED, "token_missing", "Access token missing");
    /// The token is not one that this service takes.
    pub const TOKEN_INVALID: Code = Code::new(StatusCode::UNAUTHORIZED, "token_invalid", "Access token invalid");
    /// The token's time is over.
    pub const TOKEN_EXPIRED: Code = Code::new(StatusCode::UNAUTHORIZED, "token_expired", "Access token expired");
    /// The token was revoked before its time.
    pub const TOKEN_REVOKED: Code = Code::new(StatusCode::UNAUTHORIZED, "token_revoked", "Access token revoked");
    /// The token does not grant what the call needs.
    pub const INSUFFICIENT_SCOPE: Code = Code::new(StatusCode::FORBIDDEN, "insufficient_scope", "Insufficient scope");
    /// There is nothing at this path, or nothing that the caller may know of.
    pub const NOT_FOUND: Code = Code::new(StatusCode::NOT_FOUND, "not_found", "Not found");
    /// The path exists, but not for this method; `Allow` names those it has.
    pub const METHOD_NOT_ALLOWED: Code =
        Code::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed");
    /// None of the media types that the caller takes is on offer.
    pub const NOT_ACCEPTABLE: Code = Code::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "Not acceptable");
    /// `If-Match` names another version than the present one.
    pub const PRECONDITION_FAILED: Code =
        Code::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "Precondition failed");
    /// The body is larger than the call takes.
    pub const PAYLOAD_TOO_LARGE: Code =
        Code::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "Payload too large");
    /// The body's media type or encoding is not one that the call takes.
    pub const UNSUPPORTED_MEDIA_TYPE: Code =
        Code::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type");
    /// The body is well-formed, but fields of it cannot be taken; `errors` names each.
    pub const VALIDATION_FAILED: Code =
        Code::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", "Validation failed");
    /// A fault of the service.
    pub const INTERNAL: Code = Code::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error");
    /// Too many attempts have failed.
    pub const RATE_LIMITED: Code = Code::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many attempts");
    /// There is more to do than can be finished in time.
    pub const OVERLOADED: Code = Code::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded");
    /// The database or another service cannot be reached.
    pub const DEPENDENCY_UNAVAILABLE: Code =
        Code::new(StatusCode::SERVICE_UNAVAILABLE, "dependency_unavailable", "Dependency unavailable");

    /// All of them.
    pub const ALL: &[Code] = &[
        INVALID_REQUEST,
        TOKEN_MISSING,
        TOKEN_INVALID,
        TOKEN_EXPIRED,
        TOKEN_REVOKED,
        INSUFFICIENT_SCOPE,
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        NOT_ACCEPTABLE,
        PRECONDITION_FAILED,
        PAYLOAD_TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        VALIDATION_FAILED,
        INTERNAL,
        RATE_LIMITED,
        OVERLOADED,
        DEPENDENCY_UNAVAILABLE,
    ];
}

/// What is wrong with one field of a body or a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The field's name, with dots into nested members; empty for the body itself.
    pub field: String,
    /// Stable, such as `required`, `unknown`, `invalid_type`, `too_long`.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// A sentence for a person.
    pub message: String,
}

/// The body of a failure (RFC 9457), as it is sent and as a call to another service reads it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the code says more than a URI would.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Cow<'static, str>,
    /// The code's summary.
    #[schema(value_type = String)]
    pub title: Cow<'static, str>,
    /// The HTTP status once more.
    pub status: u16,
    /// The stable code.
    #[schema(value_type = String)]
    pub code: Cow<'static, str>,
    /// What happened this time.
    pub detail: String,
    /// The request's id, to be found in the logs.
    #[schema(nullable = false)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// One entry per field that cannot be taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds until another try makes sense: sent as `Retry-After`.
    #[serde(skip)]
    pub retry_after_seconds: Option<u32>,
    /// Whom another service has said that it is about: for the audit log, and never sent on.
    #[serde(skip)]
    pub subject: Option<String>,
}

impl Problem {
    /// A problem with a code and a sentence about this occurrence.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: Cow::Borrowed("about:blank"),
            title: Cow::Borrowed(code.title),
            status: code.status.as_u16(),
            code: Cow::Borrowed(code.name),
            detail: detail.into(),
            request_id: None,
            errors: Vec::new(),
            retry_after_seconds: None,
            subject: None,
        }
    }

    /// The response, with this request's id in it.
    pub fn into_response(mut self) -> HttpResponse {
        self.request_id = RequestContext::current().map(|context| context.request_id.as_str().to_owned());
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        response.body(body)
    }
}

/// A failure that a client sees.
pub trait ApiError: std::error::Error {
    /// The stable code, with its status.
    fn code(&self) -> Code;

    /// What happened, for the client. The default is the error's own text; a failure of status 500 says nothing of it.
    fn detail(&self) -> String {
        self.to_string()
    }

    /// What is wrong, field by field.
    fn field_errors(&self) -> &[FieldError] {
        &[]
    }

    /// Seconds until another try makes sense.
    fn retry_after_seconds(&self) -> Option<u32> {
        None
    }

    /// A further header of the response.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        None
    }
}

/// The response for a failure: problem+json, and for a status of 500 one line in the log with its cause.
pub fn respond(error: &dyn ApiError) -> HttpResponse {
    let code = error.code();
    let detail = if code.status == StatusCode::INTERNAL_SERVER_ERROR {
        log::error!("{}", Chain(error));
        "Something went wrong on our side. The request id finds it in the logs.".to_owned()
    } else {
        if code.status.is_server_error() {
            log::warn!("{}: {}", code.name, Chain(error));
        }
        error.detail()
    };
    let mut problem = Problem::new(code, detail);
    problem.errors = error.field_errors().to_vec();
    problem.retry_after_seconds = error.retry_after_seconds();
    let mut response = problem.into_response();
    if let Some((name, value)) = error.header() {
        response.headers_mut().insert(name, value);
    }
    response
}

/// An error with its causes on one line.
struct Chain<'a>(&'a dyn ApiError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// Implements actix's `ResponseError` for an [`ApiError`].
#[macro_export]
macro_rules! impl_response_error {
    ($error:ty) => {
        impl ::actix_web::ResponseError for $error {
            fn status_code(&self) -> ::actix_web::http::StatusCode {
                $crate::problem::ApiError::code(self).status
            }

            fn error_response(&self) -> ::actix_web::HttpResponse {
                $crate::problem::respond(self)
            }
        }
    };
}

/// The failures that every service shares.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Malformed JSON or form, unknown cursor.
    #[error("{0}")]
    InvalidRequest(String),
    /// Fields of the body or the query cannot be taken.
    #[error("{}", summary(.0))]
    Validation(Vec<FieldError>),
    /// There is nothing at this path.
    #[error("There is nothing here.")]
    NotFound,
    /// The path exists, but not for this method.
    #[error("This path takes {allow}.")]
    MethodNotAllowed {
        /// The methods it has, as in `Allow`.
        allow: String,
    },
    /// None of the media types that the caller takes is on offer.
    #[error("On offer here: {offered}.")]
    NotAcceptable {
        /// What there is.
        offered: &'static str,
    },
    /// `If-Match` names another version.
    #[error("It has changed since: read it again and repeat the change with its present ETag.")]
    PreconditionFailed,
    /// The body is too large.
    #[error("The body is larger than the {limit_bytes} bytes that this call takes.")]
    PayloadTooLarge {
        /// The most that is taken.
        limit_bytes: usize,
    },
    /// The body's media type is not taken.
    #[error("This call takes {expected}.")]
    UnsupportedMediaType {
        /// What is taken.
        expected: &'static str,
    },
    /// The token was not taken: the verifier's own rejection.
    #[error(transparent)]
    Token(#[from] shared_claims::actix::Rejection),
    /// The token does not grant a scope that only the call itself could name.
    #[error("this needs the scope {scope}")]
    InsufficientScope {
        /// The scope that is missing.
        scope: String,
    },
    /// Too many attempts have failed.
    #[error("Too many attempts have failed. Try again in {retry_after_seconds} s.")]
    RateLimited {
        /// Seconds until another try is let in.
        retry_after_seconds: u32,
    },
    /// More work than can be finished in time.
    #[error("There is more to do than can be finished in time.")]
    Overloaded {
        /// Seconds until another try makes sense.
        retry_after_seconds: u32,
    },
    /// The database or another service cannot be reached.
    #[error("{dependency} cannot be reached")]
    DependencyUnavailable {
        /// Which one, such as `database` or `user-service`.
        dependency: &'static str,
        /// Why.
        #[source]
        cause: anyhow::Error,
    },
    /// Another service refused, and its refusal is the caller's to see.
    #[error("{}", .0.detail)]
    Forwarded(Box<Problem>, Code),
    /// A fault of our own.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

fn summary(errors: &[FieldError]) -> String {
    match errors {
        [only] if only.field.is_empty() => only.message.clone(),
        [only] => format!("{}: {}", only.field, only.message),
        several => format!("{} fields cannot be taken; errors says why.", several.len()),
    }
}

impl Error {
    /// A fault of our own, with its cause.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(cause.into())
    }

    /// One field that cannot be taken.
    pub fn field(field: &str, invalid: crate::validate::Invalid) -> Self {
        Self::Validation(vec![FieldError {
            field: field.to_owned(),
            code: invalid.code.into(),
            message: invalid.message,
        }])
    }
}

impl ApiError for Error {
    fn code(&self) -> Code {
        match self {
            Self::InvalidRequest(_) => codes::INVALID_REQUEST,
            Self::Validation(_) => codes::VALIDATION_FAILED,
            Self::NotFound => codes::NOT_FOUND,
            Self::MethodNotAllowed { .. } => codes::METHOD_NOT_ALLOWED,
            Self::NotAcceptable { .. } => codes::NOT_ACCEPTABLE,
            Self::PreconditionFailed => codes::PRECONDITION_FAILED,
            Self::PayloadTooLarge { .. } => codes::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType { .. } => codes::UNSUPPORTED_MEDIA_TYPE,
            Self::Token(rejection) => {
                codes::ALL.iter().find(|code| code.name == rejection.code()).copied().unwrap_or(codes::INTERNAL)
            }
            Self::InsufficientScope { .. } => codes::INSUFFICIENT_SCOPE,
            Self::RateLimited { .. } => codes::RATE_LIMITED,
            Self::Overloaded { .. } => codes::OVERLOADED,
            Self::DependencyUnavailable { .. } => codes::DEPENDENCY_UNAVAILABLE,
            Self::Forwarded(_, code) => *code,
            Self::Internal(_) => codes::INTERNAL,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Token(rejection) => rejection.detail().to_owned(),
            Self::DependencyUnavailable { dependency, cause } => {
                if matches!(cause.downcast_ref(), Some(StorageError::Full(_))) {
                    return format!("The {dependency} has no room for this at the moment.");
                }
                format!("The {dependency} cannot be reached at the moment.")
            }
            other => other.to_string(),
        }
    }

    fn field_errors(&self) -> &[FieldError] {
        match self {
            Self::Validation(errors) => errors,
            Self::Forwarded(problem, _) => &problem.errors,
            _ => &[],
        }
    }

    fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Self::RateLimited { retry_after_seconds } | Self::Overloaded { retry_after_seconds } => {
                Some(*retry_after_seconds)
            }
            Self::DependencyUnavailable { .. } => Some(2),
            Self::Token(rejection) => rejection.retry_after_seconds(),
            Self::Forwarded(problem, _) => problem.retry_after_seconds,
            _ => None,
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed { allow } => Some((header::ALLOW, HeaderValue::from_str(allow).ok()?)),
            Self::Token(rejection) => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_str(&rejection.www_authenticate()?).ok()?))
            }
            Self::InsufficientScope { .. } => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"insufficient_scope\"")))
            }
            // Every 401 names a scheme (RFC 9110, 15.5.2).
            Self::Forwarded(_, code) if code.status == StatusCode::UNAUTHORIZED => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            _ => None,
        }
    }
}

crate::impl_response_error!(Error);

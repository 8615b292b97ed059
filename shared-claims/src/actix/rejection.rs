//! The refusal of a caller, as RFC 6750 §3 and RFC 9457 word it.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::error::{Error, ErrorKind};

/// Why a caller was turned away. It repeats nothing of the token, so it can be logged and sent as it is.
#[derive(Clone, Debug)]
pub struct Rejection {
    reason: Reason,
    /// The name of the service, for the challenge.
    realm: String,
}

#[derive(Clone, Copy, Debug)]
enum Reason {
    Missing,
    Invalid(Error),
    Insufficient { scope: Option<&'static str>, detail: &'static str },
    Request(&'static str),
    NoVerifier,
}

impl Rejection {
    pub(super) fn missing(realm: &str) -> Self {
        Self { reason: Reason::Missing, realm: realm.to_owned() }
    }

    pub(super) fn invalid(realm: &str, error: Error) -> Self {
        Self { reason: Reason::Invalid(error), realm: realm.to_owned() }
    }

    pub(super) fn insufficient(realm: &str, scope: Option<&'static str>, detail: &'static str) -> Self {
        Self { reason: Reason::Insufficient { scope, detail }, realm: realm.to_owned() }
    }

    pub(super) fn request(realm: &str, detail: &'static str) -> Self {
        Self { reason: Reason::Request(detail), realm: realm.to_owned() }
    }

    pub(super) fn no_verifier() -> Self {
        Self { reason: Reason::NoVerifier, realm: String::new() }
    }

    /// The stable machine code: `token_missing`, `token_invalid`, `token_expired`, `token_revoked`,
    /// `insufficient_scope`, `invalid_request`, `dependency_unavailable` while it is not known what is revoked, or
    /// `internal` if the application lacks a verifier. More may come.
    pub fn code(&self) -> &'static str {
        match self.reason {
            Reason::Missing => "token_missing",
            Reason::Invalid(error) => error.code(),
            Reason::Insufficient { .. } => "insufficient_scope",
            Reason::Request(_) => "invalid_request",
            Reason::NoVerifier => "internal",
        }
    }

    /// 401, 403 for a token that does not suffice, 400 for a request that presents tokens wrongly, 503 while it is not
    /// known what is revoked (the token may be good: a client must not throw it away), 500 if the application lacks a
    /// verifier.
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::Invalid(error) if error.kind() == ErrorKind::Stale => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Missing | Reason::Invalid(_) => StatusCode::UNAUTHORIZED,
            Reason::Insufficient { .. } => StatusCode::FORBIDDEN,
            Reason::Request(_) => StatusCode::BAD_REQUEST,
            Reason::NoVerifier => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What is wrong, in words for people.
    pub fn detail(&self) -> &'static str {
        match self.reason {
            Reason::Missing => "the request carries no access token",
            Reason::Invalid(error) => error.reason(),
            Reason::Insufficient { detail, .. } | Reason::Request(detail) => detail,
            Reason::NoVerifier => "the application has no web::Data<Verifier> in its app_data",
        }
    }

    /// The `WWW-Authenticate` challenge (RFC 6750 §3); none where the fault is the application's own.
    ///
    /// A request without a token is told the realm, which is the name of the service, and no error.
    pub fn www_authenticate(&self) -> Option<String> {
        let (error, scope) = match self.reason {
            Reason::Missing => (None, None),
            Reason::Invalid(error) if error.kind() == ErrorKind::Stale => return None,
            Reason::Invalid(_) => (Some("invalid_token"), None),
            Reason::Insufficient { scope, .. } => (Some("insufficient_scope"), scope),
            Reason::Request(_) => (Some("invalid_request"), None),
            Reason::NoVerifier => return None,
        };
        let mut parameters = vec![("realm", self.realm.as_str())];
        if let Some(error) = error {
            parameters.extend([("error", error), ("error_description", self.detail())]);
        }
        parameters.extend(scope.map(|scope| ("scope", scope)));
        let quoted = parameters.into_iter().map(|(name, value)| format!("{name}=\"{}\"", quotable(value)));
        Some(format!("Bearer {}", quoted.collect::<Vec<_>>().join(", ")))
    }
}

/// What may stand between quotes in a challenge (RFC 6750 §3: printable ASCII without quote and backslash).
fn quotable(text: &str) -> String {
    let allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    text.chars().map(|c| if allowed(c) { c } else { '?' }).collect()
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Rejection {}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        #[derive(Serialize)]
        struct Problem<'p> {
            r#type: &'p str,
            title: &'p str,
            status: u16,
            code: &'p str,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'p str>,
        }

        let status = self.status();
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code(),
            // How the application is put together is no business of its callers.
            detail: (!status.is_server_error()).then_some(self.detail()),
        };
        let mut response = HttpResponse::build(status);
        response.insert_header((CACHE_CONTROL, "no-store")).content_type("application/problem+json");
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, "1"));
        }
        if let Some(challenge) = self.www_authenticate() {
            response.insert_header((WWW_AUTHENTICATE, challenge));
        }
        // Strings and a number: this cannot fail, and an empty body would still carry the status.
        response.body(serde_json::to_vec(&problem).unwrap_or_default())
    }
}

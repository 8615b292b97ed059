//! The refusal of a caller, as RFC 6750 §3 and RFC 9457 word it, in no framework's words.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
#[cfg(feature = "feed")]
use crate::error::ErrorKind;

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
    Insufficient {
        scope: Option<&'static str>,
        detail: &'static str,
    },
    Request(&'static str),
    /// It is not the token's fault.
    #[cfg(feature = "feed")]
    Unavailable(Error),
    #[cfg(feature = "actix")]
    Internal(&'static str),
}

impl Rejection {
    pub(crate) fn missing(realm: &str) -> Self {
        Self { reason: Reason::Missing, realm: realm.to_owned() }
    }

    pub(crate) fn invalid(realm: &str, error: Error) -> Self {
        let reason = match error.kind() {
            #[cfg(feature = "feed")]
            ErrorKind::Stale => Reason::Unavailable(error),
            _ => Reason::Invalid(error),
        };
        Self { reason, realm: realm.to_owned() }
    }

    pub(crate) fn insufficient(realm: &str, scope: Option<&'static str>, detail: &'static str) -> Self {
        Self { reason: Reason::Insufficient { scope, detail }, realm: realm.to_owned() }
    }

    pub(crate) fn request(realm: &str, detail: &'static str) -> Self {
        Self { reason: Reason::Request(detail), realm: realm.to_owned() }
    }

    #[cfg(feature = "actix")]
    pub(crate) fn internal(detail: &'static str) -> Self {
        Self { reason: Reason::Internal(detail), realm: String::new() }
    }

    /// The stable machine code: `token_missing`, `token_invalid`, `token_expired`, `token_revoked`,
    /// `insufficient_scope`, `invalid_request`, `dependency_unavailable` while it is not known which tokens are revoked,
    /// or `internal` if the application is put together wrongly. More may come.
    pub fn code(&self) -> &'static str {
        match self.reason {
            Reason::Missing => "token_missing",
            Reason::Invalid(error) => error.code(),
            Reason::Insufficient { .. } => "insufficient_scope",
            Reason::Request(_) => "invalid_request",
            #[cfg(feature = "feed")]
            Reason::Unavailable(error) => error.code(),
            #[cfg(feature = "actix")]
            Reason::Internal(_) => "internal",
        }
    }

    /// The HTTP status: 401, 403 for a token that does not suffice, 400 for a request that presents tokens wrongly, 503
    /// while it is not known which tokens are revoked, 500 if the application is put together wrongly.
    pub fn status(&self) -> u16 {
        match self.reason {
            Reason::Missing | Reason::Invalid(_) => 401,
            Reason::Insufficient { .. } => 403,
            Reason::Request(_) => 400,
            #[cfg(feature = "feed")]
            Reason::Unavailable(_) => 503,
            #[cfg(feature = "actix")]
            Reason::Internal(_) => 500,
        }
    }

    /// What is wrong, in words for people. Those of a 500 are for the people of the service.
    pub fn detail(&self) -> &'static str {
        match self.reason {
            Reason::Missing => "the request carries no access token",
            Reason::Invalid(error) => error.reason(),
            Reason::Insufficient { detail, .. } | Reason::Request(detail) => detail,
            #[cfg(feature = "feed")]
            Reason::Unavailable(error) => error.reason(),
            #[cfg(feature = "actix")]
            Reason::Internal(detail) => detail,
        }
    }

    /// The `WWW-Authenticate` challenge (RFC 6750 §3); none where another token would not help.
    ///
    /// A request without a token is told the realm, which is the name of the service, and no error.
    pub fn www_authenticate(&self) -> Option<String> {
        let (error, scope) = match self.reason {
            Reason::Missing => (None, None),
            Reason::Invalid(_) => (Some("invalid_token"), None),
            Reason::Insufficient { scope, .. } => (Some("insufficient_scope"), scope),
            Reason::Request(_) => (Some("invalid_request"), None),
            #[cfg(feature = "feed")]
            Reason::Unavailable(_) => return None,
            #[cfg(feature = "actix")]
            Reason::Internal(_) => return None,
        };
        let mut parameters = vec![("realm", self.realm.as_str())];
        if let Some(error) = error {
            parameters.extend([("error", error), ("error_description", self.detail())]);
        }
        parameters.extend(scope.map(|scope| ("scope", scope)));
        let quoted = parameters.into_iter().map(|(name, value)| format!("{name}=\"{}\"", quotable(value)));
        Some(format!("Bearer {}", quoted.collect::<Vec<_>>().join(", ")))
    }

    /// For `Retry-After`: seconds until another try makes sense, where the fault is not the caller's and will pass.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        match self.reason {
            #[cfg(feature = "feed")]
            Reason::Unavailable(_) => Some(1),
            _ => None,
        }
    }

    /// The body for `application/problem+json` (RFC 9457).
    pub fn problem_json(&self) -> Vec<u8> {
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
            title: match status {
                400 => "Bad Request",
                401 => "Unauthorized",
                403 => "Forbidden",
                503 => "Service Unavailable",
                _ => "Internal Server Error",
            },
            status,
            code: self.code(),
            // How the application is put together is no business of its callers.
            detail: (status != 500).then_some(self.detail()),
        };
        // Strings and a number: this cannot fail, and an empty body would still come with the status.
        serde_json::to_vec(&problem).unwrap_or_default()
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

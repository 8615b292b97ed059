//! The failures of auth-service: the common ones, those that user-service answers a registration or a log-in with,
//! and those of the OAuth endpoints, which RFC 6749, 5.2 gives a form of their own.

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use service_kit::{
    ApiError, Code, Error,
    problem::codes::{OVERLOADED, VALIDATION_FAILED},
};

/// The e-mail address belongs to somebody already.
pub const EMAIL_TAKEN: Code = Code::new(StatusCode::CONFLICT, "email_taken", "E-mail address taken");
/// The user name belongs to somebody already.
pub const USERNAME_TAKEN: Code = Code::new(StatusCode::CONFLICT, "username_taken", "User name taken");
/// The user does not exist or the password is wrong; which of them is not told.
pub const INVALID_CREDENTIALS: Code = Code::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "Invalid credentials");
/// The password is right, but the account has been disabled.
pub const ACCOUNT_DISABLED: Code = Code::new(StatusCode::FORBIDDEN, "account_disabled", "Account disabled");

/// All of them.
pub const ALL: &[Code] = &[EMAIL_TAKEN, USERNAME_TAKEN, INVALID_CREDENTIALS, ACCOUNT_DISABLED];

/// What user-service may answer a registration with that is the client's to see.
pub(crate) const REGISTRATION: &[Code] = &[EMAIL_TAKEN, USERNAME_TAKEN, VALIDATION_FAILED, OVERLOADED];
/// What user-service may answer a log-in with that is the client's to see.
pub(crate) const LOGIN: &[Code] = &[INVALID_CREDENTIALS, ACCOUNT_DISABLED, VALIDATION_FAILED, OVERLOADED];

/// A failure at the token endpoint (RFC 6749, 5.2).
#[derive(Debug, thiserror::Error)]
pub(crate) enum OAuthError {
    /// A parameter is missing, repeated or malformed.
    #[error("{0}")]
    InvalidRequest(String),
    /// The credentials or the refresh token are not taken.
    #[error("{0}")]
    InvalidGrant(&'static str),
    /// The grant type is not one that this server has.
    #[error("This server takes the grant types password and refresh_token.")]
    UnsupportedGrantType,
    /// More was asked for than may be granted.
    #[error("The scope is malformed, or exceeds what may be granted.")]
    InvalidScope,
    /// Anything that is not about the grant.
    #[error(transparent)]
    Other(#[from] Error),
}

#[derive(Serialize)]
struct OAuthBody<'a> {
    error: &'a str,
    error_description: &'a str,
}

impl ResponseError for OAuthError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Other(error) => error.code().status,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let description = self.to_string();
        let (status, error, description) = match self {
            Self::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request", description),
            Self::InvalidGrant(_) => (StatusCode::BAD_REQUEST, "invalid_grant", description),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type", description),
            Self::InvalidScope => (StatusCode::BAD_REQUEST, "invalid_scope", description),
            Self::Other(error) => {
                // A status of its own, and the name that RFC 6749, 4.1.2.1 has for it where there is one.
                let status = error.code().status;
                let name = match status {
                    StatusCode::INTERNAL_SERVER_ERROR => "server_error",
                    StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
                    _ => "invalid_request",
                };
                let problem = service_kit::problem::respond(error);
                let mut response = HttpResponse::build(status);
                if let Some(retry_after) = problem.headers().get(header::RETRY_AFTER) {
                    response.insert_header((header::RETRY_AFTER, retry_after.clone()));
                }
                let description = if status == StatusCode::INTERNAL_SERVER_ERROR {
                    "Something went wrong on our side.".to_owned()
                } else {
                    error.detail()
                };
                return response
                    .insert_header((header::CACHE_CONTROL, "no-store"))
                    .json(OAuthBody { error: name, error_description: &ascii(&description) });
            }
        };
        HttpResponse::build(status)
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(OAuthBody { error, error_description: &ascii(&description) })
    }
}

/// `error_description` is printable ASCII without `"` and `\` (RFC 6749, 5.2).
fn ascii(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' | '\\' => '\'',
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

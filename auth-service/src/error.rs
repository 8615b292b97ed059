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

use crate::app::NAME;

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

/// The errors of the OAuth endpoints, with their statuses: those of RFC 6749, 5.2, and what others are called there.
pub(crate) mod oauth {
    use super::{Code, StatusCode};

    pub(crate) const INVALID_REQUEST: Code =
        Code::new(StatusCode::BAD_REQUEST, "invalid_request", "A parameter is missing, repeated or malformed");
    pub(crate) const INVALID_GRANT: Code =
        Code::new(StatusCode::BAD_REQUEST, "invalid_grant", "The credentials or the refresh token are not taken");
    pub(crate) const INVALID_SCOPE: Code =
        Code::new(StatusCode::BAD_REQUEST, "invalid_scope", "The scope is malformed, or more than may be granted");
    pub(crate) const UNSUPPORTED_GRANT_TYPE: Code =
        Code::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", "The grant type is not one that this server has");
    pub(crate) const UNAUTHORIZED_CLIENT: Code =
        Code::new(StatusCode::BAD_REQUEST, "unauthorized_client", "The token was issued to another client");
    pub(crate) const INVALID_CLIENT: Code =
        Code::new(StatusCode::UNAUTHORIZED, "invalid_client", "The client has not proved who it is");
    pub(crate) const INVALID_TOKEN: Code =
        Code::new(StatusCode::UNAUTHORIZED, "invalid_token", "The access token of the caller is not taken");
    pub(crate) const INSUFFICIENT_SCOPE: Code =
        Code::new(StatusCode::FORBIDDEN, "insufficient_scope", "The access token of the caller does not allow this");
    pub(crate) const BODY_TOO_LARGE: Code =
        Code::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST.name, "The body is too large");
    pub(crate) const OTHER_MEDIA_TYPE: Code =
        Code::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST.name, "The body is of another media type");
    pub(crate) const TOO_MANY_ATTEMPTS: Code = Code::new(
        StatusCode::TOO_MANY_REQUESTS,
        TEMPORARILY_UNAVAILABLE.name,
        "Too many attempts have failed: the header Retry-After says when to try again",
    );
    pub(crate) const SERVER_ERROR: Code =
        Code::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "A fault of the server");
    pub(crate) const TEMPORARILY_UNAVAILABLE: Code = Code::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "There is too much to do, or something is away",
    );
}

/// A failure at an OAuth endpoint (RFC 6749, 5.2).
#[derive(Debug, thiserror::Error)]
pub(crate) enum OAuthError {
    /// A parameter is missing, repeated or malformed.
    #[error("{0}")]
    InvalidRequest(String),
    /// The credentials or the refresh token are not taken.
    #[error("{0}")]
    InvalidGrant(&'static str),
    /// Nobody knows such a client, or this is not its secret, or there is none; which of them is not told.
    #[error("The client is not known, or has not proved who it is.")]
    InvalidClient,
    /// The client has proved who it is, and may not do this.
    #[error("{0}")]
    UnauthorizedClient(&'static str),
    /// The grant type is not one that this server has.
    #[error("This server takes the grant types password, refresh_token and client_credentials.")]
    UnsupportedGrantType,
    /// More was asked for than may be granted.
    #[error("The scope is malformed, or exceeds what may be granted.")]
    InvalidScope,
    /// Anything that is not about the grant.
    #[error(transparent)]
    Other(#[from] Error),
}

impl OAuthError {
    /// For a body that could not be read: a repeated parameter or one of a wrong type makes the request malformed
    /// (RFC 6749, 5.2).
    pub(crate) fn of_body(error: Error) -> Self {
        match error {
            Error::Validation(_) | Error::InvalidRequest(_) => Self::InvalidRequest(error.detail()),
            other => Self::Other(other),
        }
    }
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
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        let mut description = self.to_string();
        let name = match self {
            Self::InvalidRequest(_) => oauth::INVALID_REQUEST.name,
            Self::InvalidGrant(_) => oauth::INVALID_GRANT.name,
            Self::InvalidClient => {
                // Every 401 names a scheme (RFC 9110, 15.5.2), and this one is the scheme for clients.
                response.insert_header((header::WWW_AUTHENTICATE, format!("Basic realm=\"{NAME}\"")));
                oauth::INVALID_CLIENT.name
            }
            Self::UnauthorizedClient(_) => oauth::UNAUTHORIZED_CLIENT.name,
            Self::UnsupportedGrantType => oauth::UNSUPPORTED_GRANT_TYPE.name,
            Self::InvalidScope => oauth::INVALID_SCOPE.name,
            Self::Other(error) => {
                let problem = service_kit::problem::respond(error);
                for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
                    if let Some(value) = problem.headers().get(&name) {
                        response.insert_header((name, value.clone()));
                    }
                }
                description = error.detail();
                match (error, status) {
                    // The names of RFC 6750, 3.1.
                    (Error::Token(_), StatusCode::UNAUTHORIZED) => oauth::INVALID_TOKEN.name,
                    (Error::Token(_), StatusCode::FORBIDDEN) => oauth::INSUFFICIENT_SCOPE.name,
                    // The names of RFC 6749, 4.1.2.1.
                    (_, StatusCode::INTERNAL_SERVER_ERROR) => {
                        "Something went wrong on our side.".clone_into(&mut description);
                        oauth::SERVER_ERROR.name
                    }
                    (_, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => {
                        oauth::TEMPORARILY_UNAVAILABLE.name
                    }
                    _ => oauth::INVALID_REQUEST.name,
                }
            }
        };
        response.json(OAuthBody { error: name, error_description: &ascii(&description) })
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

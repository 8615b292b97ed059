//! The failures that clients of this service can act on.

use actix_web::http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use service_kit::{ApiError, Code, FieldError, db::MaybeUnavailable, validate::Invalid};

/// The codes that only this service has.
pub mod codes {
    use actix_web::http::StatusCode;
    use service_kit::Code;

    /// Another user has this e-mail address.
    pub const EMAIL_TAKEN: Code = Code::new(StatusCode::CONFLICT, "email_taken", "E-mail address taken");
    /// Another user has this user name.
    pub const USERNAME_TAKEN: Code = Code::new(StatusCode::CONFLICT, "username_taken", "User name taken");
    /// There is no such user, or the password is another one.
    pub const INVALID_CREDENTIALS: Code =
        Code::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "Invalid credentials");
    /// The account has been disabled.
    pub const ACCOUNT_DISABLED: Code = Code::new(StatusCode::FORBIDDEN, "account_disabled", "Account disabled");

    /// All of them.
    pub const ALL: &[Code] = &[EMAIL_TAKEN, USERNAME_TAKEN, INVALID_CREDENTIALS, ACCOUNT_DISABLED];
}

/// What a request to this service can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another user has this e-mail address.
    #[error("Another user has this e-mail address.")]
    EmailTaken,
    /// Another user has this user name.
    #[error("Another user has this user name.")]
    UsernameTaken,
    /// An unknown user or a wrong password; which of the two is not told.
    #[error("These are not the credentials of a user.")]
    InvalidCredentials,
    /// The account has been disabled.
    #[error("This account is disabled.")]
    AccountDisabled,
    /// A failure that every service shares.
    #[error(transparent)]
    Kit(#[from] service_kit::Error),
}

impl Error {
    /// One field that cannot be taken.
    pub(crate) fn field(field: &str, invalid: Invalid) -> Self {
        service_kit::Error::field(field, invalid).into()
    }

    /// There is no such user.
    pub(crate) fn not_found() -> Self {
        service_kit::Error::NotFound.into()
    }

    /// A fault of our own.
    pub(crate) fn internal(cause: impl Into<anyhow::Error>) -> Self {
        service_kit::Error::internal(cause).into()
    }
}

impl ApiError for Error {
    fn code(&self) -> Code {
        match self {
            Self::EmailTaken => codes::EMAIL_TAKEN,
            Self::UsernameTaken => codes::USERNAME_TAKEN,
            Self::InvalidCredentials => codes::INVALID_CREDENTIALS,
            Self::AccountDisabled => codes::ACCOUNT_DISABLED,
            Self::Kit(error) => error.code(),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Kit(error) => error.detail(),
            own => own.to_string(),
        }
    }

    fn field_errors(&self) -> &[FieldError] {
        match self {
            Self::Kit(error) => error.field_errors(),
            _ => &[],
        }
    }

    fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Self::Kit(error) => error.retry_after_seconds(),
            _ => None,
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Kit(error) => error.header(),
            // Every 401 names a scheme (RFC 9110, 15.5.2).
            Self::InvalidCredentials => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            _ => None,
        }
    }
}

impl MaybeUnavailable for Error {
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Kit(error) if error.is_unavailable())
    }
}

service_kit::impl_response_error!(Error);

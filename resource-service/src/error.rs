//! The failures of resource-service as its clients see them.

use actix_web::http::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};
use service_kit::{
    ApiError, Code, FieldError,
    db::{MaybeUnavailable, StorageError},
};

/// There is a person with this id already.
pub const PERSON_EXISTS: Code = Code::new(StatusCode::CONFLICT, "person_exists", "Person exists");

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is a person with this id already.
    #[error("There is a person with this id already.")]
    PersonExists,
    /// What can go wrong in every service.
    #[error(transparent)]
    Shared(#[from] service_kit::Error),
}

impl Error {
    /// A fault of our own, with its cause.
    pub(crate) fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        service_kit::Error::internal(cause).into()
    }
}

impl ApiError for Error {
    fn code(&self) -> Code {
        match self {
            Self::PersonExists => PERSON_EXISTS,
            Self::Shared(error) => error.code(),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::PersonExists => self.to_string(),
            Self::Shared(error) => error.detail(),
        }
    }

    fn field_errors(&self) -> &[FieldError] {
        match self {
            Self::PersonExists => &[],
            Self::Shared(error) => error.field_errors(),
        }
    }

    fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Self::PersonExists => None,
            Self::Shared(error) => error.retry_after_seconds(),
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::PersonExists => None,
            Self::Shared(error) => error.header(),
        }
    }
}

impl MaybeUnavailable for Error {
    fn is_unavailable(&self) -> bool {
        match self {
            Self::PersonExists => false,
            Self::Shared(error) => error.is_unavailable(),
        }
    }
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Shared(error.into())
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Shared(error.into())
    }
}

service_kit::impl_response_error!(Error);

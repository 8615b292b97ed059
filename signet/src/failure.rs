//! Why a command ended without having done its work, and the exit code that goes with it.

use std::process::ExitCode;

use service_kit::{ConfigError, server::StartError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The stack does not start, or its configuration is wrong: exit code 1 or 78.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Anything else: exit code 1.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Start(cause) => cause.exit_code(),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(cause: ConfigError) -> Self {
        Self::Start(cause.into())
    }
}

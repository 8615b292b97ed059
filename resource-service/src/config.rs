//! The configuration of resource-service.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service_kit::{
    ConfigError, Secret,
    boot::ServiceConfiguration,
    config::{Configuration, DatabaseConfig, LogConfig, ServerConfig, key_ring, list, optional_path, optional_secret},
};
use shared_claims::{KeyRing, actix::Sources};

/// Everything that can be configured; `config/default.toml` describes each key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, and for whom.
    pub server: ServerConfig,
    /// Where its data is.
    pub database: DatabaseConfig,
    /// The access tokens that it takes.
    pub tokens: TokensConfig,
    /// The persons.
    pub persons: PersonsConfig,
    /// The log.
    pub log: LogConfig,
}

/// The section `tokens`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokensConfig {
    /// The common secret.
    #[serde(default, deserialize_with = "optional_secret")]
    pub secret: Option<Secret>,
    /// Or a JWK Set file.
    #[serde(default, deserialize_with = "optional_path")]
    pub jwks_file: Option<PathBuf>,
    /// `iss`.
    pub issuer: String,
    /// This service's own name in `aud`.
    pub audience: String,
    /// Where access tokens are read from.
    #[serde(deserialize_with = "list")]
    pub sources: Vec<String>,
    /// By how much other clocks may differ.
    pub leeway_seconds: u64,
}

/// The section `persons`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PersonsConfig {
    /// Where an atomic import keeps what it has read; the system's temporary directory unless told.
    #[serde(default, deserialize_with = "optional_path")]
    pub spool_directory: Option<PathBuf>,
}

impl Config {
    /// The ring of keys that tokens are verified with.
    pub fn key_ring(&self) -> Result<KeyRing, ConfigError> {
        key_ring(self.tokens.secret.as_ref(), self.tokens.jwks_file.as_deref())
    }

    /// Where access tokens are read from.
    pub fn token_sources(&self) -> Result<Sources, ConfigError> {
        Sources::from_names(&self.tokens.sources).map_err(|cause| ConfigError::new("tokens.sources", cause))
    }
}

impl Configuration for Config {
    const DEFAULTS: &'static str = include_str!("../config/default.toml");
    const SECRETS: &'static [&'static str] = &["tokens.secret", "database.url"];

    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate()?;
        self.database.validate()?;
        self.key_ring()?;
        self.token_sources()?;
        if self.tokens.issuer.is_empty() {
            return Err(ConfigError::new("tokens.issuer", "must not be empty"));
        }
        if self.tokens.audience.is_empty() {
            return Err(ConfigError::new("tokens.audience", "must not be empty"));
        }
        if self.tokens.leeway_seconds > 30 {
            return Err(ConfigError::new("tokens.leeway_seconds", "must be at most 30"));
        }
        if let Some(directory) = &self.persons.spool_directory
            && !directory.is_dir()
        {
            return Err(ConfigError::new(
                "persons.spool_directory",
                format_args!("names {}, which is not a directory", directory.display()),
            ));
        }
        Ok(())
    }
}

impl ServiceConfiguration for Config {
    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}

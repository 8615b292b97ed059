//! The configuration of resource-service.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service_kit::{
    ConfigError,
    auth_service::ServicesConfig,
    boot::ServiceConfiguration,
    config::{Configuration, DatabaseConfig, LogConfig, ServerConfig, optional_path},
    db::Migrations,
    tokens::TokensConfig,
};

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
    /// The other services.
    pub services: ServicesConfig,
    /// The persons.
    pub persons: PersonsConfig,
    /// The log.
    pub log: LogConfig,
}

/// The section `persons`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PersonsConfig {
    /// Where an atomic import keeps what it has read; the system's temporary directory unless told.
    #[serde(default, deserialize_with = "optional_path")]
    pub spool_directory: Option<PathBuf>,
}

impl Configuration for Config {
    const DEFAULTS: &'static str = include_str!("../config/default.toml");
    const SECRETS: &'static [&'static str] = &["tokens.secret", "services.client_secret", "database.url"];

    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate()?;
        self.database.validate()?;
        self.tokens.validate()?;
        self.services.validate()?;
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
    const MIGRATIONS: Migrations = crate::app::MIGRATIONS;

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}

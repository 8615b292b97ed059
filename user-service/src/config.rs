//! The configuration of the service: every key of `config/default.toml`.

use serde::{Deserialize, Serialize};
use service_kit::{
    ConfigError, Secret,
    auth_service::ServicesConfig,
    boot::ServiceConfiguration,
    config::{Configuration, DatabaseConfig, LogConfig, ServerConfig, list, optional_secret},
    db::Migrations,
    limits,
    tokens::TokensConfig,
};

use crate::domain::{
    password::{COSTS, Password},
    role::Roles,
    user::Email,
};

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and how the service listens.
    pub server: ServerConfig,
    /// The service's own database.
    pub database: DatabaseConfig,
    /// How log lines are written.
    pub log: LogConfig,
    /// Which tokens are taken.
    pub tokens: TokensConfig,
    /// The other services.
    pub services: ServicesConfig,
    /// What new users are given.
    pub users: UsersConfig,
    /// How passwords are hashed.
    pub passwords: PasswordsConfig,
    /// What is held against whoever gets a password wrong.
    pub limits: LimitsConfig,
    /// The first admin.
    pub bootstrap: BootstrapConfig,
}

/// The section `users`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UsersConfig {
    /// The roles of a user who registers.
    #[serde(deserialize_with = "list")]
    pub default_roles: Vec<String>,
}

/// The section `passwords`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordsConfig {
    /// bcrypt's cost.
    pub cost: u32,
    /// Keys the passwords before they are hashed.
    #[serde(default, deserialize_with = "optional_secret")]
    pub pepper: Option<Secret>,
    /// Threads that hash; 0 for one per core.
    pub permits: usize,
    /// Passwords that may wait for a thread.
    pub queue_length: usize,
    /// Milliseconds that a password may wait.
    pub queue_deadline_ms: u64,
}

/// The section `limits`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Failures of one account from one address before it has to wait.
    pub failures_before_delay: u32,
    /// The longest that it has to wait, in seconds.
    pub longest_delay_seconds: u32,
}

impl LimitsConfig {
    /// Whoever changes a password is logged in: there is nothing to be tried with many accounts or from everywhere.
    pub(crate) fn for_one_account(self) -> limits::LimitsConfig {
        limits::LimitsConfig {
            failures_before_delay: self.failures_before_delay,
            longest_delay_seconds: self.longest_delay_seconds,
            failures_per_address: 0,
            failures_per_address_forgiven_per_minute: 1,
            failures_per_account: 0,
            failures_per_account_forgiven_per_hour: 1,
        }
    }
}

/// The section `bootstrap`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapConfig {
    /// The e-mail address of the admin that is made when there is none; empty for no such admin.
    pub admin_email: String,
    /// That admin's password.
    #[serde(default, deserialize_with = "optional_secret")]
    pub admin_password: Option<Secret>,
}

impl Configuration for Config {
    const DEFAULTS: &'static str = include_str!("../config/default.toml");
    const SECRETS: &'static [&'static str] =
        &["database.url", "tokens.secret", "services.client_secret", "passwords.pepper", "bootstrap.admin_password"];

    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate()?;
        self.limits.for_one_account().validate()?;
        self.database.validate()?;
        self.tokens.validate()?;
        self.services.validate()?;
        self.users.roles()?;
        self.passwords.validate()?;
        self.bootstrap.admin().map(drop)
    }
}

impl ServiceConfiguration for Config {
    const MIGRATIONS: Migrations = crate::storage::MIGRATIONS;

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}

impl UsersConfig {
    pub(crate) fn roles(&self) -> Result<Roles, ConfigError> {
        Roles::parse(&self.default_roles)
            .map_err(|invalid| ConfigError::new("users.default_roles", format_args!("cannot be taken: {invalid}")))
    }
}

impl PasswordsConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if !COSTS.contains(&self.cost) {
            let problem = format!("must be from {} to {}", COSTS.start(), COSTS.end());
            return Err(ConfigError::new("passwords.cost", problem));
        }
        if self.pepper.as_ref().is_some_and(|pepper| pepper.expose().len() < 32) {
            return Err(ConfigError::new("passwords.pepper", "must have at least 32 bytes, or be empty"));
        }
        if self.permits > 1024 {
            return Err(ConfigError::new("passwords.permits", "must be 1024 at most"));
        }
        if !(1..=100_000).contains(&self.queue_length) {
            return Err(ConfigError::new("passwords.queue_length", "must be from 1 to 100000"));
        }
        if !(1..=600_000).contains(&self.queue_deadline_ms) {
            return Err(ConfigError::new("passwords.queue_deadline_ms", "must be from 1 to 600000"));
        }
        Ok(())
    }

    /// How many threads hash.
    pub(crate) fn thread_count(&self) -> usize {
        match self.permits {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            permits => permits,
        }
    }
}

impl BootstrapConfig {
    /// The admin to make when there is none.
    pub(crate) fn admin(&self) -> Result<Option<(Email, Password)>, ConfigError> {
        let (email, password) = match (self.admin_email.is_empty(), &self.admin_password) {
            (true, None) => return Ok(None),
            (false, None) => return Err(ConfigError::new("bootstrap.admin_password", "must be set for this admin")),
            (true, Some(_)) => return Err(ConfigError::new("bootstrap.admin_email", "must be set for this admin")),
            (false, Some(password)) => (&self.admin_email, password),
        };
        let refuse = |key: &str, invalid| ConfigError::new(key, format_args!("cannot be taken: {invalid}"));
        let email = Email::parse(email).map_err(|invalid| refuse("bootstrap.admin_email", invalid))?;
        let password =
            Password::parse(password.clone()).map_err(|invalid| refuse("bootstrap.admin_password", invalid))?;
        Ok(Some((email, password)))
    }
}

//! The configuration of the stack: the keys of all services once each, and how each service's own comes of them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use auth_service::config::{RefreshConfig, SessionsConfig};
use serde::{Deserialize, Serialize};
use service_kit::{
    ConfigError, Secret,
    config::{Configuration, DatabaseConfig, LogConfig, ServerConfig, Sources},
    keys::{KeyUse, Keys},
};

use crate::{
    cli::Globals,
    secrets::{StoredSecrets, Wanted},
    stack::StackConfig,
};

/// The names that tokens call the services by.
pub(crate) const SERVICES: [&str; 3] = ["auth-service", "user-service", "resource-service"];

/// Everything that can be configured; `config/default.toml` describes each key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpConfig {
    /// Where the one origin listens, and for whom.
    pub server: ServerConfig,
    /// Where the services' data is.
    pub database: DatabaseConfig,
    /// The access tokens.
    pub tokens: auth_service::config::TokensConfig,
    /// The refresh tokens.
    pub refresh: RefreshConfig,
    /// How long a session lives.
    pub sessions: SessionsConfig,
    /// The audit log.
    pub audit: auth_service::config::AuditConfig,
    /// What is held against whoever gets passwords wrong.
    pub limits: service_kit::limits::LimitsConfig,
    /// The scopes that each role gives, space-separated.
    pub roles: BTreeMap<String, String>,
    /// What new users are given.
    pub users: user_service::UsersConfig,
    /// How passwords are hashed.
    pub passwords: user_service::PasswordsConfig,
    /// The first admin.
    pub bootstrap: user_service::BootstrapConfig,
    /// The persons.
    pub persons: resource_service::PersonsConfig,
    /// Services elsewhere.
    pub services: ServicesConfig,
    /// The log.
    pub log: LogConfig,
}

/// The section `services`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServicesConfig {
    /// Where auth-service is; empty for the stack's own.
    pub auth_url: String,
    /// Where user-service is; empty for the stack's own.
    pub user_url: String,
    /// How long user-service has for an answer.
    pub timeout_ms: u64,
    /// Calls in a row without an answer after which it is left alone; 0 for any number.
    pub circuit_failures: u32,
}

impl Configuration for UpConfig {
    const DEFAULTS: &'static str = include_str!("../config/default.toml");
    const SECRETS: &'static [&'static str] = &[
        "database.url",
        "tokens.secret",
        "refresh.secret",
        "refresh.previous_secret",
        "passwords.pepper",
        "bootstrap.admin_password",
    ];

    /// What concerns the stack as a whole. The rest is for the services to say, once the secrets are there.
    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate()?;
        if !self.database.url.expose().contains("{service}") {
            return Err(ConfigError::new(
                "database.url",
                "must hold {service}, which stands for auth, user and resource: services never share a database",
            ));
        }
        for service in SERVICES {
            if !self.tokens.audience.iter().any(|name| name == service) {
                return Err(ConfigError::new("tokens.audience", format_args!("must hold \"{service}\"")));
            }
        }
        Ok(())
    }
}

impl UpConfig {
    /// The secrets that are not set.
    pub(crate) fn wanted_secrets(&self) -> Wanted {
        Wanted { refresh: self.refresh.secret.is_none(), pepper: self.passwords.pepper.is_none() }
    }

    /// Whether no keys for access tokens are set.
    pub(crate) fn wants_keys(&self) -> bool {
        self.tokens.secret.is_none() && self.tokens.jwks_file.is_none()
    }

    /// Takes the secrets that are not set from those that were made at the first start.
    pub(crate) fn take(&mut self, stored: StoredSecrets) {
        let wanted = self.wanted_secrets();
        if self.wants_keys() {
            self.tokens.secret = stored.tokens;
        }
        if wanted.refresh {
            self.refresh.secret = stored.refresh;
        }
        if wanted.pepper {
            self.passwords.pepper = stored.pepper;
        }
    }

    /// The keys for access tokens.
    pub(crate) fn keys(&self) -> Result<Keys, ConfigError> {
        Keys::load(self.tokens.secret.as_ref(), self.tokens.jwks_file.as_deref(), KeyUse::Sign)
    }

    /// The configuration of each service of the stack.
    pub fn for_stack(&self, data_dir: &Path) -> StackConfig {
        let Self { tokens, .. } = self;
        // The ring of a stack can sign, so its services sign their own service tokens.
        let services = service_kit::auth_service::ServicesConfig {
            auth_url: self.services.auth_url.clone(),
            client_id: String::new(),
            client_secret: None,
        };
        let taken_by = |audience: &str| service_kit::tokens::TokensConfig {
            secret: tokens.secret.clone(),
            jwks_file: tokens.jwks_file.clone(),
            issuer: tokens.issuer.clone(),
            audience: audience.to_owned(),
            sources: tokens.sources.clone(),
            leeway_seconds: tokens.leeway_seconds,
            when_feed_is_stale: tokens.when_feed_is_stale,
            feed_stale_after_seconds: tokens.feed_stale_after_seconds,
        };
        StackConfig {
            origin: self.server.clone(),
            auth: auth_service::Config {
                server: self.own_port(),
                database: self.database_of("auth", data_dir),
                tokens: tokens.clone(),
                refresh: self.refresh.clone(),
                sessions: self.sessions,
                audit: self.audit,
                limits: self.limits,
                services: auth_service::config::ServicesConfig {
                    user_url: self.services.user_url.clone(),
                    timeout_ms: self.services.timeout_ms,
                    circuit_failures: self.services.circuit_failures,
                },
                roles: self.roles.clone(),
                log: self.log,
            },
            user: user_service::Config {
                server: self.own_port(),
                database: self.database_of("user", data_dir),
                log: self.log,
                tokens: taken_by("user-service"),
                services: services.clone(),
                users: self.users.clone(),
                passwords: self.passwords.clone(),
                limits: user_service::LimitsConfig {
                    failures_before_delay: self.limits.failures_before_delay,
                    longest_delay_seconds: self.limits.longest_delay_seconds,
                },
                bootstrap: self.bootstrap.clone(),
            },
            resource: resource_service::Config {
                server: self.own_port(),
                database: self.database_of("resource", data_dir),
                tokens: taken_by("resource-service"),
                services,
                persons: self.persons.clone(),
                log: self.log,
            },
        }
    }

    /// A service's own port carries only what the services have to tell each other.
    fn own_port(&self) -> ServerConfig {
        ServerConfig { workers: 1, ..self.server.clone() }
    }

    /// Whether the databases are files in the data directory.
    pub(crate) fn keeps_databases_in_data_dir(&self) -> bool {
        self.database.url.expose().contains("{data_dir}")
    }

    /// The database of a service.
    pub(crate) fn database_of(&self, service: &str, data_dir: &Path) -> DatabaseConfig {
        let url = self.database.url.expose().replace("{service}", service);
        let url = url.replace("{data_dir}", &data_dir.to_string_lossy());
        DatabaseConfig { url: Secret::from(url), ..self.database.clone() }
    }
}

/// Where the configuration of the stack on this machine comes from.
pub(crate) fn sources(globals: &Globals, bind: Option<SocketAddr>) -> Sources {
    let mut sources = Sources::from_process(globals.config.clone());
    sources.overrides.extend(bind.map(|bind| ("server.bind".to_owned(), bind.to_string())));
    sources
}

/// The token that the operator has put into `SIGNET_TOKEN`. It is no option: others can see a process's arguments.
#[allow(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub(crate) fn operator_token() -> Option<String> {
    std::env::var("SIGNET_TOKEN").ok().filter(|token| !token.is_empty())
}

/// Where programs keep what they have configured for the user who runs them: `$XDG_CONFIG_HOME`, else `~/.config`.
#[allow(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub(crate) fn user_config_directory() -> Option<PathBuf> {
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")))
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use crate::output::Format;

    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<UpConfig, ConfigError> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { environment, ..Sources::default() }.load()
    }

    fn keys(defaults: &str) -> BTreeMap<String, Value> {
        let table: Table = defaults.parse().unwrap();
        table
            .into_iter()
            .flat_map(|(section, keys)| {
                let Value::Table(keys) = keys else { panic!("{section} is no section") };
                keys.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value))
            })
            .collect()
    }

    #[test]
    fn every_key_of_every_service_is_a_key_of_the_stack_with_the_same_default() {
        /// What the stack sees to itself.
        const OTHERWISE: [&str; 7] = [
            "server.bind",
            "tokens.issuer",
            "database.url",
            "tokens.audience",
            "services.auth_url",
            "services.user_url",
            "bootstrap.admin_email",
        ];
        /// What it has no use for: its services sign their own service tokens.
        const UNUSED: [&str; 2] = ["services.client_id", "services.client_secret"];
        let ours = keys(UpConfig::DEFAULTS);
        let mut theirs = BTreeMap::new();
        for defaults in
            [auth_service::Config::DEFAULTS, user_service::Config::DEFAULTS, resource_service::Config::DEFAULTS]
        {
            theirs.extend(keys(defaults));
        }
        for key in UNUSED {
            theirs.remove(key).unwrap();
        }
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (key, value) in &theirs {
            assert!(OTHERWISE.contains(&key.as_str()) || ours[key] == *value, "{key}: {:?}, not {value:?}", ours[key]);
        }
    }

    #[test]
    fn every_default_has_a_comment_above_it() {
        let lines: Vec<&str> = UpConfig::DEFAULTS.lines().collect();
        for section in lines.split(|line| line.is_empty()).filter(|section| section[0].starts_with('[')) {
            assert!(section[1].starts_with("# "), "{}", section[0]);
        }
    }

    #[test]
    fn each_service_gets_a_database_of_its_own() {
        let config = load(&[]).unwrap();
        let stack = config.for_stack(Path::new("/srv/data"));
        assert_eq!(stack.auth.database.url.expose(), "sqlite:/srv/data/auth.db");
        assert_eq!(stack.user.database.url.expose(), "sqlite:/srv/data/user.db");
        assert_eq!(stack.resource.database.url.expose(), "sqlite:/srv/data/resource.db");

        let config = load(&[("SIGNET__DATABASE__URL", "postgres://ada@db/signet_{service}")]).unwrap();
        assert_eq!(config.database_of("auth", Path::new("x")).url.expose(), "postgres://ada@db/signet_auth");

        for shared in ["sqlite:all.db", "postgres://ada@db/signet"] {
            let refusal = load(&[("SIGNET__DATABASE__URL", shared)]).unwrap_err().to_string();
            assert!(refusal.contains("database.url") && refusal.contains("never share"), "{refusal}");
        }
    }

    #[test]
    fn a_token_that_a_service_would_not_take_is_refused_in_advance() {
        let refusal = load(&[("SIGNET__TOKENS__AUDIENCE", "auth-service,user-service")]).unwrap_err().to_string();
        assert!(refusal.contains("tokens.audience") && refusal.contains("resource-service"), "{refusal}");
        load(&[("SIGNET__TOKENS__AUDIENCE", "auth-service,user-service,resource-service,orders")]).unwrap();
    }

    #[test]
    fn what_is_configured_wins_over_what_was_made_at_the_first_start() {
        let stored = || StoredSecrets {
            tokens: Some(Secret::from("stored tokens".to_owned())),
            refresh: Some(Secret::from("stored refresh".to_owned())),
            pepper: Some(Secret::from("stored pepper".to_owned())),
        };
        let mut config = load(&[]).unwrap();
        assert!(config.wants_keys());
        assert_eq!(config.wanted_secrets(), Wanted { refresh: true, pepper: true });
        config.take(stored());
        assert_eq!(config.tokens.secret.unwrap().expose(), "stored tokens");
        assert_eq!(config.refresh.secret.unwrap().expose(), "stored refresh");
        assert_eq!(config.passwords.pepper.unwrap().expose(), "stored pepper");

        let mut config =
            load(&[("SIGNET__TOKENS__JWKS_FILE", "ring.json"), ("SIGNET__PASSWORDS__PEPPER", "configured")]).unwrap();
        assert!(!config.wants_keys());
        assert_eq!(config.wanted_secrets(), Wanted { refresh: true, pepper: false });
        config.take(stored());
        assert!(config.tokens.secret.is_none());
        assert_eq!(config.passwords.pepper.unwrap().expose(), "configured");
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let globals = Globals { data_dir: PathBuf::from("data"), config: None, output: Format::Human };
        let mut sources = sources(&globals, Some("127.0.0.1:9999".parse().unwrap()));
        sources.environment = vec![("SIGNET__SERVER__BIND".into(), "127.0.0.1:7777".into())];
        assert_eq!(sources.load::<UpConfig>().unwrap().server.bind.port(), 9999);
    }
}

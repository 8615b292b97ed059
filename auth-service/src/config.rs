//! The configuration of auth-service.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use service_kit::{
    Clock, ConfigError, Secret,
    boot::ServiceConfiguration,
    config::{Configuration, DatabaseConfig, LogConfig, ServerConfig, list, optional_path, optional_secret},
    db::Migrations,
    keys::{KeyUse, Keys},
    limits::LimitsConfig,
    peer::INTERNAL_SCOPE,
    tokens::{Expectations, TokenAcceptance, WhenFeedIsStale},
};
use shared_claims::{
    KeyRing, Verifier,
    feed::{RevocationList, SERVICE_TOKEN_TTL_SECONDS},
};

use crate::domain::{RefreshKeys, RoleScopes, SessionPolicy};

/// Everything that can be configured; `config/default.toml` describes each key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens, and for whom.
    pub server: ServerConfig,
    /// Where its data is.
    pub database: DatabaseConfig,
    /// The access tokens that it issues and takes.
    pub tokens: TokensConfig,
    /// The refresh tokens.
    pub refresh: RefreshConfig,
    /// How long a session lives.
    pub sessions: SessionsConfig,
    /// The audit log.
    pub audit: AuditConfig,
    /// What is held against whoever gets passwords wrong.
    pub limits: LimitsConfig,
    /// The other services.
    pub services: ServicesConfig,
    /// The scopes that each role gives, space-separated.
    pub roles: BTreeMap<String, String>,
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
    /// `aud` of users' tokens.
    #[serde(deserialize_with = "list")]
    pub audience: Vec<String>,
    /// How long an access token lives.
    pub access_ttl_seconds: u32,
    /// Where access tokens are read from.
    #[serde(deserialize_with = "list")]
    pub sources: Vec<String>,
    /// By how much other clocks may differ.
    pub leeway_seconds: u64,
    /// What becomes of tokens when it is not known any more which are revoked.
    pub when_feed_is_stale: WhenFeedIsStale,
    /// Seconds without news of revocations after which that is so.
    pub feed_stale_after_seconds: u64,
}

/// The section `refresh`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshConfig {
    /// The secret under refresh tokens.
    #[serde(default, deserialize_with = "optional_secret")]
    pub secret: Option<Secret>,
    /// The one before it.
    #[serde(default, deserialize_with = "optional_secret")]
    pub previous_secret: Option<Secret>,
    /// How long the previous token brings the same answer again.
    pub replay_window_seconds: u32,
}

/// The section `sessions`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsConfig {
    /// How long a session lives without a refresh.
    pub idle_seconds: u32,
    /// How long it lives at most.
    pub absolute_seconds: u32,
}

/// The section `audit`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// How long a record is kept.
    pub keep_days: u32,
}

/// The section `services`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServicesConfig {
    /// Where user-service is.
    pub user_url: String,
    /// How long it has for an answer.
    pub timeout_ms: u64,
    /// Calls in a row without an answer after which it is left alone; 0 for any number.
    pub circuit_failures: u32,
}

impl Config {
    /// The keys for access tokens; the first can sign.
    pub fn keys(&self) -> Result<Keys, ConfigError> {
        Keys::load(self.tokens.secret.as_ref(), self.tokens.jwks_file.as_deref(), KeyUse::Sign)
    }

    /// The ring of keys for refresh tokens.
    pub fn refresh_keys(&self) -> Result<RefreshKeys, ConfigError> {
        let secret = self.refresh.secret.as_ref().ok_or_else(|| {
            ConfigError::new(
                "refresh.secret",
                "must be set: at least 32 bytes, for auth-service alone; `signet secret generate` makes one",
            )
        })?;
        if self.tokens.secret.as_ref().is_some_and(|common| common.expose() == secret.expose()) {
            return Err(ConfigError::new(
                "refresh.secret",
                "must not be the common secret tokens.secret: every service holds that one",
            ));
        }
        let strong = |key: &str, secret: &Secret| {
            KeyRing::from_secret(secret.expose().as_bytes())
                .map(drop)
                .map_err(|cause| ConfigError::new(key, format_args!("cannot be taken: {cause}")))
        };
        strong("refresh.secret", secret)?;
        if let Some(previous) = &self.refresh.previous_secret {
            strong("refresh.previous_secret", previous)?;
        }
        Ok(RefreshKeys::new(
            secret.expose().as_bytes(),
            self.refresh.previous_secret.as_ref().map(|previous| previous.expose().as_bytes()),
        ))
    }

    /// The access tokens that it takes itself; those that the list revokes are refused.
    pub fn token_acceptance(
        &self,
        keys: &Keys,
        revocations: RevocationList,
        clock: Clock,
    ) -> Result<TokenAcceptance, ConfigError> {
        let tokens = &self.tokens;
        let expectations = Expectations {
            issuer: &tokens.issuer,
            audience: crate::app::NAME,
            leeway_seconds: tokens.leeway_seconds,
            sources: &tokens.sources,
            when_feed_is_stale: tokens.when_feed_is_stale,
            feed_stale_after_seconds: tokens.feed_stale_after_seconds,
        };
        TokenAcceptance::new(keys, Some(revocations), expectations, clock)
    }

    /// Checks tokens as [`Config::token_acceptance`] does, but for their revocation, which is asked of the database.
    pub fn inspector(&self, keys: &Keys) -> Result<Verifier, ConfigError> {
        Verifier::builder(keys.ring().clone())
            .issuer(&self.tokens.issuer)
            .audience(crate::app::NAME)
            .leeway_seconds(self.tokens.leeway_seconds)
            .build()
            .map_err(|cause| ConfigError::new("tokens.leeway_seconds", cause))
    }

    /// The issuer as the URL that the endpoints are under (RFC 8414, 2).
    pub fn issuer_url(&self) -> Result<reqwest::Url, ConfigError> {
        reqwest::Url::parse(&self.tokens.issuer)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .filter(|url| url.query().is_none() && url.fragment().is_none())
            .ok_or_else(|| {
                ConfigError::new(
                    "tokens.issuer",
                    "must be a URL such as https://id.example, without a query and a fragment",
                )
            })
    }

    /// The scopes that roles give.
    pub fn role_scopes(&self) -> Result<RoleScopes, ConfigError> {
        let internal = self.roles.iter().find(|(_, scopes)| scopes.split(' ').any(|scope| scope == INTERNAL_SCOPE));
        if let Some((role, _)) = internal {
            return Err(ConfigError::new(
                &format!("roles.{role}"),
                format_args!("must not give {INTERNAL_SCOPE}, which is for services alone"),
            ));
        }
        RoleScopes::parse(&self.roles).map_err(|role| {
            ConfigError::new(
                &format!("roles.{role}"),
                "must be scopes with spaces between them, such as \"persons:read persons:write\"",
            )
        })
    }

    /// No token lives for longer: neither those that it issues nor those that services make for themselves.
    pub fn longest_ttl_seconds(&self) -> u64 {
        u64::from(self.tokens.access_ttl_seconds).max(SERVICE_TOKEN_TTL_SECONDS)
    }

    /// How sessions live.
    pub fn session_policy(&self) -> SessionPolicy {
        SessionPolicy {
            replay_window_seconds: i64::from(self.refresh.replay_window_seconds),
            idle_seconds: i64::from(self.sessions.idle_seconds),
            absolute_seconds: i64::from(self.sessions.absolute_seconds),
        }
    }
}

impl Configuration for Config {
    const DEFAULTS: &'static str = include_str!("../config/default.toml");
    const SECRETS: &'static [&'static str] =
        &["database.url", "tokens.secret", "refresh.secret", "refresh.previous_secret"];

    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate()?;
        self.database.validate()?;
        self.token_acceptance(&self.keys()?, RevocationList::new(), Clock::system())?;
        self.issuer_url()?;
        self.limits.validate()?;
        self.refresh_keys()?;
        self.role_scopes()?;
        let bounds = |key: &str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::new(key, format_args!("must be between {least} and {most}")))
            }
        };
        bounds("tokens.access_ttl_seconds", self.tokens.access_ttl_seconds, 10, 86_400)?;
        bounds("refresh.replay_window_seconds", self.refresh.replay_window_seconds, 0, 600)?;
        bounds("sessions.idle_seconds", self.sessions.idle_seconds, 60, 315_360_000)?;
        bounds("sessions.absolute_seconds", self.sessions.absolute_seconds, 60, 315_360_000)?;
        bounds("audit.keep_days", self.audit.keep_days, 1, 36_500)?;
        if !(100..=60_000).contains(&self.services.timeout_ms) {
            return Err(ConfigError::new("services.timeout_ms", "must be between 100 and 60000"));
        }
        if !self.tokens.audience.iter().any(|name| name == crate::app::NAME) {
            return Err(ConfigError::new(
                "tokens.audience",
                format_args!("must hold \"{}\", or nobody could log out", crate::app::NAME),
            ));
        }
        Ok(())
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

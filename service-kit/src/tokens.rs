//! How a service takes access tokens: its keys, what it expects of a token, and where it looks for one.

use std::{path::PathBuf, sync::Arc};

use actix_web::{
    Scope,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::Condition,
    web,
};
use serde::{Deserialize, Serialize};
use shared_claims::{
    Verifier,
    actix::{BearerConfig, FormToken, Sources},
};

use crate::{
    Clock, Error, Secret,
    config::{ConfigError, list, optional_path, optional_secret},
    keys::{KeyUse, Keys},
};

/// The section `tokens` of a service that takes tokens and issues none to users.
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

impl TokensConfig {
    /// The keys that tokens are verified with and, where they can, service tokens signed.
    pub fn keys(&self) -> Result<Keys, ConfigError> {
        Keys::load(self.secret.as_ref(), self.jwks_file.as_deref(), KeyUse::Verify)
    }

    /// What the section asks for.
    pub fn acceptance(&self, keys: &Keys, clock: Clock) -> Result<TokenAcceptance, ConfigError> {
        TokenAcceptance::new(keys, &self.issuer, &self.audience, self.leeway_seconds, &self.sources, clock)
    }

    /// Checks the section.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.acceptance(&self.keys()?, Clock::system()).map(drop)
    }
}

/// Which tokens a service takes, and from where.
#[derive(Clone, Debug)]
pub struct TokenAcceptance {
    verifier: web::Data<Verifier>,
    bearer: BearerConfig,
    form: bool,
}

impl TokenAcceptance {
    /// Takes tokens of this issuer, for this audience, under one of these keys.
    pub fn new(
        keys: &Keys,
        issuer: &str,
        audience: &str,
        leeway_seconds: u64,
        sources: &[String],
        clock: Clock,
    ) -> Result<Self, ConfigError> {
        let sources = Sources::from_names(sources).map_err(|cause| ConfigError::new("tokens.sources", cause))?;
        if issuer.is_empty() {
            return Err(ConfigError::new("tokens.issuer", "must be set"));
        }
        if audience.is_empty() {
            return Err(ConfigError::new("tokens.audience", "must be set"));
        }
        let verifier = Verifier::builder(keys.ring().clone())
            .issuer(issuer)
            .audience(audience)
            .leeway_seconds(leeway_seconds)
            .clock(Arc::new(move || clock.now().as_seconds()))
            .build()
            .map_err(|_| ConfigError::new("tokens.leeway_seconds", "must be 30 at most"))?;
        Ok(Self {
            verifier: web::Data::new(verifier),
            bearer: BearerConfig::default().sources(sources).on_reject(|rejection, _| Error::from(rejection).into()),
            form: sources.form,
        })
    }

    /// Lets the handlers of a scope demand tokens with `Authorized`.
    pub fn guard<T, B>(
        &self,
        scope: Scope<T>,
    ) -> Scope<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<T, B>>,
            Error = actix_web::Error,
            InitError = (),
        > + use<T, B>,
    >
    where
        T: ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse<B>,
                Error = actix_web::Error,
                InitError = (),
            > + 'static,
        B: MessageBody + 'static,
    {
        scope.app_data(self.verifier.clone()).app_data(self.bearer.clone()).wrap(Condition::new(self.form, FormToken))
    }
}

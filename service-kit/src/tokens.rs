//! How a service takes access tokens: its keys, what it expects of a token, and where it looks for one.

use std::{path::PathBuf, sync::Arc};

use actix_web::{
    HttpMessage as _, Scope,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::Condition,
    web,
};
use serde::{Deserialize, Serialize};
use shared_claims::{
    Verifier,
    actix::{BearerConfig, FormToken, Sources},
    feed::{RevocationList, WhenStale},
};

use crate::{
    Clock, Error, Secret,
    config::{ConfigError, list, optional_path, optional_secret},
    http::Subject,
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
    /// What becomes of tokens when it is not known any more which are revoked.
    pub when_feed_is_stale: WhenFeedIsStale,
    /// Seconds without news of revocations after which that is so.
    pub feed_stale_after_seconds: u64,
}

/// What becomes of tokens when it is not known any more which are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum WhenFeedIsStale {
    /// They are taken until they expire.
    Allow,
    /// They are refused, with 503.
    Refuse,
}

impl TryFrom<String> for WhenFeedIsStale {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "allow" => Ok(Self::Allow),
            "refuse" => Ok(Self::Refuse),
            _ => Err("it must be allow or refuse"),
        }
    }
}

impl From<WhenFeedIsStale> for WhenStale {
    fn from(choice: WhenFeedIsStale) -> Self {
        match choice {
            WhenFeedIsStale::Allow => Self::Allow,
            WhenFeedIsStale::Refuse => Self::Refuse,
        }
    }
}

impl TokensConfig {
    /// The keys that tokens are verified with and, where they can, service tokens signed.
    pub fn keys(&self) -> Result<Keys, ConfigError> {
        Keys::load(self.secret.as_ref(), self.jwks_file.as_deref(), KeyUse::Verify)
    }

    /// What the section asks for; with a list, tokens that it revokes are refused.
    pub fn acceptance(
        &self,
        keys: &Keys,
        revocations: Option<RevocationList>,
        clock: Clock,
    ) -> Result<TokenAcceptance, ConfigError> {
        let expectations = Expectations {
            issuer: &self.issuer,
            audience: &self.audience,
            leeway_seconds: self.leeway_seconds,
            sources: &self.sources,
            when_feed_is_stale: self.when_feed_is_stale,
            feed_stale_after_seconds: self.feed_stale_after_seconds,
        };
        TokenAcceptance::new(keys, revocations, expectations, clock)
    }

    /// Checks the section.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.acceptance(&self.keys()?, Some(RevocationList::new()), Clock::system()).map(drop)
    }
}

/// What a service expects of a token.
#[derive(Clone, Copy, Debug)]
pub struct Expectations<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// The service's own name in `aud`.
    pub audience: &'a str,
    /// By how much other clocks may differ.
    pub leeway_seconds: u64,
    /// Where tokens are read from.
    pub sources: &'a [String],
    /// What becomes of tokens when it is not known any more which are revoked.
    pub when_feed_is_stale: WhenFeedIsStale,
    /// Seconds without news of revocations after which that is so.
    pub feed_stale_after_seconds: u64,
}

/// Which tokens a service takes, and from where.
#[derive(Clone, Debug)]
pub struct TokenAcceptance {
    verifier: web::Data<Verifier>,
    bearer: BearerConfig,
    form: bool,
}

/// The longest that a service may be without news of revocations before it says so.
const MOST_STALE_SECONDS: u64 = 3_600;

impl TokenAcceptance {
    /// Takes tokens of this issuer, for this audience, under one of these keys, unless the list revokes them.
    pub fn new(
        keys: &Keys,
        revocations: Option<RevocationList>,
        expectations: Expectations<'_>,
        clock: Clock,
    ) -> Result<Self, ConfigError> {
        let Expectations { issuer, audience, leeway_seconds, feed_stale_after_seconds, .. } = expectations;
        let sources =
            Sources::from_names(expectations.sources).map_err(|cause| ConfigError::new("tokens.sources", cause))?;
        if issuer.is_empty() {
            return Err(ConfigError::new("tokens.issuer", "must be set"));
        }
        if audience.is_empty() {
            return Err(ConfigError::new("tokens.audience", "must be set"));
        }
        if !(2..=MOST_STALE_SECONDS).contains(&feed_stale_after_seconds) {
            let problem = format_args!("must be between 2 and {MOST_STALE_SECONDS}");
            return Err(ConfigError::new("tokens.feed_stale_after_seconds", problem));
        }
        let mut verifier = Verifier::builder(keys.ring().clone())
            .issuer(issuer)
            .audience(audience)
            .leeway_seconds(leeway_seconds)
            .when_stale(expectations.when_feed_is_stale.into())
            .stale_after_seconds(feed_stale_after_seconds)
            .clock(Arc::new(move || clock.now().as_seconds()));
        if let Some(revocations) = revocations {
            verifier = verifier.revocations(revocations);
        }
        let verifier = verifier.build().map_err(|_| ConfigError::new("tokens.leeway_seconds", "must be 30 at most"))?;
        Ok(Self {
            verifier: web::Data::new(verifier),
            bearer: BearerConfig::default()
                .sources(sources)
                .on_reject(|rejection, _| Error::from(rejection).into())
                .on_accept(|claims, request| {
                    if log::log_enabled!(target: "access", log::Level::Info) {
                        request.extensions_mut().insert(Subject(claims.sub.clone()));
                    }
                }),
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

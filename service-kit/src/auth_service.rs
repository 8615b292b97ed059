//! auth-service as the other services know it: where it is, what they show to it, and its feed of revocations.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use shared_claims::{
    LiveKeyRing,
    feed::{Follower, RevocationList, SetupError, TokenSource},
};
use url::Url;

use crate::{
    Clock, Secret,
    config::{ConfigError, optional_secret},
    health::Finding,
    keys::Keys,
    peer::Peer,
    server::Shutdown,
    tokens::TokensConfig,
};

/// The name that service tokens for auth-service have in `aud`.
pub const NAME: &str = "auth-service";

const URL_KEY: &str = "services.auth_url";

/// The section `services` of a service that takes tokens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServicesConfig {
    /// The base URL of auth-service; empty for none.
    pub auth_url: String,
    /// The client that this service is at auth-service; empty if it signs its service tokens itself.
    pub client_id: String,
    /// That client's secret.
    #[serde(default, deserialize_with = "optional_secret")]
    pub client_secret: Option<Secret>,
}

impl ServicesConfig {
    /// Checks the section.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.auth_url.is_empty() && !is_base_url(&self.auth_url) {
            return Err(refuse(SetupError::Url));
        }
        match (self.client_id.is_empty(), &self.client_secret) {
            (false, None) => Err(ConfigError::new("services.client_secret", "must be set for services.client_id")),
            (true, Some(_)) => Err(ConfigError::new("services.client_id", "must be set for services.client_secret")),
            _ => Ok(()),
        }
    }
}

/// How a service reaches auth-service.
#[derive(Clone, Debug)]
pub struct AuthService {
    url: String,
    /// The service that we are.
    name: &'static str,
    tokens: TokenSource,
    revoked: RevocationList,
    ring: LiveKeyRing,
    stale_after_seconds: u64,
    clock: Clock,
}

impl AuthService {
    /// auth-service at the address in the section `services`; nothing if that is empty.
    ///
    /// `name` is the service that we are. What we show is a service token: one that auth-service gives to the client
    /// that the section names, or one that we sign ourselves, if our keys can sign.
    pub fn new(
        name: &'static str,
        services: &ServicesConfig,
        tokens: &TokensConfig,
        keys: &Keys,
        clock: Clock,
    ) -> Result<Option<Self>, ConfigError> {
        services.validate()?;
        let url = services.auth_url.trim_end_matches('/');
        if url.is_empty() {
            return Ok(None);
        }
        let source = match &services.client_secret {
            Some(secret) => {
                TokenSource::client_credentials(&format!("{url}/auth/token"), &services.client_id, secret.expose())
                    .map_err(refuse)?
            }
            None => signed(name, &tokens.issuer, NAME, keys, &clock)?,
        };
        let this = Self {
            url: url.to_owned(),
            name,
            tokens: source,
            revoked: RevocationList::new(),
            ring: keys.ring().clone(),
            stale_after_seconds: tokens.feed_stale_after_seconds,
            clock,
        };
        this.follower()?;
        Ok(Some(this))
    }

    /// What is revoked, as far as [`AuthService::follow`] has heard.
    pub fn revoked(&self) -> &RevocationList {
        &self.revoked
    }

    /// For calls, each of which fails when it has no answer within `timeout`.
    pub fn peer(&self, timeout: Duration) -> Result<Peer, ConfigError> {
        Peer::new(NAME, URL_KEY, &self.url, timeout, self.tokens.clone())
    }

    fn follower(&self) -> Result<Follower, ConfigError> {
        let clock = self.clock.clone();
        let follower =
            Follower::new(&self.url, self.name, self.revoked.clone(), self.ring.clone(), self.tokens.clone());
        Ok(follower
            .map_err(refuse)?
            .stale_after_seconds(self.stale_after_seconds)
            .clock(Arc::new(move || clock.now().as_seconds())))
    }

    /// Follows the feed until the service stops.
    pub async fn follow(self, mut shutdown: Shutdown) {
        match self.follower() {
            Ok(follower) => follower.run(shutdown.requested()).await,
            Err(cause) => log::error!("the feed of revocations is not followed: {cause}"),
        }
    }

    /// Waits until it is known what is revoked, so that a service which starts does not take for a moment what it
    /// refused before; but not for longer than two seconds, for it is of use without auth-service, too.
    pub fn first_news(&self) -> impl Future<Output = ()> + use<> {
        const LOOK_EVERY: Duration = Duration::from_millis(5);
        const PATIENCE: Duration = Duration::from_secs(2);

        let revoked = self.revoked.clone();
        async move {
            let began = Instant::now();
            while revoked.age().is_none() && began.elapsed() < PATIENCE {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// How the feed stands, for `/readyz`.
    pub fn look(&self) -> Finding {
        freshness(&self.revoked, self.stale_after_seconds)
    }
}

/// How a list of revocations stands: a fault when it has had no news for longer than this.
pub fn freshness(revoked: &RevocationList, stale_after_seconds: u64) -> Finding {
    let status = revoked.status();
    let age_seconds = status.age.map(|age| age.as_secs());
    let details = json!({ "age_seconds": age_seconds, "entries": status.entries, "connected": status.connected });
    let fault = match age_seconds {
        None => Some(("unknown", "It is not known yet which tokens are revoked.".to_owned())),
        Some(age) if age > stale_after_seconds => {
            Some(("stale", format!("It has not been known for {age} s which tokens are revoked.")))
        }
        Some(_) => None,
    };
    Finding { details: Some(details), fault }
}

/// Service tokens for `audience` that we sign ourselves.
pub fn signed(
    name: &str,
    issuer: &str,
    audience: &str,
    keys: &Keys,
    clock: &Clock,
) -> Result<TokenSource, ConfigError> {
    let signer = keys.signer().ok_or_else(|| {
        let problem = "must be set, and services.client_secret with it: tokens.jwks_file holds public keys only, so \
                       this service cannot sign tokens for its own calls; `signet clients create --scope \
                       signet:internal` makes both";
        ConfigError::new("services.client_id", problem)
    })?;
    let clock = clock.clone();
    Ok(TokenSource::signed(signer, issuer, name, audience, Arc::new(move || clock.now().as_seconds())))
}

fn is_base_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn refuse(cause: SetupError) -> ConfigError {
    match cause {
        SetupError::Url => ConfigError::new(URL_KEY, "must be a URL such as http://127.0.0.1:8081"),
        cause => ConfigError::new(URL_KEY, format_args!("cannot be called: {cause}")),
    }
}

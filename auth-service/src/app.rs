//! Wires auth-service: configuration to storage, keys and routes.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix_web::web;
use service_kit::{
    Clock, Service,
    config::Configuration as _,
    db::Database,
    health::{self, Readiness},
    http::Endpoint,
    keys::Keys,
    peer::{Identity, Peer},
    server::{Shutdown, StartError, open_database},
    tokens::TokenAcceptance,
};
use shared_claims::Signer;

use crate::{
    Config,
    domain::SessionPolicy,
    issue::Issuer,
    routes::{account, events, sessions, token},
    storage::{MIGRATIONS, SessionStore},
    users::Users,
};

/// The service's name: the `aud` that it answers to.
pub const NAME: &str = "auth-service";

/// What the handlers share.
pub(crate) struct State {
    pub(crate) sessions: SessionStore,
    pub(crate) policy: SessionPolicy,
    pub(crate) issuer: Issuer,
    pub(crate) users: Users,
    pub(crate) clock: Clock,
}

/// The wired service, not yet listening.
#[derive(Clone)]
pub struct App {
    config: Arc<Config>,
    database: Database,
    state: web::Data<State>,
    keys: Keys,
    tokens: TokenAcceptance,
}

impl App {
    /// Opens the database, brings its schema up to date, reads the keys.
    pub fn new(config: Config, clock: Clock) -> Result<Self, StartError> {
        config.validate()?;
        let keys = config.keys()?;
        let signer = Signer::live(keys.ring())
            .map_err(|cause| service_kit::ConfigError::new("tokens.secret", format_args!("cannot sign: {cause}")))?;
        let tokens = config.token_acceptance(&keys, clock.clone())?;
        let identity =
            Identity { name: NAME, issuer: config.tokens.issuer.clone(), signer: signer.clone(), clock: clock.clone() };
        let peer = Peer::new(
            "user-service",
            "services.user_url",
            &config.services.user_url,
            Duration::from_millis(config.services.timeout_ms),
            identity,
        )?;
        let database = open_database(&config.database, MIGRATIONS)?;
        let state = State {
            sessions: SessionStore::new(database.clone()),
            policy: config.session_policy(),
            issuer: Issuer {
                signer,
                refresh_keys: config.refresh_keys()?,
                name: config.tokens.issuer.clone(),
                audience: config.tokens.audience.clone(),
                access_ttl_seconds: config.tokens.access_ttl_seconds,
                roles: config.role_scopes()?,
                clock: clock.clone(),
            },
            users: Users::new(peer),
            clock,
        };
        Ok(Self { config: Arc::new(config), keys, database, state: web::Data::new(state), tokens })
    }

    /// What clients may call.
    pub fn public_routes(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
        let app = self.clone();
        move |config| {
            let scope = web::scope("/auth")
                .app_data(app.state.clone())
                .service(Endpoint::new("/register").post(account::register))
                .service(Endpoint::new("/login").post(account::login))
                .service(Endpoint::new("/token").post(token::token))
                .service(Endpoint::new("/logout").post(sessions::log_out))
                .service(Endpoint::new("/me").get(account::me).post(account::me))
                .service(Endpoint::new("/verify").get(account::verify))
                .service(Endpoint::new("/sessions").get(sessions::list))
                .service(Endpoint::new("/sessions/{id}").delete(sessions::end));
            config.service(app.tokens.guard(scope));
        }
    }

    /// Listens: the public routes, those for other services, and health.
    pub fn start(&self, listener: TcpListener) -> Result<Service, StartError> {
        let app = self.clone();
        let public = self.public_routes();
        let readiness = Readiness::new(self.database.clone(), self.keys.clone());
        let service = Service::start(&self.config.server, listener, move |config| {
            let internal = web::scope("/internal")
                .app_data(app.state.clone())
                .service(Endpoint::new("/user-events").post(events::take));
            config
                .configure(public.clone())
                .configure(health::routes(readiness.clone()))
                .service(app.tokens.guard(internal));
        })
        .map_err(|cause| StartError::Unavailable(cause.to_string()))?;
        let (state, keys) = (self.state.clone(), self.keys.clone());
        Ok(service.with_task(|shutdown| purge(state, shutdown)).with_task(|shutdown| keys.watch(shutdown)))
    }
}

/// Opens everything and listens.
pub fn build(config: Config, listener: TcpListener, clock: Clock) -> Result<Service, StartError> {
    App::new(config, clock)?.start(listener)
}

/// How often sessions that are over are removed, and for how long they are kept before that.
const PURGE_INTERVAL: Duration = Duration::from_hours(1);
const KEEP_ENDED_SECONDS: i64 = 7 * 86_400;

async fn purge(state: web::Data<State>, mut shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(PURGE_INTERVAL) => {}
        }
        let before = state.clock.now().plus_seconds(-KEEP_ENDED_SECONDS);
        match state.sessions.purge(before, state.policy).await {
            Ok(removed) => log::debug!("{removed} ended sessions removed"),
            Err(cause) => log::warn!("ended sessions could not be removed: {cause}"),
        }
    }
}

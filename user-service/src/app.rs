//! Wires the service: keys, database, hashing threads, routes, the delivery of events.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix_web::web;
use service_kit::{
    Clock, ConfigError, Service,
    auth_service::AuthService,
    config::{Configuration as _, ServerConfig},
    db::Database,
    health::{self, Readiness},
    http::{Endpoint, Endpoints},
    keys::Keys,
    limits::Limits,
    metrics::{self, Metrics},
    peer::Peer,
    server::{StartError, open_database},
    tokens::TokenAcceptance,
};
use tokio::sync::Mutex;

use crate::{
    bootstrap::{self, BootstrapOutcome},
    config::Config,
    domain::password::Scheme,
    hashing::HashingPool,
    outbox::{Backlog, Delivery},
    routes::{State, credentials, import, me, openapi, users},
    storage::{self, outbox::Queue},
};

/// The service's name: the `aud` that it answers to.
pub(crate) const NAME: &str = "user-service";

/// How long auth-service has to take a batch of events.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Below this cost a stolen hash is tried too fast to be worth much.
const LEAST_SENSIBLE_COST: u32 = 10;

/// What clients may call.
fn endpoints() -> Endpoints {
    Endpoints::under("/users")
        .service(Endpoint::new("").get(users::list).post(users::create))
        .service(Endpoint::new("/import").post(import::import))
        .service(Endpoint::new("/openapi.json").get(openapi::openapi))
        .service(Endpoint::new("/me").get(me::read).patch(me::change).delete(me::delete))
        .service(Endpoint::new("/me/password").put(me::change_password))
        .service(Endpoint::new("/{id}").get(users::read).patch(users::change).delete(users::delete))
}

/// The routes of [`App::public_routes`], such as `GET /users/{id}`.
pub fn public_routes() -> Vec<String> {
    endpoints().routes()
}

/// The wired service, which does not listen yet. Clones share everything.
#[derive(Clone)]
pub struct App {
    server: ServerConfig,
    database: Database,
    keys: Keys,
    metrics: Metrics,
    tokens: TokenAcceptance,
    state: web::Data<State>,
    auth_service: AuthService,
    outbox: Arc<Peer>,
    backlogs: [Backlog; 2],
    bootstrap_outcome: BootstrapOutcome,
}

impl App {
    /// Opens the database and brings its schema up to date, makes the first admin if there is none, and starts the
    /// threads that hash.
    pub fn new(config: Config, clock: Clock) -> Result<Self, StartError> {
        config.validate()?;
        if config.passwords.cost < LEAST_SENSIBLE_COST {
            log::warn!("passwords.cost is {}: hashes of a cost below 10 are quickly guessed", config.passwords.cost);
        }
        let keys = config.tokens.keys()?;
        let auth_service = AuthService::new(NAME, &config.services, &config.tokens, &keys, clock.clone())?
            .ok_or_else(|| ConfigError::new("services.auth_url", "must be set"))?;
        let outbox = auth_service.peer(DELIVERY_TIMEOUT)?;
        let tokens = config.tokens.acceptance(&keys, Some(auth_service.revoked().clone()), clock.clone())?;
        let default_roles = config.users.roles()?;

        let database = open_database(&config.database, storage::MIGRATIONS)?;
        let scheme = Scheme::new(config.passwords.cost, config.passwords.pepper.as_ref());
        let bootstrap_outcome = bootstrap::make_admin(&config.bootstrap, &database, &scheme, &clock)?;
        let hashing = HashingPool::start(
            scheme,
            config.passwords.thread_count(),
            config.passwords.queue_length,
            Duration::from_millis(config.passwords.queue_deadline_ms),
        )
        .map_err(|cause| StartError::Unavailable(format!("the hashing threads cannot be started: {cause}")))?;

        let backlogs = [Queue::Events, Queue::Audit].map(|queue| Backlog::new(queue, clock.clone()));
        let metrics = Metrics::new(NAME, env!("CARGO_PKG_VERSION"))
            .with_revocations(auth_service.revoked().clone())
            .with_keys(keys.clone())
            .with_database(database.clone())
            .with_collector(hashing.figures())
            .with_collector(backlogs[0].clone())
            .with_collector(backlogs[1].clone());
        Ok(Self {
            server: config.server,
            database: database.clone(),
            keys,
            metrics,
            tokens,
            state: web::Data::new(State {
                database,
                limits: Limits::new(config.limits.for_one_account(), clock.clone()),
                clock,
                hashing,
                default_roles,
                importing: Mutex::default(),
                outbox_filled: Arc::default(),
                audit_filled: Arc::default(),
            }),
            auth_service,
            outbox: Arc::new(outbox),
            backlogs,
            bootstrap_outcome,
        })
    }

    /// What became of the admin that the configuration names.
    pub fn bootstrap_outcome(&self) -> BootstrapOutcome {
        self.bootstrap_outcome
    }

    /// The paths for clients: all under `/users`, with everything they need.
    pub fn public_routes(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static + use<> {
        let (tokens, state, metrics) = (self.tokens.clone(), self.state.clone(), self.metrics.clone());
        move |config| {
            let scope = endpoints().into_scope().app_data(state.clone()).app_data(metrics.clone());
            config.service(tokens.guard(scope));
        }
    }

    /// The paths for other services: all under `/internal`.
    fn internal_routes(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static + use<> {
        let (tokens, state) = (self.tokens.clone(), self.state.clone());
        move |config| {
            let scope = web::scope("/internal")
                .app_data(state.clone())
                .service(Endpoint::new("/users").post(credentials::register))
                .service(Endpoint::new("/credentials/verify").post(credentials::verify));
            config.service(tokens.guard(scope));
        }
    }

    /// Serves everything on the service's own port, and delivers events beside it.
    pub fn start(&self, listener: TcpListener) -> Result<Service, StartError> {
        let (public, internal) = (self.public_routes(), self.internal_routes());
        let feed = self.auth_service.clone();
        let readiness = Readiness::new(self.database.clone(), self.keys.clone()).with("feed", move || feed.look());
        let metrics = self.metrics.clone();
        let routes = move |config: &mut web::ServiceConfig| {
            config
                .configure(&public)
                .configure(&internal)
                .configure(health::routes(readiness.clone()))
                .configure(metrics::routes(metrics.clone()));
        };
        let [events, records] =
            [(0, &self.state.outbox_filled), (1, &self.state.audit_filled)].map(|(queue, filled)| Delivery {
                backlog: self.backlogs[queue].clone(),
                database: self.database.clone(),
                auth_service: self.outbox.clone(),
                filled: filled.clone(),
            });
        let service = Service::start(&self.server, listener, Some(self.metrics.clone()), routes)
            .map_err(|cause| StartError::Unavailable(format!("the server cannot be started: {cause}")))?;
        let (keys, feed) = (self.keys.clone(), self.auth_service.clone());
        Ok(service
            .with_preparation(self.first_news())
            .with_task(|shutdown| events.run(shutdown))
            .with_task(|shutdown| records.run(shutdown))
            .with_task(|shutdown| keys.watch(shutdown))
            .with_task(|shutdown| feed.follow(shutdown)))
    }

    /// Waits for a moment until it is known what is revoked. Who serves [`App::public_routes`] should.
    pub fn first_news(&self) -> impl Future<Output = ()> + use<> {
        self.auth_service.first_news()
    }
}

/// Wires the service and makes it listen.
pub fn build(config: Config, listener: TcpListener, clock: Clock) -> Result<Service, StartError> {
    App::new(config, clock)?.start(listener)
}

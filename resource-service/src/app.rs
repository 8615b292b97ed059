//! Wires the service: database, verifier, routes.

use std::{net::TcpListener, sync::Arc};

use actix_web::web;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use service_kit::{
    Clock, Service,
    auth_service::AuthService,
    config::{Configuration as _, ServerConfig},
    db::{Database, Migrations},
    health::{self, Readiness},
    http::{Endpoint, Endpoints},
    keys::Keys,
    metrics::{self, Metrics},
    server::{StartError, open_database},
    tokens::TokenAcceptance,
};

use crate::{
    config::Config,
    routes::{State, export, import, openapi, persons},
    storage::Persons,
};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
pub(crate) const MIGRATIONS: Migrations = Migrations { sqlite: &SQLITE, postgres: &POSTGRES };

/// The service's name: the `aud` that it answers to.
const NAME: &str = "resource-service";

/// What clients may call.
fn endpoints() -> Endpoints {
    Endpoints::under("/persons")
        .service(Endpoint::new("").get(persons::list).post(persons::create))
        .service(Endpoint::new("/import").post(import::import))
        .service(Endpoint::new("/export").get(export::export))
        .service(Endpoint::new("/openapi.json").get(openapi::openapi))
        .service(
            Endpoint::new("/{id}")
                .get(persons::read)
                .put(persons::replace)
                .patch(persons::change)
                .delete(persons::delete),
        )
}

/// The routes of [`App::public_routes`], such as `GET /persons/{id}`.
pub fn public_routes() -> Vec<String> {
    endpoints().routes()
}

/// The service, wired but not listening. Clones share everything.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    server: ServerConfig,
    database: Database,
    keys: Keys,
    metrics: Metrics,
    tokens: TokenAcceptance,
    auth_service: Option<AuthService>,
    state: web::Data<State>,
}

impl App {
    /// Opens the database, brings its schema up to date and reads the keys. Nothing listens yet.
    pub fn new(config: Config, clock: Clock) -> Result<Self, StartError> {
        config.validate()?;
        let keys = config.tokens.keys()?;
        let auth_service = AuthService::new(NAME, &config.services, &config.tokens, &keys, clock.clone())?;
        if auth_service.is_none() {
            log::warn!("services.auth_url is empty: a token that is revoked is taken until it expires");
        }
        let revoked = auth_service.as_ref().map(|auth_service| auth_service.revoked().clone());
        let tokens = config.tokens.acceptance(&keys, revoked, clock.clone())?;
        let database = open_database(&config.database, MIGRATIONS)?;
        let mut metrics =
            Metrics::new(NAME, env!("CARGO_PKG_VERSION")).with_keys(keys.clone()).with_database(database.clone());
        if let Some(feed) = &auth_service {
            metrics = metrics.with_revocations(feed.revoked().clone());
        }
        let state =
            State { persons: Persons::new(database.clone()), clock, spool_directory: config.persons.spool_directory };
        let server = config.server;
        Ok(Self {
            inner: Arc::new(Inner {
                server,
                database,
                keys,
                metrics,
                tokens,
                auth_service,
                state: web::Data::new(state),
            }),
        })
    }

    /// Adds the paths that clients may reach, each with what its handlers need.
    pub fn public_routes(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static + use<> {
        let inner = self.inner.clone();
        move |config| {
            let scope = endpoints().into_scope().app_data(inner.state.clone()).app_data(inner.metrics.clone());
            config.service(inner.tokens.guard(scope));
        }
    }

    /// Serves all paths, the public ones and those on its own port only, on a listener.
    pub fn start(&self, listener: TcpListener) -> Result<Service, StartError> {
        let public = self.public_routes();
        let mut readiness = Readiness::new(self.inner.database.clone(), self.inner.keys.clone());
        if let Some(feed) = self.inner.auth_service.clone() {
            readiness = readiness.with("feed", move || feed.look());
        }
        let metrics = self.inner.metrics.clone();
        let service = Service::start(&self.inner.server, listener, Some(metrics.clone()), move |config| {
            config
                .configure(&public)
                .configure(health::routes(readiness.clone()))
                .configure(metrics::routes(metrics.clone()));
        })
        .map_err(|cause| StartError::Unavailable(format!("the server cannot be started: {cause}")))?;
        let (keys, feed) = (self.inner.keys.clone(), self.inner.auth_service.clone());
        Ok(service.with_preparation(self.first_news()).with_task(|shutdown| keys.watch(shutdown)).with_task(
            |shutdown| async {
                if let Some(feed) = feed {
                    feed.follow(shutdown).await;
                }
            },
        ))
    }

    /// Waits for a moment until it is known what is revoked. Who serves [`App::public_routes`] should.
    pub fn first_news(&self) -> impl Future<Output = ()> + use<> {
        let first_news = self.inner.auth_service.as_ref().map(AuthService::first_news);
        async {
            if let Some(first_news) = first_news {
                first_news.await;
            }
        }
    }
}

/// The service on a listener.
pub fn build(config: Config, listener: TcpListener, clock: Clock) -> Result<Service, StartError> {
    App::new(config, clock)?.start(listener)
}

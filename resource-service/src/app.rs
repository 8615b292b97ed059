//! Wires the service: database, verifier, routes.

use std::{net::TcpListener, sync::Arc};

use actix_web::web;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use service_kit::{
    Clock, Service,
    config::{Configuration as _, ServerConfig},
    db::{Database, Migrations},
    health::{self, Readiness},
    http::Endpoint,
    keys::Keys,
    server::{StartError, open_database},
    tokens::TokenAcceptance,
};

use crate::{
    config::Config,
    routes::{State, export, import, persons},
    storage::Persons,
};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const MIGRATIONS: Migrations = Migrations { sqlite: &SQLITE, postgres: &POSTGRES };

/// The service, wired but not listening. Clones share everything.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    server: ServerConfig,
    database: Database,
    keys: Keys,
    tokens: TokenAcceptance,
    state: web::Data<State>,
}

impl App {
    /// Opens the database, brings its schema up to date and reads the keys. Nothing listens yet.
    pub fn new(config: Config, clock: Clock) -> Result<Self, StartError> {
        config.validate()?;
        let keys = config.tokens.keys()?;
        let tokens = config.tokens.acceptance(&keys, None, clock.clone())?;
        let database = open_database(&config.database, MIGRATIONS)?;
        let state =
            State { persons: Persons::new(database.clone()), clock, spool_directory: config.persons.spool_directory };
        Ok(Self {
            inner: Arc::new(Inner { server: config.server, database, keys, tokens, state: web::Data::new(state) }),
        })
    }

    /// Adds the paths that clients may reach, each with what its handlers need.
    pub fn public_routes(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static + use<> {
        let inner = self.inner.clone();
        move |config| {
            let scope = web::scope("/persons")
                .app_data(inner.state.clone())
                .service(Endpoint::new("").get(persons::list).post(persons::create))
                .service(Endpoint::new("/import").post(import::import))
                .service(Endpoint::new("/export").get(export::export))
                .service(
                    Endpoint::new("/{id}")
                        .get(persons::read)
                        .put(persons::replace)
                        .patch(persons::change)
                        .delete(persons::delete),
                );
            config.service(inner.tokens.guard(scope));
        }
    }

    /// Serves all paths, the public ones and those on its own port only, on a listener.
    pub fn start(&self, listener: TcpListener) -> Result<Service, StartError> {
        let public = self.public_routes();
        let readiness = Readiness::new(self.inner.database.clone(), self.inner.keys.clone());
        let service = Service::start(&self.inner.server, listener, move |config| {
            config.configure(&public).configure(health::routes(readiness.clone()));
        })
        .map_err(|cause| StartError::Unavailable(format!("the server cannot be started: {cause}")))?;
        let keys = self.inner.keys.clone();
        Ok(service.with_task(|shutdown| keys.watch(shutdown)))
    }
}

/// The service on a listener.
pub fn build(config: Config, listener: TcpListener, clock: Clock) -> Result<Service, StartError> {
    App::new(config, clock)?.start(listener)
}

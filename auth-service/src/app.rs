//! Wires auth-service: configuration to storage, keys and routes.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix_web::web;
use service_kit::{
    Clock, Service,
    audit::{Actor, ActorType, Origin},
    auth_service,
    config::Configuration as _,
    db::Database,
    health::{self, Readiness},
    http::{Endpoint, Endpoints},
    keys::Keys,
    limits::Limits,
    metrics::{self, Metrics},
    peer::Peer,
    server::{Shutdown, StartError, open_database},
    tokens::TokenAcceptance,
};
use shared_claims::{Signer, Verifier, feed::RevocationList};

use crate::{
    Config,
    domain::SessionPolicy,
    feed::Feed,
    issue::Issuer,
    outcomes::Outcomes,
    routes::{
        account, audit, clients, console, events, introspect, keys,
        metadata::{self, Metadata},
        openapi, reference, revocations, revoke, sessions, token,
    },
    storage::{AuditStore, ClientStore, MIGRATIONS, RevocationStore, SessionStore},
    users::Users,
};

/// The service's name: the `aud` that it answers to.
pub const NAME: &str = auth_service::NAME;

/// What a log-in may take beside what user-service does for it.
const LOG_IN_BESIDES: Duration = Duration::from_secs(8);

/// What the handlers share.
pub(crate) struct State {
    pub(crate) sessions: SessionStore,
    pub(crate) revocations: RevocationStore,
    pub(crate) feed: Arc<Feed>,
    /// No access token lives for longer.
    pub(crate) longest_ttl_seconds: u64,
    pub(crate) clients: ClientStore,
    pub(crate) audit: AuditStore,
    pub(crate) keep_audit_seconds: i64,
    pub(crate) policy: SessionPolicy,
    pub(crate) issuer: Issuer,
    pub(crate) users: Users,
    /// How long the answer to a log-in or a registration is of use. What is asked of user-service and of the database on
    /// its behalf has what is left of that.
    pub(crate) log_in_patience: Duration,
    /// For tokens that are asked about: signature and claims, while the database says whether they are revoked.
    pub(crate) inspector: Verifier,
    pub(crate) keys: Keys,
    pub(crate) metadata: Metadata,
    pub(crate) outcomes: Outcomes,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
}

/// What clients may call.
fn endpoints() -> Endpoints {
    Endpoints::under("/auth")
        .service(Endpoint::new("/register").post(account::register))
        .service(Endpoint::new("/login").post(account::login))
        .service(Endpoint::new("/token").post(token::token))
        .service(Endpoint::new("/introspect").post(introspect::introspect))
        .service(Endpoint::new("/revoke").post(revoke::revoke))
        .service(Endpoint::new("/logout").post(sessions::log_out))
        .service(Endpoint::new("/me").get(account::me).post(account::me))
        .service(Endpoint::new("/verify").get(account::verify))
        .service(Endpoint::new("/sessions").get(sessions::list))
        .service(Endpoint::new("/sessions/{id}").delete(sessions::end))
        .service(Endpoint::new("/audit").get(audit::list))
        .service(Endpoint::new("/openapi.json").get(openapi::openapi))
}

/// What clients may find out by themselves.
fn well_known() -> Endpoints {
    Endpoints::under("/.well-known")
        .service(Endpoint::new("/oauth-authorization-server").get(metadata::authorization_server))
        .service(Endpoint::new("/jwks.json").get(metadata::jwks))
}

/// The routes of [`App::public_routes`] but for its pages, such as `DELETE /auth/sessions/{id}`.
pub fn public_routes() -> Vec<String> {
    [endpoints().routes(), well_known().routes()].concat()
}

/// The wired service, not yet listening.
#[derive(Clone)]
pub struct App {
    config: Arc<Config>,
    database: Database,
    state: web::Data<State>,
    keys: Keys,
    metrics: Metrics,
    tokens: TokenAcceptance,
    /// What its own verifier refuses.
    revoked: RevocationList,
    /// What follows the host in the issuer; empty for nothing.
    issuer_path: String,
}

impl App {
    /// Opens the database, brings its schema up to date, reads the keys.
    pub fn new(config: Config, clock: Clock) -> Result<Self, StartError> {
        config.validate()?;
        let keys = config.keys()?;
        let signer = Signer::live(keys.ring())
            .map_err(|cause| service_kit::ConfigError::new("tokens.secret", format_args!("cannot sign: {cause}")))?;
        let revoked = RevocationList::new();
        let tokens = config.token_acceptance(&keys, revoked.clone(), clock.clone())?;
        let user_service_timeout = Duration::from_millis(config.services.timeout_ms);
        let peer = Peer::new(
            "user-service",
            "services.user_url",
            &config.services.user_url,
            user_service_timeout,
            auth_service::signed(NAME, &config.tokens.issuer, "user-service", &keys, &clock)?,
        )?
        .with_circuit(config.services.circuit_failures);
        let database = open_database(&config.database, MIGRATIONS)?;
        let longest_ttl_seconds = config.longest_ttl_seconds();
        let (feed, revocations) =
            Feed::open(&database, revoked.clone(), keys.ring().clone(), longest_ttl_seconds, clock.clone())?;
        let metrics = Metrics::new(NAME, env!("CARGO_PKG_VERSION"))
            .with_revocations(revoked.clone())
            .with_keys(keys.clone())
            .with_database(database.clone())
            .with_collector(peer.figures());
        let state = State {
            outcomes: metrics.register(Outcomes::new),
            sessions: SessionStore::new(database.clone(), revocations.clone()),
            clients: ClientStore::new(database.clone(), revocations.clone()),
            audit: AuditStore::new(database.clone()),
            keep_audit_seconds: i64::from(config.audit.keep_days) * 86_400,
            revocations,
            feed,
            longest_ttl_seconds,
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
            log_in_patience: user_service_timeout + LOG_IN_BESIDES,
            inspector: config.inspector(&keys)?,
            keys: keys.clone(),
            limits: Limits::new(config.limits, clock.clone()),
            metadata: Metadata::new(&config, &config.role_scopes()?.all()),
            clock,
        };
        let issuer_path = config.issuer_url()?.path().trim_end_matches('/').to_owned();
        let config = Arc::new(config);
        Ok(Self { config, issuer_path, keys, metrics, database, state: web::Data::new(state), tokens, revoked })
    }

    /// What clients may call.
    pub fn public_routes(&self) -> impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static {
        let app = self.clone();
        move |config| {
            let scope = endpoints().into_scope().app_data(app.state.clone()).app_data(app.metrics.clone());
            let mut well_known = well_known().into_scope().app_data(app.state.clone()).app_data(app.metrics.clone());
            // An issuer with a path has its metadata at the well-known address with that path behind it (RFC 8414, 3.1).
            if !app.issuer_path.is_empty() {
                let with_path = format!("/oauth-authorization-server{}", app.issuer_path);
                well_known = well_known.service(Endpoint::new(&with_path).get(metadata::authorization_server));
            }
            let page = web::scope("/console")
                .app_data(app.metrics.clone())
                .service(Endpoint::new("/{version}/{file:.+}").get(console::file));
            config
                .service(app.tokens.guard(scope))
                .service(well_known)
                .service(Endpoint::new("/").get(console::index))
                .service(Endpoint::new("/docs").get(reference::index))
                .service(Endpoint::new("/docs/{file:.+}").get(reference::file))
                .service(page);
        }
    }

    /// Listens: the public routes, those for other services, and health.
    pub fn start(&self, listener: TcpListener) -> Result<Service, StartError> {
        let app = self.clone();
        let public = self.public_routes();
        let (revoked, stale_after_seconds) = (self.revoked.clone(), self.config.tokens.feed_stale_after_seconds);
        let readiness = Readiness::new(self.database.clone(), self.keys.clone())
            .with("feed", move || auth_service::freshness(&revoked, stale_after_seconds));
        let metrics = self.metrics.clone();
        let service = Service::start(&self.config.server, listener, Some(metrics.clone()), move |config| {
            let internal = web::scope("/internal")
                .app_data(app.state.clone())
                .service(Endpoint::new("/user-events").post(events::take))
                .service(Endpoint::new("/audit").post(audit::take))
                .service(Endpoint::new("/revocations").get(revocations::poll).post(revocations::revoke))
                .service(Endpoint::new("/keys").get(keys::list))
                .service(Endpoint::new("/clients").get(clients::list).post(clients::register))
                .service(Endpoint::new("/clients/{id}").delete(clients::delete));
            config
                .configure(public.clone())
                .configure(health::routes(readiness.clone()))
                .configure(metrics::routes(metrics.clone()))
                .service(app.tokens.guard(internal));
        })
        .map_err(|cause| StartError::Unavailable(cause.to_string()))?;
        let (state, keys) = (self.state.clone(), self.keys.clone());
        let noted = state.clone();
        let feed = || self.state.feed.clone();
        Ok(service
            .with_task(|shutdown| purge(state, shutdown))
            .with_task(|shutdown| keys.watch_and_tell(shutdown, move |kids| note_keys(noted.clone(), kids)))
            .with_task(|shutdown| feed().follow(shutdown))
            .with_task(|shutdown| feed().let_go(shutdown))
            .with_task(|shutdown| feed().tidy(shutdown)))
    }
}

/// Opens everything and listens.
pub fn build(config: Config, listener: TcpListener, clock: Clock) -> Result<Service, StartError> {
    App::new(config, clock)?.start(listener)
}

/// How often sessions that are over are removed, and for how long they are kept before that.
const PURGE_INTERVAL: Duration = Duration::from_hours(1);
const KEEP_ENDED_SECONDS: i64 = 7 * 86_400;

/// Notes that this replica has taken up another ring. Who has changed the file is not known.
async fn note_keys(state: web::Data<State>, kids: Vec<String>) {
    let itself = Actor { kind: ActorType::Service, id: NAME.to_owned() };
    let record = Origin::default().by_actor(itself).record("keys_changed", state.clock.now());
    let record = record.with(serde_json::json!({ "signing": kids.first(), "keys": kids }));
    if let Err(cause) = state.audit.add(vec![record]).await {
        log::warn!("an audit record is lost: {cause}");
    }
}

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
        match state.audit.purge(state.clock.now().plus_seconds(-state.keep_audit_seconds)).await {
            Ok(removed) => log::debug!("{removed} audit records removed"),
            Err(cause) => log::warn!("audit records could not be removed: {cause}"),
        }
    }
}

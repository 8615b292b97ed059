//! A running service: its listener, its background tasks, and how it stops.

use std::{
    fmt,
    future::{Future, ready},
    io,
    net::{SocketAddr, TcpListener},
    pin::{Pin, pin},
    process::ExitCode,
    time::Duration,
};

use actix_cors::Cors;
use actix_http::{HttpService, error::DispatchError};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{
    App, Error as ActixError,
    dev::{AppConfig, Server, ServerHandle},
    http::header::{self, HeaderName},
    middleware::Condition,
    rt::net::TcpStream,
    web,
};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::{
    config::{ConfigError, ServerConfig},
    http::{BodyTimeout, Paced, RequestScope, TrustedProxies, not_found},
    metrics::Metrics,
};

/// How long a client has to take the end of the last answer, once its connection is to be closed.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong: exit code 78.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Something that the service needs is not there: exit code 1.
    #[error("{0}")]
    Unavailable(String),
}

impl StartError {
    /// What the process exits with: 78 (`EX_CONFIG` of sysexits) or 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(78),
            Self::Unavailable(_) => ExitCode::FAILURE,
        }
    }
}

/// Binds the address that `key` names in the configuration.
pub fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|cause| {
        let reason = match cause.kind() {
            io::ErrorKind::AddrInUse => "the port is taken: stop what listens there or choose another".to_owned(),
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose another".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
            _ => cause.to_string(),
        };
        StartError::Unavailable(format!("cannot listen on {address} ({key}): {reason}"))
    })
}

/// Opens the database that the section `database` names, and brings its schema up to date or demands that it is.
pub fn open_database(
    config: &crate::config::DatabaseConfig,
    migrations: crate::db::Migrations,
) -> Result<crate::db::Database, StartError> {
    use crate::db::{Database, SchemaState, StorageError};

    let explain = |error: StorageError| match error {
        StorageError::Unreachable(cause) => {
            let cause = format!("{cause:#}");
            let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
            StartError::Unavailable(format!("the database cannot be reached (database.url): {cause}"))
        }
        other => StartError::Unavailable(format!("the database cannot be used (database.url): {other}")),
    };
    let url = config.parsed_url()?;
    let database = Database::open(&url, config.pool_size, migrations).map_err(explain)?;
    if config.migrate {
        let applied = database.migrate().map_err(explain)?;
        if applied > 0 {
            log::info!("the schema is up to date: {applied} migrations applied");
        }
    } else if let SchemaState::Pending(versions) = database.schema_state().map_err(explain)? {
        return Err(ConfigError::new(
            "database.migrate",
            format_args!(
                "is false, but migrations are missing ({}): set it to true, or run the service once with --migrate",
                versions.join(", ")
            ),
        )
        .into());
    }
    Ok(database)
}

/// How far a service has got with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Drained,
}

/// Tells background tasks that it is time to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

impl Shutdown {
    /// Waits until the service is asked to stop. Requests in flight are still being answered then: what makes them wait
    /// should let them go.
    pub async fn announced(&mut self) {
        // A sender that is gone has stopped, too.
        let _ = self.0.wait_for(|phase| *phase >= Phase::Draining).await;
    }

    /// Waits until the requests in flight are done and nothing is left to do but to stop.
    pub async fn requested(&mut self) {
        let _ = self.0.wait_for(|phase| *phase >= Phase::Drained).await;
    }
}

/// A service that listens.
pub struct Service {
    address: SocketAddr,
    server: Server,
    handle: ServerHandle,
    phase: watch::Sender<Phase>,
    tasks: Vec<actix_web::rt::task::JoinHandle<()>>,
    preparations: Vec<Pin<Box<dyn Future<Output = ()>>>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Service {
    /// Serves `routes` on a listener, with the request scope and CORS around them, and problem+json for every path
    /// that they do not have. Requests are counted in `metrics`, where a scope has none of its own.
    pub fn start(
        config: &ServerConfig,
        listener: TcpListener,
        metrics: Option<Metrics>,
        routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let proxies = web::Data::new(TrustedProxies(config.trusted_proxies.clone()));
        let body_timeout = BodyTimeout(Duration::from_secs(config.body_timeout_seconds));
        let (origins, scope) = (config.cors_origins.clone(), RequestScope::new(metrics, config));
        let [header_timeout, keep_alive, write_timeout] =
            [config.header_timeout_seconds, config.keep_alive_seconds, config.write_timeout_seconds]
                .map(Duration::from_secs);
        let server = Server::build();
        let stopping = server.graceful_shutdown_signal();
        // What actix-web's own server does, over connections that have a pace.
        let connections = move || {
            let app = App::new()
                .app_data(proxies.clone())
                .app_data(body_timeout)
                .configure(routes.clone())
                .default_service(web::to(not_found))
                .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
                .wrap(scope.clone())
                .into_factory()
                .map_err(|error: ActixError| error.error_response());
            let stopping = stopping.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .client_request_timeout(header_timeout)
                .client_disconnect_timeout(LAST_BYTES)
                .keep_alive(keep_alive)
                .local_addr(address)
                .on_connect_ext(|stream: &Paced, connection| {
                    connection.insert(stream.pace());
                })
                .h1(map_config(app, |()| AppConfig::default()));
            fn_service(move |stream: TcpStream| {
                let stream = Paced::new(stream, write_timeout);
                let peer = stream.peer();
                ready(Ok::<_, DispatchError>((stream, peer)))
            })
            .and_then(http)
        };
        let server = server
            .workers(config.worker_count())
            .shutdown_timeout(config.shutdown_timeout_seconds)
            .disable_signals()
            .listen(format!("http-{address}"), listener, connections)?
            .run();
        Ok(Self {
            address,
            handle: server.handle(),
            server,
            phase: watch::Sender::new(Phase::Running),
            tasks: Vec::new(),
            preparations: Vec::new(),
        })
    }

    /// Runs a task beside the requests; it gets a [`Shutdown`] to end with.
    #[must_use]
    pub fn with_task<F>(mut self, task: impl FnOnce(Shutdown) -> F) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let shutdown = Shutdown(self.phase.subscribe());
        self.tasks.push(actix_web::rt::spawn(task(shutdown)));
        self
    }

    /// Waits for this before the first request is answered. Connections wait with it, and are not refused.
    #[must_use]
    pub fn with_preparation(mut self, preparation: impl Future<Output = ()> + 'static) -> Self {
        self.preparations.push(Box::pin(preparation));
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A handle with which the service can be stopped from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Answers requests until `stop` is done, then finishes those in flight and the background tasks.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { server, handle, phase, tasks, preparations, .. } = self;
        // It takes connections when it is polled for the first time.
        let mut server = pin!(async {
            for preparation in preparations {
                preparation.await;
            }
            server.await
        });
        tokio::select! {
            ended = &mut server => ended?,
            () = stop => {
                phase.send_replace(Phase::Draining);
                // The server has to be polled for its stopping to make progress.
                let ((), ended) = tokio::join!(handle.stop(true), server);
                ended?;
            }
        }
        phase.send_replace(Phase::Drained);
        for task in tasks {
            if let Err(cause) = task.await {
                log::error!("a background task failed: {cause}");
            }
        }
        Ok(())
    }

    /// Answers requests until the process gets SIGINT or SIGTERM.
    pub async fn run_until_stopped(self) -> io::Result<()> {
        self.run_until(termination()).await
    }
}

/// Done when the process gets SIGINT (Ctrl-C) or SIGTERM.
pub async fn termination() {
    Terminations::new().next().await;
}

/// The times that the process gets SIGINT (Ctrl-C) or SIGTERM, from when this is made. None is missed between two waits.
pub struct Terminations {
    #[cfg(unix)]
    signals: Option<(Signal, Signal)>,
}

impl Terminations {
    /// From now on, in a runtime.
    #[allow(clippy::new_without_default, reason = "it begins to listen")]
    pub fn new() -> Self {
        Self {
            #[cfg(unix)]
            signals: signal(SignalKind::interrupt()).ok().zip(signal(SignalKind::terminate()).ok()),
        }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        if let Some((interrupt, terminate)) = &mut self.signals {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What web pages on other origins may send and see.
fn cors(origins: &[String]) -> Cors {
    const SEEN: [HeaderName; 5] = [
        header::ETAG,
        header::LOCATION,
        header::RETRY_AFTER,
        header::WWW_AUTHENTICATE,
        HeaderName::from_static("x-request-id"),
    ];
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("x-access-token"),
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("x-session"),
        ])
        .expose_headers(SEEN)
        .supports_credentials()
        .block_on_origin_mismatch(false)
        .max_age(3600);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

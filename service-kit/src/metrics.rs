//! `/metrics`: what Prometheus is told of a service.
//!
//! Names and units follow Prometheus's conventions: seconds and bytes, counters that end in `_total`. The values of labels
//! come from short lists, never from a request: a route's pattern, and not its path.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use actix_web::{
    HttpResponse,
    http::{Method, StatusCode, header},
    web,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};
use shared_claims::feed::RevocationList;

use crate::{db::Database, http::Endpoint, keys::Keys, problem::Error};

pub use prometheus_client;

/// What [`text::encode`] writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The upper bounds of the buckets for durations, in seconds: from a verified token to a log-in that waited.
const DURATIONS: [f64; 13] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// A label and its value.
pub type Labels = Vec<(&'static str, String)>;

/// A histogram of durations, in seconds.
pub fn durations() -> Histogram {
    Histogram::new(DURATIONS)
}

/// The metrics of one service; their names begin with `signet_`. Clones share them. There is no global one, so the
/// services of `signet up` each have their own in one process.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: RwLock<Registry>,
    requests: Family<Labels, Counter>,
    request_durations: Family<Labels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    panics: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metrics").finish()
    }
}

impl Metrics {
    /// The name and the version of a service, and its requests.
    pub fn new(service: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("signet");
        let build = Info::new(vec![("service", service), ("version", version)]);
        registry.register("build", "What this service was built from", build);
        let inner = Inner {
            requests: Family::default(),
            request_durations: Family::new_with_constructor(durations),
            in_flight: Gauge::default(),
            panics: Counter::default(),
            registry: RwLock::default(),
        };
        registry.register("http_requests", "Requests that were answered", inner.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "How long requests took until the answer began",
            Unit::Seconds,
            inner.request_durations.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests on the service's own port whose answer has not begun",
            inner.in_flight.clone(),
        );
        registry.register("http_panics", "Panics in handlers, each answered with 500", inner.panics.clone());
        Self(Arc::new(Inner { registry: RwLock::new(registry), ..inner }))
    }

    /// How many revocations a list holds and how old it is.
    #[must_use]
    pub fn with_revocations(self, list: RevocationList) -> Self {
        self.with_collector(Revocations(list))
    }

    /// Whether the key file is one that could be taken up.
    #[must_use]
    pub fn with_keys(self, keys: Keys) -> Self {
        self.with_collector(KeyFile(keys))
    }

    /// The connections of the pool.
    #[must_use]
    pub fn with_database(self, database: Database) -> Self {
        self.with_collector(Pool(database))
    }

    /// What is found out when somebody asks.
    #[must_use]
    pub fn with_collector(self, collector: impl Collector) -> Self {
        self.register(|registry| registry.register_collector(Box::new(collector)));
        self
    }

    /// Adds metrics of the service's own.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.0.registry.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a request in for as long as what comes back lives.
    pub(crate) fn enter(&self) -> InFlight {
        self.0.in_flight.inc();
        InFlight(self.0.in_flight.clone())
    }

    pub(crate) fn panicked(&self) {
        self.0.panics.inc();
    }

    fn route(&self, method: &'static str, route: &str, status: StatusCode) -> Route {
        let mut labels = vec![("method", method.to_owned()), ("route", route.to_owned())];
        let duration = self.0.request_durations.get_or_create_owned(&labels);
        labels.push(("status", status.as_u16().to_string()));
        Route { method, status, requests: self.0.requests.get_or_create_owned(&labels), duration }
    }

    fn encode(&self) -> Result<String, Error> {
        let mut text = String::new();
        let registry = self.0.registry.read().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut text, &registry).map_err(Error::internal)?;
        Ok(text)
    }
}

/// A request that is being answered.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is counted of one route, for a method and a status.
struct Route {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    duration: Histogram,
}

/// A worker's own way to the metrics of each route, so that a request takes no lock that another worker holds and makes no
/// text for labels.
#[derive(Default)]
pub(crate) struct Routes(RefCell<HashMap<String, Vec<Route>>>);

impl Routes {
    /// Counts an answer. The pattern must belong to these metrics alone.
    pub(crate) fn count(&self, metrics: &Metrics, method: &Method, pattern: &str, status: StatusCode, took: Duration) {
        let mut routes = self.0.borrow_mut();
        if !routes.contains_key(pattern) {
            routes.insert(pattern.to_owned(), Vec::new());
        }
        let Some(known) = routes.get_mut(pattern) else { return };
        let name = name_of(method);
        let found = known.iter().position(|route| route.status == status && route.method == name);
        let place = found.unwrap_or_else(|| {
            known.push(metrics.route(name, pattern, status));
            known.len() - 1
        });
        let route = &known[place];
        route.requests.inc();
        route.duration.observe(took.as_secs_f64());
    }
}

/// The name of a method, or one for all those that nobody uses: a client may make any up.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Adds `/metrics`.
pub fn routes(metrics: Metrics) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config.service(Endpoint::new("/metrics").get(move || {
            let metrics = metrics.clone();
            async move {
                let text = metrics.encode()?;
                let answer = HttpResponse::Ok().insert_header((header::CONTENT_TYPE, OPEN_METRICS)).body(text);
                Ok::<_, Error>(answer)
            }
        }));
    }
}

/// Writes a gauge that is read when somebody asks.
pub fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
}

/// A count as the number of a gauge.
#[allow(clippy::cast_precision_loss, reason = "nothing here is ever counted up to 2^52")]
pub fn number(count: usize) -> f64 {
    count as f64
}

#[derive(Debug)]
struct Revocations(RevocationList);

impl Collector for Revocations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.status();
        gauge(&mut encoder, "feed_entries", "Revocations in force", None, number(status.entries))?;
        let age = status.age.map_or(f64::INFINITY, |age| age.as_secs_f64());
        let help = "Time since the list of revocations was last known to be complete";
        gauge(&mut encoder, "feed_age", help, Some(&Unit::Seconds), age)?;
        let help = "Whether the last attempt to read the feed of revocations succeeded";
        gauge(&mut encoder, "feed_connected", help, None, f64::from(u8::from(status.connected)))
    }
}

#[derive(Debug)]
struct KeyFile(Keys);

impl Collector for KeyFile {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether the key file, as it is now, was refused, so that the ring before it is still in use";
        let refused = f64::from(u8::from(self.0.refusal().is_some()));
        gauge(&mut encoder, "key_file_refused", help, None, refused)
    }
}

#[derive(Debug)]
struct Pool(Database);

impl Collector for Pool {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.0.pool_state();
        let help = "Connections that the pool may have";
        gauge(&mut encoder, "database_pool_size", help, None, f64::from(state.size))?;
        let connections = Family::<Labels, Gauge>::default();
        for (name, count) in [("in_use", state.in_use), ("idle", state.idle)] {
            connections.get_or_create(&vec![("state", name.to_owned())]).set(count.into());
        }
        let help = "Connections that the pool has";
        let family = encoder.encode_descriptor(
            "database_pool_connections",
            help,
            None,
            EncodeMetric::metric_type(&connections),
        )?;
        connections.encode(family)
    }
}

//! `/metrics`: what Prometheus is told of a service.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use actix_web::{HttpResponse, http::header, web};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use shared_claims::feed::RevocationList;

use crate::{http::Endpoint, problem::Error};

/// What [`text::encode`] writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one service; their names begin with `signet_`. Clones share them. There is no global one, so the
/// services of `signet up` each have their own in one process.
#[derive(Clone)]
pub struct Metrics(Arc<RwLock<Registry>>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metrics").finish()
    }
}

impl Metrics {
    /// `signet_build_info` alone, with the name and the version of the service.
    pub fn new(service: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("signet");
        let build = Info::new(vec![("service", service), ("version", version)]);
        registry.register("build", "What this service was built from", build);
        Self(Arc::new(RwLock::new(registry)))
    }

    /// How many revocations a list holds and how old it is.
    #[must_use]
    pub fn with_revocations(self, list: RevocationList) -> Self {
        self.registry().register_collector(Box::new(Revocations(list)));
        self
    }

    /// To add metrics to.
    pub fn registry(&self) -> impl std::ops::DerefMut<Target = Registry> + '_ {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode(&self) -> Result<String, Error> {
        let mut text = String::new();
        let registry = self.0.read().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut text, &registry).map_err(Error::internal)?;
        Ok(text)
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

/// Reads the list when it is asked, for its age changes by itself.
#[derive(Debug)]
struct Revocations(RevocationList);

impl Collector for Revocations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.status();
        let mut gauge = |name, help, unit: Option<&Unit>, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        #[allow(clippy::cast_precision_loss, reason = "there are never 2^52 revocations")]
        let entries = status.entries as f64;
        gauge("feed_entries", "Revocations in force", None, entries)?;
        let age = status.age.map_or(f64::INFINITY, |age| age.as_secs_f64());
        gauge(
            "feed_age",
            "Time since the list of revocations was last known to be complete",
            Some(&Unit::Seconds),
            age,
        )?;
        let connected = f64::from(u8::from(status.connected));
        gauge("feed_connected", "Whether the last attempt to read the feed of revocations succeeded", None, connected)
    }
}

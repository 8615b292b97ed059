//! What became of log-ins and refreshes, counted for `/metrics`.

use service_kit::{
    Error,
    metrics::{
        Labels,
        prometheus_client::{
            metrics::{counter::Counter, family::Family},
            registry::Registry,
        },
    },
};

use crate::{
    domain::Presentation,
    error::{ACCOUNT_DISABLED, INVALID_CREDENTIALS},
};

/// The counters.
pub(crate) struct Outcomes {
    logins: Family<Labels, Counter>,
    rotated: Counter,
    replayed: Counter,
    reused: Counter,
    dead: Counter,
    foreign: Counter,
    forged: Counter,
}

impl Outcomes {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let logins = Family::<Labels, Counter>::default();
        registry.register("logins", "Log-ins with a password, by what became of them", logins.clone());
        for result in ["succeeded", "refused", "disabled", "limited", "overloaded", "failed"] {
            logins.get_or_create_owned(&labels("result", result));
        }
        let refreshes = Family::<Labels, Counter>::default();
        registry.register(
            "refreshes",
            "Refresh tokens that were presented, by what they turned out to be",
            refreshes.clone(),
        );
        let refresh = |outcome| refreshes.get_or_create_owned(&labels("outcome", outcome));
        Self {
            logins,
            rotated: refresh("rotated"),
            replayed: refresh("replayed"),
            reused: refresh("reused"),
            dead: refresh("dead"),
            foreign: refresh("foreign"),
            forged: refresh("forged"),
        }
    }

    /// A log-in has ended like this.
    pub(crate) fn logged_in<T>(&self, outcome: Result<&T, &Error>) {
        let result = match outcome {
            Ok(_) => "succeeded",
            Err(Error::Forwarded(_, code)) if *code == INVALID_CREDENTIALS => "refused",
            Err(Error::Forwarded(_, code)) if *code == ACCOUNT_DISABLED => "disabled",
            Err(Error::RateLimited { .. }) => "limited",
            Err(Error::Overloaded { .. }) => "overloaded",
            Err(Error::Forwarded(_, code)) if *code == service_kit::problem::codes::OVERLOADED => "overloaded",
            Err(_) => "failed",
        };
        self.logins.get_or_create_owned(&labels("result", result)).inc();
    }

    /// A refresh token of a session has turned out to be this.
    pub(crate) fn presented(&self, presentation: Presentation) {
        match presentation {
            Presentation::Rotate => &self.rotated,
            Presentation::Replay => &self.replayed,
            Presentation::Reuse => &self.reused,
            Presentation::Dead => &self.dead,
            Presentation::Foreign => &self.foreign,
        }
        .inc();
    }

    /// Something was presented that was never issued.
    pub(crate) fn forged(&self) {
        self.forged.inc();
    }
}

fn labels(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

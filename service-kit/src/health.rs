//! `/healthz` and `/readyz`: is the process alive, and can it do its work.

use std::{collections::BTreeMap, fmt, sync::Arc};

use actix_web::{HttpResponse, http::header, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    db::{Database, SchemaState},
    http::{Endpoint, Query},
    keys::Keys,
    problem::{Error, FieldError, Problem, codes},
    validate::Invalid,
};

const DATABASE: &str = "database";
const KEYS: &str = "keys";
/// What follows auth-service's feed adds this part. It may be left out where nothing does, too, so that one probe fits
/// every service.
const FEED: &str = "feed";

/// What a probe asks for that may take a replica out of service.
pub const PROBE: &str = "/readyz?exclude=feed,keys";

/// What is found out about one part of a service.
#[derive(Debug, Default)]
pub struct Finding {
    /// What to tell of it where all is well.
    pub details: Option<Value>,
    /// Why the service is not ready: a stable code, and a sentence for the operator.
    pub fault: Option<(&'static str, String)>,
}

type Look = Arc<dyn Fn() -> Finding + Send + Sync>;

/// What has to be in order for the service to be ready.
#[derive(Clone)]
pub struct Readiness {
    database: Database,
    parts: Vec<(&'static str, Look)>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("parts", &self.names().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl Readiness {
    /// The database answers and has the expected schema, and the key file is one that could be taken up.
    pub fn new(database: Database, keys: Keys) -> Self {
        let look = move || Finding { details: None, fault: keys.refusal().map(|refusal| ("refused", refusal)) };
        Self { database, parts: Vec::new() }.with(KEYS, look)
    }

    /// And this, which must be found out without waiting.
    #[must_use]
    pub fn with(mut self, name: &'static str, look: impl Fn() -> Finding + Send + Sync + 'static) -> Self {
        self.parts.push((name, Arc::new(look)));
        self
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(DATABASE).chain(self.parts.iter().map(|(name, _)| *name))
    }
}

/// Adds both paths.
///
/// `/readyz?exclude=feed,keys` ([`PROBE`]) leaves parts out: for a probe that is to take a replica out of service only
/// for what keeps it from working, and not all replicas at once for what they have in common.
pub fn routes(readiness: Readiness) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config.service(Endpoint::new("/healthz").get(alive)).service(
            Endpoint::new("/readyz").get(move |query: Query<ReadyQuery>| ready(readiness.clone(), query.0.exclude)),
        );
    }
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(serde_json::json!({ "status": "alive" }))
}

#[derive(Deserialize)]
struct ReadyQuery {
    #[serde(default)]
    exclude: String,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    #[serde(flatten)]
    parts: BTreeMap<&'static str, Value>,
}

async fn ready(readiness: Readiness, exclude: String) -> Result<HttpResponse, Error> {
    let excluded: Vec<&str> = exclude.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if excluded.iter().any(|name| *name != FEED && !readiness.names().any(|part| part == *name)) {
        let names = readiness.names().collect::<Vec<_>>().join(", ");
        return Err(Error::field("exclude", Invalid::new("unknown", format!("These can be left out: {names}."))));
    }
    let mut faults = Vec::new();
    let mut parts = BTreeMap::new();
    if !excluded.contains(&DATABASE) {
        faults.extend(database_fault(&readiness.database).await);
    }
    for (name, look) in readiness.parts.iter().filter(|(name, _)| !excluded.contains(name)) {
        let Finding { details, fault } = look();
        parts.extend(details.map(|details| (*name, details)));
        faults.extend(fault.map(|(code, message)| field_error(name, code, message)));
    }
    let Some(first) = faults.first() else {
        return Ok(HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(Ready { status: "ready", parts }));
    };
    let mut problem = Problem::new(codes::DEPENDENCY_UNAVAILABLE, first.message.clone());
    problem.retry_after_seconds = Some(1);
    problem.errors = faults;
    Ok(problem.into_response())
}

async fn database_fault(database: &Database) -> Option<FieldError> {
    match database.check().await {
        Ok(SchemaState::Current) => None,
        Ok(SchemaState::Pending(versions)) => {
            let message = format!("Migrations are missing: {}.", versions.join(", "));
            Some(field_error("database.schema", "pending", message))
        }
        Err(_) => Some(field_error(DATABASE, "unreachable", "The database cannot be reached.".to_owned())),
    }
}

fn field_error(field: &str, code: &'static str, message: String) -> FieldError {
    FieldError { field: field.to_owned(), code: code.into(), message }
}

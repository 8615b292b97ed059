//! `/healthz` and `/readyz`: is the process alive, and can it do its work.

use actix_web::{HttpResponse, http::header, web};

use crate::{
    db::{Database, SchemaState},
    http::Endpoint,
    problem::{FieldError, Problem, codes},
};

/// What has to be in order for the service to be ready.
#[derive(Clone)]
pub struct Readiness {
    /// The service's database.
    pub database: Database,
}

/// Adds both paths.
pub fn routes(readiness: Readiness) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config
            .service(Endpoint::new("/healthz").get(alive))
            .service(Endpoint::new("/readyz").get(move || ready(readiness.clone())));
    }
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(serde_json::json!({ "status": "alive" }))
}

async fn ready(readiness: Readiness) -> HttpResponse {
    let missing = match readiness.database.check().await {
        Ok(SchemaState::Current) => None,
        Ok(SchemaState::Pending(versions)) => {
            Some(("database.schema", "pending", format!("Migrations are missing: {}.", versions.join(", "))))
        }
        Err(_) => Some(("database", "unreachable", "The database cannot be reached.".to_owned())),
    };
    match missing {
        None => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(serde_json::json!({ "status": "ready" })),
        Some((field, code, message)) => {
            let mut problem = Problem::new(codes::DEPENDENCY_UNAVAILABLE, message.clone());
            problem.retry_after_seconds = Some(1);
            problem.errors = vec![FieldError { field: field.to_owned(), code: code.into(), message }];
            problem.into_response()
        }
    }
}

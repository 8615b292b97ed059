//! The middleware around every request: its id, its log line, and a problem where something else failed.

use std::{
    future::{Future, Ready, ready},
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    time::Instant,
};

use actix_web::{
    Error as ActixError, HttpResponse,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use futures_util::FutureExt as _;

use crate::{
    context::RequestContext,
    problem::{Error, Problem, codes},
};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Gives each request its [`RequestContext`], answers with `X-Request-Id`, logs a line per request (target `access`:
/// at level info, never the path's values or the query), turns a panic into a 500, and sees to it that every failure
/// is problem+json.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestScope;

impl<S, B> Transform<S, ServiceRequest> for RequestScope
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = ActixError;
    type Transform = RequestScopeService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(RequestScopeService { service: Rc::new(service) }))
    }
}

/// [`RequestScope`] around a service.
#[derive(Debug)]
pub struct RequestScopeService<S> {
    service: Rc<S>,
}

impl<S, B> Service<ServiceRequest> for RequestScopeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = ActixError> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = ActixError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ActixError>>>>;

    fn poll_ready(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), ActixError>> {
        self.service.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let context = RequestContext::new(text(&X_REQUEST_ID), text(&TRACEPARENT));
        let service = self.service.clone();
        Box::pin(context.scope(async move {
            let started = log::log_enabled!(target: "access", log::Level::Info).then(Instant::now);
            let outcome = AssertUnwindSafe(service.call(request)).catch_unwind().await;
            let mut response = match outcome {
                Ok(Ok(response)) if is_plain_failure(&response) => {
                    let (request, response) = response.into_parts();
                    let problem = problem_for(response.status());
                    ServiceResponse::new(request, problem).map_into_right_body()
                }
                Ok(Ok(response)) => response.map_into_left_body(),
                Ok(Err(error)) => {
                    let response = error.error_response();
                    let response =
                        if is_problem(response.headers()) { response } else { problem_for(response.status()) };
                    return Err(fail(response, &context));
                }
                Err(_) => {
                    log::error!("a handler panicked");
                    return Err(fail(problem_for(StatusCode::INTERNAL_SERVER_ERROR), &context));
                }
            };
            name_request(response.headers_mut(), &context);
            if let Some(started) = started {
                log_access(&response, started);
            }
            Ok(response)
        }))
    }
}

/// A failure outside of any handler, rendered while the request's context is still at hand.
fn fail(mut response: HttpResponse, context: &RequestContext) -> ActixError {
    name_request(response.headers_mut(), context);
    log::info!(target: "access", status = response.status().as_u16(); "failed");
    InternalError::from_response("failed outside of a handler", response).into()
}

fn name_request(headers: &mut header::HeaderMap, context: &RequestContext) {
    if let Ok(id) = HeaderValue::from_str(context.request_id.as_str()) {
        headers.insert(X_REQUEST_ID.clone(), id);
    }
}

fn log_access<B>(response: &ServiceResponse<B>, started: Instant) {
    let request = response.request();
    let route = request.match_pattern();
    let route = route.as_deref().unwrap_or("-");
    // Probes come every few seconds and say nothing while they pass.
    let quiet = matches!(route, "/healthz" | "/readyz") && response.status().is_success();
    log::log!(
        target: "access",
        if quiet { log::Level::Debug } else { log::Level::Info },
        method = request.method().as_str(),
        route = route,
        status = response.status().as_u16(),
        duration_seconds = started.elapsed().as_secs_f64();
        "answered"
    );
}

fn is_problem(headers: &header::HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|media_type| matches!(media_type.as_bytes(), b"application/problem+json" | b"application/json"))
}

/// Whether a failure was made by the framework, as text or without a body, and not by us.
fn is_plain_failure<B: MessageBody>(response: &ServiceResponse<B>) -> bool {
    (response.status().is_client_error() || response.status().is_server_error()) && !is_problem(response.headers())
}

fn problem_for(status: StatusCode) -> HttpResponse {
    let code = codes::ALL.iter().find(|code| code.status == status).copied().unwrap_or(if status.is_client_error() {
        codes::INVALID_REQUEST
    } else {
        codes::INTERNAL
    });
    let detail = match code {
        codes::NOT_FOUND => Error::NotFound.to_string(),
        code if code == codes::INTERNAL => {
            "Something went wrong on our side. The request id finds it in the logs.".to_owned()
        }
        _ => "The request could not be understood.".to_owned(),
    };
    Problem::new(code, detail).into_response()
}

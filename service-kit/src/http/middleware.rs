//! The middleware around every request: its id, its log line, the headers that every answer has, and a problem where
//! something else failed.

use std::{
    cell::{Cell, RefCell},
    future::{Future, Ready, ready},
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use actix_web::{
    Error as ActixError, HttpMessage as _, HttpResponse,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform},
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::{TrustedProxies, pace::Pace};
use crate::{
    config::ServerConfig,
    context::RequestContext,
    metrics::{Metrics, Routes},
    peer::{TIMEOUT_HEADER, parse_timeout},
    problem::{Error, Problem, codes},
};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static SIGNET_TIMEOUT: HeaderName = HeaderName::from_static(TIMEOUT_HEADER);

/// Gives each request its [`RequestContext`], answers with `X-Request-Id`, `X-Content-Type-Options` and, to whoever came
/// by TLS, `Strict-Transport-Security`; counts, logs a line per request (target
/// `access`: at level info, never the path's values or the query), turns a panic into a 500, and sees to it that every
/// failure is problem+json.
///
/// A request is counted in the [`Metrics`] of the scope that answers it, else in those of the whole service.
#[derive(Clone, Debug, Default)]
pub struct RequestScope {
    metrics: Option<Metrics>,
    hsts: Option<Hsts>,
}

/// What browsers are told that came by TLS (RFC 6797); nobody else is told.
#[derive(Clone, Debug)]
struct Hsts {
    proxies: TrustedProxies,
    value: HeaderValue,
}

impl Hsts {
    /// Nothing where nobody could come by TLS.
    fn new(config: &ServerConfig) -> Option<Self> {
        let is_told = config.hsts_max_age_seconds > 0 && !config.trusted_proxies.is_empty();
        let value = HeaderValue::from_str(&format!("max-age={}", config.hsts_max_age_seconds)).ok()?;
        is_told.then(|| Self { proxies: TrustedProxies(config.trusted_proxies.clone()), value })
    }

    fn for_request(&self, request: &ServiceRequest) -> Option<HeaderValue> {
        let peer = request.peer_addr()?.ip();
        self.proxies.is_https(peer, request.headers()).then(|| self.value.clone())
    }
}

impl RequestScope {
    /// With the metrics of the service; an origin of several has none of its own.
    pub fn new(metrics: Option<Metrics>, config: &ServerConfig) -> Self {
        Self { metrics, hsts: Hsts::new(config) }
    }
}

/// Who asked, put into the request's extensions for its line in the log.
pub(crate) struct Subject(pub(crate) String);

/// The route of requests to paths that there is nothing at.
const UNMATCHED: &str = "-";

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
        let (metrics, hsts, routes) = (self.metrics.clone(), self.hsts.clone(), Rc::default());
        ready(Ok(RequestScopeService { service: Rc::new(service), metrics, hsts, routes, turns: Turns::default() }))
    }
}

/// [`RequestScope`] around a service.
pub struct RequestScopeService<S> {
    service: Rc<S>,
    metrics: Option<Metrics>,
    hsts: Option<Hsts>,
    routes: Rc<Routes>,
    turns: Turns,
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

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let pace = request.conn_data::<Rc<Pace>>().cloned();
        let unread = Unread::watch(&mut request, pace.as_ref());
        let answering = pace.map(|pace| pace.answer(content_length(request.headers())));
        let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let mut context = RequestContext::new(text(&X_REQUEST_ID), text(&TRACEPARENT));
        // Only services may call these, so nobody outside has a say in how long anything may take.
        if request.path().starts_with("/internal/")
            && let Some(left) = text(&SIGNET_TIMEOUT).and_then(parse_timeout)
        {
            context = context.by(Instant::now() + left);
        }
        let hsts = self.hsts.as_ref().and_then(|hsts| hsts.for_request(&request));
        let (service, metrics, routes) = (self.service.clone(), self.metrics.clone(), self.routes.clone());
        let method = request.method().clone();
        let gives_way = self.turns.take();
        Box::pin(context.scope(async move {
            let _answering = answering;
            let _in_flight = metrics.as_ref().map(Metrics::enter);
            let started = Instant::now();
            if gives_way {
                tokio::task::yield_now().await;
            }
            let failed = |response: HttpResponse| {
                if let Some(metrics) = &metrics {
                    routes.count(metrics, &method, UNMATCHED, response.status(), started.elapsed());
                }
                Err(fail(response, &context, hsts.clone()))
            };
            let outcome = AssertUnwindSafe(service.call(request)).catch_unwind().await;
            if let Some(unread) = unread {
                unread.give_up();
            }
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
                    return failed(response);
                }
                Err(_) => {
                    log::error!("a handler panicked");
                    if let Some(metrics) = &metrics {
                        metrics.panicked();
                    }
                    return failed(problem_for(StatusCode::INTERNAL_SERVER_ERROR));
                }
            };
            complete(response.headers_mut(), &context, hsts.clone());
            let took = started.elapsed();
            let pattern = response.request().match_pattern();
            let pattern = pattern.as_deref().unwrap_or(UNMATCHED);
            if let Some(metrics) = response.request().app_data::<Metrics>().or(metrics.as_ref()) {
                routes.count(metrics, &method, pattern, response.status(), took);
            }
            if log::log_enabled!(target: "access", log::Level::Info) {
                log_access(&response, pattern, took);
            }
            Ok(response)
        }))
    }
}

/// Says of one request in as many as may wait on a connection that it is to give way once.
///
/// actix-http reads on while a request is pending and fewer than 16 wait behind it. If all that wait are then answered
/// without ever being pending, it has forgotten what came meanwhile: that stays unanswered until the client sends more.
/// With one in each 16 that is pending, there is one among the last that wait, and it reads on.
#[derive(Default)]
struct Turns(Cell<u32>);

impl Turns {
    /// As many as actix-http lets wait on a connection.
    const WAITING: u32 = 16;

    fn take(&self) -> bool {
        let turn = self.0.get();
        self.0.set(turn.wrapping_add(1));
        turn.is_multiple_of(Self::WAITING)
    }
}

/// A body in pieces, of which a handler need not have read the end.
///
/// actix-http waits for such an end for as long as it takes, once the handler has let go of the body: whoever sends
/// `Transfer-Encoding: chunked` and nothing more has a connection for good. While somebody still holds the body it closes
/// the connection behind the answer, as it does for a body with a `Content-Length`.
struct Unread(Rc<Pieces>);

struct Pieces {
    payload: RefCell<Payload>,
    ended: Cell<bool>,
}

impl Unread {
    fn watch(request: &mut ServiceRequest, pace: Option<&Rc<Pace>>) -> Option<Self> {
        if !request.headers().contains_key(header::TRANSFER_ENCODING) {
            return None;
        }
        let pieces = Rc::new(Pieces { payload: RefCell::new(request.take_payload()), ended: Cell::new(false) });
        let (shared, pace) = (pieces.clone(), pace.cloned());
        let stream = stream::poll_fn(move |context| {
            let polled = shared.payload.borrow_mut().poll_next_unpin(context);
            match (&polled, &pace) {
                (Poll::Ready(None | Some(Err(_))), _) => shared.ended.set(true),
                (Poll::Ready(Some(Ok(chunk))), Some(pace)) => pace.took(chunk.len()),
                _ => {}
            }
            polled
        });
        request.set_payload(Payload::from(stream.boxed_local()));
        Some(Self(pieces))
    }

    /// The answer is made: what has not been read by then is not waited for.
    fn give_up(self) {
        if !self.0.ended.get() {
            actix_web::rt::spawn(async move {
                // Until the answer is on its way, which is at once.
                tokio::time::sleep(Duration::from_secs(2)).await;
                drop(self);
            });
        }
    }
}

fn content_length(headers: &header::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A failure outside of any handler, rendered while the request's context is still at hand.
fn fail(mut response: HttpResponse, context: &RequestContext, hsts: Option<HeaderValue>) -> ActixError {
    complete(response.headers_mut(), context, hsts);
    log::info!(target: "access", status = response.status().as_u16(); "failed");
    InternalError::from_response("failed outside of a handler", response).into()
}

/// The headers that every answer has.
fn complete(headers: &mut header::HeaderMap, context: &RequestContext, hsts: Option<HeaderValue>) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // What a handler says nothing of is for the caller alone, and not to be used again unasked.
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    if let Some(hsts) = hsts {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    if let Ok(id) = HeaderValue::from_str(context.request_id.as_str()) {
        headers.insert(X_REQUEST_ID.clone(), id);
    }
}

fn log_access<B>(response: &ServiceResponse<B>, route: &str, took: Duration) {
    let request = response.request();
    // Probes and scrapes come every few seconds and say nothing while they pass.
    let quiet = matches!(route, "/healthz" | "/readyz" | "/metrics") && response.status().is_success();
    let extensions = request.extensions();
    let level = if quiet { log::Level::Debug } else { log::Level::Info };
    macro_rules! write_line {
        ($($subject:tt)*) => {
            log::log!(
                target: "access",
                level,
                method = request.method().as_str(),
                route = route,
                status = response.status().as_u16(),
                duration_seconds = took.as_secs_f64()
                $($subject)*;
                "answered"
            )
        };
    }
    match extensions.get::<Subject>() {
        Some(Subject(subject)) => write_line!(, subject = subject.as_str()),
        None => write_line!(),
    }
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

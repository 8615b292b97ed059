//! A path and its methods.

use actix_web::{
    FromRequest, Handler, HttpResponse, Resource, Responder, Route,
    dev::{AppService, HttpServiceFactory},
    guard::{self, Guard},
    web,
};

use crate::problem::Error;

/// A path and the handlers for its methods. A `GET` answers `HEAD` too (RFC 9110, 9.3.2), and any other method is
/// answered with 405 and an `Allow` header.
pub struct Endpoint {
    resource: Resource,
    allow: Vec<&'static str>,
}

impl Endpoint {
    /// A path without methods, with actix's patterns for its variable parts.
    pub fn new(path: &str) -> Self {
        Self { resource: web::resource(path), allow: Vec::new() }
    }

    /// Answers GET and HEAD.
    #[must_use]
    pub fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let guard = guard::Any(guard::Get()).or(guard::Head());
        self.route("GET, HEAD", guard, handler)
    }

    /// Answers POST.
    #[must_use]
    pub fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route("POST", guard::Post(), handler)
    }

    /// Answers PUT.
    #[must_use]
    pub fn put<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route("PUT", guard::Put(), handler)
    }

    /// Answers PATCH.
    #[must_use]
    pub fn patch<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route("PATCH", guard::Patch(), handler)
    }

    /// Answers DELETE.
    #[must_use]
    pub fn delete<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.route("DELETE", guard::Delete(), handler)
    }

    fn route<F, Args>(mut self, methods: &'static str, guard: impl Guard + 'static, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.allow.push(methods);
        self.resource = self.resource.route(Route::new().guard(guard).to(handler));
        self
    }
}

impl HttpServiceFactory for Endpoint {
    fn register(self, config: &mut AppService) {
        let allow = self.allow.join(", ");
        let refuse = move || {
            let allow = allow.clone();
            async move { Err::<HttpResponse, _>(Error::MethodNotAllowed { allow }) }
        };
        self.resource.default_service(web::to(refuse)).register(config);
    }
}

/// Answers for every path that there is nothing at.
pub async fn not_found() -> Result<HttpResponse, Error> {
    Err(Error::NotFound)
}

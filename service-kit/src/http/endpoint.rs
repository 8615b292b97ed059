//! A path and its methods.

use actix_web::{
    FromRequest, Handler, HttpResponse, Resource, Responder, Route, Scope,
    dev::{AppService, HttpServiceFactory},
    guard::{self, Guard},
    web,
};

use crate::problem::Error;

/// A path and the handlers for its methods. A `GET` answers `HEAD` too (RFC 9110, 9.3.2), and any other method is
/// answered with 405 and an `Allow` header.
pub struct Endpoint {
    path: String,
    resource: Resource,
    allow: Vec<&'static str>,
}

impl Endpoint {
    /// A path without methods, with actix's patterns for its variable parts.
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), resource: web::resource(path), allow: Vec::new() }
    }

    /// The path, and the methods as they stand in `Allow`.
    pub fn methods(&self) -> (&str, impl Iterator<Item = &'static str>) {
        (&self.path, self.allow.iter().flat_map(|methods| methods.split(", ")))
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

/// The endpoints under one prefix: a scope that can say what is in it.
pub struct Endpoints {
    prefix: &'static str,
    endpoints: Vec<Endpoint>,
}

impl Endpoints {
    /// None yet.
    pub fn under(prefix: &'static str) -> Self {
        Self { prefix, endpoints: Vec::new() }
    }

    /// These, and one more.
    #[must_use]
    pub fn service(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Every method of every path, such as `GET /persons/{id}`. That a GET answers HEAD goes without saying.
    pub fn routes(&self) -> Vec<String> {
        let of = |endpoint: &Endpoint| {
            let (path, methods) = endpoint.methods();
            let path = format!("{}{path}", self.prefix);
            methods.filter(|method| *method != "HEAD").map(|method| format!("{method} {path}")).collect::<Vec<_>>()
        };
        self.endpoints.iter().flat_map(of).collect()
    }

    /// The scope, to be given what the handlers need.
    pub fn into_scope(self) -> Scope {
        self.endpoints.into_iter().fold(web::scope(self.prefix), Scope::service)
    }
}

/// Answers for every path that there is nothing at.
pub async fn not_found() -> Result<HttpResponse, Error> {
    Err(Error::NotFound)
}

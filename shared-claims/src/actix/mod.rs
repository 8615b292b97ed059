//! The extractor for actix-web: a handler that names [`Authorized`] among its arguments runs only for callers whose
//! token allows it.
//!
//! Put a `web::Data<Verifier>` into the App's `app_data`, and a [`BearerConfig`] if the defaults do not suit:
//!
//! ```
//! use actix_web::{App, web};
//! use shared_claims::Verifier;
//! use shared_claims::actix::{Authorized, BearerConfig, FormToken, Sources};
//!
//! shared_claims::scope! {
//!     /// May read persons.
//!     pub PersonsRead = "persons:read";
//! }
//!
//! async fn list(caller: Authorized<PersonsRead>) -> String {
//!     format!("persons for {}", caller.sub)
//! }
//!
//! # fn app(verifier: Verifier) -> Result<(), Box<dyn std::error::Error>> {
//! let sources = Sources::from_names(["header", "x-access-token", "form"])?;
//! App::new()
//!     .app_data(web::Data::new(verifier))
//!     .app_data(BearerConfig::default().sources(sources))
//!     .wrap(FormToken)
//!     .route("/persons", web::get().to(list));
//! # Ok(())
//! # }
//! ```
//!
//! A caller who may not enter gets a [`Rejection`]: an `application/problem+json` answer with the challenge of RFC 6750.

mod form;
mod rejection;

use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};

use crate::bearer::{self, FormBearer, TokenHeader};
use crate::{Claims, Verifier};

pub use crate::access::{Access, AnyToken, AnyUser};
pub use crate::bearer::{Sources, UnknownSource};
pub use crate::rejection::Rejection;
pub use crate::scope;
pub use form::{FormToken, FormTokenService};

/// The claims of a caller whose token is valid and allows what `A` asks for.
///
/// It takes no I/O and no await to obtain. The caller's [`Claims`] are a dereference away.
pub struct Authorized<A> {
    claims: Claims,
    access: PhantomData<fn() -> A>,
}

impl<A> Authorized<A> {
    /// The claims alone.
    pub fn into_claims(self) -> Claims {
        self.claims
    }
}

impl<A> Deref for Authorized<A> {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.claims
    }
}

impl<A> fmt::Debug for Authorized<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorized").field(&self.claims).finish()
    }
}

impl<A: Access> FromRequest for Authorized<A> {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let config = BearerConfig::of(request);
        ready(
            authorize::<A>(request, config.map_or_else(Sources::default, |config| config.sources))
                .map(|claims| {
                    if let Some(on_accept) = config.and_then(|config| config.on_accept.as_ref()) {
                        on_accept(&claims, request);
                    }
                    Self { claims, access: PhantomData }
                })
                .map_err(|rejection| match config.and_then(|config| config.on_reject.as_ref()) {
                    Some(on_reject) => on_reject(rejection, request),
                    None => rejection.into(),
                }),
        )
    }
}

fn authorize<A: Access>(request: &HttpRequest, sources: Sources) -> Result<Claims, Rejection> {
    const NO_VERIFIER: &str = "the application has no web::Data<Verifier> in its app_data";

    let verifier = request.app_data::<web::Data<Verifier>>().ok_or_else(|| Rejection::internal(NO_VERIFIER))?;
    bearer::authorize::<A>(verifier, request, sources)
}

static AUTHORIZATION: HeaderName = header::AUTHORIZATION;
static X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

impl bearer::Request for HttpRequest {
    fn header(&self, name: TokenHeader) -> impl Iterator<Item = &[u8]> {
        let name = match name {
            TokenHeader::Authorization => &AUTHORIZATION,
            TokenHeader::XAccessToken => &X_ACCESS_TOKEN,
        };
        self.headers().get_all(name).map(HeaderValue::as_bytes)
    }

    fn query(&self) -> &str {
        self.query_string()
    }

    fn form(&self) -> Option<FormBearer> {
        self.extensions().get::<FormBearer>().cloned()
    }
}

type OnReject = Arc<dyn Fn(Rejection, &HttpRequest) -> actix_web::Error + Send + Sync>;
type OnAccept = Arc<dyn Fn(&Claims, &HttpRequest) + Send + Sync>;

/// Where [`Authorized`] looks for tokens and how it refuses. Belongs into the App's `app_data`, as it is.
#[derive(Clone, Default)]
pub struct BearerConfig {
    sources: Sources,
    on_reject: Option<OnReject>,
    on_accept: Option<OnAccept>,
}

impl BearerConfig {
    /// Where tokens are looked for.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// Turns a rejection into the service's own error, as `JsonConfig::error_handler` does for bodies.
    ///
    /// What it returns should keep [`Rejection::status`] and [`Rejection::www_authenticate`].
    #[must_use]
    pub fn on_reject<F>(mut self, on_reject: F) -> Self
    where
        F: Fn(Rejection, &HttpRequest) -> actix_web::Error + Send + Sync + 'static,
    {
        self.on_reject = Some(Arc::new(on_reject));
        self
    }

    /// Is told of every token that is taken, before the handler runs: for a log that says who asked. It should keep the
    /// subject and no token.
    #[must_use]
    pub fn on_accept<F>(mut self, on_accept: F) -> Self
    where
        F: Fn(&Claims, &HttpRequest) + Send + Sync + 'static,
    {
        self.on_accept = Some(Arc::new(on_accept));
        self
    }

    fn of(request: &HttpRequest) -> Option<&Self> {
        request.app_data::<Self>().or_else(|| request.app_data::<web::Data<Self>>().map(web::Data::get_ref))
    }
}

impl fmt::Debug for BearerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerConfig").field("sources", &self.sources).finish_non_exhaustive()
    }
}

//! The layer for services made of tower, such as those of axum, tonic and hyper: what is behind it is called only for
//! callers whose token allows it.
//!
//! The [`Claims`](crate::Claims) of a caller who may enter are in the request's extensions. With axum, a handler takes
//! them as `Extension<Claims>`:
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use shared_claims::tower::BearerLayer;
//! use shared_claims::{Claims, Verifier};
//!
//! shared_claims::scope! {
//!     /// May read persons.
//!     pub PersonsRead = "persons:read";
//! }
//!
//! async fn list(Extension(caller): Extension<Claims>) -> String {
//!     format!("persons for {}", caller.sub)
//! }
//!
//! # fn router(verifier: Verifier) -> Router {
//! Router::new().route("/persons", get(list)).layer(BearerLayer::new(verifier).require::<PersonsRead>())
//! # }
//! ```
//!
//! A caller who may not enter gets a [`Rejection`](crate::Rejection): an `application/problem+json` answer with the
//! challenge of RFC 6750, or a gRPC status with [`BearerLayer::for_grpc`].

mod refusal;

use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::access::{Access, AnyToken};
use crate::bearer::{self, FormBearer, Sources, TokenHeader};
use crate::verifier::Verifier;

pub use refusal::{GrpcStatus, Problem, Refusal};

/// Lets through requests with a token that is valid and allows what `A` asks for, and refuses all others as `R` words
/// it.
///
/// It takes no I/O and no await. Nothing of a refused request reaches the service behind it.
pub struct BearerLayer<A = AnyToken, R = Problem> {
    verifier: Verifier,
    sources: Sources,
    rules: PhantomData<fn() -> (A, R)>,
}

impl BearerLayer {
    /// Lets in any valid token, and refuses with `application/problem+json`.
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, sources: Sources::default(), rules: PhantomData }
    }
}

impl<A, R> BearerLayer<A, R> {
    /// Lets in only those whom this type allows: one that [`scope!`](crate::scope!) declares,
    /// [`AnyUser`](crate::AnyUser), or a rule of your own.
    #[must_use]
    pub fn require<B: Access>(self) -> BearerLayer<B, R> {
        BearerLayer { verifier: self.verifier, sources: self.sources, rules: PhantomData }
    }

    /// Where tokens are looked for. Forms are not looked into.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// Refuses as gRPC does, for tonic.
    #[must_use]
    pub fn for_grpc(self) -> BearerLayer<A, GrpcStatus> {
        self.refuse_with()
    }

    /// Refuses in your own way.
    #[must_use]
    pub fn refuse_with<Q>(self) -> BearerLayer<A, Q> {
        BearerLayer { verifier: self.verifier, sources: self.sources, rules: PhantomData }
    }
}

impl<S, A, R> Layer<S> for BearerLayer<A, R> {
    type Service = Bearer<S, A, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Bearer { inner, layer: self.clone() }
    }
}

impl<A, R> Clone for BearerLayer<A, R> {
    fn clone(&self) -> Self {
        Self { verifier: self.verifier.clone(), sources: self.sources, rules: PhantomData }
    }
}

impl<A, R> fmt::Debug for BearerLayer<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerLayer")
            .field("verifier", &self.verifier)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// A service behind a [`BearerLayer`].
pub struct Bearer<S, A = AnyToken, R = Problem> {
    inner: S,
    layer: BearerLayer<A, R>,
}

impl<S: Clone, A, R> Clone for Bearer<S, A, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, A, R> fmt::Debug for Bearer<S, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, A, R, ReqBody, ResBody> Service<Request<ReqBody>> for Bearer<S, A, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    A: Access,
    R: Refusal<ResBody>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<ResBody>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    /// The verdict is there at once, so the very service that said it was ready is the one that is called: there is no
    /// future that would need a clone of it.
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match bearer::authorize::<A>(&self.layer.verifier, &request, self.layer.sources) {
            Ok(claims) => {
                request.extensions_mut().insert(claims);
                Either::Left(self.inner.call(request))
            }
            Err(rejection) => Either::Right(ready(Ok(R::refuse(&rejection)))),
        }
    }
}

static AUTHORIZATION: HeaderName = header::AUTHORIZATION;
static X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

impl<B> bearer::Request for Request<B> {
    fn header(&self, name: TokenHeader) -> impl Iterator<Item = &[u8]> {
        let name = match name {
            TokenHeader::Authorization => &AUTHORIZATION,
            TokenHeader::XAccessToken => &X_ACCESS_TOKEN,
        };
        self.headers().get_all(name).into_iter().map(HeaderValue::as_bytes)
    }

    fn query(&self) -> &str {
        self.uri().query().unwrap_or_default()
    }

    fn form(&self) -> Option<FormBearer> {
        None
    }
}

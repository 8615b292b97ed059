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
mod source;

use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

pub use crate::scope;
use crate::{Claims, Verifier};

pub use form::{FormToken, FormTokenService};
pub use rejection::Rejection;
pub use source::{Sources, UnknownSource};

/// Decides which tokens may enter. Implement it for a unit type and ask for `Authorized<ThatType>`.
///
/// ```
/// use shared_claims::Claims;
/// use shared_claims::actix::Access;
///
/// /// A user who holds the role `auditor`.
/// pub struct Auditor;
///
/// impl Access for Auditor {
///     const DENIED: &'static str = "this is for auditors";
///
///     fn allows(claims: &Claims) -> bool {
///         !claims.is_client() && claims.roles.iter().any(|role| role == "auditor")
///     }
/// }
/// ```
pub trait Access: 'static {
    /// The scope that is asked for, where it is one scope: a refusal names it to the client.
    const SCOPE: Option<&'static str> = None;

    /// What a refusal says.
    const DENIED: &'static str = "the token does not allow this";

    /// Whether these claims, which have been verified, may enter.
    fn allows(claims: &Claims) -> bool;
}

/// Declares unit types that let in tokens which carry a scope.
///
/// ```
/// shared_claims::scope! {
///     /// May read persons.
///     pub PersonsRead = "persons:read";
///     /// May change persons.
///     pub PersonsWrite = "persons:write";
/// }
/// ```
#[macro_export]
macro_rules! scope {
    ($($(#[$attribute:meta])* $visibility:vis $name:ident = $scope:literal);+ $(;)?) => {$(
        #[doc = concat!("Lets in tokens with the scope `", $scope, "`.")]
        ///
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        $visibility struct $name;

        impl $crate::actix::Access for $name {
            const SCOPE: ::core::option::Option<&'static str> = ::core::option::Option::Some($scope);
            const DENIED: &'static str = concat!("this needs the scope ", $scope);

            fn allows(claims: &$crate::Claims) -> bool {
                claims.has_scope($scope)
            }
        }
    )+};
}

/// Any valid token.
#[derive(Clone, Copy, Debug)]
pub struct AnyToken;

impl Access for AnyToken {
    fn allows(_: &Claims) -> bool {
        true
    }
}

/// Any user's token; a client's or a service's own is refused.
#[derive(Clone, Copy, Debug)]
pub struct AnyUser;

impl Access for AnyUser {
    const DENIED: &'static str = "this needs a user's token, and this one is a client's";

    fn allows(claims: &Claims) -> bool {
        !claims.is_client()
    }
}

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
                .map(|claims| Self { claims, access: PhantomData })
                .map_err(|rejection| match config.and_then(|config| config.on_reject.as_ref()) {
                    Some(on_reject) => on_reject(rejection, request),
                    None => rejection.into(),
                }),
        )
    }
}

fn authorize<A: Access>(request: &HttpRequest, sources: Sources) -> Result<Claims, Rejection> {
    let verifier = request.app_data::<web::Data<Verifier>>().ok_or_else(Rejection::no_verifier)?;
    let realm = verifier.audience();
    let token = source::find(request, sources, realm)?;
    let claims = verifier.verify(&token).map_err(|error| Rejection::invalid(realm, error))?;
    if !A::allows(&claims) {
        return Err(Rejection::insufficient(realm, A::SCOPE, A::DENIED));
    }
    Ok(claims)
}

type OnReject = Arc<dyn Fn(Rejection, &HttpRequest) -> actix_web::Error + Send + Sync>;

/// Where [`Authorized`] looks for tokens and how it refuses. Belongs into the App's `app_data`, as it is.
#[derive(Clone, Default)]
pub struct BearerConfig {
    sources: Sources,
    on_reject: Option<OnReject>,
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

    fn of(request: &HttpRequest) -> Option<&Self> {
        request.app_data::<Self>().or_else(|| request.app_data::<web::Data<Self>>().map(web::Data::get_ref))
    }
}

impl fmt::Debug for BearerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerConfig").field("sources", &self.sources).finish_non_exhaustive()
    }
}

//! Access tokens, issued and verified without asking anybody.
//!
//! A Signet access token is a signed JWT with the profile of [RFC 9068]: it says who the caller is, what the caller may
//! do, which services it is meant for and until when. This crate makes such tokens and checks them in memory, so a
//! service answers a request without a call to the service that issued the token.
//!
//! # A service that verifies
//!
//! With the feature `actix`, a handler asks for what it needs in its signature; callers who lack it never reach it.
//!
#![cfg_attr(feature = "actix", doc = "```no_run")]
#![cfg_attr(not(feature = "actix"), doc = "```ignore")]
//! use actix_web::{App, HttpServer, web};
//! use shared_claims::actix::Authorized;
//! use shared_claims::{KeyRing, Verifier};
//!
//! shared_claims::scope!(pub PersonsRead = "persons:read");
//!
//! async fn hello(caller: Authorized<PersonsRead>) -> String {
//!     format!("Hello {}", caller.sub)
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let ring = KeyRing::from_secret(std::env::var("TOKEN_SECRET")?.as_bytes())?;
//!     let verifier = Verifier::builder(ring).issuer("https://id.example").audience("greeter").build()?;
//!     let verifier = web::Data::new(verifier);
//!     HttpServer::new(move || App::new().app_data(verifier.clone()).route("/hello", web::get().to(hello)))
//!         .bind(("127.0.0.1", 8090))?
//!         .run()
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
#![cfg_attr(feature = "actix", doc = "See [`actix`] for where tokens are looked for and how callers are refused.")]
//!
//! # Any other framework
//!
//! The feature `tower` has a layer that does the same for axum, tonic, hyper and whatever else is made of tower services.
#![cfg_attr(feature = "tower", doc = "See [`tower`] for how it is put in, and `examples/axum.rs` for a whole service.")]
//!
//! # Any other program
//!
//! [`Verifier::verify`] takes a token and gives its [`Claims`], or an [`Error`] that says which check failed:
//!
//! ```
//! use shared_claims::{Claims, ErrorKind, KeyRing, Signer, Verifier};
//!
//! # let secret = b"9w*Tq4!mZr7#Kc2$Vn8@Lx5%Jd1^Hg6&";
//! let ring = KeyRing::from_secret(secret)?;
//! let signer = Signer::new(&ring)?;
//! let verifier = Verifier::builder(ring).issuer("https://id.example").audience("greeter").build()?;
//!
//! let now = 1_800_000_000;
//! let token = signer.sign(&Claims {
//!     iss: "https://id.example".into(),
//!     sub: "ada".into(),
//!     aud: vec!["greeter".into()],
//!     iat: now,
//!     exp: now + 900,
//!     jti: "1".into(),
//!     scope: "persons:read".into(),
//!     ..Claims::default()
//! })?;
//!
//! let claims = verifier.verify_at(&token, now)?;
//! assert!(claims.has_scope("persons:read"));
//!
//! let error = verifier.verify_at(&token, now + 3600).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Expired);
//! assert_eq!(error.code(), "token_expired");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Revocation
//!
//! A token says what was true when it was issued. Between then and its end its session may be ended, its user's password,
//! roles or account may change, or its key may leak. auth-service writes down each such thing in a feed, and with the
//! feature `feed` a service follows it in the background: a `Follower` keeps a `RevocationList`,
//! and the verifier looks into that. It takes effect within milliseconds in
//! every service, and a request still never leaves the process.
//!
#![cfg_attr(feature = "feed", doc = "```no_run")]
#![cfg_attr(not(feature = "feed"), doc = "```ignore")]
//! use shared_claims::feed::{Follower, RevocationList, TokenSource};
//! use shared_claims::{KeyRing, LiveKeyRing, Verifier};
//!
//! # async fn example(secret: &[u8], client_id: &str, client_secret: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let ring = LiveKeyRing::new(KeyRing::from_secret(secret)?);
//! let revoked = RevocationList::new();
//! let verifier = Verifier::builder(ring.clone())
//!     .issuer("https://id.example")
//!     .audience("greeter")
//!     .revocations(revoked.clone())
//!     .build()?;
//!
//! let auth_service = "http://auth-service:8081";
//! let tokens = TokenSource::client_credentials(&format!("{auth_service}/auth/token"), client_id, client_secret)?;
//! let follower = Follower::new(auth_service, "greeter", revoked, ring, tokens)?;
//! tokio::spawn(follower.run(std::future::pending()));
//! # Ok(())
//! # }
//! ```
//!
//! The list holds what is in force alone: an entry goes when the last token that it could hit has expired. Looking a token
//! up takes no lock and costs a few dozen nanoseconds, however long the list is (`benches/revocation.rs` measures it).
//!
//! When auth-service cannot be reached the list keeps what it has and ages. What then becomes of tokens is yours to
//! choose: they are taken until they expire, which is the default, or refused with
//! `WhenStale::Refuse`. `RevocationList::status` tells the age and the size, for health checks and metrics.
#![cfg_attr(feature = "feed", doc = "See [`feed`] for each of them.")]
//!
//! # What a common secret means
//!
//! HS256 uses one secret to sign and to verify. **Whoever can verify can also issue**: every service that holds the
//! secret could mint a token for any user, and a secret that leaks from one has leaked from all. That suits services
//! that one team runs and trusts alike. Give it at least 32 random bytes, from `openssl rand -base64 48`;
//! [`KeyRing::from_secret`] refuses short, published and guessable ones.
//!
//! With a key pair only the issuer can issue: verifiers hold public keys, from which nothing can be forged. A ring of
//! pairs (Ed25519, P-256 or RSA) is read by [`KeyRing::from_jwk_set`], and [`KeyRing::public_jwk_set`] gives what
//! verifiers need.
//!
//! # What is refused
//!
//! The list is at [`Verifier`]. The checks follow RFC 8725, the best current practices for JWTs: the key decides the
//! algorithm, never the token; the signature is checked, in constant time, before the payload is parsed; and what two
//! parsers could read in two ways is not read at all. No [`Error`] repeats any part of a token.
//!
//! # Features
//!
//! - `actix`: the extractor and the middleware for actix-web.
//! - `tower`: the layer for axum, tonic, hyper and other tower services.
//! - `feed`: follows auth-service's feed of revocations, by which a verifier refuses tokens before they expire; and
//!   service tokens, signed or fetched with a client's credentials. Needs Tokio.
//!
//! [RFC 9068]: https://www.rfc-editor.org/rfc/rfc9068

mod access;
#[cfg(any(feature = "actix", feature = "tower"))]
mod bearer;
mod claims;
mod error;
mod json;
mod jws;
mod key;
mod own;
#[cfg(any(feature = "actix", feature = "tower"))]
mod rejection;
mod ring;
mod secret;
mod signer;
mod verifier;

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "feed")]
pub mod feed;
#[cfg(feature = "tower")]
pub mod tower;

pub use access::{Access, AnyToken, AnyUser};
#[cfg(any(feature = "actix", feature = "tower"))]
pub use bearer::{Sources, UnknownSource};
pub use claims::Claims;
pub use error::{Error, ErrorKind};
pub use jws::MAX_TOKEN_BYTES;
pub use key::{KeyError, KeyErrorKind, KeyInfo, KeyRing, PublicJwkSet};
#[cfg(any(feature = "actix", feature = "tower"))]
pub use rejection::Rejection;
pub use ring::LiveKeyRing;
pub use signer::Signer;
pub use verifier::{Verifier, VerifierBuilder, VerifierBuilderError};

/// The examples in the README compile.
#[cfg(all(doctest, feature = "actix", feature = "feed"))]
#[doc = include_str!("../../README.md")]
struct Readme;

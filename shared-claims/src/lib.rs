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
//! - `feed`: a list of revocations, by which a verifier refuses tokens before they expire.
//!
//! [RFC 9068]: https://www.rfc-editor.org/rfc/rfc9068

mod claims;
mod error;
mod json;
mod jws;
mod key;
mod own;
mod ring;
mod secret;
mod signer;
mod verifier;

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "feed")]
pub mod feed;

pub use claims::Claims;
pub use error::{Error, ErrorKind};
pub use jws::MAX_TOKEN_BYTES;
pub use key::{KeyError, KeyErrorKind, KeyInfo, KeyRing, PublicJwkSet};
pub use ring::LiveKeyRing;
pub use signer::Signer;
pub use verifier::{Verifier, VerifierBuilder, VerifierBuilderError};

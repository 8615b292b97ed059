//! A service of your own next to Signet, made with axum: it verifies access tokens without asking anybody, and follows
//! auth-service's feed, so that a log-out or a change of roles takes effect here within a second.
//!
//! ```sh
//! cargo run &                                # the whole of Signet, in ./data
//! JWKS_FILE=data/keys.json cargo run -p shared-claims --example axum --features tower,feed
//!
//! curl -H "Authorization: Bearer $ACCESS_TOKEN" http://127.0.0.1:8090/hello
//! ```
//!
//! Who holds a common secret can issue tokens too. A service that should not gets public keys (`signet keys public`) and
//! is a client of auth-service (`signet clients create --name greeter --scope signet:internal`, which prints
//! `CLIENT_ID` and `CLIENT_SECRET`). One that runs for long reads the file again when it changes, and puts the keys in
//! place with `LiveKeyRing::replace`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example reads its settings where they are used"
)]

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use axum::routing::get;
use axum::{Extension, Router};
use shared_claims::feed::{Follower, RevocationList, TokenSource};
use shared_claims::tower::BearerLayer;
use shared_claims::{Claims, KeyRing, LiveKeyRing, Signer, Verifier};

shared_claims::scope! {
    /// May read persons.
    pub PersonsRead = "persons:read";
}

/// Runs only for callers whose token carries `persons:read`; the layer has put the token's claims here.
async fn hello(Extension(caller): Extension<Claims>) -> String {
    format!("Hello {}, you may: {}\n", caller.sub, caller.scope)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let issuer = setting("ISSUER", "http://127.0.0.1:8080");
    // Our name among the audiences that tokens are issued for: `tokens.audience` of auth-service lists them.
    let audience = setting("AUDIENCE", "resource-service");
    let auth_url = setting("AUTH_URL", "http://127.0.0.1:8081");

    // Whose tokens we take, and as whom we ask for the feed.
    let ring = LiveKeyRing::new(KeyRing::from_jwk_set(&std::fs::read(env::var("JWKS_FILE")?)?)?);
    let tokens = if let (Ok(id), Ok(secret)) = (env::var("CLIENT_ID"), env::var("CLIENT_SECRET")) {
        TokenSource::client_credentials(&format!("{auth_url}/auth/token"), &id, &secret)?
    } else {
        let clock = Arc::new(|| SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
        TokenSource::signed(Signer::live(&ring)?, &issuer, "greeter", "auth-service", clock)
    };

    // The list is what the two have in common: the follower fills it, the verifier looks into it.
    let revoked = RevocationList::new();
    let follower = Follower::new(&auth_url, "greeter", revoked.clone(), ring.clone(), tokens)?;
    tokio::spawn(follower.run(std::future::pending()));
    let verifier = Verifier::builder(ring).issuer(&issuer).audience(&audience).revocations(revoked).build()?;

    let router = Router::new().route("/hello", get(hello)).layer(BearerLayer::new(verifier).require::<PersonsRead>());
    let listener = tokio::net::TcpListener::bind(setting("BIND", "127.0.0.1:8090")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

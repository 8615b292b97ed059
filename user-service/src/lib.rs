//! Owns the users and their password hashes, and tells auth-service of every change that must end a session.
//!
//! Other services meet it over HTTP: users and admins at `/users`, services at `/internal`. [`App`] is the wired
//! service, [`build`] makes it listen.

mod app;
mod bootstrap;
mod config;
mod domain;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hashing;
mod outbox;
mod routes;
mod storage;

pub use self::{
    app::{App, build, public_routes},
    bootstrap::BootstrapOutcome,
    config::{BootstrapConfig, Config, LimitsConfig, PasswordsConfig, UsersConfig},
    error::codes,
    routes::openapi::document as openapi,
};

//! auth-service: issues access tokens, keeps sessions and their lines of refresh tokens.
//!
//! It owns no users: it asks user-service whether a password is right, and is told by user-service when somebody's
//! authorization changes.

pub mod app;
pub mod config;
pub mod domain;
pub mod error;
mod feed;
mod issue;
mod outcomes;
mod routes;
pub mod storage;
mod users;

pub use app::{App, build, public_routes};
pub use config::Config;
pub use routes::openapi::document as openapi;

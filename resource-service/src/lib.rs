//! resource-service: owns the persons, and serves them to whoever holds a token with `persons:read` or
//! `persons:write`.
//!
//! Persons can be listed, searched, changed one by one, imported from CSV or NDJSON files of any size, and exported.
//! [`build`] makes the whole service; [`App`] is the same in two steps, for a program that mounts several services.

mod app;
mod config;
mod domain;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod routes;
mod storage;

pub use self::{
    app::{App, build, public_routes},
    config::{Config, PersonsConfig},
    error::PERSON_EXISTS,
    routes::openapi::document as openapi,
};

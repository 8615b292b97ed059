//! What every Signet service boots with: configuration, logging, the database, problem responses, health checks,
//! the HTTP client for calls between services, and the server itself.
//!
//! Nothing in here knows a user, a session or a person: a service adds its own words on top.

pub mod audit;
pub mod auth_service;
pub mod boot;
pub mod clock;
pub mod config;
pub mod context;
pub mod db;
pub mod health;
pub mod http;
pub mod import;
pub mod json;
pub mod keys;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod openapi;
pub mod peer;
pub mod problem;
pub mod server;
pub mod tokens;
pub mod validate;

pub use clock::{Clock, Timestamp, TimestampText};
pub use config::{ConfigError, Secret};
pub use problem::{ApiError, Code, Error, FieldError, Problem};
pub use server::Service;

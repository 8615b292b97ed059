//! The rules of sessions, refresh tokens, clients and scopes. No I/O; a rule that depends on time takes `now`.

mod client;
mod refresh_token;
mod revocation;
mod scope;
mod session;

pub use self::{
    client::{Client, ClientId, ClientName, ClientSecret, NewClient, SecretHash},
    refresh_token::{RefreshKeys, RefreshToken},
    revocation::NewRevocation,
    scope::{RoleScopes, ScopeSet},
    session::{AuthorizationChange, EndReason, NewSession, Presentation, Session, SessionId, SessionPolicy, Subject},
};

//! The rules of sessions, refresh tokens and scopes. No I/O; a rule that depends on time takes `now`.

mod refresh_token;
mod scope;
mod session;

pub use self::{
    refresh_token::{RefreshKeys, RefreshToken},
    scope::{RoleScopes, ScopeSet},
    session::{AuthorizationChange, EndReason, NewSession, Presentation, Session, SessionId, SessionPolicy, Subject},
};

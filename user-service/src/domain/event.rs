//! What auth-service has to know of a user's change, so that tokens and sessions from before it end.

use serde::Serialize;

use super::{role::Roles, user::UserId};

/// One change of a user. It tells the state after it, so that a receiver may take the same event twice, and may pass
/// over one whose authorization version is not above the one that it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UserEvent {
    /// Whose change it is.
    pub(crate) user_id: UserId,
    /// The user's authorization version since: tokens with a lower `ver` are void.
    pub(crate) authorization_version: i64,
    /// The user's roles since.
    pub(crate) roles: Roles,
    /// Whether the account is disabled since.
    pub(crate) disabled: bool,
    /// Whether the user is gone.
    pub(crate) deleted: bool,
    /// Whether the password is another one: all sessions end, except `keep_session`.
    pub(crate) password_changed: bool,
    /// The session that changed the password, and stays.
    pub(crate) keep_session: Option<String>,
}

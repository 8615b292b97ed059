//! Sessions: one per log-in, each with one line of refresh tokens, numbered 1, 2, 3 …

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use service_kit::{Timestamp, audit::Origin};

use super::ScopeSet;

/// A session's id: 128 random bits, in text as 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        (text.len() == 22 && URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? == 16).then_some(Self(bytes))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 22];
        URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub struct SessionPolicy {
    /// How long the previous refresh token brings the same answer again.
    pub replay_window_seconds: i64,
    /// How long a session lives without a refresh.
    pub idle_seconds: i64,
    /// How long it lives at most.
    pub absolute_seconds: i64,
}

/// What auth-service knows of a user: the newest state that user-service has told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The user's id.
    pub user_id: String,
    /// The authorization version that belongs to the rest.
    pub authorization_version: i64,
    /// The roles.
    pub roles: Vec<String>,
}

/// A change of a user's authorization, as user-service tells of it.
#[derive(Clone, Debug)]
pub struct AuthorizationChange {
    /// The user as of now.
    pub subject: Subject,
    /// The user may not log in.
    pub disabled: bool,
    /// The user is no more.
    pub deleted: bool,
    /// The password is another one: sessions end.
    pub password_changed: bool,
    /// The session that changed the password lives on.
    pub keep_session: Option<SessionId>,
}

/// A session to be made.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is, as user-service said at the log-in.
    pub subject: Subject,
    /// The most that its tokens may do, if the client asked for less than the roles give.
    pub scope_limit: Option<ScopeSet>,
    /// How the user was authenticated (RFC 8176), such as `pwd`.
    pub amr: &'static str,
    /// Where from, and with what.
    pub origin: Origin,
    /// The client that showed its secret at the log-in: refreshing takes that client again (RFC 6749, 6).
    pub client_id: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub subject: Subject,
    /// The most that its tokens may do.
    pub scope_limit: Option<ScopeSet>,
    /// How the user was authenticated.
    pub amr: String,
    /// Where from.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// When it was last refreshed.
    pub last_used_at: Timestamp,
    /// When the newest refresh token was issued.
    pub rotated_at: Timestamp,
    /// The newest number issued.
    pub current: i64,
    /// The number that was presented to obtain it; 0 if none was.
    pub previous: i64,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// The client that showed its secret at the log-in.
    pub client_id: Option<String>,
}

/// What the presentation of a refresh token means for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// The newest token, or the one before it long after (the answer got lost): issue a new number.
    Rotate,
    /// The one before the newest, within the replay window: the same newest token again.
    Replay,
    /// Any other token of this session: somebody else holds a copy.
    Reuse,
    /// The session has ended or expired.
    Dead,
    /// The session is live, but it is a client's, and that client has not shown its secret. Nothing has happened to it.
    Foreign,
}

impl Session {
    /// Whether it can still be refreshed.
    pub fn is_live(&self, now: Timestamp, policy: &SessionPolicy) -> bool {
        self.ended_at.is_none() && self.expires_at > now && self.last_used_at > now.plus_seconds(-policy.idle_seconds)
    }

    /// Whether this client, or nobody in particular, may use it: a session that was begun with a client is for that client
    /// alone (RFC 6749, 6), any other one for whoever holds its tokens.
    pub fn is_open_to(&self, client_id: Option<&str>) -> bool {
        self.client_id.is_none() || self.client_id.as_deref() == client_id
    }

    /// Judges a number whose MAC is right.
    pub fn judge(&self, number: i64, now: Timestamp, policy: &SessionPolicy) -> Presentation {
        if !self.is_live(now, policy) {
            Presentation::Dead
        } else if number == self.current {
            Presentation::Rotate
        } else if number == self.previous {
            if self.rotated_at > now.plus_seconds(-policy.replay_window_seconds) {
                Presentation::Replay
            } else {
                Presentation::Rotate
            }
        } else {
            Presentation::Reuse
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its user logged out.
    Logout,
    /// Its user ended it from elsewhere.
    EndedByUser,
    /// A refresh token was used that only a copy can be.
    RefreshReuse,
    /// The password changed.
    PasswordChanged,
    /// The user was disabled.
    UserDisabled,
    /// The user was deleted.
    UserDeleted,
    /// user-service went back to an older state of the user, as after a restored backup.
    UserRestored,
    /// The client that it was begun with revoked its refresh token.
    RevokedByClient,
    /// The client that it was begun with was deleted.
    ClientDeleted,
    /// The operator ended it.
    EndedByOperator,
}

impl EndReason {
    /// What the audit log calls it.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::RefreshReuse => "refresh_reuse",
            _ => "session_ended",
        }
    }

    /// As the database and the audit log have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::EndedByUser => "ended_by_user",
            Self::RefreshReuse => "refresh_reuse",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::UserRestored => "user_restored",
            Self::RevokedByClient => "revoked_by_client",
            Self::ClientDeleted => "client_deleted",
            Self::EndedByOperator => "ended_by_operator",
        }
    }
}

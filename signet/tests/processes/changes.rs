//! The changes that end tokens.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    LogOut,
    LogOutEverywhere,
    EndedSession,
    NewPassword,
    NewRoles,
    Disabled,
    Deleted,
    RevokedToken,
    RevokedKey,
}

impl Change {
    pub(crate) const ALL: [Self; 9] = [
        Self::LogOut,
        Self::LogOutEverywhere,
        Self::EndedSession,
        Self::NewPassword,
        Self::NewRoles,
        Self::Disabled,
        Self::Deleted,
        Self::RevokedToken,
        Self::RevokedKey,
    ];
}

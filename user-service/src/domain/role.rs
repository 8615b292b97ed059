//! Roles: names that auth-service turns into scopes.

use serde::{Serialize, Serializer};
use service_kit::validate::Invalid;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, RefOr, Schema},
};

const MAX_ROLES: usize = 16;
const MAX_ROLE_CHARACTERS: usize = 32;

/// The role whose holders administer users.
pub(crate) const ADMIN: &str = "admin";

/// The name of a role: 1 to 32 of `a-z0-9_-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, ToSchema)]
#[schema(pattern = "^[a-z0-9_-]{1,32}$", examples("editor"))]
pub(crate) struct Role(String);

impl Role {
    /// The admin's role.
    pub(crate) fn admin() -> Self {
        Self(ADMIN.to_owned())
    }

    /// Takes a name that is sound.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let sound = (1..=MAX_ROLE_CHARACTERS).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if sound {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("invalid", "A role has 1 to 32 of the characters a-z, 0-9, _ and -."))
        }
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The roles of a user, each once, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles(Vec<Role>);

impl Roles {
    /// Takes at most 16 names, none of them twice.
    pub(crate) fn parse<T: AsRef<str>>(names: &[T]) -> Result<Self, Invalid> {
        if names.len() > MAX_ROLES {
            return Err(Invalid::new("too_long", format!("At most {MAX_ROLES} roles are taken.")));
        }
        let mut roles: Vec<Role> = Vec::with_capacity(names.len());
        for name in names {
            let role = Role::parse(name.as_ref())?;
            if roles.contains(&role) {
                return Err(Invalid::new("duplicate", "A role stands there more than once."));
            }
            roles.push(role);
        }
        Ok(Self(roles))
    }

    /// The admin's roles.
    pub(crate) fn admin() -> Self {
        Self(vec![Role::admin()])
    }

    /// Reads what [`Roles::to_text`] wrote.
    pub(crate) fn from_text(text: &str) -> Result<Self, Invalid> {
        Self::parse(&text.split(' ').filter(|name| !name.is_empty()).collect::<Vec<_>>())
    }

    /// The names, separated by spaces.
    pub(crate) fn to_text(&self) -> String {
        self.0.iter().map(Role::as_str).collect::<Vec<_>>().join(" ")
    }
}

impl PartialSchema for Roles {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(Role::schema()).max_items(Some(MAX_ROLES)).unique_items(true).into()
    }
}

impl ToSchema for Roles {}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Role::as_str))
    }
}

//! Scopes: which ones a user's roles give, and which of them a token gets.

use std::collections::{BTreeMap, BTreeSet};

/// A set of scopes (RFC 6749, 3.3), in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(BTreeSet<String>);

impl ScopeSet {
    /// Reads space-separated scopes; nothing if a character is not one that a scope may have.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(' ')
            .filter(|scope| !scope.is_empty())
            .map(|scope| scope.bytes().all(is_scope_byte).then(|| scope.to_owned()))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The scopes, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether every scope of this set is in the other one.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The scopes that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }
}

/// `scope-token` of RFC 6749, 3.3: printable ASCII without `"` and `\`.
fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

impl std::fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

/// The scopes that each role gives.
#[derive(Clone, Debug)]
pub struct RoleScopes(BTreeMap<String, ScopeSet>);

impl RoleScopes {
    /// Reads the configured map; the name of the role whose scopes cannot be read is the error.
    pub fn parse(roles: &BTreeMap<String, String>) -> Result<Self, String> {
        roles
            .iter()
            .map(|(role, scopes)| Ok((role.clone(), ScopeSet::parse(scopes).ok_or_else(|| role.clone())?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What all roles give together.
    pub fn all(&self) -> ScopeSet {
        ScopeSet(self.0.values().flat_map(|scopes| scopes.0.iter().cloned()).collect())
    }

    /// What these roles give together. A role that is not configured gives nothing.
    pub fn of<'a>(&self, roles: impl IntoIterator<Item = &'a String>) -> ScopeSet {
        ScopeSet(
            roles.into_iter().filter_map(|role| self.0.get(role)).flat_map(|scopes| scopes.0.iter().cloned()).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_add_up_and_an_unknown_one_gives_nothing() {
        let roles = RoleScopes::parse(&BTreeMap::from([
            ("user".to_owned(), "persons:read".to_owned()),
            ("editor".to_owned(), "persons:write persons:read".to_owned()),
        ]))
        .unwrap();
        let of =
            |names: &[&str]| roles.of(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).to_string();
        assert_eq!(of(&["user", "editor"]), "persons:read persons:write");
        assert_eq!(of(&["god"]), "");
    }

    #[test]
    fn a_scope_with_a_quote_or_a_control_character_is_refused() {
        for text in ["a\"b", "a\\b", "a\tb", "é"] {
            assert_eq!(ScopeSet::parse(text), None, "{text:?}");
        }
        assert_eq!(ScopeSet::parse(" a  b ").unwrap().to_string(), "a b");
    }
}

//! Scopes (RFC 6749, 3.3), and the ids of clients.

use auth_service::domain::{ClientId, ScopeSet};

/// A text.
pub(crate) fn enter(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(scopes) = ScopeSet::parse(text) {
        let written = scopes.to_string();
        assert_eq!(ScopeSet::parse(&written).as_ref(), Some(&scopes));
        let mut parts: Vec<&str> = text.split(' ').filter(|part| !part.is_empty()).collect();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(scopes.iter().collect::<Vec<_>>(), parts);
        assert!(scopes.is_subset(&scopes) && scopes.intersection(&scopes) == scopes);
    }
    if let Some(id) = ClientId::parse(text) {
        assert_eq!(id.as_str(), text);
    }
}

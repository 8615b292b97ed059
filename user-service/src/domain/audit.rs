//! What the audit log says of users and what becomes of them. Which fields have changed, and never their values, but
//! for the roles: who may do what is what an audit asks for.

use serde_json::json;
use service_kit::{
    Timestamp,
    audit::{AuditRecord, Origin},
};

use super::user::User;

/// A user was made.
pub(crate) fn created(user: &User, origin: &Origin, now: Timestamp) -> AuditRecord {
    let details = json!({ "roles": user.roles, "disabled": user.disabled });
    origin.record("user_created", now).to(user.id.as_str()).with(details)
}

/// A user has become another; a record for each kind of change.
pub(crate) fn changed(before: &User, after: &User, origin: &Origin, now: Timestamp) -> Vec<AuditRecord> {
    let record = |action| origin.record(action, now).to(after.id.as_str());
    let mut records = Vec::new();
    if before.roles != after.roles {
        records.push(record("roles_changed").with(json!({ "from": before.roles, "to": after.roles })));
    }
    if before.disabled != after.disabled {
        records.push(record(if after.disabled { "user_disabled" } else { "user_enabled" }));
    }
    let fields: Vec<&str> = [
        ("email", before.email != after.email),
        ("username", before.username != after.username),
        ("name", before.name != after.name),
        ("email_verified", before.email_verified != after.email_verified),
    ]
    .into_iter()
    .filter_map(|(field, changed)| changed.then_some(field))
    .collect();
    if !fields.is_empty() {
        records.push(record("user_changed").with(json!({ "fields": fields })));
    }
    records
}

/// A user is gone.
pub(crate) fn deleted(user: &User, origin: &Origin, now: Timestamp) -> AuditRecord {
    origin.record("user_deleted", now).to(user.id.as_str())
}

/// A user's password is another one, or was to be.
pub(crate) fn password_changed(user: &User, origin: &Origin, now: Timestamp) -> AuditRecord {
    origin.record("password_changed", now).to(user.id.as_str())
}

/// A batch of an import has made users.
pub(crate) fn imported(inserted: u64, updated: u64, origin: &Origin, now: Timestamp) -> AuditRecord {
    origin.record("users_imported", now).with(json!({ "inserted": inserted, "updated": updated }))
}

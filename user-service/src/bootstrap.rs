//! The first admin: made at the start from the configuration, when there is none.

use service_kit::{
    Clock, ConfigError,
    audit::{Actor, ActorType, Origin},
    db::Database,
    server::StartError,
};

use crate::{
    app::NAME,
    config::BootstrapConfig,
    domain::{audit, password::Scheme, role::Roles, user::NewUser},
    error::Error,
    storage::{outbox, users},
};

/// What became of the admin that the configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapOutcome {
    /// The configuration names none.
    NotConfigured,
    /// There is an enabled admin already.
    AdminExists,
    /// The admin was made just now.
    Created,
    /// There is no enabled admin, but the e-mail address is that of a user, who was left as is: whoever registered
    /// under that address may be somebody else.
    EmailTaken,
}

/// Makes the admin that the configuration names, unless there is one. Any number of replicas may do so at once: one
/// makes the user, the others find it.
///
/// Hashes the password on the calling thread.
pub(crate) fn make_admin(
    config: &BootstrapConfig,
    database: &Database,
    scheme: &Scheme,
    clock: &Clock,
) -> Result<BootstrapOutcome, StartError> {
    let Some((email, password)) = config.admin()? else {
        return Ok(BootstrapOutcome::NotConfigured);
    };
    let has_admin = || database.blocking(users::has_admin).map_err(unavailable);
    if has_admin()? {
        return Ok(BootstrapOutcome::AdminExists);
    }
    let admin =
        NewUser { email, username: None, name: None, roles: Roles::admin(), email_verified: true, disabled: false };
    password.judge(&admin.password_hints()).map_err(|invalid| {
        ConfigError::new("bootstrap.admin_password", format_args!("cannot be taken: {}", invalid.message))
    })?;
    let hash = scheme.hash(&password).map_err(|cause| StartError::Unavailable(cause.to_string()))?;
    let user = admin.create(clock.now());
    let itself = Actor { kind: ActorType::Service, id: NAME.to_owned() };
    let record = audit::created(&user, &Origin::default().by_actor(itself), user.created_at);
    let made = database.blocking(|db| {
        db.in_transaction(|db| {
            users::insert(db, &user, &hash)?;
            outbox::push_records(db, &[record])
        })
    });
    match made {
        Ok(()) => {
            log::info!("the first admin was made, as bootstrap.admin_email says");
            Ok(BootstrapOutcome::Created)
        }
        Err(Error::EmailTaken) if has_admin()? => Ok(BootstrapOutcome::AdminExists),
        Err(Error::EmailTaken) => {
            log::warn!(
                "there is no admin, and bootstrap.admin_email is another user's address: that user was left alone"
            );
            Ok(BootstrapOutcome::EmailTaken)
        }
        Err(error) => Err(unavailable(error)),
    }
}

fn unavailable(error: Error) -> StartError {
    StartError::Unavailable(format!("the first admin cannot be made: {:#}", anyhow::Error::from(error)))
}

//! What clients and other services may ask, and what they are answered.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName},
    },
};
use serde::Serialize;
use service_kit::{
    Clock, Timestamp,
    audit::{AuditRecord, Origin},
    db::Database,
    http::{ETag, IfMatch, not_modified},
    limits::Limits,
};
use tokio::sync::{Mutex, Notify};
use utoipa::ToSchema;

use crate::{
    domain::{
        audit,
        password::{Password, PasswordHash, Verdict},
        role::Roles,
        user::{Changes, Email, Name, User, UserId, Username},
    },
    error::Error,
    hashing::{HashingPool, Verified},
    storage::{self, outbox},
};

pub(crate) mod credentials;
pub(crate) mod import;
pub(crate) mod me;
pub(crate) mod openapi;
pub(crate) mod users;

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) clock: Clock,
    pub(crate) hashing: HashingPool,
    pub(crate) limits: Limits,
    pub(crate) default_roles: Roles,
    /// One import at a time writes; the others wait here and keep no connection meanwhile.
    pub(crate) importing: Mutex<()>,
    /// Rung when an event was put into the outbox.
    pub(crate) outbox_filled: Arc<Notify>,
    /// Rung when an audit record was put into its outbox.
    pub(crate) audit_filled: Arc<Notify>,
}

/// A user as clients see one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
struct UserResponse {
    id: UserId,
    email: Email,
    #[schema(required)]
    username: Option<Username>,
    #[schema(required)]
    name: Option<Name>,
    roles: Roles,
    email_verified: bool,
    disabled: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// 1 at first, and 1 more with every change.
    #[schema(minimum = 1)]
    version: i64,
}

impl From<User> for UserResponse {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            username: user.username,
            name: user.name,
            roles: user.roles,
            email_verified: user.email_verified,
            disabled: user.disabled,
            created_at: user.created_at,
            updated_at: user.updated_at,
            version: user.version,
        }
    }
}

/// What is answered is for the caller alone, and caches must ask before they use it again.
const PRIVATE: (HeaderName, &str) = (header::CACHE_CONTROL, "private, no-cache");

/// A user with its entity tag.
fn respond(status: StatusCode, user: User) -> HttpResponse {
    HttpResponse::build(status).insert_header(ETag(user.version)).insert_header(PRIVATE).json(UserResponse::from(user))
}

/// The answer to a read: 304 if the caller has this version.
fn respond_to_read(request: &HttpRequest, user: User) -> HttpResponse {
    let etag = ETag(user.version);
    if not_modified(request, etag) {
        HttpResponse::NotModified().insert_header(etag).insert_header(PRIVATE).finish()
    } else {
        respond(StatusCode::OK, user)
    }
}

/// Whose account a call works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The caller's own, which must not be disabled.
    Own,
    /// Anybody's: the caller administers users.
    Anybodys,
}

impl Whose {
    /// The user, if there is one that the caller may use in this way.
    fn admit<T>(self, found: Option<T>, user: impl FnOnce(&T) -> &User) -> Result<T, Error> {
        let found = found.ok_or_else(Error::not_found)?;
        if self == Self::Own && user(&found).disabled {
            return Err(Error::AccountDisabled);
        }
        Ok(found)
    }
}

impl State {
    /// Holds a password against a stored hash, or against nobody's.
    async fn verify_password(
        &self,
        account: &str,
        password: Password,
        stored: Option<PasswordHash>,
    ) -> Result<Verified, Error> {
        let verified = self.hashing.verify(account, password, stored).await?;
        if verified.verdict == Verdict::OtherPepper {
            log::warn!("a stored password hash was made under another pepper than passwords.pepper");
        }
        Ok(verified)
    }

    async fn read_user(&self, id: UserId, whose: Whose) -> Result<User, Error> {
        let found = self.database.read(move |db| storage::users::find(db, &id)).await?;
        whose.admit(found, |user| user)
    }

    /// Makes a user.
    async fn create_user(&self, user: &User, hash: PasswordHash, origin: &Origin) -> Result<(), Error> {
        let written = user.clone();
        let record = audit::created(user, origin, user.created_at);
        self.database
            .write(move |db| {
                storage::users::insert(db, &written, &hash)?;
                outbox::push_records(db, &[record])
            })
            .await?;
        self.audit_filled.notify_one();
        Ok(())
    }

    /// Notes something that leaves no other trace. If it cannot be noted, the answer is given all the same.
    async fn note(&self, record: AuditRecord) {
        match self.database.write(move |db| outbox::push_records(db, &[record])).await {
            Ok(()) => self.audit_filled.notify_one(),
            Err(cause) => log::warn!("an audit record is lost: {:#}", anyhow::Error::from(cause)),
        }
    }

    async fn change_user(
        &self,
        id: UserId,
        whose: Whose,
        if_match: IfMatch,
        changes: Changes,
        origin: Origin,
    ) -> Result<User, Error> {
        let now = self.clock.now();
        let (user, announced) = self
            .database
            .write(move |db| {
                let found = storage::users::lock(db, &id)?.map(|credentials| credentials.user);
                let user = whose.admit(found, |user| user)?;
                if_match.require(Some(user.version))?;
                let Some(outcome) = user.change(changes, now) else {
                    return Ok::<_, Error>((user, false));
                };
                storage::users::update(db, &outcome.user)?;
                if let Some(event) = &outcome.event {
                    outbox::push(db, event, now)?;
                }
                outbox::push_records(db, &audit::changed(&user, &outcome.user, &origin, now))?;
                Ok((outcome.user, outcome.event.is_some()))
            })
            .await?;
        if announced {
            self.outbox_filled.notify_one();
        }
        self.audit_filled.notify_one();
        Ok(user)
    }

    async fn delete_user(&self, id: UserId, whose: Whose, if_match: IfMatch, origin: Origin) -> Result<(), Error> {
        let now = self.clock.now();
        self.database
            .write(move |db| {
                let found = storage::users::lock(db, &id)?.map(|credentials| credentials.user);
                let user = whose.admit(found, |user| user)?;
                if_match.require(Some(user.version))?;
                storage::users::delete(db, &id)?;
                outbox::push_records(db, &[audit::deleted(&user, &origin, now)])?;
                outbox::push(db, &user.deleted(), now)
            })
            .await?;
        self.outbox_filled.notify_one();
        self.audit_filled.notify_one();
        Ok(())
    }
}

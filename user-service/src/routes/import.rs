//! `POST /users/import`: a file of users from elsewhere, read as it comes in.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use service_kit::{
    Error as KitError, Timestamp,
    audit::Origin,
    db::MaybeUnavailable,
    http::{BodyTimeout, Query},
    import::{self, BadLine, Counts, Format, Rejected, Report},
};
use shared_claims::actix::Authorized;

use super::{State, users::UsersWrite};
use crate::{
    domain::import::{Existing, ImportedUser},
    error::{Error, codes},
    storage::import::{Merged, merge},
};

/// The parameters of an import.
#[derive(Debug, Deserialize)]
pub(crate) struct ImportQuery {
    /// Say what would become of the lines, and keep nothing.
    #[serde(default)]
    dry_run: bool,
    /// What becomes of users whom there are already.
    #[serde(default)]
    existing: Existing,
}

/// `POST /users/import`: makes the users of a file whom there are not yet, batch by batch. What was written stays when
/// the rest does not come, and the same file may be sent again.
pub(crate) async fn import(
    caller: Authorized<UsersWrite>,
    origin: Origin,
    state: web::Data<State>,
    Query(query): Query<ImportQuery>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Error> {
    let (format, silence) = (Format::of(&request)?, BodyTimeout::of(&request));
    let mut importing = Importing {
        state: &state,
        origin: origin.by(&caller),
        now: state.clock.now(),
        query,
        counts: Counts::default(),
        seen: None,
    };
    let rejected = import::read(payload, format, silence, async |batch, rejected: &mut Rejected| {
        importing.take(batch, rejected).await
    })
    .await?;
    Ok(HttpResponse::Ok().json(Report::new(importing.counts, rejected)))
}

struct Importing<'a> {
    state: &'a State,
    origin: Origin,
    now: Timestamp,
    query: ImportQuery,
    counts: Counts,
    /// In a dry run, whom earlier batches would have made.
    seen: Option<Seen>,
}

impl Importing<'_> {
    async fn take(&mut self, batch: Vec<ImportedUser>, rejected: &mut Rejected) -> Result<(), Error> {
        let merged = if self.query.dry_run { self.rehearse(batch).await? } else { self.merge(batch).await? };
        self.counts.add(merged.counts);
        for line in merged.username_taken {
            let message = format!("username: {}", Error::UsernameTaken);
            rejected.add(BadLine { line, code: codes::USERNAME_TAKEN.name, message });
        }
        Ok(())
    }

    async fn merge(&self, batch: Vec<ImportedUser>) -> Result<Merged, Error> {
        let _turn = self.state.importing.lock().await;
        let (default_roles, existing, now) = (self.state.default_roles.clone(), self.query.existing, self.now);
        let origin = self.origin.clone();
        let merged = self
            .state
            .database
            .write_at_length(move |db| merge(db, &batch, &default_roles, existing, &origin, now))
            .await?;
        if merged.announced {
            self.state.outbox_filled.notify_one();
        }
        self.state.audit_filled.notify_one();
        Ok(merged)
    }

    /// Does the same and takes it back.
    async fn rehearse(&mut self, mut batch: Vec<ImportedUser>) -> Result<Merged, Error> {
        let seen = self.seen.get_or_insert_default();
        let all = batch.len();
        batch.retain(|user| !seen.has_email(user));
        let repeated = all - batch.len();
        let _turn = self.state.importing.lock().await;
        let (default_roles, existing, now) = (self.state.default_roles.clone(), self.query.existing, self.now);
        let origin = self.origin.clone();
        let rehearsed: Result<(), Rehearsal> = self
            .state
            .database
            .write_at_length(move |db| {
                let merged = merge(db, &batch, &default_roles, existing, &origin, now).map_err(Rehearsal::Failed)?;
                Err(Rehearsal::Done(merged, batch))
            })
            .await;
        let (mut merged, batch) = match rehearsed {
            Err(Rehearsal::Done(merged, batch)) => (merged, batch),
            Err(Rehearsal::Failed(error)) => return Err(error),
            Ok(()) => (Merged::default(), Vec::new()),
        };
        merged.counts.unchanged += repeated as u64;
        let made: HashSet<u64> = merged.inserted.iter().copied().collect();
        for user in batch.iter().filter(|user| made.contains(&user.line)) {
            if seen.has_username(user) {
                merged.counts.inserted -= 1;
                merged.username_taken.push(user.line);
            } else {
                seen.add(user);
            }
        }
        Ok(merged)
    }
}

/// How a rehearsal ends: never well, so that nothing of it is kept.
enum Rehearsal {
    Done(Merged, Vec<ImportedUser>),
    Failed(Error),
}

impl From<KitError> for Rehearsal {
    fn from(error: KitError) -> Self {
        Self::Failed(error.into())
    }
}

impl MaybeUnavailable for Rehearsal {
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_unavailable())
    }
}

/// The users that a dry run has come by, as hashes of 64 bits: a file may be long, and a report may be off by one in a
/// case that nobody lives to see.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    emails: HashSet<u64>,
    usernames: HashSet<u64>,
}

impl Seen {
    fn has_email(&self, user: &ImportedUser) -> bool {
        self.emails.contains(&self.hasher.hash_one(user.email.as_str()))
    }

    fn has_username(&self, user: &ImportedUser) -> bool {
        user.username_key().is_some_and(|key| self.usernames.contains(&self.hasher.hash_one(key)))
    }

    fn add(&mut self, user: &ImportedUser) {
        self.emails.insert(self.hasher.hash_one(user.email.as_str()));
        self.usernames.extend(user.username_key().map(|key| self.hasher.hash_one(key)));
    }
}

//! The audit log: `GET /auth/audit` for those who may see users, `POST /internal/audit` for services with something to add.

use std::borrow::Cow;

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::{
    Error, Timestamp,
    audit::{Actor, AuditRecord},
    http::{Cursor, Json, Limit, Page, Query},
    peer::Internal,
    validate::{Invalid, Validator},
};
use shared_claims::actix::Authorized;
use utoipa::ToSchema;

use super::{bounded, delivery::no_store};
use crate::{
    app::State,
    storage::{AuditFilter, AuditPlace},
};

shared_claims::scope! {
    /// May see users, and so what they did and what was done to them.
    pub(crate) UsersRead = "users:read"
}

/// The most characters of a filter.
const MAX_FILTER_CHARACTERS: usize = 200;

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    limit: Limit,
    cursor: Option<String>,
    subject: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

impl ListQuery {
    fn filter(&mut self) -> Result<AuditFilter, Error> {
        let mut validator = Validator::new();
        let text = |text| bounded(text, MAX_FILTER_CHARACTERS);
        let subject = validator.optional("subject", self.subject.take(), text);
        let actor = validator.optional("actor", self.actor.take(), text);
        let action = validator.optional("action", self.action.take(), text);
        let since = validator.optional("since", self.since.as_deref(), time);
        let until = validator.optional("until", self.until.as_deref(), time);
        let filter =
            || Some(AuditFilter { subject: subject?, actor: actor?, action: action?, since: since?, until: until? });
        validator.finish_with(filter())
    }
}

fn time(text: &str) -> Result<Timestamp, Invalid> {
    Timestamp::parse(text).ok_or_else(|| Invalid::new("invalid", "This must be a time such as 2026-01-31T12:34:56Z."))
}

/// A record as clients see one.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditRecord)]
pub(super) struct RecordResponse {
    id: String,
    at: Timestamp,
    /// What was done, or was to be done, such as `login`.
    #[schema(value_type = String)]
    action: Cow<'static, str>,
    /// `succeeded`, or the code of the error that it was refused with.
    #[schema(value_type = String)]
    outcome: Cow<'static, str>,
    /// By whom, if that is known.
    #[schema(required)]
    actor: Option<Actor>,
    /// To which user, if any.
    #[schema(required)]
    subject: Option<String>,
    /// The session that it is about, or was done in.
    #[schema(required)]
    session: Option<String>,
    /// The client that it is about.
    #[schema(required)]
    client_id: Option<String>,
    #[schema(required)]
    address: Option<String>,
    #[schema(required)]
    user_agent: Option<String>,
    #[schema(required)]
    request_id: Option<String>,
    /// What else there is to say of this action.
    #[schema(required, value_type = Option<Object>)]
    details: Option<Value>,
}

impl From<AuditRecord> for RecordResponse {
    fn from(record: AuditRecord) -> Self {
        Self {
            id: record.id.to_string(),
            at: record.at,
            action: record.action,
            outcome: record.outcome,
            actor: record.actor,
            subject: record.subject,
            session: record.session,
            client_id: record.client_id,
            address: record.address,
            user_agent: record.user_agent,
            request_id: record.request_id,
            details: record.details,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct RecordList {
    items: Vec<RecordResponse>,
    #[schema(required)]
    next_cursor: Option<String>,
}

/// `GET /auth/audit`: the log, the newest record first.
pub(crate) async fn list(
    state: web::Data<State>,
    _caller: Authorized<UsersRead>,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Error> {
    let mut query = query.0;
    let filter = query.filter()?;
    let list = ("audit", filter.clone());
    let after = match &query.cursor {
        Some(cursor) => Some(place(Cursor::decode(cursor, &list, 2)?)?),
        None => None,
    };
    let records = state.audit.list(filter, after, query.limit).await?;
    let page = Page::new(records, query.limit, |last| {
        Cursor::new(&list, vec![last.at.as_micros().to_string(), last.id.to_string()])
    });
    Ok(no_store(StatusCode::OK).json(page.map(RecordResponse::from)))
}

fn place(mut key: Vec<String>) -> Result<AuditPlace, Error> {
    let unknown = || Error::InvalidRequest("The cursor is not one that this list gave out.".to_owned());
    let id = key.pop().ok_or_else(unknown)?;
    let at = key.pop().and_then(|micros| micros.parse().ok()).ok_or_else(unknown)?;
    Ok((Timestamp::from_micros(at), id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Records {
    records: Vec<AuditRecord>,
}

/// `POST /internal/audit`: takes records in, all or none; those that are known already change nothing.
pub(crate) async fn take(
    state: web::Data<State>,
    _caller: Authorized<Internal>,
    body: Json<Records>,
) -> Result<HttpResponse, Error> {
    state.audit.add(body.0.records).await?;
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}

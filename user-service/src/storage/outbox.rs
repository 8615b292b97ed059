//! What auth-service has not acknowledged yet: the outbox with the events that end tokens, and that with audit records.
//!
//! An event is put in within the transaction that changes its user, while that transaction holds the user's row. So
//! the events of one user are numbered in the order of their commits, and whoever sees one of them sees all before it,
//! even though PostgreSQL hands out numbers before a transaction commits and the numbers of different users may become
//! visible out of order. Audit records are put in within the transaction of what they tell of; their order means
//! nothing. They have an outbox of their own, so that events wait for none of them.

use diesel::{
    dsl::{count_star, min},
    prelude::*,
};
use serde_json::value::RawValue;
use service_kit::{Timestamp, audit::AuditRecord, db::Db};

use super::schema;
use crate::{domain::event::UserEvent, error::Error};

/// One of the outboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// User events.
    Events,
    /// Audit records.
    Audit,
}

/// Runs the same code on the table of an outbox.
macro_rules! on_queue {
    ($queue:expr, $table:ident => $work:expr) => {
        match $queue {
            Queue::Events => {
                use schema::outbox as $table;
                $work
            }
            Queue::Audit => {
                use schema::audit_outbox as $table;
                $work
            }
        }
    };
}

/// Something on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Its number.
    pub(crate) seq: i64,
    /// What it says, as JSON.
    pub(crate) payload: Box<RawValue>,
}

/// Puts an event in. The transaction must hold the user's row.
pub(crate) fn push(db: &mut Db, event: &UserEvent, now: Timestamp) -> Result<(), Error> {
    use schema::outbox;
    let payload = serde_json::to_string(event).map_err(Error::internal)?;
    diesel::insert_into(outbox::table)
        .values((
            outbox::user_id.eq(event.user_id.as_str()),
            outbox::payload.eq(payload),
            outbox::created_at.eq(now.as_micros()),
        ))
        .execute(db)
        .map_err(service_kit::Error::from)?;
    Ok(())
}

/// Puts audit records in, within the transaction of what they tell of.
pub(crate) fn push_records(db: &mut Db, records: &[AuditRecord]) -> Result<(), Error> {
    use schema::audit_outbox;
    for record in records {
        let payload = serde_json::to_string(record).map_err(Error::internal)?;
        diesel::insert_into(audit_outbox::table)
            .values((audit_outbox::payload.eq(payload), audit_outbox::created_at.eq(record.at.as_micros())))
            .execute(db)
            .map_err(service_kit::Error::from)?;
    }
    Ok(())
}

/// The oldest: `limit` of them at most, and `bytes` together, but for a single one that is larger.
pub(crate) fn oldest(db: &mut Db, queue: Queue, limit: i64, mut bytes: usize) -> Result<Vec<Outgoing>, Error> {
    let rows: Vec<(i64, String)> = on_queue!(queue, outbox => {
        outbox::table.select((outbox::seq, outbox::payload)).order(outbox::seq).limit(limit).load(db)
    })
    .map_err(service_kit::Error::from)?;
    let mut batch = Vec::with_capacity(rows.len());
    for (seq, payload) in rows {
        if !batch.is_empty() && payload.len() > bytes {
            break;
        }
        bytes = bytes.saturating_sub(payload.len());
        batch.push(Outgoing { seq, payload: RawValue::from_string(payload).map_err(Error::internal)? });
    }
    Ok(batch)
}

/// How many there are, and since when the oldest one waits.
pub(crate) fn backlog(db: &mut Db, queue: Queue) -> Result<(i64, Option<Timestamp>), Error> {
    let (count, oldest): (i64, Option<i64>) =
        on_queue!(queue, outbox => outbox::table.select((count_star(), min(outbox::created_at))).first(db))
            .map_err(service_kit::Error::from)?;
    Ok((count, oldest.map(Timestamp::from_micros)))
}

/// Takes out what was acknowledged. Another replica may have done so already.
pub(crate) fn remove(db: &mut Db, queue: Queue, seqs: Vec<i64>) -> Result<(), Error> {
    on_queue!(queue, outbox => diesel::delete(outbox::table.filter(outbox::seq.eq_any(seqs))).execute(db))
        .map_err(service_kit::Error::from)?;
    Ok(())
}

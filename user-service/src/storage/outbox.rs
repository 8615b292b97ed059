//! The outbox: events that auth-service has not acknowledged yet.
//!
//! An event is put in within the transaction that changes its user, while that transaction holds the user's row. So
//! the events of one user are numbered in the order of their commits, and whoever sees one of them sees all before it,
//! even though PostgreSQL hands out numbers before a transaction commits and the numbers of different users may become
//! visible out of order.

use diesel::{
    dsl::{count_star, min},
    prelude::*,
};
use service_kit::{Timestamp, db::Db};

use super::schema::outbox;
use crate::{domain::event::UserEvent, error::Error};

/// An event on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Its number.
    pub(crate) seq: i64,
    /// The event as JSON.
    pub(crate) payload: serde_json::Value,
}

/// Puts an event in. The transaction must hold the user's row.
pub(crate) fn push(db: &mut Db, event: &UserEvent, now: Timestamp) -> Result<(), Error> {
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

/// The oldest events, `limit` of them at most.
pub(crate) fn oldest(db: &mut Db, limit: i64) -> Result<Vec<Outgoing>, Error> {
    let rows: Vec<(i64, String)> = outbox::table
        .select((outbox::seq, outbox::payload))
        .order(outbox::seq)
        .limit(limit)
        .load(db)
        .map_err(service_kit::Error::from)?;
    rows.into_iter()
        .map(|(seq, payload)| {
            let payload = serde_json::from_str(&payload).map_err(Error::internal)?;
            Ok(Outgoing { seq, payload })
        })
        .collect()
}

/// How many events there are, and since when the oldest one waits.
pub(crate) fn backlog(db: &mut Db) -> Result<(i64, Option<Timestamp>), Error> {
    let (count, oldest): (i64, Option<i64>) =
        outbox::table.select((count_star(), min(outbox::created_at))).first(db).map_err(service_kit::Error::from)?;
    Ok((count, oldest.map(Timestamp::from_micros)))
}

/// Takes out events that were acknowledged. Another replica may have done so already.
pub(crate) fn remove(db: &mut Db, seqs: Vec<i64>) -> Result<(), Error> {
    diesel::delete(outbox::table.filter(outbox::seq.eq_any(seqs))).execute(db).map_err(service_kit::Error::from)?;
    Ok(())
}

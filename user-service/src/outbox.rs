//! Brings what is in the outboxes to auth-service: oldest first, until it is acknowledged.
//!
//! Delivery is at least once. Several replicas may bring the same, and one that stops half way brings it again; the
//! receiver knows by the authorization version whether an event is news, and by its id whether an audit record is.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::RngExt as _;
use reqwest::Method;
use service_kit::{
    Clock, Timestamp,
    db::Database,
    metrics::{
        gauge, number,
        prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Unit},
    },
    peer::Peer,
    server::Shutdown,
};
use tokio::sync::Notify;

use crate::{
    error::Error,
    storage::outbox::{self, Queue},
};

/// Events or records in one call at most.
const BATCH: i64 = 100;

/// Bytes of them in one call at most: auth-service takes a body of 64 KiB.
const BATCH_BYTES: usize = 48 * 1024;

/// How often to look for what another replica left behind.
const POLL: Duration = Duration::from_secs(3);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Queue {
    /// Where auth-service takes it, and as what.
    const fn door(self) -> (&'static str, &'static str) {
        match self {
            Self::Events => ("/internal/user-events", "events"),
            Self::Audit => ("/internal/audit", "records"),
        }
    }

    /// What is in it, in words.
    const fn content(self) -> &'static str {
        match self {
            Self::Events => "user events",
            Self::Audit => "audit records",
        }
    }
}

/// How an outbox stands, as of the last look.
#[derive(Clone, Debug)]
pub(crate) struct Backlog {
    queue: Queue,
    seen: Arc<Mutex<(i64, Option<Timestamp>)>>,
    clock: Clock,
}

impl Backlog {
    pub(crate) fn new(queue: Queue, clock: Clock) -> Self {
        Self { queue, seen: Arc::default(), clock }
    }

    fn seen(&self) -> MutexGuard<'_, (i64, Option<Timestamp>)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Backlog {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (waiting, oldest) = *self.seen();
        let waiting = number(usize::try_from(waiting).unwrap_or_default());
        let age = oldest.map_or(0, |oldest| self.clock.now().as_micros().saturating_sub(oldest.as_micros()));
        let age = Duration::from_micros(u64::try_from(age).unwrap_or_default()).as_secs_f64();
        let (count, age_name, help, age_help) = match self.queue {
            Queue::Events => (
                "outbox_events",
                "outbox_oldest_age",
                "User events that wait for auth-service to take them",
                "How long the oldest of the events that wait has waited",
            ),
            Queue::Audit => (
                "audit_outbox_records",
                "audit_outbox_oldest_age",
                "Audit records that wait for auth-service to take them",
                "How long the oldest of the records that wait has waited",
            ),
        };
        gauge(&mut encoder, count, help, None, waiting)?;
        gauge(&mut encoder, age_name, age_help, Some(&Unit::Seconds), age)
    }
}

/// What delivery works with.
pub(crate) struct Delivery {
    /// Which outbox, and where it says how much waits in it.
    pub(crate) backlog: Backlog,
    /// The database with the outbox.
    pub(crate) database: Database,
    /// auth-service.
    pub(crate) auth_service: Arc<Peer>,
    /// Rung when something was put in.
    pub(crate) filled: Arc<Notify>,
}

impl Delivery {
    /// Delivers until the service stops. Stopping in the middle loses nothing.
    pub(crate) async fn run(self, mut shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.requested() => {}
            () = self.deliver_for_ever() => {}
        }
    }

    async fn deliver_for_ever(&self) {
        let queue = self.backlog.queue;
        let mut failures: u32 = 0;
        loop {
            let delivered = self.deliver_batch().await;
            if let Ok(backlog) = self.database.read(move |db| outbox::backlog(db, queue)).await {
                *self.backlog.seen() = backlog;
            }
            match delivered {
                Ok(delivered) => {
                    if failures > 0 {
                        log::info!("{} reach auth-service again", queue.content());
                    }
                    failures = 0;
                    if delivered == 0 {
                        tokio::select! {
                            () = self.filled.notified() => {}
                            () = tokio::time::sleep(POLL) => {}
                        }
                    }
                }
                Err(error) => {
                    let cause = anyhow::Error::from(error);
                    // One line when it begins; each further try would only repeat it.
                    let level = if failures == 0 { log::Level::Warn } else { log::Level::Debug };
                    log::log!(level, "{} wait for auth-service: {cause:#}", queue.content());
                    tokio::time::sleep(pause(failures)).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Delivers the oldest and takes them out. Says how many there were.
    async fn deliver_batch(&self) -> Result<usize, Error> {
        let queue = self.backlog.queue;
        let batch = self.database.read(move |db| outbox::oldest(db, queue, BATCH, BATCH_BYTES)).await?;
        if batch.is_empty() {
            return Ok(0);
        }
        let (seqs, all): (Vec<i64>, Vec<_>) = batch.into_iter().map(|one| (one.seq, one.payload)).unzip();
        let delivered = seqs.len();
        let (path, name) = queue.door();
        self.auth_service.call::<()>(Method::POST, path, &HashMap::from([(name, all)]), &[]).await?;
        self.database.write_statement(move |db| outbox::remove(db, queue, seqs)).await?;
        Ok(delivered)
    }
}

/// How long to wait after so many failures in a row: twice as long each time, and anything from half of it, so that
/// replicas do not come back all at once.
fn pause(failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for (failures, longest) in [(0, 50), (1, 100), (4, 800), (7, 1000), (u32::MAX, 1000)] {
            let pause = pause(failures);
            let longest = Duration::from_millis(longest);
            assert!(pause >= longest / 2 && pause <= longest, "{failures}: {pause:?}");
        }
    }
}

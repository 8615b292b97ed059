//! The feed of revocations as this replica holds it: in memory, so that a waiting verifier costs neither a thread nor a
//! query.
//!
//! The database has the truth. What another replica commits is read when PostgreSQL notifies of it, and looked for now
//! and then besides, because notifications may get lost; what this replica commits it knows at once.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::anyhow;
use serde::Serialize;
use service_kit::{
    Clock, Error, Timestamp,
    db::{Backend, Database, Listener},
    server::{Shutdown, StartError},
};
use shared_claims::{
    LiveKeyRing,
    feed::{Entry, RevocationList},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use crate::storage::{CHANNEL, FeedStore, Known, News, RevocationStore, Verifier, VerifierStore};

/// How often the database is looked at without being told to: the most that a revocation is late on another replica
/// when notifications do not come. SQLite has no other replicas, but perhaps another process on the same file.
const fn look_every(backend: Backend) -> Duration {
    match backend {
        Backend::Postgres => Duration::from_millis(500),
        Backend::Sqlite => Duration::from_secs(1),
    }
}

/// How soon the database is looked at again after a look that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a look at the database takes at most, unless a long list has to be read.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it takes even then.
const LONG_LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// After this long without a look that succeeded the replica says that it does not know what is revoked.
const BLIND_AFTER: Duration = Duration::from_secs(2);
/// How often what is to be kept in order is looked after.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// How often entries whose time has come are removed.
const PURGE_EVERY_SECONDS: i64 = 60;
/// How often it is written down that a verifier is still there.
const KEEP_EVERY_SECONDS: i64 = 60;
/// After this long without a poll a verifier is forgotten.
const FORGOTTEN_AFTER_SECONDS: i64 = 180;

/// What this replica knows.
struct Held {
    epoch: String,
    seq: u64,
    /// By ascending number.
    entries: Vec<Entry>,
    /// The database has not been readable for a while.
    blind: bool,
    /// The service stops: nobody is to wait any more.
    stopping: bool,
}

/// What a verifier asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poll {
    /// It has the entries up to this number …
    pub(crate) after: u64,
    /// … of this epoch, or of whichever there is.
    pub(crate) epoch: Option<String>,
    /// How long it waits for something new.
    pub(crate) wait: Duration,
    /// How long it waits, if the feed cannot be read at the moment, until it can.
    pub(crate) recover: Duration,
}

/// An answer to a poll.
pub(crate) struct Polled {
    /// The JSON.
    pub(crate) body: Vec<u8>,
    /// The service stops: the verifier should go elsewhere with its next poll.
    pub(crate) last: bool,
}

/// The body of an answer: [`shared_claims::feed::Feed`] without a copy of the entries.
#[derive(Serialize)]
struct Answer<'a> {
    epoch: &'a str,
    seq: u64,
    entries: Vec<&'a Entry>,
}

impl Held {
    /// The answer to a poll; nothing if there is nothing to tell that could not wait.
    fn answer(&self, poll: &Poll, epoch_at_first: &str, may_wait: bool, now: u64) -> Result<Option<Polled>, Error> {
        let numbered_alike = poll.epoch.as_ref().is_none_or(|epoch| *epoch == self.epoch);
        let from = if numbered_alike { self.entries.partition_point(|entry| entry.seq <= poll.after) } else { 0 };
        let entries = &self.entries[from..];
        let news = !entries.is_empty() || !numbered_alike || epoch_at_first != self.epoch;
        if !news && may_wait && !self.stopping {
            return Ok(None);
        }
        let entries = entries.iter().filter(|entry| entry.until > now).collect();
        let answer = Answer { epoch: &self.epoch, seq: self.seq, entries };
        let body = serde_json::to_vec(&answer).map_err(Error::internal)?;
        Ok(Some(Polled { body, last: self.stopping }))
    }
}

/// The list that this service's own verifier asks. What this replica commits goes in at once, the rest when it is read.
struct OwnList {
    list: RevocationList,
    /// What was committed here, and when, until a look at the database that began later has shown it.
    fresh: Mutex<Vec<(Instant, Entry)>>,
}

impl OwnList {
    fn committed(&self, entries: &[Entry]) {
        let mut fresh = lock(&self.fresh);
        self.list.apply(entries);
        let now = Instant::now();
        fresh.extend(entries.iter().map(|entry| (now, entry.clone())));
    }

    /// Replaces the list by what was read, which may have been read before the newest commit.
    fn begin_anew(&self, entries: &[Entry]) {
        let fresh = lock(&self.fresh);
        self.list.replace(entries);
        for (_, entry) in &*fresh {
            self.list.apply(std::slice::from_ref(entry));
        }
    }

    /// What was committed before a look began, the look has shown.
    fn looked(&self, began: Instant) {
        lock(&self.fresh).retain(|(committed, _)| *committed > began);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the last looks at the database began.
#[derive(Clone, Copy)]
struct Looked {
    succeeded: Instant,
    failed: Option<Instant>,
}

/// The feed of this replica.
pub(crate) struct Feed {
    store: FeedStore,
    verifiers: VerifierStore,
    held: watch::Sender<Held>,
    own: Arc<OwnList>,
    /// Rung when there may be something new in the database.
    news: Arc<Notify>,
    looked: watch::Sender<Looked>,
    look_every: Duration,
    listen: Mutex<Option<Listener>>,
    seen: Seen,
    /// This replica as a verifier.
    id: String,
    keys: LiveKeyRing,
    clock: Clock,
}

impl Feed {
    /// Begins a new epoch and reads what is revoked: for the start, as it blocks. Everything that revokes goes through
    /// the store that comes with it. Tokens live for `longest_ttl_seconds` at most.
    pub(crate) fn open(
        database: &Database,
        list: RevocationList,
        keys: LiveKeyRing,
        longest_ttl_seconds: u64,
        clock: Clock,
    ) -> Result<(Arc<Self>, RevocationStore), StartError> {
        let unavailable = |cause: &dyn std::fmt::Display| {
            StartError::Unavailable(format!("the feed of revocations cannot be read: {cause}"))
        };
        let reader = database.apart(1).map_err(|cause| unavailable(&cause))?;
        let store = FeedStore::new(database.clone(), reader);
        store.open(longest_ttl_seconds).map_err(|cause| unavailable(&cause))?;
        let (epoch, seq, entries) = store.snapshot(clock.now().as_seconds()).map_err(|cause| unavailable(&cause))?;
        list.replace(&entries);
        list.contacted(&epoch, seq);
        let own = Arc::new(OwnList { list, fresh: Mutex::default() });
        let news = Arc::new(Notify::new());
        let revocations = {
            let (own, news) = (own.clone(), news.clone());
            RevocationStore::new(
                database.clone(),
                Arc::new(move |entries| {
                    own.committed(entries);
                    news.notify_one();
                }),
            )
        };
        let feed = Self {
            store,
            verifiers: VerifierStore::new(database.clone()),
            held: watch::Sender::new(Held { epoch, seq, entries, blind: false, stopping: false }),
            own,
            news,
            looked: watch::Sender::new(Looked { succeeded: Instant::now(), failed: None }),
            look_every: look_every(database.backend()),
            listen: Mutex::new(Some(database.listen(CHANNEL))),
            seen: Seen::default(),
            id: format!("{}/{}", crate::app::NAME, Uuid::now_v7()),
            keys,
            clock,
        };
        Ok((Arc::new(feed), revocations))
    }

    /// Answers a poll as soon as there is something to tell, or when its time is over.
    pub(crate) async fn poll(&self, poll: Poll) -> Result<Polled, Error> {
        let now = Instant::now();
        let (deadline, give_up) = (now + poll.wait, now + poll.recover);
        if !poll.recover.is_zero() && self.held.borrow().blind {
            return self.recover(&poll, give_up).await;
        }
        if self.is_ahead(&poll) || !lock(&self.own.fresh).is_empty() {
            self.catch_up(&poll).await?;
        }
        let mut held = self.held.subscribe();
        let epoch_at_first = held.borrow().epoch.clone();
        loop {
            {
                let held = held.borrow_and_update();
                if held.blind {
                    return Err(unreadable(anyhow!("it could not be read for {} s", BLIND_AFTER.as_secs())));
                }
                let may_wait = Instant::now() < deadline;
                let now = self.clock.now().as_seconds();
                if let Some(answer) = held.answer(&poll, &epoch_at_first, may_wait, now)? {
                    return Ok(answer);
                }
            }
            tokio::select! {
                changed = held.changed() => changed.map_err(Error::internal)?,
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Answers a poll that came while nothing could be read: as soon as something can, for that is news by itself.
    async fn recover(&self, poll: &Poll, give_up: Instant) -> Result<Polled, Error> {
        let mut held = self.held.subscribe();
        let seeing = held.wait_for(|held| !held.blind || held.stopping);
        if !matches!(tokio::time::timeout_at(give_up, seeing).await, Ok(Ok(held)) if !held.blind) {
            return Err(unreadable(anyhow!("it could not be read for {} s", BLIND_AFTER.as_secs())));
        }
        if self.is_ahead(poll) || !lock(&self.own.fresh).is_empty() {
            self.catch_up(poll).await?;
        }
        let held = self.held.borrow();
        let answer = held.answer(poll, &held.epoch, false, self.clock.now().as_seconds())?;
        answer.ok_or_else(|| unreadable(anyhow!("there is no answer")))
    }

    /// Whether a verifier knows of something that this replica does not: an epoch or a number.
    fn is_ahead(&self, poll: &Poll) -> bool {
        let held = self.held.borrow();
        match &poll.epoch {
            Some(epoch) => *epoch != held.epoch || poll.after > held.seq,
            None => poll.after > held.seq,
        }
    }

    /// Another replica may have told the verifier more than this one has read yet, so it reads before it answers: it must
    /// not seem to take a revocation back. If the database does not have that much either, it is not the one that it was.
    /// What this replica has answered for itself is in the feed from then on, too.
    async fn catch_up(&self, poll: &Poll) -> Result<(), Error> {
        self.settle().await?;
        let lost = {
            let held = self.held.borrow();
            let same_epoch = poll.epoch.as_ref().is_none_or(|epoch| *epoch == held.epoch);
            (same_epoch && poll.after > held.seq).then(|| held.epoch.clone())
        };
        if let Some(epoch) = lost {
            log::warn!("a verifier knows of revocations that the database does not have: the feed begins a new epoch");
            self.store.begin_epoch(epoch).await?;
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until everything is known that is in the database now.
    pub(crate) async fn settle(&self) -> Result<(), Error> {
        let now = Instant::now();
        let mut looked = self.looked.subscribe();
        self.news.notify_one();
        let done =
            looked.wait_for(|looked| looked.succeeded >= now || looked.failed.is_some_and(|failed| failed >= now));
        match timeout(BLIND_AFTER, done).await {
            Ok(Ok(looked)) if looked.succeeded >= now => Ok(()),
            _ => Err(unreadable(anyhow!("the feed cannot be brought up to date"))),
        }
    }

    /// Reads what is new. Only [`Feed::follow`] looks, so there is one look at a time.
    async fn look(&self) -> Result<(), Error> {
        let began = Instant::now();
        let blind_at = self.looked.borrow().succeeded + BLIND_AFTER;
        let mut reading = pin!(self.read());
        let read = tokio::select! {
            read = &mut reading => read,
            () = sleep_until(blind_at.max(began + LOOK_TIMEOUT)) => {
                self.failed(began);
                // The whole list of a new epoch may be long, so it is waited for.
                match timeout(LONG_LOOK_TIMEOUT, reading).await {
                    Ok(read) => read,
                    Err(_) => Err(unreadable(anyhow!("it did not answer for {} s", LONG_LOOK_TIMEOUT.as_secs()))),
                }
            }
        };
        match read {
            Ok(()) => {
                self.own.looked(began);
                self.held.send_if_modified(|held| std::mem::take(&mut held.blind));
                self.looked.send_modify(|looked| looked.succeeded = began);
                Ok(())
            }
            Err(cause) => {
                self.failed(began);
                Err(unreadable(cause.into()))
            }
        }
    }

    /// A look has failed, or takes so long that nobody should wait for it.
    fn failed(&self, began: Instant) {
        self.own.list.disconnected();
        self.looked.send_modify(|looked| looked.failed = Some(began));
        if self.looked.borrow().succeeded.elapsed() > BLIND_AFTER {
            self.held.send_if_modified(|held| !std::mem::replace(&mut held.blind, true));
        }
    }

    async fn read(&self) -> Result<(), Error> {
        loop {
            let known = {
                let held = self.held.borrow();
                Known { epoch: held.epoch.clone(), seq: held.seq, last: held.entries.last().cloned() }
            };
            let former = known.epoch.clone();
            let now = self.clock.now().as_seconds();
            let has_failed = {
                let looked = self.looked.borrow();
                looked.failed.is_some_and(|failed| failed >= looked.succeeded)
            };
            let news =
                if has_failed { self.store.news_by_any(known, now).await } else { self.store.news(known, now).await };
            match news? {
                News::None => {}
                News::Entries { seq, entries } => {
                    self.own.list.apply(&entries);
                    self.held.send_modify(|held| {
                        held.seq = seq;
                        held.entries.extend(entries);
                    });
                }
                News::Epoch { epoch, seq, entries } => {
                    self.own.begin_anew(&entries);
                    self.held.send_modify(|held| {
                        held.epoch = epoch;
                        held.seq = seq;
                        held.entries = entries;
                    });
                }
                News::Restored => {
                    log::warn!("the database was restored from a backup: the feed of revocations begins a new epoch");
                    self.store.begin_epoch(former).await?;
                    continue;
                }
            }
            let held = self.held.borrow();
            self.own.list.contacted(&held.epoch, held.seq);
            return Ok(());
        }
    }

    /// Follows the database until the service stops.
    pub(crate) async fn follow(self: Arc<Self>, mut shutdown: Shutdown) {
        let listener = lock(&self.listen).take();
        let hear = async {
            let Some(mut listener) = listener else { return std::future::pending().await };
            loop {
                listener.next().await;
                self.news.notify_one();
            }
        };
        let look = async {
            let mut failing = false;
            loop {
                let pause = if failing { LOOK_AGAIN } else { self.look_every };
                tokio::select! {
                    () = self.news.notified() => {}
                    () = sleep(pause) => {}
                }
                // A line when it begins and one when it ends; each further try would only repeat it.
                match self.look().await {
                    Ok(()) => {
                        if failing {
                            log::info!("the feed of revocations can be read again");
                        }
                        failing = false;
                    }
                    Err(cause) => {
                        if !failing {
                            log::warn!("the feed of revocations cannot be read: {:#}", anyhow::Error::from(cause));
                        }
                        failing = true;
                    }
                }
            }
        };
        tokio::select! {
            () = shutdown.requested() => {}
            () = hear => {}
            () = look => {}
        }
    }

    /// Lets the verifiers that wait go as soon as the service is asked to stop.
    pub(crate) async fn let_go(self: Arc<Self>, mut shutdown: Shutdown) {
        shutdown.announced().await;
        self.held.send_modify(|held| held.stopping = true);
    }

    /// Removes what is over and keeps the registry of verifiers, until the service stops.
    pub(crate) async fn tidy(self: Arc<Self>, mut shutdown: Shutdown) {
        let mut purged_at = self.clock.now();
        let mut failing = false;
        loop {
            let now = self.clock.now();
            self.seen.note(&self.id, &key_ids(&self.keys), now);
            let mut outcome = self.keep_verifiers(now).await;
            if now >= purged_at.plus_seconds(PURGE_EVERY_SECONDS) {
                outcome = outcome.and(self.purge(now).await);
                purged_at = now;
            }
            match outcome {
                Ok(()) => failing = false,
                Err(cause) => {
                    let level = if failing { log::Level::Debug } else { log::Level::Warn };
                    log::log!(level, "the feed cannot be kept in order: {:#}", anyhow::Error::from(cause));
                    failing = true;
                }
            }
            tokio::select! {
                () = shutdown.requested() => break,
                // After a failure at its own pace, however many verifiers come.
                () = self.seen.news.notified(), if !failing => {}
                () = sleep(TIDY_EVERY) => {}
            }
        }
        // Nobody has to wait for this replica to learn of a key any more.
        if timeout(LOOK_TIMEOUT, self.verifiers.forget(&self.id)).await.is_err() {
            log::debug!("this replica could not be taken out of the registry of verifiers");
        }
    }

    async fn purge(&self, now: Timestamp) -> Result<(), Error> {
        let seconds = now.as_seconds();
        self.own.list.expire(seconds);
        self.held.send_if_modified(|held| {
            held.entries.retain(|entry| entry.until > seconds);
            // Nobody waits for an entry to go.
            false
        });
        let removed = self.store.purge(seconds).await?;
        if removed > 0 {
            log::debug!("{removed} revocations removed whose tokens have all expired");
        }
        Ok(())
    }

    /// Notes that a verifier has polled.
    pub(crate) fn saw(&self, id: &str, kids: &str) {
        self.seen.note(id, kids, self.clock.now());
    }

    async fn keep_verifiers(&self, now: Timestamp) -> Result<(), Error> {
        let due = self.seen.due(now);
        if due.is_empty() {
            return Ok(());
        }
        let kept = self.verifiers.keep(due.clone(), now.plus_seconds(-FORGOTTEN_AFTER_SECONDS)).await;
        if kept.is_err() {
            self.seen.still_due(&due);
        }
        kept
    }

    /// The verifiers that follow the feed, on whichever replica.
    pub(crate) async fn verifiers(&self) -> Result<Vec<Verifier>, Error> {
        self.verifiers.seen_since(self.clock.now().plus_seconds(-FORGOTTEN_AFTER_SECONDS)).await
    }
}

fn unreadable(cause: anyhow::Error) -> Error {
    Error::DependencyUnavailable { dependency: "database", cause }
}

fn key_ids(keys: &LiveKeyRing) -> String {
    keys.current().key_ids().collect::<Vec<_>>().join(",")
}

/// Who polled this replica, until it is written down.
#[derive(Default)]
struct Seen {
    verifiers: Mutex<HashMap<String, Sighting>>,
    /// Rung when something should be written down at once.
    news: Notify,
}

struct Sighting {
    kids: String,
    seen_at: Timestamp,
    /// When this was last written down; never, if it is due.
    kept_at: Option<Timestamp>,
}

impl Seen {
    /// A new verifier and other keys are to be written down at once: the change of a key waits for it. That a verifier
    /// is still there is not urgent.
    fn note(&self, id: &str, kids: &str, now: Timestamp) {
        let mut verifiers = lock(&self.verifiers);
        match verifiers.get_mut(id) {
            Some(known) => {
                known.seen_at = now;
                if known.kids != kids {
                    kids.clone_into(&mut known.kids);
                    known.kept_at = None;
                } else if known.kept_at.is_some_and(|kept_at| now >= kept_at.plus_seconds(KEEP_EVERY_SECONDS)) {
                    known.kept_at = None;
                } else {
                    return;
                }
            }
            None => {
                verifiers.insert(id.to_owned(), Sighting { kids: kids.to_owned(), seen_at: now, kept_at: None });
            }
        }
        self.news.notify_one();
    }

    /// Takes what is to be written down, and forgets who has not been here for long.
    fn due(&self, now: Timestamp) -> Vec<Verifier> {
        let mut verifiers = lock(&self.verifiers);
        verifiers.retain(|_, sighting| sighting.seen_at >= now.plus_seconds(-FORGOTTEN_AFTER_SECONDS));
        verifiers
            .iter_mut()
            .filter(|(_, sighting)| sighting.kept_at.is_none())
            .map(|(id, sighting)| {
                sighting.kept_at = Some(now);
                Verifier { id: id.clone(), kids: sighting.kids.clone(), seen_at: sighting.seen_at }
            })
            .collect()
    }

    /// Takes back that these were written down.
    fn still_due(&self, due: &[Verifier]) {
        let mut verifiers = lock(&self.verifiers);
        for verifier in due {
            if let Some(sighting) = verifiers.get_mut(&verifier.id) {
                sighting.kept_at = None;
            }
        }
    }
}

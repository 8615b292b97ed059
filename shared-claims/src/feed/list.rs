//! The revocations that are in force, kept for look-ups while tokens are verified.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use papaya::{Equivalent, ResizeMode};

use crate::claims::Claims;
use crate::error::{Error, ErrorKind};
use crate::feed::filter::Filter;
use crate::feed::wire::{Entry, Feed, Revocation};

type MonotonicClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The revocations that are in force in this process. Clones share them.
///
/// Give one clone to [`VerifierBuilder::revocations`](crate::VerifierBuilder::revocations) and another to a
/// [`Follower`](crate::feed::Follower), which keeps it as auth-service's feed has it. Looking a token up takes no lock
/// and allocates nothing once a thread has looked up its first. A kind of revocation of which there is none costs
/// nothing.
///
/// How fresh the list is, is measured by a clock that never jumps, and not by the clock that tokens are judged by: if
/// the system's time is set back, a list that nobody has fed for an hour is still an hour old.
///
/// ```
/// use shared_claims::feed::{Entry, Revocation, RevocationList};
///
/// let list = RevocationList::new();
/// let revocation = Revocation::Session { sid: "s1".into() };
/// list.apply(&[Entry { seq: 1, revocation, until: 1_800_000_930 }]);
/// assert_eq!(list.len(), 1);
///
/// // By then, every token of the session has expired.
/// list.expire(1_800_000_930);
/// assert!(list.is_empty());
/// ```
#[derive(Clone)]
pub struct RevocationList(Arc<Shared>);

struct Shared {
    /// Which kinds there are any of: a bit of [`Kind`] each, and [`ALL`].
    kinds: AtomicU8,
    /// The lowest `iat` that is taken.
    issued_before: AtomicU64,
    /// What `held` may have, so that a token that is not revoked rarely costs more than a few bits.
    filter: Filter,
    held: papaya::HashMap<Key, Held, foldhash::fast::RandomState>,
    /// The seed is drawn at the start, so nobody can prepare names that collide.
    hasher: foldhash::fast::RandomState,
    seeds: [u64; 3],
    entries: AtomicUsize,
    /// When the list was last known to be complete, in microseconds of `clock` plus one; 0 for never.
    last_contact: AtomicU64,
    clock: MonotonicClock,
    /// Changes are made by one thread at a time.
    writer: Mutex<Writer>,
    contact: Mutex<Contact>,
}

#[derive(Default)]
struct Writer {
    /// How many entries there are of each [`Kind`].
    counts: [usize; 4],
    /// `issued_before` and `until` of the entries for all tokens.
    all: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Contact {
    epoch: Option<String>,
    seq: u64,
    connected: bool,
}

/// A kind of revocation that names a claim or a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Session,
    User,
    Token,
    Key,
}

/// The bit of [`Shared::kinds`] for revocations of all tokens.
const ALL: u8 = 1 << 7;

impl Kind {
    const EVERY: [Self; 4] = [Self::Session, Self::User, Self::Token, Self::Key];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What a revocation names.
#[derive(PartialEq, Eq)]
struct Key {
    kind: Kind,
    text: Box<str>,
}

/// A [`Key`] to look for.
struct Sought<'t> {
    kind: Kind,
    text: &'t str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Sought { kind: self.kind, text: &self.text }.hash(state);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.text.as_bytes());
        state.write_u8(self.kind.bit());
    }
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.kind == key.kind && *self.text == *key.text
    }
}

/// What is known of a revoked thing. Two entries that name the same one become one that is as strict as either and lives
/// as long as either.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Held {
    until: u64,
    /// Of a user: the lowest `ver` that is taken.
    min_ver: u64,
}

impl Held {
    fn merged(self, other: Self) -> Self {
        Self { until: self.until.max(other.until), min_ver: self.min_ver.max(other.min_ver) }
    }
}

/// An entry as the list keeps it.
enum Parts<'e> {
    Named(Kind, &'e str, Held),
    All { issued_before: u64, until: u64 },
    Unknown,
}

impl<'e> From<&'e Entry> for Parts<'e> {
    fn from(entry: &'e Entry) -> Self {
        let until = entry.until;
        let named = |kind, text, min_ver| Self::Named(kind, text, Held { until, min_ver });
        match &entry.revocation {
            Revocation::Session { sid } => named(Kind::Session, sid, 0),
            Revocation::User { sub, min_ver } => named(Kind::User, sub, *min_ver),
            Revocation::Token { jti } => named(Kind::Token, jti, 0),
            Revocation::Key { kid } => named(Kind::Key, kid, 0),
            Revocation::All { issued_before } => Self::All { issued_before: *issued_before, until },
            Revocation::Unknown => Self::Unknown,
        }
    }
}

impl RevocationList {
    /// An empty list that has not heard of the feed yet.
    pub fn new() -> Self {
        let start = Instant::now();
        Self::with_monotonic_clock(Arc::new(move || start.elapsed()))
    }

    /// The same, with another clock to tell its age by: the time since any fixed moment, never less than it said before.
    pub fn with_monotonic_clock(clock: Arc<dyn Fn() -> Duration + Send + Sync>) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        let held = papaya::HashMap::builder()
            .hasher(hasher.clone())
            // One writer, and look-ups that never search two tables.
            .resize_mode(ResizeMode::Blocking)
            .build();
        Self(Arc::new(Shared {
            kinds: AtomicU8::new(0),
            issued_before: AtomicU64::new(0),
            filter: Filter::new(),
            held,
            seeds: [0, 1, 2].map(|number: u64| hasher.hash_one(number) | 1),
            hasher,
            entries: AtomicUsize::new(0),
            last_contact: AtomicU64::new(0),
            clock,
            writer: Mutex::default(),
            contact: Mutex::default(),
        }))
    }

    /// Whether a token with these claims, which the key with this id has verified, is revoked.
    ///
    /// A user's token that tells no authorization version counts as older than any. A client's own token is judged by
    /// its version only where it tells one.
    pub fn revokes(&self, claims: &Claims, key_id: &str) -> bool {
        let shared = &*self.0;
        let kinds = shared.kinds.load(Ordering::Acquire);
        if kinds == 0 {
            return false;
        }
        if kinds & ALL != 0 && claims.iat < shared.issued_before.load(Ordering::Acquire) {
            return true;
        }
        if kinds & !ALL == 0 {
            return false;
        }
        let sid = claims.sid.as_deref();
        let filter = shared.filter.view();
        let may_hold =
            |kind: Kind, text: &str| kinds & kind.bit() != 0 && filter.may_hold(shared.filter_hash(kind, text));
        // No `||`: that would have the second look-up wait for the first.
        let may_be_revoked = may_hold(Kind::Token, &claims.jti)
            | sid.is_some_and(|sid| may_hold(Kind::Session, sid))
            | may_hold(Kind::User, &claims.sub)
            | may_hold(Kind::Key, key_id);
        may_be_revoked && shared.holds(claims, key_id)
    }

    /// Adds entries. What is there already stays; an entry of an unknown kind is passed over.
    pub fn apply(&self, entries: &[Entry]) {
        let mut writer = self.0.writer();
        for entry in entries {
            match Parts::from(entry) {
                Parts::Named(kind, text, new) => self.0.merge(&mut writer, kind, text, new),
                Parts::All { issued_before, until } => writer.add_to_all(issued_before, until),
                Parts::Unknown => {}
            }
        }
        self.0.publish(&writer);
    }

    /// Puts these entries in the place of all others.
    ///
    /// A token that both the old and the new entries revoke is revoked all the while.
    pub fn replace(&self, entries: &[Entry]) {
        let mut named: HashMap<(Kind, &str), Held> = HashMap::with_capacity(entries.len());
        let mut all = Writer::default();
        for entry in entries {
            match Parts::from(entry) {
                Parts::Named(kind, text, new) => {
                    named.entry((kind, text)).and_modify(|held| *held = held.merged(new)).or_insert(new);
                }
                Parts::All { issued_before, until } => all.add_to_all(issued_before, until),
                Parts::Unknown => {}
            }
        }

        let mut writer = self.0.writer();
        writer.all = all.all;
        for (&(kind, text), &new) in &named {
            self.0.put(&mut writer, kind, text, new);
        }
        self.0.publish(&writer);
        self.0.retain(&mut writer, |key, _| named.contains_key(&(key.kind, &*key.text)));
        self.0.publish(&writer);
    }

    /// Drops the entries whose time has come, at `now` in seconds since the Unix epoch.
    pub fn expire(&self, now: u64) {
        let mut writer = self.0.writer();
        writer.all.retain(|(_, until)| *until > now);
        self.0.retain(&mut writer, |_, held| held.until > now);
        self.0.publish(&writer);
    }

    /// How many entries there are; two that name the same session, user, token or key count once.
    pub fn len(&self) -> usize {
        self.0.entries.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes up an answer of the feed: adds its entries if its epoch is the one that the list is at, else puts them in
    /// the place of what there is. Then the list is complete up to the answer's number, as of now.
    pub fn take_up(&self, feed: &Feed) {
        let same_epoch = self.0.contact().epoch.as_deref() == Some(&*feed.epoch);
        if same_epoch {
            self.apply(&feed.entries);
        } else {
            self.replace(&feed.entries);
        }
        self.contacted(&feed.epoch, feed.seq);
    }

    /// Notes that the list is, as of now, complete up to this number of this epoch.
    ///
    /// [`RevocationList::take_up`] does it by itself. It is for auth-service, which reads its own database.
    pub fn contacted(&self, epoch: &str, seq: u64) {
        let mut contact = self.0.contact();
        if contact.epoch.as_deref() != Some(epoch) {
            contact.epoch = Some(epoch.to_owned());
        }
        contact.seq = seq;
        contact.connected = true;
        let micros = u64::try_from((self.0.clock)().as_micros()).unwrap_or(u64::MAX);
        self.0.last_contact.store(micros.saturating_add(1), Ordering::Release);
    }

    /// Notes that whoever feeds the list has lost its source. The list ages until the next contact.
    pub fn disconnected(&self) {
        self.0.contact().connected = false;
    }

    /// How long ago the list was last known to be complete; `None` if it never was.
    pub fn age(&self) -> Option<Duration> {
        let last = self.0.last_contact.load(Ordering::Acquire).checked_sub(1)?;
        Some((self.0.clock)().saturating_sub(Duration::from_micros(last)))
    }

    /// How the list stands, for health checks and metrics.
    pub fn status(&self) -> FeedStatus {
        let age = self.age();
        let contact = self.0.contact();
        FeedStatus {
            entries: self.len(),
            epoch: contact.epoch.clone(),
            seq: contact.seq,
            age,
            connected: contact.connected,
        }
    }
}

impl Default for RevocationList {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RevocationList").field(&self.status()).finish()
    }
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contact(&self) -> MutexGuard<'_, Contact> {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exact answer.
    fn holds(&self, claims: &Claims, key_id: &str) -> bool {
        let held = self.held.pin();
        let find = |kind, text| held.get(&Sought { kind, text });
        find(Kind::Token, &claims.jti).is_some()
            || claims.sid.as_deref().is_some_and(|sid| find(Kind::Session, sid).is_some())
            || find(Kind::User, &claims.sub).is_some_and(|held| match claims.ver {
                Some(ver) => ver < held.min_ver,
                None => !claims.is_client(),
            })
            || find(Kind::Key, key_id).is_some()
    }

    fn merge(&self, writer: &mut Writer, kind: Kind, text: &str, new: Held) {
        let old = self.held.pin().get(&Sought { kind, text }).copied();
        let merged = old.map_or(new, |old| old.merged(new));
        // auth-service hears of what it has revoked itself a second time, from its database.
        if old != Some(merged) {
            self.put(writer, kind, text, merged);
        }
    }

    fn put(&self, writer: &mut Writer, kind: Kind, text: &str, new: Held) {
        if self.held.pin().insert(Key { kind, text: text.into() }, new).is_none() {
            writer.counts[kind as usize] += 1;
            if self.filter.is_outgrown_by(writer.named()) {
                self.rebuild_filter();
            }
        }
        self.filter.add(self.filter_hash(kind, text));
    }

    /// For the filter alone, which needs a quick hash more than a good one: ids are long and mostly random, so of a long
    /// one both ends will do. Two that agree in them only cost each other an exact look-up.
    #[inline]
    fn filter_hash(&self, kind: Kind, text: &str) -> u64 {
        let bytes = text.as_bytes();
        let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk::<16>()) else {
            return self.hasher.hash_one(Sought { kind, text });
        };
        let ([.., b0, b1, b2, b3, b4, b5, b6, b7], [a0, a1, a2, a3, a4, a5, a6, a7, ..]) = (last, last);
        let [s0, s1, s2] = self.seeds;
        let ends = folded(
            u64::from_le_bytes([*a0, *a1, *a2, *a3, *a4, *a5, *a6, *a7]) ^ s0,
            u64::from_le_bytes([*b0, *b1, *b2, *b3, *b4, *b5, *b6, *b7]) ^ s1,
        );
        folded(ends ^ u64::from_le_bytes(*first), s2).rotate_left(16 * kind as u32)
    }

    fn rebuild_filter(&self) {
        let hashes: Vec<u64> = self.held.pin().keys().map(|key| self.filter_hash(key.kind, &key.text)).collect();
        self.filter.rebuild(hashes.into_iter());
    }

    fn retain(&self, writer: &mut Writer, mut keep: impl FnMut(&Key, &Held) -> bool) {
        let held = self.held.pin();
        let gone: Vec<&Key> = held.iter().filter(|(key, held)| !keep(key, held)).map(|(key, _)| key).collect();
        for key in &gone {
            if held.remove(*key).is_some() {
                writer.counts[key.kind as usize] -= 1;
            }
        }
        if !gone.is_empty() {
            self.rebuild_filter();
        }
    }

    /// Lets look-ups see what the writer has done. The entries themselves are seen already.
    fn publish(&self, writer: &Writer) {
        let lowest = writer.all.iter().map(|(issued_before, _)| *issued_before).max().unwrap_or(0);
        self.issued_before.store(lowest, Ordering::Release);
        let mut kinds = if writer.all.is_empty() { 0 } else { ALL };
        for kind in Kind::EVERY {
            if writer.counts[kind as usize] > 0 {
                kinds |= kind.bit();
            }
        }
        self.kinds.store(kinds, Ordering::Release);
        self.entries.store(writer.named() + writer.all.len(), Ordering::Relaxed);
    }
}

impl Writer {
    fn named(&self) -> usize {
        self.counts.iter().sum()
    }

    fn add_to_all(&mut self, issued_before: u64, until: u64) {
        match self.all.iter_mut().find(|(held, _)| *held == issued_before) {
            Some((_, held)) => *held = until.max(*held),
            None => self.all.push((issued_before, until)),
        }
    }
}

/// The two halves of a product, one upon the other.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// How a [`RevocationList`] stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedStatus {
    /// How many entries it has.
    pub entries: usize,
    /// The feed's epoch; `None` before the first answer.
    pub epoch: Option<String>,
    /// The number of the feed's newest entry that it knows of.
    pub seq: u64,
    /// How long ago it was last known to be complete; `None` if it never was.
    pub age: Option<Duration>,
    /// Whether the last attempt to reach the feed succeeded.
    pub connected: bool,
}

/// What becomes of tokens when nobody knows any more which are revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenStale {
    /// They are taken until they expire.
    #[default]
    Allow,
    /// They are refused, with [`ErrorKind::Stale`].
    Refuse,
}

/// What a verifier checks last: that a token is not revoked.
pub(crate) struct RevocationCheck {
    pub(crate) list: RevocationList,
    pub(crate) when_stale: WhenStale,
    pub(crate) stale_after: Duration,
}

impl RevocationCheck {
    pub(crate) fn check(&self, claims: &Claims, key_id: &str) -> Result<(), Error> {
        if self.list.revokes(claims, key_id) {
            return Err(Error::new(ErrorKind::Revoked, "the token has been revoked"));
        }
        if self.when_stale == WhenStale::Refuse && self.list.age().is_none_or(|age| age > self.stale_after) {
            return Err(Error::new(ErrorKind::Stale, "it is not known at the moment which tokens are revoked"));
        }
        Ok(())
    }
}

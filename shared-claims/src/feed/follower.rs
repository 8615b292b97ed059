//! The background task that keeps a list of revocations as auth-service's feed has it.

use std::collections::HashSet;
use std::future::Future;
use std::mem::Discriminant;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, mem};

use reqwest::{Client, StatusCode};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

use crate::feed::http::{self, BodyError, SetupError};
use crate::feed::list::RevocationList;
use crate::feed::token::{TokenSource, TokenSourceError, random_id};
use crate::feed::wire::Feed;
use crate::ring::LiveKeyRing;
use crate::verifier::{DEFAULT_STALE_AFTER_SECONDS, MIN_STALE_AFTER_SECONDS};

/// How long a poll is held if nothing is revoked.
const WAIT_SECONDS: u64 = 25;

/// How long auth-service may hold a poll while it cannot read its database itself: it answers as soon as it can.
const RECOVER_SECONDS: u64 = 10;

/// How much later than asked for an answer may begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer of a million entries has this size.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// What takes longer to read than a task should keep others waiting.
const LONG_ANSWER_BYTES: usize = 64 * 1024;
const LONG_LIST: usize = 10_000;

/// Polls begin at least this far apart, however fast entries come: what comes meanwhile comes together.
const SPACING: Duration = Duration::from_millis(20);

/// Pauses between failures are drawn from here up to a bound, which doubles from the second figure to the third.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
const FIRST_BOUND: Duration = Duration::from_millis(100);
const LAST_BOUND: Duration = Duration::from_secs(2);

/// An auth-service that says after so long that it cannot read its database has held the poll.
const HELD: Duration = Duration::from_secs(1);

/// A failure that passes by itself within so many tries is not worth a line in the log.
const QUIET_FAILURES: u32 = 3;

/// While a token is refused, another one is asked for this often.
const ANOTHER_TOKEN_EVERY: Duration = Duration::from_secs(30);

const EXPIRE_EVERY: Duration = Duration::from_mins(1);

/// Entries are kept for longer than they have to be, so that a clock which is set back a little finds them all.
const EXPIRE_LATER_SECONDS: u64 = 60;

/// Follows auth-service's feed and keeps a [`RevocationList`] as it is there.
///
/// It asks for what is new and has the request held until something is, so that a revocation arrives within
/// milliseconds and an idle feed costs a request every 25 seconds. It begins with everything that is in force; after a
/// break it goes on where it was; when auth-service has begun a new epoch, because its database was restored, it begins
/// again. When auth-service cannot be reached it tries again after a pause of 50 milliseconds to 2 seconds, drawn at
/// random, and the list keeps what it has.
///
/// With each request it names itself and the keys of its ring. The change of a signing key waits until every verifier
/// has named the new one, so replacing the ring cuts the request that is being held short and tells at once.
///
/// ```no_run
/// use shared_claims::feed::{Follower, RevocationList, TokenSource};
/// use shared_claims::{KeyRing, LiveKeyRing, Verifier};
///
/// # async fn example(secret: &[u8], id: &str, client_secret: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let ring = LiveKeyRing::new(KeyRing::from_secret(secret)?);
/// let list = RevocationList::new();
/// let verifier = Verifier::builder(ring.clone())
///     .issuer("https://id.example")
///     .audience("greeter")
///     .revocations(list.clone())
///     .build()?;
///
/// let tokens = TokenSource::client_credentials("http://auth-service:8081/auth/token", id, client_secret)?;
/// let follower = Follower::new("http://auth-service:8081", "greeter", list, ring, tokens)?;
/// tokio::spawn(follower.run(std::future::pending()));
/// # Ok(())
/// # }
/// ```
pub struct Follower {
    url: Url,
    id: String,
    list: RevocationList,
    ring: LiveKeyRing,
    tokens: TokenSource,
    client: Client,
    wait_seconds: u64,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Follower {
    /// Follows the feed of auth-service at this base URL, which is that of its own port, such as
    /// `http://127.0.0.1:8081`; `/internal/*` is not served through the one origin.
    ///
    /// `name` is the service's own name. It and a random part identify this process to auth-service.
    pub fn new(
        auth_url: &str,
        name: &str,
        list: RevocationList,
        ring: LiveKeyRing,
        tokens: TokenSource,
    ) -> Result<Self, SetupError> {
        let mut url = http::parse_url(auth_url)?;
        url.set_query(None);
        url.set_fragment(None);
        url.path_segments_mut().map_err(|()| SetupError::Url)?.pop_if_empty().extend(["internal", "revocations"]);
        let random = random_id().ok_or_else(|| SetupError::Client("there is no randomness to be had".to_owned()))?;
        let follower = Self {
            client: http::client(&url)?,
            url,
            id: format!("{name}/{random}"),
            list,
            ring,
            tokens,
            wait_seconds: WAIT_SECONDS,
            clock: Arc::new(system_clock),
        };
        Ok(follower.stale_after_seconds(DEFAULT_STALE_AFTER_SECONDS))
    }

    /// The age at which the verifier calls the list stale, 60 seconds by default: requests are held for half of that at
    /// most, so that an idle feed keeps the list fresh.
    #[must_use]
    pub fn stale_after_seconds(mut self, stale_after_seconds: u64) -> Self {
        self.wait_seconds = WAIT_SECONDS.min(stale_after_seconds.max(MIN_STALE_AFTER_SECONDS) / 2);
        self
    }

    /// The clock by which entries expire, in seconds since the Unix epoch; the system's by default. It should be that of
    /// the verifier.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// What this process calls itself when it polls: its name, `/`, and 22 random characters.
    pub fn verifier_id(&self) -> &str {
        &self.id
    }

    /// Follows until `shutdown` is ready. Needs a Tokio runtime with its clock and its I/O.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let following = self.follow();
        tokio::select! {
            biased;
            () = &mut shutdown => {}
            () = following => {}
        }
        self.list.disconnected();
    }

    async fn follow(&self) {
        let mut replaced = self.ring.replacements();
        let mut progress = Progress::default();
        loop {
            self.expire(&mut progress).await;
            replaced.borrow_and_update();
            let began = Instant::now();
            let wait_seconds = if progress.is_settled { self.wait_seconds } else { 0 };
            let answer = tokio::select! {
                answer = self.poll(&progress, wait_seconds) => answer,
                // The keys that it has named are no longer those of the ring.
                _ = replaced.changed() => {
                    sleep_until(began + SPACING).await;
                    continue;
                }
            };
            let outcome = match answer {
                Ok(body) => self.take_up(body, &progress).await,
                Err(failure) => Err(failure),
            };
            let pause = match outcome {
                Ok(taken) => {
                    let early = began.elapsed() < Duration::from_secs(wait_seconds) / 2;
                    progress.succeeded(taken, wait_seconds > 0 && early, self.list.len())
                }
                Err(failure) => {
                    self.list.disconnected();
                    let pause = progress.failed(&failure, &self.tokens);
                    // It has waited with us, and is to be there when we come again.
                    let held = matches!(failure, Failure::Status(503)) && began.elapsed() >= HELD;
                    if held { LEAST_PAUSE } else { pause }
                }
            };
            sleep_until((began + SPACING).max(Instant::now() + pause)).await;
        }
    }

    /// The body of one answer.
    async fn poll(&self, progress: &Progress, wait_seconds: u64) -> Result<Vec<u8>, Failure> {
        let token = timeout(2 * ANSWER_TIMEOUT, self.tokens.token()).await.map_err(|_| Failure::Slow)?;
        let token = token.map_err(Failure::Token)?;
        let kids = self.ring.load().key_ids().collect::<Vec<_>>().join(",");
        let mut request = self.client.get(self.url.clone()).bearer_auth(&token).query(&[
            ("after", progress.after.to_string().as_str()),
            ("wait", wait_seconds.to_string().as_str()),
            ("recover", RECOVER_SECONDS.to_string().as_str()),
            ("verifier", &self.id),
            ("kids", &kids),
        ]);
        if let Some(epoch) = &progress.epoch {
            request = request.query(&[("epoch", epoch)]);
        }
        let longest = Duration::from_secs(wait_seconds.max(RECOVER_SECONDS)) + ANSWER_TIMEOUT;
        let answer = timeout(longest, request.send());
        let response = answer.await.map_err(|_| Failure::Slow)?.map_err(|cause| {
            let unreachable = cause.is_connect() || cause.is_timeout();
            let cause = http::describe(cause);
            if unreachable { Failure::Unreachable(cause) } else { Failure::Cut(cause) }
        })?;
        match response.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(Failure::Refused { status: status.as_u16(), token });
            }
            status => return Err(Failure::Status(status.as_u16())),
        }
        http::body(response, MAX_ANSWER_BYTES).await.map_err(|error| match error {
            BodyError::Cut(cause) => Failure::Cut(cause),
            BodyError::Slow => Failure::Slow,
            BodyError::TooLong => Failure::TooLong,
        })
    }

    /// Reads an answer and puts it into the list. It is not cut short, so that one answer is never taken up while the
    /// next is.
    async fn take_up(&self, body: Vec<u8>, progress: &Progress) -> Result<Taken, Failure> {
        let list = self.list.clone();
        let (epoch, after) = (progress.epoch.clone(), progress.after);
        let is_long = body.len() > LONG_ANSWER_BYTES;
        let read = move || {
            let feed: Feed = serde_json::from_slice(&body).map_err(|_| Failure::Malformed)?;
            if feed.epoch.is_empty() {
                return Err(Failure::Malformed);
            }
            if epoch.is_some_and(|epoch| epoch == feed.epoch) && feed.seq < after {
                return Err(Failure::Backwards);
            }
            list.take_up(&feed);
            Ok(Taken { epoch: feed.epoch, seq: feed.seq, entries: feed.entries.len() })
        };
        if is_long {
            // It fails only if reading panics or the runtime stops.
            spawn_blocking(read).await.unwrap_or(Err(Failure::Malformed))
        } else {
            read()
        }
    }

    /// Drops what is over, once a minute. If the clock has been set back since the last time, entries may have gone that
    /// are in force by the clock as it is now, so all are asked for again.
    async fn expire(&self, progress: &mut Progress) {
        let now = (self.clock)().saturating_sub(EXPIRE_LATER_SECONDS);
        if progress.expired.is_some_and(|(_, up_to)| now.saturating_add(EXPIRE_LATER_SECONDS) < up_to) {
            progress.begin_again();
            progress.expired = None;
        }
        if progress.expired.is_some_and(|(at, _)| at.elapsed() < EXPIRE_EVERY) {
            return;
        }
        let up_to = progress.expired.map_or(now, |(_, up_to)| up_to.max(now));
        progress.expired = Some((Instant::now(), up_to));
        let list = self.list.clone();
        if list.len() > LONG_LIST {
            // It fails only if the runtime stops, and then nobody needs the list.
            let _ = spawn_blocking(move || list.expire(now)).await;
        } else {
            list.expire(now);
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("id", &self.id)
            .field("list", &self.list)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

fn system_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// What an answer brought.
struct Taken {
    epoch: String,
    seq: u64,
    entries: usize,
}

/// Why a poll came to nothing. It may hold a token, so it has no `Debug`.
enum Failure {
    Token(TokenSourceError),
    Unreachable(String),
    /// The connection ended before the answer did.
    Cut(String),
    Slow,
    Refused {
        status: u16,
        token: String,
    },
    Status(u16),
    TooLong,
    Malformed,
    /// The feed is in the same epoch and knows less than it did.
    Backwards,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(cause) => cause.fmt(f),
            Self::Unreachable(cause) => write!(f, "auth-service cannot be reached: {cause}"),
            Self::Cut(cause) => write!(f, "auth-service's answer was cut short: {cause}"),
            Self::Slow => f.write_str("auth-service does not answer in time"),
            Self::Refused { status, .. } => write!(f, "auth-service refuses our token with {status}"),
            Self::Status(status) => write!(f, "auth-service answers {status}"),
            Self::TooLong => f.write_str("auth-service's answer is longer than 64 MiB"),
            Self::Malformed => f.write_str("auth-service's answer is not a feed of revocations"),
            Self::Backwards => f.write_str("auth-service has forgotten revocations that it told of"),
        }
    }
}

/// How far the follower has got, and how well it goes.
#[derive(Default)]
struct Progress {
    epoch: Option<String>,
    after: u64,
    /// Whether the last answer came and said all there is: only then is there something to wait for.
    is_settled: bool,
    /// Failures since the last answer.
    failures: u32,
    /// Answers in a row that came early and were empty.
    hollow: u32,
    /// Which failures the log tells of since the last answer.
    logged: HashSet<Discriminant<Failure>>,
    has_ever_succeeded: bool,
    another_token_at: Option<Instant>,
    /// When entries were last dropped, and up to which time.
    expired: Option<(Instant, u64)>,
}

impl Progress {
    /// Has all entries told once more, to be added to those that there are.
    fn begin_again(&mut self) {
        self.after = 0;
        self.is_settled = false;
    }

    /// How long to pause after an answer.
    fn succeeded(&mut self, taken: Taken, early: bool, entries: usize) -> Duration {
        if !self.has_ever_succeeded || !self.logged.is_empty() {
            log::info!("revocations are followed, {entries} of them in force");
        }
        self.has_ever_succeeded = true;
        self.failures = 0;
        self.logged.clear();
        self.another_token_at = None;
        self.epoch = Some(taken.epoch);
        self.after = taken.seq;
        self.is_settled = true;
        // An auth-service that stops lets everybody go at once; one that never holds a request must not be asked in a
        // loop.
        self.hollow = if early && taken.entries == 0 { self.hollow.saturating_add(1) } else { 0 };
        if self.hollow > 1 { pause(self.hollow) } else { Duration::ZERO }
    }

    /// How long to pause after a failure.
    fn failed(&mut self, failure: &Failure, tokens: &TokenSource) -> Duration {
        let mut at_once = false;
        match failure {
            // A connection that was kept open may be gone when it is used again.
            Failure::Cut(_) => at_once = self.failures == 0,
            Failure::Refused { token, .. }
                if self.another_token_at.is_none_or(|at| at.elapsed() >= ANOTHER_TOKEN_EVERY) =>
            {
                tokens.forget(token);
                self.another_token_at = Some(Instant::now());
                at_once = self.failures == 0;
            }
            Failure::Backwards => self.begin_again(),
            _ => {}
        }
        self.is_settled = false;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= QUIET_FAILURES && self.logged.insert(mem::discriminant(failure)) {
            log::warn!("revocations cannot be followed: {failure}");
        }
        if at_once { Duration::ZERO } else { pause(self.failures) }
    }
}

/// A random pause before the try after this many failures.
fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(8);
    let bound = (FIRST_BOUND * (1 << doublings)).min(LAST_BOUND);
    let mut random = [0; 4];
    // Without randomness the longest pause is as good as any.
    let part = if getrandom::fill(&mut random).is_ok() { u32::from_le_bytes(random) } else { u32::MAX };
    LEAST_PAUSE + bound.saturating_sub(LEAST_PAUSE).mul_f64(f64::from(part) / f64::from(u32::MAX))
}

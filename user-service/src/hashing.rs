//! Where passwords are judged, hashed and verified: on threads of their own, so that nothing else waits for them.
//!
//! A fixed number of threads takes jobs from one bounded queue and works on several of one cost side by side, which takes
//! little longer than one. Accounts take turns: the first job of each comes before the second of any, and whoever fills
//! the queue makes room for the others. A full queue refuses at once, and it is full when what waits is as much as can be
//! begun before the deadline, going by how long it took lately. A job that waited beyond its deadline all the same, or
//! for longer than its caller waits, or whose caller has gone, costs no hash: what cannot be done in time is not begun. The threads run at the lowest priority,
//! so that whatever else the process does comes first.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    hash::{BuildHasher as _, RandomState},
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use bcrypt_lanes::LANES;
use service_kit::{
    context,
    metrics::{
        Labels, durations, gauge, number,
        prometheus_client::{
            collector::Collector,
            encoding::{DescriptorEncoder, EncodeMetric},
            metrics::{counter::Counter, family::Family, histogram::Histogram},
            registry::Unit,
        },
    },
    validate::Invalid,
};
use tokio::sync::oneshot;

use crate::{
    domain::password::{Computation, NewHash, Password, PasswordHash, Scheme, Verdict, Verification},
    error::Error,
};

/// Seconds after which a refused caller may try again: about the time that a full queue takes to drain.
const RETRY_AFTER_SECONDS: u32 = 2;

/// The threads and their queue. The threads end when it is dropped.
pub(crate) struct HashingPool {
    shared: Arc<Shared>,
}

struct Shared {
    scheme: Scheme,
    queue: Mutex<Queue>,
    filled: Condvar,
    deadline: Duration,
    threads: usize,
    busy: AtomicUsize,
    took: Histogram,
    accounts: RandomState,
}

/// How a verified password came out.
#[derive(Debug)]
pub(crate) struct Verified {
    /// What was found.
    pub(crate) verdict: Verdict,
    /// A new hash of the same password, where the stored one is outdated.
    pub(crate) renewed: Option<PasswordHash>,
}

impl Verified {
    /// Whether it is the password.
    pub(crate) fn is_match(&self) -> bool {
        matches!(self.verdict, Verdict::Match | Verdict::OutdatedMatch)
    }
}

/// Why a new password was not hashed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is too easy to guess.
    Weak(Invalid),
    /// It could not be done.
    Failed(Error),
}

impl Refusal {
    /// The failure, with the field that held the password.
    pub(crate) fn of_field(self, field: &str) -> Error {
        match self {
            Self::Weak(invalid) => Error::field(field, invalid),
            Self::Failed(error) => error,
        }
    }
}

enum Job {
    Hash { password: Password, hints: Vec<String>, answer: oneshot::Sender<Result<PasswordHash, Refusal>> },
    Verify { password: Password, stored: Option<PasswordHash>, answer: oneshot::Sender<Result<Verified, Error>> },
}

struct Waiting {
    job: Job,
    /// Whose it is, as a number that nobody outside can foresee.
    account: u64,
    /// How many jobs of that account waited when it came.
    rank: usize,
    cost: u32,
    expires_at: Instant,
}

/// A job of which nothing but bcrypt is left to do.
enum Prepared {
    Hash { hash: NewHash, answer: oneshot::Sender<Result<PasswordHash, Refusal>> },
    Verify { password: Password, verification: Verification, answer: oneshot::Sender<Result<Verified, Error>> },
}

impl Prepared {
    fn computation(&self) -> &Computation {
        match self {
            Self::Hash { hash, .. } => &hash.computation,
            Self::Verify { verification, .. } => &verification.computation,
        }
    }
}

/// The jobs that wait, by rank, and by age within one.
struct Queue {
    waiting: VecDeque<Waiting>,
    capacity: usize,
    /// How many can be begun before the deadline, as far as that is known.
    promised: usize,
    /// How long as many jobs as are done side by side took lately.
    full_batch: Option<Duration>,
    closed: bool,
    refused: Refused,
}

/// How many jobs were refused, and why.
#[derive(Default)]
struct Refused {
    queue_full: u64,
    deadline: u64,
}

impl HashingPool {
    /// Starts the threads.
    pub(crate) fn start(
        scheme: Scheme,
        threads: usize,
        queue_length: usize,
        deadline: Duration,
    ) -> Result<Self, io::Error> {
        let queue = Queue::new(queue_length);
        let shared = Arc::new(Shared {
            scheme,
            queue: Mutex::new(queue),
            filled: Condvar::new(),
            deadline,
            threads,
            busy: AtomicUsize::new(0),
            took: durations(),
            accounts: RandomState::new(),
        });
        let pool = Self { shared };
        for number in 0..threads {
            let shared = pool.shared.clone();
            thread::Builder::new().name(format!("hashing-{number}")).spawn(move || {
                lower_priority();
                shared.work();
            })?;
        }
        Ok(pool)
    }

    /// How the pool stands, for `/metrics`.
    pub(crate) fn figures(&self) -> impl Collector + use<> {
        Figures(self.shared.clone())
    }

    /// Judges a new password, the hints at hand, and hashes it. `account` says whose turn that is.
    pub(crate) async fn hash(
        &self,
        account: &str,
        password: Password,
        hints: Vec<String>,
    ) -> Result<PasswordHash, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.submit(account, Job::Hash { password, hints, answer }).map_err(Refusal::Failed)?;
        answered.await.unwrap_or_else(|_| Err(Refusal::Failed(panicked())))
    }

    /// Holds a password against a stored hash, or against nobody's; an outdated hash is made anew. `account` says whose
    /// turn that is.
    pub(crate) async fn verify(
        &self,
        account: &str,
        password: Password,
        stored: Option<PasswordHash>,
    ) -> Result<Verified, Error> {
        let (answer, answered) = oneshot::channel();
        self.submit(account, Job::Verify { password, stored, answer })?;
        answered.await.unwrap_or_else(|_| Err(panicked()))
    }

    fn submit(&self, account: &str, job: Job) -> Result<(), Error> {
        let account = self.shared.accounts.hash_one(account);
        // Whoever asks may have less patience than that, and the hash takes some of it.
        let patience = context::time_left().map_or(Duration::MAX, |left| left / 4 * 3);
        if patience.is_zero() {
            self.shared.queue().refused.deadline += 1;
            return Err(overloaded());
        }
        let expires_at = Instant::now() + self.shared.deadline.min(patience);
        let cost = match &job {
            Job::Verify { stored: Some(stored), .. } => stored.cost(),
            Job::Verify { stored: None, .. } | Job::Hash { .. } => self.shared.scheme.cost(),
        };
        if !self.shared.queue().push(Waiting { job, account, rank: 0, cost, expires_at }) {
            return Err(overloaded());
        }
        self.shared.filled.notify_one();
        Ok(())
    }
}

impl Drop for HashingPool {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.filled.notify_all();
    }
}

/// Reads the pool when somebody asks.
struct Figures(Arc<Shared>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Figures").finish()
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Shared { threads, busy, took, .. } = &*self.0;
        gauge(&mut encoder, "hashing_threads", "Threads that hash passwords", None, number(*threads))?;
        let busy = number(busy.load(Ordering::Relaxed));
        gauge(&mut encoder, "hashing_busy", "Threads that are hashing a password", None, busy)?;
        let refused = Family::<Labels, Counter>::default();
        let (length, capacity) = {
            let queue = self.0.queue();
            let counts = [("queue_full", queue.refused.queue_full), ("deadline", queue.refused.deadline)];
            for (reason, count) in counts {
                refused.get_or_create(&vec![("reason", reason.to_owned())]).inc_by(count);
            }
            (queue.waiting.len(), queue.room())
        };
        gauge(&mut encoder, "hashing_queue_length", "Passwords that wait for a thread", None, number(length))?;
        gauge(&mut encoder, "hashing_queue_capacity", "Passwords that may wait", None, number(capacity))?;
        let help = "Passwords that were refused unhashed";
        refused.encode(encoder.encode_descriptor(
            "hashing_rejections",
            help,
            None,
            EncodeMetric::metric_type(&refused),
        )?)?;
        let help = "How long passwords took to hash";
        took.encode(encoder.encode_descriptor("hashing_duration", help, Some(&Unit::Seconds), took.metric_type())?)
    }
}

impl Queue {
    fn new(capacity: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            capacity,
            promised: usize::MAX,
            full_batch: None,
            closed: false,
            refused: Refused::default(),
        }
    }

    /// How many may wait.
    fn room(&self) -> usize {
        self.capacity.min(self.promised)
    }

    /// As many jobs as are done side by side took so long on one of the threads.
    fn took(&mut self, full_batch: Duration, threads: usize, deadline: Duration) {
        let usual = self.full_batch.map_or(full_batch, |before| (before * 3 + full_batch) / 4);
        self.full_batch = Some(usual);
        let batches = deadline.as_micros() / usual.as_micros().max(1);
        // One batch for each thread is let in always, or nothing could be learnt from the next.
        let batches = usize::try_from(batches).unwrap_or(usize::MAX).max(1);
        self.promised = batches.saturating_mul(LANES).saturating_mul(threads);
    }

    /// Takes a job in, unless the queue is full. Jobs that nobody waits for any more make room, and so does the last one
    /// of the account that has most, if it has more than this one.
    fn push(&mut self, mut waiting: Waiting) -> bool {
        if self.waiting.len() >= self.room() {
            self.waiting.retain(|waiting| !waiting.job.is_abandoned());
        }
        waiting.rank = self.waiting.iter().filter(|other| other.account == waiting.account).count();
        if self.waiting.len() >= self.room() {
            self.refused.queue_full += 1;
            match self.waiting.pop_back_if(|last| last.rank > waiting.rank) {
                Some(last) => last.job.refuse(),
                None => return false,
            }
        }
        let place = self.waiting.partition_point(|other| other.rank <= waiting.rank);
        self.waiting.insert(place, waiting);
        true
    }

    /// The first job that is still worth doing, and those that can be done side by side with it. Jobs that are late are
    /// refused on the way.
    fn take(&mut self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut common_cost = None;
        let mut at = 0;
        while let Some(Waiting { job, cost, expires_at, .. }) = self.waiting.get(at)
            && jobs.len() < LANES
        {
            let (is_late, is_abandoned) = (*expires_at <= now, job.is_abandoned());
            if !is_late && !is_abandoned && *cost != *common_cost.get_or_insert(*cost) {
                at += 1;
                continue;
            }
            let Some(Waiting { job, .. }) = self.waiting.remove(at) else { break };
            if is_abandoned {
                continue;
            }
            if is_late {
                self.refused.deadline += 1;
                job.refuse();
                continue;
            }
            jobs.push(job);
        }
        jobs
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the queue, so a poisoned one is sound.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(jobs) = self.next() {
            let (began, count) = (Instant::now(), jobs.len());
            self.busy.fetch_add(1, Ordering::Relaxed);
            // A panic costs the jobs that are done together, whose callers see the answer's channel close, and not the
            // thread.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run(jobs)));
            self.busy.fetch_sub(1, Ordering::Relaxed);
            let took = began.elapsed();
            for _ in 0..count {
                self.took.observe(took.as_secs_f64());
            }
            if count == LANES {
                self.queue().took(took, self.threads, self.deadline);
            }
            if done.is_err() {
                log::error!("a hashing job panicked");
            }
        }
    }

    /// The next jobs, waited for; `None` when the pool is gone.
    fn next(&self) -> Option<Vec<Job>> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            let jobs = queue.take(Instant::now());
            if !jobs.is_empty() {
                return Some(jobs);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does jobs side by side. Whoever asked may have gone by the time they are done, and then the result is of no use.
    fn run(&self, jobs: Vec<Job>) {
        let prepared: Vec<Prepared> = jobs.into_iter().filter_map(|job| self.prepare(job)).collect();
        let digests = compute(prepared.iter().map(Prepared::computation));
        let mut renewals = Vec::new();
        for (prepared, digest) in prepared.into_iter().zip(digests) {
            match prepared {
                Prepared::Hash { hash, answer } => drop(answer.send(Ok(hash.finish(digest)))),
                Prepared::Verify { password, verification, answer } => match verification.judge(digest) {
                    verdict @ Verdict::OutdatedMatch => match self.scheme.prepare_hash(&password) {
                        Ok(hash) => renewals.push((hash, verdict, answer)),
                        Err(cause) => drop(answer.send(Err(Error::internal(cause)))),
                    },
                    verdict => drop(answer.send(Ok(Verified { verdict, renewed: None }))),
                },
            }
        }
        let digests = compute(renewals.iter().map(|(hash, ..)| &hash.computation));
        for ((hash, verdict, answer), digest) in renewals.into_iter().zip(digests) {
            drop(answer.send(Ok(Verified { verdict, renewed: Some(hash.finish(digest)) })));
        }
    }

    /// All of a job but bcrypt; nothing if it is answered with that.
    fn prepare(&self, job: Job) -> Option<Prepared> {
        match job {
            Job::Hash { password, hints, answer } => {
                let judged = password.judge(&hints).map_err(Refusal::Weak);
                let hash = judged.and_then(|()| {
                    self.scheme.prepare_hash(&password).map_err(|cause| Refusal::Failed(Error::internal(cause)))
                });
                match hash {
                    Ok(hash) => Some(Prepared::Hash { hash, answer }),
                    Err(refusal) => {
                        drop(answer.send(Err(refusal)));
                        None
                    }
                }
            }
            Job::Verify { password, stored, answer } => {
                let verification = self.scheme.prepare_verification(&password, stored.as_ref());
                Some(Prepared::Verify { password, verification, answer })
            }
        }
    }
}

/// Runs bcrypt, side by side where costs agree. The digests are in the order of the computations.
fn compute<'a>(computations: impl Iterator<Item = &'a Computation>) -> Vec<[u8; 24]> {
    let computations: Vec<_> = computations.collect();
    let mut digests = vec![[0; 24]; computations.len()];
    let mut by_cost: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, computation) in computations.iter().enumerate() {
        by_cost.entry(computation.cost()).or_default().push(at);
    }
    for (cost, places) in by_cost {
        let inputs: Vec<_> = places.iter().map(|&at| computations[at].input()).collect();
        for (at, digest) in places.into_iter().zip(bcrypt_lanes::bcrypt(cost, &inputs)) {
            digests[at] = digest;
        }
    }
    digests
}

/// Lets everything else on the machine come first. On Linux this holds for the calling thread alone.
fn lower_priority() {
    const LOWEST: i32 = 19;
    if let Err(cause) = rustix::process::setpriority_process(None, LOWEST) {
        log::debug!("a hashing thread keeps the priority of the others: {cause}");
    }
}

impl Job {
    /// Whether whoever asked has gone.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Hash { answer, .. } => answer.is_closed(),
            Self::Verify { answer, .. } => answer.is_closed(),
        }
    }

    /// Answers that it is too late.
    fn refuse(self) {
        // Whoever asked may have gone in the meantime.
        match self {
            Self::Hash { answer, .. } => drop(answer.send(Err(Refusal::Failed(overloaded())))),
            Self::Verify { answer, .. } => drop(answer.send(Err(overloaded()))),
        }
    }
}

fn overloaded() -> Error {
    service_kit::Error::Overloaded { retry_after_seconds: RETRY_AFTER_SECONDS }.into()
}

fn panicked() -> Error {
    Error::internal(anyhow!("a hashing job panicked"))
}

#[cfg(test)]
mod tests {
    use service_kit::Secret;

    use super::*;

    type Answer = oneshot::Receiver<Result<Verified, Error>>;

    fn waiting(expires_at: Instant, cost: u32) -> (Waiting, Answer) {
        of(0, expires_at, cost)
    }

    fn of(account: u64, expires_at: Instant, cost: u32) -> (Waiting, Answer) {
        let (answer, answered) = oneshot::channel();
        let password = Password::presented(Secret::from("x".to_owned())).unwrap();
        (Waiting { job: Job::Verify { password, stored: None, answer }, account, rank: 0, cost, expires_at }, answered)
    }

    #[test]
    fn a_job_that_waited_too_long_is_refused_without_being_done() {
        let now = Instant::now();
        let mut queue = Queue::new(8);
        let (late, mut late_answer) = waiting(now, 4);
        let (timely, mut timely_answer) = waiting(now + Duration::from_millis(1), 4);
        assert!(queue.push(late) && queue.push(timely));
        assert_eq!(queue.take(now).len(), 1);
        assert!(queue.take(now).is_empty());
        let refused = late_answer.try_recv().unwrap().unwrap_err();
        assert!(matches!(refused, Error::Kit(service_kit::Error::Overloaded { .. })));
        assert_eq!(queue.refused.deadline, 1);
        // The one that was taken was dropped by this test, unanswered.
        assert_eq!(timely_answer.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
    }

    #[test]
    fn a_job_whose_caller_has_gone_is_passed_over_and_makes_room() {
        let later = Instant::now() + Duration::from_mins(1);
        let mut queue = Queue::new(2);
        let (gone, gone_answer) = waiting(later, 4);
        let (kept, _kept_answer) = waiting(later, 4);
        assert!(queue.push(gone) && queue.push(kept));
        let (refused, _refused_answer) = waiting(later, 4);
        assert!(!queue.push(refused));
        drop(gone_answer);
        let (taken, taken_answer) = waiting(later, 4);
        assert!(queue.push(taken));
        drop(taken_answer);
        assert_eq!(queue.take(Instant::now()).len(), 1);
        assert!(queue.take(Instant::now()).is_empty());
    }

    #[test]
    fn jobs_of_the_oldest_one_s_cost_are_taken_together_and_the_others_keep_their_turn() {
        let later = Instant::now() + Duration::from_mins(1);
        let mut queue = Queue::new(64);
        let costs = [5, 4, 5, 5, 4, 5, 5];
        let _answers: Vec<_> = costs
            .into_iter()
            .map(|cost| {
                let (job, answer) = waiting(later, cost);
                assert!(queue.push(job));
                answer
            })
            .collect();
        let left = |queue: &Queue| queue.waiting.iter().map(|waiting| waiting.cost).collect::<Vec<_>>();
        assert_eq!(queue.take(Instant::now()).len(), LANES);
        assert_eq!(left(&queue), [4, 4, 5]);
        assert_eq!(queue.take(Instant::now()).len(), 2);
        assert_eq!(left(&queue), [5]);
        assert_eq!(queue.take(Instant::now()).len(), 1);
    }

    #[test]
    fn accounts_take_turns_and_none_keeps_the_others_out() {
        let later = Instant::now() + Duration::from_mins(1);
        let mut queue = Queue::new(4);
        let mut answers = Vec::new();
        let mut push = |queue: &mut Queue, account| {
            let (job, answer) = of(account, later, 4);
            answers.push(answer);
            queue.push(job)
        };
        let accounts = |queue: &Queue| queue.waiting.iter().map(|waiting| waiting.account).collect::<Vec<_>>();
        for _ in 0..4 {
            assert!(push(&mut queue, 1));
        }
        assert!(!push(&mut queue, 1), "it has no more than itself to push aside");
        assert!(push(&mut queue, 2));
        assert!(push(&mut queue, 3));
        assert_eq!(accounts(&queue), [1, 2, 3, 1]);
        assert!(push(&mut queue, 4));
        assert!(!push(&mut queue, 5), "everybody has one");
        assert_eq!(accounts(&queue), [1, 2, 3, 4]);
        assert_eq!(queue.refused.queue_full, 5);
        // Those that were pushed aside know it.
        let refused = answers.iter_mut().filter_map(|answer| answer.try_recv().ok()).count();
        assert_eq!(refused, 3);
    }

    #[test]
    fn no_more_wait_than_can_be_begun_before_the_deadline() {
        let (second, deadline) = (Duration::from_secs(1), Duration::from_millis(2500));
        let mut queue = Queue::new(64);
        assert_eq!(queue.room(), 64, "nothing is known yet");
        queue.took(second, 2, deadline);
        assert_eq!(queue.room(), 2 * LANES * 2);
        queue.took(9 * second, 2, deadline);
        assert_eq!(queue.room(), LANES * 2, "one batch for each thread may always wait");
        for _ in 0..20 {
            queue.took(Duration::from_millis(10), 2, deadline);
        }
        assert_eq!(queue.room(), 64);
        queue.took(Duration::ZERO, 2, deadline);
    }

    #[tokio::test]
    async fn whoever_waits_no_longer_gets_no_hash_and_a_queue_knows_how_long_that_is() {
        use service_kit::context::RequestContext;

        let pool = HashingPool::start(Scheme::new(4, None), 0, 64, Duration::from_mins(1)).unwrap();
        let password = || Password::presented(Secret::from("x".to_owned())).unwrap();
        let now = Instant::now();
        let request = RequestContext::new(None, None);
        let refused = request.by(now).scope(pool.verify("ada", password(), None)).await.unwrap_err();
        assert!(matches!(refused, Error::Kit(service_kit::Error::Overloaded { .. })));
        let state = |queue: &Queue| (queue.waiting.len(), queue.refused.deadline);
        assert_eq!(state(&pool.shared.queue()), (0, 1));

        // Nobody hashes here, so each waits until it is taken by hand.
        let expiry = async |deadline: Option<Duration>| {
            let asking = pool.verify("ada", password(), None);
            let context = deadline.map_or(request, |deadline| request.by(now + deadline));
            let asking = context.scope(tokio::time::timeout(Duration::from_millis(1), asking));
            assert!(asking.await.is_err());
            pool.shared.queue().waiting.pop_back().unwrap().expires_at - now
        };
        assert!(expiry(None).await >= Duration::from_mins(1), "the pool's own deadline");
        assert!(expiry(Some(Duration::from_mins(5))).await >= Duration::from_mins(1), "which nobody puts off");
        let short = expiry(Some(Duration::from_secs(20))).await;
        assert!(
            short > Duration::from_secs(10) && short < Duration::from_secs(16),
            "with time left to hash: {short:?}"
        );
    }

    #[tokio::test]
    async fn what_is_done_side_by_side_comes_out_as_it_does_alone() {
        let scheme = || Scheme::new(5, None);
        let password = |text: &str| Password::presented(Secret::from(text.to_owned())).unwrap();
        let pool = HashingPool::start(scheme(), 1, 64, Duration::from_mins(1)).unwrap();
        let (mine, cheap) = (scheme().hash(&password("mine")).unwrap(), Scheme::new(4, None));
        let cheap = cheap.hash(&password("cheap")).unwrap();
        let verify = |text: &str, stored: Option<&PasswordHash>| pool.verify("ada", password(text), stored.cloned());
        let strong = "nineteen silent walruses";
        let (right, wrong, nobody, outdated, new, weak) = tokio::join!(
            verify("mine", Some(&mine)),
            verify("yours", Some(&mine)),
            verify("mine", None),
            verify("cheap", Some(&cheap)),
            pool.hash("ada", password(strong), Vec::new()),
            pool.hash("ada", password("password"), Vec::new()),
        );
        assert_eq!(right.unwrap().verdict, Verdict::Match);
        assert_eq!(wrong.unwrap().verdict, Verdict::NoMatch);
        assert_eq!(nobody.unwrap().verdict, Verdict::NoMatch);
        let outdated = outdated.unwrap();
        assert_eq!(outdated.verdict, Verdict::OutdatedMatch);
        assert!(verify("cheap", outdated.renewed.as_ref()).await.unwrap().is_match());
        assert!(verify(strong, Some(&new.unwrap())).await.unwrap().is_match());
        assert!(matches!(weak, Err(Refusal::Weak(_))));
    }
}

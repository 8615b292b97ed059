//! Where passwords are judged, hashed and verified: on threads of their own, so that nothing else waits for them.
//!
//! A fixed number of threads takes jobs from one bounded queue and works on several of one cost side by side, which takes
//! little longer than one. What cannot be begun in time is refused at once, going by how long it took lately: before the
//! deadline, and before its caller's, with the time left that it takes. Half of the queue is for accounts of which none
//! waits yet, so no account keeps the others out. A job that is late all the same, or whose caller has gone, costs no
//! hash. The threads run at the lowest priority, and pause for an instant after each millisecond of work, so that whatever
//! else the machine does comes first.

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
use bcrypt_lanes::{Input, LANES};
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

/// A kernel shares a processor among sessions and containers before it looks at the priority of their threads, and lets
/// one that has work go on for milliseconds. So a hashing thread works no longer than this without giving way.
const WORK: Duration = Duration::from_micros(800);

/// How long it gives way: until its timer can be served again, which takes Linux some 50 microseconds. Whoever waited has
/// the processor by then, and keeps it.
const PAUSE: Duration = Duration::from_micros(1);

/// The cost at which a thread finds out how fast it is before there was a real password: some milliseconds.
const TRIAL_COST: u32 = 6;

/// How often it tries.
const TRIALS: usize = 3;

/// The threads and their queue. The threads end when it is dropped.
pub(crate) struct HashingPool {
    shared: Arc<Shared>,
}

struct Shared {
    scheme: Scheme,
    queue: Mutex<Queue>,
    filled: Condvar,
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
    cost: u32,
    /// When it is too late to begin.
    begin_by: Instant,
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

/// The jobs that wait, the oldest first.
struct Queue {
    waiting: VecDeque<Waiting>,
    capacity: usize,
    /// How long a job may wait at most.
    deadline: Duration,
    threads: usize,
    /// How long as many jobs as are done side by side took lately on one of the threads; zero where that is not known.
    full_batch: Duration,
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
        let queue = Queue::new(queue_length, deadline, threads);
        let shared = Arc::new(Shared {
            scheme,
            queue: Mutex::new(queue),
            filled: Condvar::new(),
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
                shared.try_out();
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
        let cost = match &job {
            Job::Verify { stored: Some(stored), .. } => stored.cost(),
            Job::Verify { stored: None, .. } | Job::Hash { .. } => self.shared.scheme.cost(),
        };
        if !self.shared.queue().push(job, account, cost, context::time_left()) {
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
            (queue.waiting.len(), queue.room(queue.deadline))
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
    fn new(capacity: usize, deadline: Duration, threads: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            capacity,
            deadline,
            threads,
            full_batch: Duration::ZERO,
            closed: false,
            refused: Refused::default(),
        }
    }

    /// How long a batch may take: it may have to share the processor more than lately.
    fn slow_batch(&self) -> Duration {
        self.full_batch * 4 / 3
    }

    /// How long a job may wait whose caller waits for so long: some of that time the hash takes. There is nothing to
    /// spare in that: whoever was let in is begun with as long as it can be finished.
    fn patience(&self, caller: Option<Duration>) -> Duration {
        let caller =
            caller.map_or(Duration::MAX, |left| left.saturating_sub(self.full_batch).clamp(left / 4, left / 4 * 3));
        self.deadline.min(caller)
    }

    /// How many may wait, if the last of them is to be begun within the time even if all batches are slow ones.
    fn room(&self, patience: Duration) -> usize {
        // Its own batch may be slow as well. Each thread may have only just begun with one, and there is to be time for
        // one more: for a while, what else the machine does may leave half of it for hashing.
        let own = self.slow_batch().saturating_sub(self.full_batch);
        let time = patience.saturating_sub(own + self.slow_batch()).as_nanos();
        let jobs = (time * (LANES * self.threads) as u128).checked_div(self.slow_batch().as_nanos());
        let jobs = jobs.map_or(usize::MAX, |jobs| usize::try_from(jobs).unwrap_or(usize::MAX));
        // One batch is let in always, or nothing could be learnt from the next.
        self.capacity.min(jobs.max(LANES))
    }

    /// As many jobs as are done side by side took so long on one of the threads. What takes longer than usual counts at
    /// once, and what takes less by and by.
    fn took(&mut self, full_batch: Duration) {
        self.full_batch = full_batch.max((self.full_batch * 3 + full_batch) / 4);
    }

    /// Takes a job in whose caller waits for so long, unless there is no room. Jobs that nobody waits for any more make
    /// room.
    fn push(&mut self, job: Job, account: u64, cost: u32, caller: Option<Duration>) -> bool {
        let patience = self.patience(caller);
        if patience.is_zero() {
            self.refused.deadline += 1;
            return false;
        }
        let room = self.room(patience);
        if self.waiting.len() >= room / 2 {
            self.waiting.retain(|waiting| !waiting.job.is_abandoned());
        }
        let is_first = self.waiting.iter().all(|other| other.account != account);
        if self.waiting.len() >= if is_first { room } else { room / 2 } {
            self.refused.queue_full += 1;
            return false;
        }
        self.waiting.push_back(Waiting { job, account, cost, begin_by: Instant::now() + patience });
        true
    }

    /// The first job that is still worth doing, and those that can be done side by side with it. Jobs that are late are
    /// refused on the way.
    fn take(&mut self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut common_cost = None;
        let mut at = 0;
        while let Some(Waiting { job, cost, begin_by, .. }) = self.waiting.get(at)
            && jobs.len() < LANES
        {
            let (is_late, is_abandoned) = (*begin_by <= now, job.is_abandoned());
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

    /// Finds out how long a batch will take, so that the first storm is no surprise.
    fn try_out(&self) {
        let cost = self.scheme.cost().min(TRIAL_COST);
        let inputs = [Input { salt: [0; 16], password: b"\0" }; LANES];
        let tries = (0..TRIALS).map(|_| {
            let began = Instant::now();
            std::hint::black_box(bcrypt_lanes::bcrypt(cost, &inputs, &mut || {}));
            began.elapsed()
        });
        // What the others took longer, the start of everything else took.
        let least = tries.min().unwrap_or_default();
        self.queue().took(least * (1 << (self.scheme.cost() - cost)));
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
                self.queue().took(took);
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
    let mut worked_since = Instant::now();
    let mut pause = || {
        if worked_since.elapsed() >= WORK {
            #[allow(clippy::disallowed_methods, reason = "this thread belongs to nobody else, and is to sleep")]
            thread::sleep(PAUSE);
            worked_since = Instant::now();
        }
    };
    let mut by_cost: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, computation) in computations.iter().enumerate() {
        by_cost.entry(computation.cost()).or_default().push(at);
    }
    for (cost, places) in by_cost {
        let inputs: Vec<_> = places.iter().map(|&at| computations[at].input()).collect();
        for (at, digest) in places.into_iter().zip(bcrypt_lanes::bcrypt(cost, &inputs, &mut pause)) {
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

    const MINUTE: Duration = Duration::from_mins(1);

    /// A queue of two threads.
    fn queue(capacity: usize) -> Queue {
        Queue::new(capacity, MINUTE, 2)
    }

    fn job() -> (Job, Answer) {
        let (answer, answered) = oneshot::channel();
        let password = Password::presented(Secret::from("x".to_owned())).unwrap();
        (Job::Verify { password, stored: None, answer }, answered)
    }

    /// Somebody else's each time.
    fn push(queue: &mut Queue, cost: u32) -> Option<Answer> {
        let (job, answer) = job();
        let account = queue.waiting.back().map_or(1000, |last| last.account + 1);
        queue.push(job, account, cost, None).then_some(answer)
    }

    #[test]
    fn a_job_that_waited_too_long_is_refused_without_being_done() {
        let mut queue = queue(8);
        let mut late = push(&mut queue, 4).unwrap();
        let mut timely = push(&mut queue, 4).unwrap();
        let now = queue.waiting[0].begin_by;
        queue.waiting[1].begin_by = now + Duration::from_millis(1);
        assert_eq!(queue.take(now).len(), 1);
        assert!(queue.take(now).is_empty());
        let refused = late.try_recv().unwrap().unwrap_err();
        assert!(matches!(refused, Error::Kit(service_kit::Error::Overloaded { .. })));
        assert_eq!(queue.refused.deadline, 1);
        // The one that was taken was dropped by this test, unanswered.
        assert_eq!(timely.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
    }

    #[test]
    fn a_job_whose_caller_has_gone_is_passed_over_and_makes_room() {
        let mut queue = queue(2);
        let gone = push(&mut queue, 4).unwrap();
        let _kept = push(&mut queue, 4).unwrap();
        assert!(push(&mut queue, 4).is_none());
        drop(gone);
        drop(push(&mut queue, 4).unwrap());
        assert_eq!(queue.take(Instant::now()).len(), 1);
        assert!(queue.take(Instant::now()).is_empty());
    }

    #[test]
    fn jobs_of_the_oldest_one_s_cost_are_taken_together_and_the_others_keep_their_turn() {
        let mut queue = queue(64);
        let _answers: Vec<_> =
            [5, 4, 5, 5, 4, 5, 5, 5, 5].into_iter().map(|cost| push(&mut queue, cost).unwrap()).collect();
        let left = |queue: &Queue| queue.waiting.iter().map(|waiting| waiting.cost).collect::<Vec<_>>();
        assert_eq!(queue.take(Instant::now()).len(), LANES);
        assert_eq!(left(&queue), [4, 4, 5]);
        assert_eq!(queue.take(Instant::now()).len(), 2);
        assert_eq!(left(&queue), [5]);
        assert_eq!(queue.take(Instant::now()).len(), 1);
    }

    #[test]
    fn half_of_the_queue_is_for_those_of_whom_none_waits() {
        let mut queue = queue(6);
        let mut answers = Vec::new();
        let mut push = |queue: &mut Queue, account| {
            let (job, answer) = job();
            answers.push(answer);
            queue.push(job, account, 4, None)
        };
        for _ in 0..3 {
            assert!(push(&mut queue, 1));
        }
        assert!(!push(&mut queue, 1), "it has half of the queue");
        assert!(push(&mut queue, 2));
        assert!(!push(&mut queue, 2), "less than half of the queue is free");
        assert!(push(&mut queue, 3) && push(&mut queue, 4));
        assert!(!push(&mut queue, 5), "it is full");
        assert_eq!(queue.waiting.iter().map(|waiting| waiting.account).collect::<Vec<_>>(), [1, 1, 1, 2, 3, 4]);
        assert_eq!(queue.refused.queue_full, 3);
        // Nobody who was let in is sent away for somebody else.
        let answered = answers.iter_mut().filter_map(|answer| answer.try_recv().ok()).count();
        assert_eq!(answered, 0);
    }

    #[test]
    fn no_more_wait_than_can_be_begun_in_time() {
        let (second, patience) = (Duration::from_secs(1), Duration::from_secs(3));
        let mut queue = queue(64);
        assert_eq!(queue.room(patience), 64, "nothing is known yet");
        queue.took(second);
        assert_eq!(queue.room(patience), 12, "as if batches took a third longer, and one more came first");
        assert_eq!(queue.room(2 * patience), 39);
        queue.took(9 * second);
        assert_eq!(queue.full_batch, 9 * second, "what takes longer counts at once");
        assert_eq!(queue.room(patience), LANES, "one batch may always wait");
        queue.took(second);
        assert_eq!(queue.full_batch, 7 * second, "and what takes less by and by");
        for _ in 0..30 {
            queue.took(Duration::from_millis(10));
        }
        assert_eq!(queue.room(patience), 64);
        queue.took(Duration::ZERO);
    }

    #[test]
    fn whoever_waits_for_the_caller_leaves_time_to_hash() {
        let (mut queue, second) = (Queue::new(64, Duration::from_millis(1500), 2), Duration::from_secs(1));
        assert_eq!(queue.patience(None), Duration::from_millis(1500), "the pool's own deadline");
        assert_eq!(queue.patience(Some(9 * second)), Duration::from_millis(1500), "which nobody puts off");
        assert_eq!(queue.patience(Some(second)), Duration::from_millis(750));
        assert_eq!(queue.patience(Some(Duration::ZERO)), Duration::ZERO);
        queue.took(Duration::from_millis(600));
        assert_eq!(queue.patience(Some(2 * second)), Duration::from_millis(1400), "as long as lately");
        queue.took(9 * second);
        assert_eq!(
            queue.patience(Some(2 * second)),
            Duration::from_millis(500),
            "a single one takes less than a batch"
        );
    }

    #[tokio::test]
    async fn what_nobody_waits_for_gets_no_hash_and_a_caller_s_deadline_is_heeded() {
        use service_kit::context::RequestContext;

        // Nobody hashes here.
        let pool = HashingPool::start(Scheme::new(4, None), 0, 64, MINUTE).unwrap();
        pool.shared.queue().threads = 1;
        let password = || Password::presented(Secret::from("x".to_owned())).unwrap();
        let now = Instant::now();
        let request = RequestContext::new(None, None);
        let refused = request.by(now).scope(pool.verify("ada", password(), None)).await.unwrap_err();
        assert!(matches!(refused, Error::Kit(service_kit::Error::Overloaded { .. })));
        let state = |queue: &Queue| (queue.waiting.len(), queue.refused.deadline);
        assert_eq!(state(&pool.shared.queue()), (0, 1));

        let asking = request.by(now + Duration::from_secs(20)).scope(pool.verify("ada", password(), None));
        assert!(tokio::time::timeout(Duration::from_millis(1), asking).await.is_err());
        let patience = pool.shared.queue().waiting.pop_back().unwrap().begin_by - now;
        assert!(patience > Duration::from_secs(10) && patience < Duration::from_secs(16), "{patience:?}");
    }

    #[test]
    fn the_first_storm_meets_a_queue_that_knows_how_long_hashing_takes() {
        let pool = HashingPool::start(Scheme::new(9, None), 1, 64, MINUTE).unwrap();
        let began = Instant::now();
        while pool.shared.queue().full_batch.is_zero() {
            assert!(began.elapsed() < MINUTE);
            thread::yield_now();
        }
        // A batch at this cost takes some 50 ms.
        let full_batch = pool.shared.queue().full_batch;
        assert!(full_batch > Duration::from_millis(5) && full_batch < 20 * Duration::from_secs(1), "{full_batch:?}");
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

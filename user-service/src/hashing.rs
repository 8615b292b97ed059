//! Where passwords are judged, hashed and verified: on threads of their own, so that nothing else waits for them.
//!
//! A fixed number of threads takes jobs from one bounded queue, oldest first. A full queue refuses at once, and a job
//! that waited beyond its deadline, or whose caller has gone, costs no hash: what cannot be done in time is not begun.
//! Jobs say what is to be done, so that a thread is free to take several and work on them side by side.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use service_kit::{
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
    domain::password::{Password, PasswordHash, Scheme, Verdict},
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
    expires_at: Instant,
}

/// The jobs that wait.
struct Queue {
    waiting: VecDeque<Waiting>,
    capacity: usize,
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
        });
        let pool = Self { shared };
        for number in 0..threads {
            let shared = pool.shared.clone();
            thread::Builder::new().name(format!("hashing-{number}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// How the pool stands, for `/metrics`.
    pub(crate) fn figures(&self) -> impl Collector + use<> {
        Figures(self.shared.clone())
    }

    /// Judges a new password, the hints at hand, and hashes it.
    pub(crate) async fn hash(&self, password: Password, hints: Vec<String>) -> Result<PasswordHash, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.submit(Job::Hash { password, hints, answer }).map_err(Refusal::Failed)?;
        answered.await.unwrap_or_else(|_| Err(Refusal::Failed(panicked())))
    }

    /// Holds a password against a stored hash, or against nobody's; an outdated hash is made anew.
    pub(crate) async fn verify(&self, password: Password, stored: Option<PasswordHash>) -> Result<Verified, Error> {
        let (answer, answered) = oneshot::channel();
        self.submit(Job::Verify { password, stored, answer })?;
        answered.await.unwrap_or_else(|_| Err(panicked()))
    }

    fn submit(&self, job: Job) -> Result<(), Error> {
        let expires_at = Instant::now() + self.shared.deadline;
        if !self.shared.queue().push(Waiting { job, expires_at }) {
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
            (queue.waiting.len(), queue.capacity)
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
        Self { waiting: VecDeque::new(), capacity, closed: false, refused: Refused::default() }
    }

    /// Takes a job in, unless the queue is full. Jobs that nobody waits for any more make room.
    fn push(&mut self, waiting: Waiting) -> bool {
        if self.waiting.len() >= self.capacity {
            self.waiting.retain(|waiting| !waiting.job.is_abandoned());
        }
        let room = self.waiting.len() < self.capacity;
        if room {
            self.waiting.push_back(waiting);
        } else {
            self.refused.queue_full += 1;
        }
        room
    }

    /// The oldest job that is still worth doing. Those that are late are refused on the way.
    fn take(&mut self, now: Instant) -> Option<Job> {
        while let Some(Waiting { job, expires_at }) = self.waiting.pop_front() {
            if job.is_abandoned() {
                continue;
            }
            if expires_at <= now {
                self.refused.deadline += 1;
                job.refuse();
                continue;
            }
            return Some(job);
        }
        None
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the queue, so a poisoned one is sound.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            let began = Instant::now();
            self.busy.fetch_add(1, Ordering::Relaxed);
            // A panic costs its own job, whose caller sees the answer's channel close, and not the thread.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run(job)));
            self.busy.fetch_sub(1, Ordering::Relaxed);
            self.took.observe(began.elapsed().as_secs_f64());
            if done.is_err() {
                log::error!("a hashing job panicked");
            }
        }
    }

    /// The next job, waited for; `None` when the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.take(Instant::now()) {
                return Some(job);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does a job. Whoever asked may have gone by the time it is done, and then its result is of no use.
    fn run(&self, job: Job) {
        match job {
            Job::Hash { password, hints, answer } => {
                let judged = password.judge(&hints).map_err(Refusal::Weak);
                let hashed = judged.and_then(|()| {
                    self.scheme.hash(&password).map_err(|cause| Refusal::Failed(Error::internal(cause)))
                });
                let _ = answer.send(hashed);
            }
            Job::Verify { password, stored, answer } => {
                let verdict = self.scheme.verify(&password, stored.as_ref());
                let renewed = match verdict {
                    Verdict::OutdatedMatch => self.scheme.hash(&password).map(Some),
                    _ => Ok(None),
                };
                let verified = renewed.map(|renewed| Verified { verdict, renewed }).map_err(Error::internal);
                let _ = answer.send(verified);
            }
        }
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

    fn waiting(expires_at: Instant) -> (Waiting, Answer) {
        let (answer, answered) = oneshot::channel();
        let password = Password::presented(Secret::from("x".to_owned())).unwrap();
        (Waiting { job: Job::Verify { password, stored: None, answer }, expires_at }, answered)
    }

    #[test]
    fn a_job_that_waited_too_long_is_refused_without_being_done() {
        let now = Instant::now();
        let mut queue = Queue::new(8);
        let (late, mut late_answer) = waiting(now);
        let (timely, mut timely_answer) = waiting(now + Duration::from_millis(1));
        assert!(queue.push(late) && queue.push(timely));
        assert!(queue.take(now).is_some() && queue.take(now).is_none());
        let refused = late_answer.try_recv().unwrap().unwrap_err();
        assert!(matches!(refused, Error::Kit(service_kit::Error::Overloaded { .. })));
        // The one that was taken was dropped by this test, unanswered.
        assert_eq!(timely_answer.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
    }

    #[test]
    fn a_job_whose_caller_has_gone_is_passed_over_and_makes_room() {
        let later = Instant::now() + Duration::from_mins(1);
        let mut queue = Queue::new(2);
        let (gone, gone_answer) = waiting(later);
        let (kept, _kept_answer) = waiting(later);
        assert!(queue.push(gone) && queue.push(kept));
        let (refused, _refused_answer) = waiting(later);
        assert!(!queue.push(refused));
        drop(gone_answer);
        let (taken, taken_answer) = waiting(later);
        assert!(queue.push(taken));
        drop(taken_answer);
        assert!(queue.take(Instant::now()).is_some());
        assert!(queue.take(Instant::now()).is_none());
    }
}

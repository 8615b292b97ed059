//! What clients were told, and what may be so because of it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Debug,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    client::{Answer, Client, Outcome},
    site::PATIENCE,
};

/// Whether something has been done, as far as whoever asked for it was told.
#[derive(Debug)]
pub(crate) enum Told {
    /// It has.
    Done(Answer),
    /// It has not, for a reason.
    Refused(Answer),
    /// It may or may not, now or soon: there was no answer, or one that says that it could not be finished.
    Unknown,
}

/// How often a kind of request was told what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
    pub(crate) slowest: Duration,
}

/// What all clients of a run have in common.
pub(crate) struct Journal {
    /// Clocks are stepped: access tokens may be over before their time or not yet valid.
    pub(crate) clocks_differ: bool,
    is_over: Cell<bool>,
    tallies: RefCell<BTreeMap<&'static str, Tally>>,
}

impl Journal {
    pub(crate) fn new(clocks_differ: bool) -> Self {
        Self { clocks_differ, is_over: Cell::default(), tallies: RefCell::default() }
    }

    /// Lets the clients finish what they are at.
    pub(crate) fn end(&self) {
        self.is_over.set(true);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Judges an answer by what holds for all of them: nothing but 503 says that something is broken, and it says when to
    /// come again.
    #[track_caller]
    pub(crate) fn told(&self, kind: &'static str, started: Instant, outcome: Outcome) -> Told {
        let told = match outcome {
            Ok(answer) if (200..300).contains(&answer.status) => Told::Done(answer),
            Ok(answer) if answer.status == 503 => {
                assert!(answer.retry_after.is_some(), "{kind}: a 503 without Retry-After, {answer:?}");
                Told::Unknown
            }
            Ok(answer) => {
                assert!(answer.status < 500, "{kind} is answered {answer:?}");
                Told::Refused(answer)
            }
            Err(_) => Told::Unknown,
        };
        let mut tallies = self.tallies.borrow_mut();
        let tally = tallies.entry(kind).or_default();
        match &told {
            Told::Done(_) => tally.done += 1,
            Told::Refused(_) => tally.refused += 1,
            Told::Unknown => tally.unknown += 1,
        }
        tally.slowest = tally.slowest.max(started.elapsed());
        told
    }

    /// How often that kind of request was told what until now.
    pub(crate) fn tally(&self, kind: &str) -> Tally {
        self.tallies.borrow().get(kind).copied().unwrap_or_default()
    }

    /// A line for each kind of request.
    pub(crate) fn print(&self) {
        println!("{:<20}{:>8}{:>9}{:>9}{:>12}", "", "done", "refused", "unknown", "slowest");
        for (kind, Tally { done, refused, unknown, slowest }) in &*self.tallies.borrow() {
            println!("{kind:<20}{done:>8}{refused:>9}{unknown:>9}{:>10} ms", slowest.as_millis());
        }
    }
}

/// Everybody who can be talked to. Clones share connections.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) auth: [Client; 2],
    pub(crate) user: Client,
    pub(crate) resource: Client,
    /// A token for everything that an admin may do, which lasts longer than any run.
    pub(crate) admin: String,
}

impl Doors {
    /// Every process that verifies tokens, with a path that a user's token opens.
    pub(crate) fn everywhere(&self) -> [(&Client, &'static str); 4] {
        let [a, b] = &self.auth;
        [(a, "/auth/me"), (b, "/auth/me"), (&self.user, "/users/me"), (&self.resource, "/persons?limit=1")]
    }
}

/// Asks again as long as nothing comes of it, when everything should be well. Only for what may be repeated.
#[track_caller]
pub(crate) fn insist(ask: impl AsyncFnMut() -> Outcome) -> impl Future<Output = Answer> {
    let caller = std::panic::Location::caller();
    let mut ask = ask;
    async move {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask().await {
                Ok(answer) if answer.status != 503 => return answer,
                outcome => assert!(Instant::now() < deadline, "asked at {caller}, nothing but {outcome:?}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Something that clients change, with everything that it may be after what they were told: there is one state if the last
/// change was acknowledged, and one more for each change since of which nobody knows whether it was made.
///
/// Changes name the version that they change. So each of them is made once or never, and one that comes late finds another
/// version if anybody has changed the thing meanwhile.
#[derive(Debug)]
pub(crate) struct Record<S> {
    possible: Vec<Option<S>>,
}

impl<S: Debug + PartialEq> Record<S> {
    /// Something that there is not.
    pub(crate) fn new() -> Self {
        Self { possible: vec![None] }
    }

    /// It was told that it is so.
    pub(crate) fn is(&mut self, state: Option<S>) {
        self.possible = vec![state];
    }

    /// It may be so.
    pub(crate) fn may_be(&mut self, state: Option<S>) {
        self.possible.push(state);
    }

    pub(crate) fn is_certain(&self) -> bool {
        self.possible.len() == 1
    }

    /// That it is as somebody was told, or as somebody wanted it who was told nothing.
    #[track_caller]
    pub(crate) fn judge(&self, what: &str, seen: Option<&S>) {
        assert!(
            self.possible.iter().any(|state| state.as_ref() == seen),
            "{what} is {seen:?}, which is none of {:?}",
            self.possible
        );
    }
}

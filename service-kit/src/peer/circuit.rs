//! When another service is left alone: a circuit that opens after failures in a row and closes with the first answer.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::RngExt as _;

/// While the circuit is open, one call goes through each time that at most so long has passed. This is also the longest
/// that anybody is turned away once the service is back, so it is short.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Whether calls go through.
#[derive(Debug)]
pub(super) struct Circuit {
    /// Failures in a row that open it; 0 for never.
    opens_after: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Failures since the last answer.
    failures: u32,
    /// When the next call goes through; nothing while all do.
    probe_at: Option<Instant>,
    turned_away: u64,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It goes through, as all do.
    Free,
    /// It goes through to find out whether there is an answer again.
    Probe,
    /// It is not made.
    Closed,
}

impl Circuit {
    pub(super) fn new(opens_after: u32) -> Self {
        Self { opens_after, state: Mutex::new(State { failures: 0, probe_at: None, turned_away: 0 }) }
    }

    /// Asks for a passage. A probe that hangs does not keep the next one waiting, or nobody would learn for as long as it
    /// hangs that the service is back.
    pub(super) fn enter(&self, now: Instant) -> Passage {
        let mut state = self.state();
        match state.probe_at {
            None => Passage::Free,
            Some(at) if at <= now => {
                state.probe_at = Some(now + pause());
                Passage::Probe
            }
            Some(_) => {
                state.turned_away += 1;
                Passage::Closed
            }
        }
    }

    /// There was an answer, whatever it says: the service is there. True if that closes the circuit.
    pub(super) fn answered(&self) -> bool {
        let mut state = self.state();
        state.failures = 0;
        state.probe_at.take().is_some()
    }

    /// There was none. True if that opens the circuit.
    pub(super) fn failed(&self, now: Instant) -> bool {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let opens = self.opens_after != 0 && state.failures >= self.opens_after && state.probe_at.is_none();
        if opens {
            state.probe_at = Some(now + pause());
        }
        opens
    }

    /// Whether it is open, and how many calls it has not let through.
    pub(super) fn figures(&self) -> (bool, u64) {
        let state = self.state();
        (state.probe_at.is_some(), state.turned_away)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the state, so a poisoned one is sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Anything from half of the longest, so that replicas do not probe in step.
fn pause() -> Duration {
    PROBE_EVERY.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn open(after: u32, now: Instant) -> Circuit {
        let circuit = Circuit::new(after);
        for _ in 1..after {
            assert!(!circuit.failed(now));
            assert_eq!(circuit.enter(now), Passage::Free);
        }
        assert!(circuit.failed(now));
        circuit
    }

    #[test]
    fn only_failures_in_a_row_open_it_and_an_answer_starts_the_count_anew() {
        let now = Instant::now();
        let circuit = Circuit::new(3);
        for _ in 0..10 {
            assert!(!circuit.failed(now) && !circuit.failed(now));
            assert!(!circuit.answered(), "it was not open");
        }
        assert_eq!(circuit.enter(now), Passage::Free);
        assert!(!circuit.failed(now) && !circuit.failed(now) && circuit.failed(now));
        assert!(!circuit.failed(now), "what was under way when it opened changes nothing");
        assert_eq!(circuit.enter(now), Passage::Closed);
        assert_eq!(circuit.figures(), (true, 1));
    }

    #[test]
    fn while_it_is_open_one_call_goes_through_in_each_quarter_of_a_second() {
        let mut now = Instant::now();
        let circuit = open(5, now);
        assert_eq!(circuit.enter(now + (PROBE_EVERY / 2).saturating_sub(MOMENT)), Passage::Closed);
        for _ in 0..20 {
            now += PROBE_EVERY;
            assert_eq!(circuit.enter(now), Passage::Probe);
            assert_eq!(circuit.enter(now + MOMENT), Passage::Closed, "one is under way");
            // Whether it fails or hangs, the next is let through.
            if circuit.figures().1.is_multiple_of(2) {
                assert!(!circuit.failed(now + MOMENT), "it is open already");
            }
        }
    }

    #[test]
    fn the_first_answer_closes_it_for_everybody() {
        let now = Instant::now();
        let circuit = open(2, now);
        assert_eq!(circuit.enter(now + PROBE_EVERY), Passage::Probe);
        assert!(circuit.answered());
        assert!(!circuit.answered(), "only one says so");
        for _ in 0..3 {
            assert_eq!(circuit.enter(now + PROBE_EVERY), Passage::Free);
        }
        assert_eq!(circuit.figures(), (false, 0));
        assert!(!circuit.failed(now) && circuit.failed(now), "it opens again as it did before");
    }

    #[test]
    fn an_answer_that_was_under_way_when_it_opened_closes_it_too() {
        let now = Instant::now();
        let circuit = open(2, now);
        assert!(circuit.answered());
        assert_eq!(circuit.enter(now), Passage::Free);
    }

    #[test]
    fn without_a_number_of_failures_it_never_opens() {
        let now = Instant::now();
        let circuit = Circuit::new(0);
        for _ in 0..1000 {
            assert!(!circuit.failed(now));
            assert_eq!(circuit.enter(now), Passage::Free);
        }
    }
}

//! How often somebody may be wrong: limits on failed attempts, per address, per account, and per account and address.
//!
//! Only failures count, so that an office behind one address can log in on a Monday morning. They are counted in this
//! process alone, by design: see decision 11.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter, clock, middleware::StateInformationMiddleware, nanos::Nanos, state::keyed::HashMapStateStore,
};
use serde::{Deserialize, Serialize};

use crate::{Clock, ConfigError, Error, Timestamp};

/// Failures after which what is over and done with is forgotten.
const FAILURES_BETWEEN_CLEANUPS: u32 = 1024;

/// An account's failures from one address are forgotten after this long without another one.
const FORGOTTEN_AFTER_SECONDS: i64 = 900;

/// The section `limits`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Failures of one account from one address before it has to wait: each one more doubles the wait.
    pub failures_before_delay: u32,
    /// The longest that it has to wait, in seconds.
    pub longest_delay_seconds: u32,
    /// Failures from one address at once, whatever the accounts; 0 for any number.
    pub failures_per_address: u32,
    /// How many of them are forgiven in a minute.
    pub failures_per_address_forgiven_per_minute: u32,
    /// Failures of one account at once, wherever from; 0 for any number.
    pub failures_per_account: u32,
    /// How many of them are forgiven in an hour.
    pub failures_per_account_forgiven_per_hour: u32,
}

impl LimitsConfig {
    /// Checks the section.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bounds = |key: &str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::new(&format!("limits.{key}"), format_args!("must be between {least} and {most}")))
            }
        };
        bounds("failures_before_delay", self.failures_before_delay, 1, 1000)?;
        bounds("longest_delay_seconds", self.longest_delay_seconds, 1, 3600)?;
        bounds("failures_per_address", self.failures_per_address, 0, 1_000_000)?;
        let forgiven = self.failures_per_address_forgiven_per_minute;
        bounds("failures_per_address_forgiven_per_minute", forgiven, 1, 1_000_000)?;
        bounds("failures_per_account", self.failures_per_account, 0, 1_000_000)?;
        let forgiven = self.failures_per_account_forgiven_per_hour;
        bounds("failures_per_account_forgiven_per_hour", forgiven, 1, 1_000_000)
    }
}

/// Why an attempt has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For what was tried from here.
    Wait(Duration),
    /// For what was tried elsewhere: whoever is known to have come from this address before need not. The account is
    /// told if it is known which one was meant.
    WaitUnlessKnown(Duration, Option<String>),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (Refusal::Wait(wait) | Refusal::WaitUnlessKnown(wait, _)) = refusal;
        let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::RateLimited { retry_after_seconds: u32::try_from(whole).unwrap_or(u32::MAX).max(1) }
    }
}

/// Reads the service's clock for the arithmetic.
#[derive(Clone)]
struct Ticks(Clock);

impl clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let micros = u64::try_from(self.0.now().as_micros()).unwrap_or_default();
        Nanos::from(micros.saturating_mul(1000))
    }
}

type Store<K> = HashMapStateStore<K>;
type Buckets<K> = RateLimiter<K, Store<K>, Ticks, StateInformationMiddleware>;

/// One count of failures for each key, forgiven at a steady rate.
struct Allowance<K: Clone + Eq + Hash> {
    buckets: Buckets<K>,
    /// One failure is forgiven in this time.
    interval: Duration,
    /// Those that have used theirs up, until when.
    closed: HashMap<K, Timestamp>,
}

impl<K: Clone + Eq + Hash> Allowance<K> {
    /// `None` for any number.
    fn new(at_once: u32, forgiven: u32, in_period: Duration, clock: &Clock) -> Option<Self> {
        let interval = in_period.checked_div(forgiven)?;
        let quota = Quota::with_period(interval)?.allow_burst(NonZeroU32::new(at_once)?);
        let buckets = Buckets::new(quota, Store::default(), Ticks(clock.clone()));
        Some(Self { buckets, interval, closed: HashMap::new() })
    }

    fn wait(&mut self, key: &K, now: Timestamp) -> Option<Duration> {
        let latest = self.closed_until(now);
        let until = self.closed.get_mut(key)?;
        // If the clock has been set back, nobody waits for it.
        *until = latest.min(*until);
        between(now, *until)
    }

    /// Until when it is closed after a failure.
    fn closed_until(&self, now: Timestamp) -> Timestamp {
        let micros = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.as_micros().saturating_add(micros))
    }

    fn failed(&mut self, key: K, now: Timestamp) {
        let left = self.buckets.check_key(&key).map(|state| state.remaining_burst_capacity()).unwrap_or_default();
        if left == 0 {
            self.closed.insert(key, self.closed_until(now));
        }
    }

    fn clean_up(&mut self, now: Timestamp) {
        self.closed.retain(|_, until| *until > now);
        self.buckets.retain_recent();
    }
}

fn between(now: Timestamp, until: Timestamp) -> Option<Duration> {
    let micros = until.as_micros().saturating_sub(now.as_micros());
    u64::try_from(micros).ok().filter(|micros| *micros > 0).map(Duration::from_micros)
}

/// Where somebody is: an IPv4 address, or the network of an IPv6 address, of which a single host may have 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(Option<IpAddr>);

impl Network {
    fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        }))
    }
}

/// What has gone wrong with one account from one address.
#[derive(Default)]
struct Strikes {
    failures: u32,
    last: Option<Timestamp>,
    /// Attempts under way since the first failure.
    pending: u32,
}

struct State {
    by_address: Option<Allowance<Network>>,
    by_account: Option<Allowance<u64>>,
    strikes: HashMap<(u64, Network), Strikes>,
    /// Who was meant by a name, where that is known.
    meant: HashMap<u64, String>,
    failures_since_cleanup: u32,
}

/// The limits on failed attempts. Clones share them.
#[derive(Clone)]
pub struct Limits {
    config: LimitsConfig,
    clock: Clock,
    /// Names are kept as keyed hashes only.
    hasher: RandomState,
    state: Arc<Mutex<State>>,
}

impl Limits {
    /// With nothing held against anybody.
    pub fn new(config: LimitsConfig, clock: Clock) -> Self {
        let minute = Duration::from_mins(1);
        let hour = Duration::from_hours(1);
        let state = State {
            by_address: Allowance::new(
                config.failures_per_address,
                config.failures_per_address_forgiven_per_minute,
                minute,
                &clock,
            ),
            by_account: Allowance::new(
                config.failures_per_account,
                config.failures_per_account_forgiven_per_hour,
                hour,
                &clock,
            ),
            strikes: HashMap::new(),
            meant: HashMap::new(),
            failures_since_cleanup: 0,
        };
        Self { config, clock, hasher: RandomState::new(), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an attempt begin, or says how long it has to wait. The account is whatever it is called by, in the same
    /// letters each time; whether there is such an account makes no difference.
    pub fn begin(&self, account: &str, address: Option<IpAddr>) -> Result<Attempt, Refusal> {
        self.begin_as(account, address, false)
    }

    /// The same for somebody who is known to have come from this address before.
    pub fn begin_known(&self, account: &str, address: Option<IpAddr>) -> Result<Attempt, Refusal> {
        self.begin_as(account, address, true)
    }

    fn begin_as(&self, account: &str, address: Option<IpAddr>, known: bool) -> Result<Attempt, Refusal> {
        let (account, network, now) = (self.hasher.hash_one(account), Network::of(address), self.clock.now());
        let mut state = self.state();
        if let Some(wait) = state.by_address.as_mut().and_then(|allowance| allowance.wait(&network, now)) {
            return Err(Refusal::Wait(wait));
        }
        if !known && let Some(wait) = state.by_account.as_mut().and_then(|allowance| allowance.wait(&account, now)) {
            return Err(Refusal::WaitUnlessKnown(wait, state.meant.get(&account).cloned()));
        }
        if let Some(strikes) = state.strikes.get_mut(&(account, network)) {
            // If the clock has been set back, what was to come counts from now on, and nobody waits for it.
            strikes.last = strikes.last.map(|last| last.min(now));
            if let Some(wait) = strikes.last.and_then(|last| between(now, self.open_again(strikes.failures, last))) {
                return Err(Refusal::Wait(wait));
            }
            // What is tried side by side may fail as well. One at a time is always let in.
            if strikes.pending > 0
                && strikes.failures.saturating_add(strikes.pending) >= self.config.failures_before_delay
            {
                return Err(Refusal::Wait(Duration::from_secs(1)));
            }
            strikes.pending += 1;
            return Ok(Attempt { limits: self.clone(), account, network, counted: true });
        }
        Ok(Attempt { limits: self.clone(), account, network, counted: false })
    }

    /// When the next attempt may be made.
    fn open_again(&self, failures: u32, last: Timestamp) -> Timestamp {
        match failures.checked_sub(self.config.failures_before_delay) {
            None => last,
            Some(more) => {
                let delay = 1_u32.checked_shl(more).unwrap_or(u32::MAX).min(self.config.longest_delay_seconds);
                last.plus_seconds(i64::from(delay))
            }
        }
    }
}

/// An attempt under way. Dropped without an outcome it counts for nothing: it was not judged.
#[must_use]
pub struct Attempt {
    limits: Limits,
    account: u64,
    network: Network,
    /// Whether it is among the pending ones of its strikes.
    counted: bool,
}

impl Attempt {
    /// It was wrong. `meant` is the id of the account, where there is one.
    pub fn failed(self, meant: Option<&str>) {
        let now = self.limits.clock.now();
        let mut state = self.limits.state();
        let strikes = state.strikes.entry((self.account, self.network)).or_default();
        strikes.failures = strikes.failures.saturating_add(1);
        strikes.last = Some(now);
        if let Some(allowance) = &mut state.by_address {
            allowance.failed(self.network, now);
        }
        if let Some(allowance) = &mut state.by_account {
            allowance.failed(self.account, now);
        }
        if let Some(meant) = meant {
            state.meant.insert(self.account, meant.to_owned());
        }
        state.failures_since_cleanup += 1;
        if state.failures_since_cleanup >= FAILURES_BETWEEN_CLEANUPS {
            state.clean_up(now);
        }
    }

    /// It was right: nothing is held against this account at this address any more.
    pub fn succeeded(self) {
        let mut state = self.limits.state();
        if let Some(strikes) = state.strikes.get_mut(&(self.account, self.network)) {
            strikes.failures = 0;
            strikes.last = None;
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.counted
            && let Some(strikes) = self.limits.state().strikes.get_mut(&(self.account, self.network))
        {
            strikes.pending = strikes.pending.saturating_sub(1);
        }
    }
}

impl State {
    fn clean_up(&mut self, now: Timestamp) {
        self.failures_since_cleanup = 0;
        let forgotten = now.plus_seconds(-FORGOTTEN_AFTER_SECONDS);
        self.strikes.retain(|_, strikes| strikes.pending > 0 || strikes.last.is_some_and(|last| last > forgotten));
        if let Some(allowance) = &mut self.by_address {
            allowance.clean_up(now);
        }
        match &mut self.by_account {
            Some(allowance) => {
                allowance.clean_up(now);
                self.meant.retain(|account, _| allowance.closed.contains_key(account));
            }
            None => self.meant.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct Stand {
        limits: Limits,
        now: Arc<AtomicI64>,
    }

    impl Stand {
        fn new(per_address: u32, per_account: u32) -> Self {
            let now = Arc::new(AtomicI64::new(1_800_000_000));
            let shown = now.clone();
            let config = LimitsConfig {
                failures_before_delay: 5,
                longest_delay_seconds: 60,
                failures_per_address: per_address,
                failures_per_address_forgiven_per_minute: 30,
                failures_per_account: per_account,
                failures_per_account_forgiven_per_hour: 180,
            };
            config.validate().unwrap();
            let clock = Clock::from_fn(move || Timestamp::from_seconds(shown.load(Ordering::Relaxed)));
            Self { limits: Limits::new(config, clock), now }
        }

        fn advance(&self, seconds: i64) {
            self.now.fetch_add(seconds, Ordering::Relaxed);
        }

        fn fail(&self, account: &str, address: &str) -> Result<(), u64> {
            self.begin(account, address).map(|attempt| attempt.failed(Some("id")))
        }

        fn begin(&self, account: &str, address: &str) -> Result<Attempt, u64> {
            self.limits.begin(account, Some(address.parse().unwrap())).map_err(|refusal| match Error::from(refusal) {
                Error::RateLimited { retry_after_seconds } => u64::from(retry_after_seconds),
                other => panic!("{other}"),
            })
        }
    }

    #[test]
    fn each_further_failure_doubles_the_wait_up_to_the_longest() {
        let stand = Stand::new(0, 0);
        for _ in 0..5 {
            assert_eq!(stand.fail("ada", "192.0.2.1"), Ok(()));
        }
        for wait in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(stand.fail("ada", "192.0.2.1"), Err(wait));
            assert_eq!(stand.fail("ada", "192.0.2.2"), Ok(()), "elsewhere is elsewhere");
            stand.now.fetch_add(i64::try_from(wait).unwrap() - 1, Ordering::Relaxed);
            if wait > 1 {
                assert_eq!(stand.fail("ada", "192.0.2.1"), Err(1));
            }
            stand.advance(1);
            assert_eq!(stand.fail("ada", "192.0.2.1"), Ok(()));
            stand.limits.state().strikes.retain(|(_, network), _| *network == Network::of("192.0.2.1".parse().ok()));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_for_longer() {
        let stand = Stand::new(10, 10);
        for _ in 0..6 {
            stand.fail("ada", "192.0.2.1").unwrap();
            stand.advance(1);
        }
        stand.advance(-3_600);
        assert_eq!(stand.fail("ada", "192.0.2.1"), Err(2));
        stand.advance(2);
        assert_eq!(stand.fail("ada", "192.0.2.1"), Ok(()));
        // One failure of an address is forgiven in two seconds, one of an account in twenty.
        for account in ["bob", "cleo", "dora", "eli"] {
            let _ = stand.fail(account, "192.0.2.1");
        }
        stand.advance(-3_600);
        assert!(stand.fail("fay", "192.0.2.1").is_err_and(|wait| wait <= 2));
        stand.advance(2);
        assert_eq!(stand.fail("fay", "192.0.2.1"), Ok(()));
    }

    #[test]
    fn a_success_wipes_the_slate_of_this_account_at_this_address_alone() {
        let stand = Stand::new(0, 0);
        for _ in 0..4 {
            stand.fail("ada", "192.0.2.1").unwrap();
            stand.fail("eve", "192.0.2.1").unwrap();
        }
        stand.begin("ada", "192.0.2.1").unwrap().succeeded();
        for account in ["ada", "eve"] {
            stand.fail(account, "192.0.2.1").unwrap();
        }
        assert_eq!(stand.fail("ada", "192.0.2.1"), Ok(()));
        assert_eq!(stand.fail("eve", "192.0.2.1"), Err(1));
    }

    #[test]
    fn what_is_tried_side_by_side_is_counted_before_it_has_failed() {
        let stand = Stand::new(0, 0);
        stand.fail("ada", "192.0.2.1").unwrap();
        let attempts: Vec<Attempt> = (0..4).map(|_| stand.begin("ada", "192.0.2.1").unwrap()).collect();
        assert_eq!(stand.begin("ada", "192.0.2.1").err(), Some(1));
        drop(attempts);
        assert!(stand.begin("ada", "192.0.2.1").is_ok(), "what was not judged counts for nothing");
    }

    #[test]
    fn an_address_is_closed_for_all_accounts_and_forgiven_bit_by_bit() {
        let stand = Stand::new(10, 0);
        for number in 0..10 {
            assert_eq!(stand.fail(&format!("user-{number}"), "2001:db8:1:2::1"), Ok(()));
        }
        assert_eq!(stand.fail("another", "2001:db8:1:2:ffff::9"), Err(2), "a host has a whole /64");
        assert_eq!(stand.fail("another", "2001:db8:1:3::1"), Ok(()));
        stand.advance(2);
        assert_eq!(stand.fail("another", "2001:db8:1:2::1"), Ok(()));
        assert_eq!(stand.fail("another", "2001:db8:1:2::1"), Err(2), "one at a time from now on");
        stand.advance(60);
        for number in 0..10 {
            assert_eq!(stand.fail(&format!("late-{number}"), "2001:db8:1:2::1"), Ok(()), "{number}");
        }
    }

    #[test]
    fn an_account_that_is_tried_from_everywhere_stays_open_to_who_is_known() {
        let stand = Stand::new(0, 10);
        for number in 0..10 {
            assert_eq!(stand.fail("ada", &format!("192.0.2.{number}")), Ok(()));
        }
        let here = Some("198.51.100.1".parse().unwrap());
        let refusal = stand.limits.begin("ada", here).err().unwrap();
        assert_eq!(refusal, Refusal::WaitUnlessKnown(Duration::from_secs(20), Some("id".to_owned())));
        assert!(stand.limits.begin_known("ada", here).is_ok());
        assert!(stand.begin("eve", "192.0.2.1").is_ok());
        stand.advance(20);
        assert!(stand.begin("ada", "198.51.100.1").is_ok());
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let stand = Stand::new(50, 30);
        for number in 0..FAILURES_BETWEEN_CLEANUPS {
            let address = format!("10.{}.{}.1", number / 250, number % 250);
            stand.fail(&format!("user-{number}"), &address).unwrap();
            stand.advance(2);
        }
        let state = stand.limits.state();
        assert!(state.strikes.len() <= 450 && state.meant.is_empty(), "{}", state.strikes.len());
        assert!(state.by_address.as_ref().unwrap().buckets.len() <= 30);
    }
}

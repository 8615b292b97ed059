//! What a run is made of: a seed, from which everything follows that is chosen at random.

use std::{io::Write as _, time::Duration};

use actix_web::rt::spawn;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

use crate::site::{alone, number_from_environment};

/// Runs a test with each of its seeds, one after the other: one that is always the same, as many as
/// `SIGNET_FAULT_SEEDS` says, or the one of `SIGNET_FAULT_SEED`.
pub(crate) async fn each_seed<F>(test: &'static str, run: impl Fn(u64) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let _alone = alone().await;
    let seeds: Vec<u64> = match number_from_environment("SIGNET_FAULT_SEED") {
        Some(seed) => vec![seed],
        None => {
            (0..number_from_environment("SIGNET_FAULT_SEEDS").unwrap_or(1)).map(|number| nth(test, number)).collect()
        }
    };
    let mut failures = Vec::new();
    for seed in seeds {
        let replay = format!("SIGNET_FAULT_SEED={seed} cargo test -p signet --test faults {test} -- --nocapture");
        println!("{replay}");
        let started = Instant::now();
        if let Err(failure) = spawn(run(seed)).await {
            let panic = failure.into_panic();
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            println!("{test} {seed}: FAILED, {message}");
            failures.push(format!("with the seed {seed}: {message}\nagain: {replay}"));
            continue;
        }
        println!("{test} {seed}: ok, {:.1} s", started.elapsed().as_secs_f64());
    }
    // What the others show is worth knowing, too.
    assert!(failures.is_empty(), "{test} fails {} times\n{}", failures.len(), failures.join("\n"));
}

/// The seeds of a test, the same on every machine: FNV-1a of its name, and of the number.
fn nth(test: &str, number: u64) -> u64 {
    let bytes = test.bytes().chain(number.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // Few digits are easier to type.
    hash % 1_000_000_000
}

/// A source of choices of its own for each part of a run, so that none depends on how far another one has got.
pub(crate) fn choices(seed: u64, part: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part))
}

/// A time between two others.
pub(crate) fn between(least_ms: u64, most_ms: u64, random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(least_ms..=most_ms))
}

/// Says why a test does not run on this machine. `REQUIRE_FAULTS=1` makes that a failure.
#[allow(clippy::disallowed_methods, reason = "tests have no configuration but such variables")]
pub(crate) fn say_skipped(test: &str, reason: &str) {
    let is_required = std::env::var("REQUIRE_FAULTS").is_ok_and(|value| value == "1");
    assert!(!is_required, "REQUIRE_FAULTS=1, but {test} cannot run: {reason}");
    // Not eprintln!, which the test harness captures: a skipped test passes, and this line is all that shows.
    let _ = std::io::stderr().write_all(format!("{test} did not run: {reason}\n").as_bytes());
}

//! What a hash costs alone and side by side with others: `cargo bench -p bcrypt-lanes [-- COST]`.
#![allow(clippy::print_stdout, reason = "it is what a benchmark is for")]

use std::{
    hint::black_box,
    sync::LazyLock,
    time::{Duration, Instant},
};

use bcrypt_lanes::{Input, LANES};

const ROUNDS: usize = 15;

fn main() {
    let cost = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let input = Input { salt: black_box([7; 16]), password: b"correct horse battery staple\0" };
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); LANES];
    // In turns, so that a machine that is busy for a while slows all of them down alike.
    for _ in 0..ROUNDS {
        for (lanes, times) in (1..).zip(&mut times) {
            let inputs = vec![input; lanes];
            let began = cpu_time();
            black_box(bcrypt_lanes::bcrypt(cost, &inputs));
            times.push(cpu_time().saturating_sub(began) / u32::try_from(lanes).unwrap_or(1));
        }
    }
    println!("cost {cost}, milliseconds of CPU per hash, least of {ROUNDS}");
    // What a run takes beyond the least of them, the rest of the machine took.
    let least = times.iter().map(|times| times.iter().min().map_or(f64::NAN, |least| least.as_secs_f64() * 1000.0));
    let mut alone = f64::NAN;
    for (lanes, least) in (1..).zip(least) {
        if lanes == 1 {
            alone = least;
            println!("{:>28}{least:>10.2}", "the bcrypt crate");
        } else {
            println!("{:>28}{least:>10.2}{:>8.2} times as many", format!("{lanes} side by side"), alone / least);
        }
    }
}

/// The time that this thread has run for, so that whatever else the machine does counts little; the time by the clock where
/// the kernel does not tell.
fn cpu_time() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}

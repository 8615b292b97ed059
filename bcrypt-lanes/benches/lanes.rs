//! What a hash costs alone and side by side with others: `cargo bench -p bcrypt-lanes [-- COST]`.
#![allow(clippy::print_stdout, reason = "it is what a benchmark is for")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bcrypt_lanes::{Input, LANES};

const ROUNDS: usize = 15;

fn main() {
    let cost = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let input = Input { salt: black_box([7; 16]), password: b"correct horse battery staple\0" };
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); LANES + 1];
    // In turns, so that a machine that is busy for a while slows all of them down alike.
    for _ in 0..ROUNDS {
        for (lanes, times) in times.iter_mut().enumerate() {
            let inputs = vec![input; lanes];
            let began = Instant::now();
            if lanes == 0 {
                black_box(bcrypt::bcrypt(cost, input.salt, input.password));
            } else {
                black_box(bcrypt_lanes::bcrypt(cost, &inputs, &mut || {}));
            }
            times.push(began.elapsed() / u32::try_from(lanes.max(1)).unwrap_or(1));
        }
    }
    println!("cost {cost}, milliseconds per hash, least of {ROUNDS}");
    // What a run takes beyond the least of them, the rest of the machine took.
    let least = times.iter().map(|times| times.iter().min().map_or(f64::NAN, |least| least.as_secs_f64() * 1000.0));
    let mut reference = f64::NAN;
    for (lanes, least) in least.enumerate() {
        if lanes == 0 {
            reference = least;
            println!("{:>28}{least:>10.2}", "the bcrypt crate");
        } else {
            let name = if lanes == 1 { "alone".to_owned() } else { format!("{lanes} side by side") };
            println!("{name:>28}{least:>10.2}{:>8.2} times as many", reference / least);
        }
    }
}

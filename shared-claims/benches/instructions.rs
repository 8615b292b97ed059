//! How many instructions it takes to verify a token: a number that is the same on every run, so that a bound on it says
//! whether verifying has become slower, whatever else the machine does.
//!
//! `cargo bench -p shared-claims --bench instructions` counts them with valgrind. With `-- --check` it fails if there are
//! more of them than the bound. What they stand for in nanoseconds says the benchmark `verify`. Valgrind offers no
//! instructions for SHA-256, so that the HMAC takes far more of them here than on a processor that has some.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints what it found"
)]

#[allow(dead_code, reason = "one benchmark uses what another does not")]
mod token;

use std::hint::black_box;
use std::process::{Command, ExitCode};

use shared_claims::{KeyRing, Signer, Verifier};

use self::token::{AUDIENCE, ISSUER, NOW, SECRET};

const ROUNDS: u64 = 2_000;

/// A few percent above what was counted last; whoever makes verifying faster lowers it.
const BOUND: u64 = 20_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, order, rounds] = arguments.as_slice()
        && order == "verify"
    {
        verify(rounds.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    // What comes before the first round is in both counts.
    let instructions = (count(2 * ROUNDS) - count(ROUNDS)) / ROUNDS;
    println!("instructions to verify a token of 340 bytes: {instructions} (at most {BOUND})");
    if arguments.iter().any(|argument| argument == "--check") && instructions > BOUND {
        println!("verifying takes more instructions than it may");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn verify(rounds: u64) {
    let ring = KeyRing::from_secret(SECRET).unwrap();
    let token = Signer::new(&ring).unwrap().sign(&token::short()).unwrap();
    let verifier = Verifier::builder(ring).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    for _ in 0..rounds {
        black_box(verifier.verify_at(black_box(&token), black_box(NOW)).unwrap());
    }
}

/// The instructions of a process that verifies so often.
fn count(rounds: u64) -> u64 {
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["verify", &rounds.to_string()])
        .output()
        .unwrap_or_else(|cause| panic!("valgrind is needed to count instructions: {cause}"));
    let said = String::from_utf8_lossy(&done.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("valgrind did not count: {said}"));
    number.trim().parse().unwrap()
}

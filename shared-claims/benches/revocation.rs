//! What looking for revocations costs a verifier, with none and with 100,000 of them in memory.
//!
//! `cargo bench -p shared-claims --features feed --bench revocation` prints medians. With `-- --check` it fails if
//! 100,000 entries make verifying more than 5 % slower than a list without entries does.
//!
//! It does so twice: for callers who come back while what they touched is still in the processor's caches, and for so
//! many that it never is. The second is dominated by one wait for memory, which each request also has for everything
//! else of its own; `--check` looks at the first.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking and prints what it found")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use shared_claims::feed::{Entry, Revocation, RevocationList};
use shared_claims::{Claims, KeyRing, Signer, Verifier};

const ENTRIES: u64 = 100_000;
/// Tokens verified between two looks at the clock.
const RUN: u8 = 64;
/// How many callers take turns.
const FEW: usize = RUN as usize;
const MANY: usize = 4_096;
const ROUNDS: usize = 10_000;
const NOW: u64 = 1_800_000_000;

fn main() -> ExitCode {
    let ring = KeyRing::from_secret(b"kPz3vN8qWb5xTy1mRc7dGf2hJs9uLe4a").unwrap();
    let signer = Signer::new(&ring).unwrap();
    let tokens: Vec<String> = (0..MANY as u64).map(|number| signer.sign(&claims(number)).unwrap()).collect();

    let verifier = |list: Option<&RevocationList>| {
        let builder = Verifier::builder(ring.clone()).issuer("https://id.example").audience("resource-service");
        match list {
            Some(list) => builder.revocations(list.clone()),
            None => builder,
        }
        .build()
        .unwrap()
    };
    let full = RevocationList::new();
    full.apply(&(1..=ENTRIES).map(entry).collect::<Vec<_>>());
    assert_eq!(full.len() as u64, ENTRIES);
    let verifiers = [verifier(None), verifier(Some(&RevocationList::new())), verifier(Some(&full))];

    let few = report(&verifiers, &tokens[..FEW]);
    report(&verifiers, &tokens);
    if std::env::args().any(|argument| argument == "--check") && few > 5.0 {
        println!("100,000 entries cost more than the 5 % they may cost");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// How many percent 100,000 entries cost over none.
fn report(verifiers: &[Verifier; 3], tokens: &[String]) -> f64 {
    let [none, empty, full] = measure(verifiers, tokens);
    let more = |time: f64, than: f64| (time / than - 1.0) * 100.0;
    println!("{} tokens in turn", tokens.len());
    println!("  without a list         {none:8.1} ns");
    println!("  with a list of none    {empty:8.1} ns  {:+5.2} %", more(empty, none));
    println!("  with 100,000 entries   {full:8.1} ns  {:+5.2} % over none", more(full, empty));
    more(full, empty)
}

/// The median time to verify one token with each verifier, in nanoseconds. They take turns, and none is always the
/// first, so that whatever else the machine does falls on all alike.
fn measure(verifiers: &[Verifier; 3], tokens: &[String]) -> [f64; 3] {
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        let run = &tokens[round / 3 * FEW % tokens.len()..][..FEW];
        for turn in 0..3 {
            let which = (round + turn) % 3;
            let begin = Instant::now();
            for token in run {
                black_box(verifiers[which].verify_at(black_box(token), NOW)).unwrap();
            }
            times[which].push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(RUN));
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// A user's token as auth-service issues it.
fn claims(number: u64) -> Claims {
    Claims {
        iss: "https://id.example".to_owned(),
        sub: id("a", number),
        aud: vec!["auth-service".to_owned(), "user-service".to_owned(), "resource-service".to_owned()],
        iat: NOW,
        exp: NOW + 900,
        jti: id("b", number),
        sid: Some(id("c", number)),
        scope: "persons:read persons:write".to_owned(),
        roles: vec!["editor".to_owned()],
        ver: Some(3),
        amr: vec!["pwd".to_owned()],
        auth_time: Some(NOW),
        ..Claims::default()
    }
}

/// Revocations as they come: mostly log-outs, some changed users, a few single tokens; none of the tokens above.
fn entry(seq: u64) -> Entry {
    let revocation = match seq % 10 {
        0 => Revocation::Token { jti: id("d", seq) },
        1..=3 => Revocation::User { sub: id("e", seq), min_ver: 2 },
        _ => Revocation::Session { sid: id("f", seq) },
    };
    Entry { seq, revocation, until: NOW + 1_000 }
}

/// Of the form of a UUID, and as evenly spread.
fn id(prefix: &str, number: u64) -> String {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{prefix}{:07x}-{:04x}-7{:03x}-8000-{number:012x}", spread >> 36, spread >> 16 & 0xffff, spread & 0xfff)
}

//! Whether the time that a refused log-in takes tells anything of the account: alone in its program, because it measures.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, its name says what it shows, and it tells what it measured"
)]

#[path = "../stack/helpers.rs"]
#[allow(dead_code, reason = "the stack's tests use all of it")]
mod helpers;

use std::time::{Duration, Instant};

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{Backend, TestDatabase};

use helpers::{Answer, Client, Databases, PASSWORD, TestStack};

/// Tries of each kind of log-in.
const ROUNDS: usize = 200;

/// bcrypt's cost: low, so that a thousand hashes take seconds, and high enough to stand out from everything around them.
const COST: &str = "7";

/// bcrypt of "seven purple otters rowing" at cost 4, by Python's bcrypt: an eighth of the work of [`COST`].
const CHEAP_HASH: &str = "$2b$04$NuZABrRV2xBW8I2qId6HH.NANhtpgYAjI3rkeUK415CzKMQaHudc2";

/// In how many more rounds than half of them one kind of log-in has to take longer than another for it to be no chance.
/// For two kinds that take equally long this is a coin's 4.7 standard deviations, whatever else the machine does: one run
/// in 300,000. Two that differ by a hash are further apart in nearly every round.
const NO_CHANCE: usize = 33;

/// A kind of log-in, all of which are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    WrongPassword,
    /// The same once more, for what the measure makes of two that are alike.
    WrongPasswordAgain,
    Unknown,
    Disabled,
    /// Of an account whose stored hash costs an eighth: what the measure makes of two that are not alike.
    CheapHash,
}

const KINDS: [Kind; 5] =
    [Kind::WrongPassword, Kind::WrongPasswordAgain, Kind::Unknown, Kind::Disabled, Kind::CheapHash];

impl Kind {
    /// As long for all of them, and for unknown users another one each time.
    fn body(self, round: usize) -> Value {
        let wrong = format!("not the password {round:04}");
        match self {
            Self::WrongPassword | Self::WrongPasswordAgain => {
                json!({ "email": "known-0000@example.com", "password": wrong })
            }
            Self::Unknown => json!({ "email": format!("other-{round:04}@example.com"), "password": wrong }),
            Self::Disabled => json!({ "email": "ended-0000@example.com", "password": wrong }),
            Self::CheapHash => json!({ "email": "cheap-0000@example.com", "password": wrong }),
        }
    }
}

/// All of an answer that a client could tell two by.
fn shape(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "x-request-id"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    let mut problem = answer.json();
    problem.as_object_mut().unwrap().remove("request_id").unwrap();
    (answer.status.as_u16(), headers, problem)
}

async fn accounts(client: &Client) {
    for email in ["known-0000@example.com", "ended-0000@example.com"] {
        client.register(email).await.expect(201);
    }
    let admin = client.admin().await;
    let cheap = json!({ "email": "cheap-0000@example.com", "password_hash": CHEAP_HASH });
    client.call(Method::POST, "/users", &admin.access, Some(cheap)).await.expect(201);
    let users = client.get("/users?q=ended-0000", &admin.access).await.expect(200).json();
    let path = format!("/users/{}", users["items"][0]["id"].as_str().unwrap());
    client.call(Method::PATCH, &path, &admin.access, Some(json!({ "disabled": true }))).await.expect(200);
    client.log_in("ended-0000@example.com", PASSWORD).await.expect_problem(403, "account_disabled");
}

/// How long each kind took, round by round. Within a round they come in random order and right after each other, so that
/// what else the machine does falls on all alike.
async fn measure(client: &Client) -> [Vec<Duration>; KINDS.len()] {
    let mut random = StdRng::seed_from_u64(20_261_123);
    let mut order: Vec<usize> = (0..KINDS.len()).collect();
    let mut took: [Vec<Duration>; KINDS.len()] = Default::default();
    let mut first = None;
    for round in 0..ROUNDS {
        order.shuffle(&mut random);
        for &kind in &order {
            let body = KINDS[kind].body(round);
            let began = Instant::now();
            let answer = client.post("/auth/login", body).await;
            took[kind].push(began.elapsed());
            let answer = shape(&answer.expect_problem(401, "invalid_credentials"));
            assert_eq!(*first.get_or_insert_with(|| answer.clone()), answer, "{:?}", KINDS[kind]);
        }
    }
    took
}

/// In how many rounds the one took longer than the other: half of them, if they take equally long.
fn longer(one: &[Duration], other: &[Duration]) -> usize {
    one.iter().zip(other).filter(|(one, other)| one > other).count()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

#[actix_web::test]
async fn no_refused_log_in_tells_by_its_time_whether_there_is_such_an_account() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(database) = TestDatabase::create(backend) else { continue };
        let stack = TestStack::start_with(
            Databases::next_to(database),
            &[
                ("SIGNET__PASSWORDS__COST", COST),
                ("SIGNET__PASSWORDS__QUEUE_DEADLINE_MS", "60000"),
                ("SIGNET__SERVICES__TIMEOUT_MS", "60000"),
                // What is measured is the hash, and not what keeps it from being asked for too often.
                ("SIGNET__LIMITS__FAILURES_BEFORE_DELAY", "1000"),
                ("SIGNET__LIMITS__FAILURES_PER_ADDRESS", "0"),
                ("SIGNET__LIMITS__FAILURES_PER_ACCOUNT", "0"),
            ],
        );
        accounts(&stack.client).await;
        let took = measure(&stack.client).await;
        for (kind, times) in KINDS.iter().zip(&took) {
            let rounds = longer(times, &took[0]);
            eprintln!("{backend:?} {kind:?}: median {:?}, longer than a wrong password in {rounds}", median(times));
        }

        let (cheap, others) = took.split_last().unwrap();
        // A hash of an eighth of the work is seen, so one that is left out would be.
        assert!(longer(&others[0], cheap) > ROUNDS / 2 + NO_CHANCE, "the measure sees nothing");
        assert!(longer(&others[1], cheap) > ROUNDS / 2 + NO_CHANCE, "the measure sees nothing");
        // What is no chance may still be too little to tell from outside: a fifth of what a hash takes is not.
        let tolerable = median(&others[0]).saturating_sub(median(cheap)) / 5;
        for (kind, times) in KINDS.iter().zip(others) {
            for (other_kind, other) in KINDS.iter().zip(others) {
                let is_chance = longer(times, other) <= ROUNDS / 2 + NO_CHANCE;
                let is_small = median(times).saturating_sub(median(other)) <= tolerable;
                assert!(is_chance || is_small, "{kind:?} takes longer than {other_kind:?}, on {backend:?}");
            }
        }
        stack.stop().await;
    }
}

//! What the follower writes into the log. On its own, because a process has one log.
#![cfg(feature = "feed")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

#[allow(dead_code, reason = "other tests need the rest of it")]
#[path = "tokens/server.rs"]
mod server;

use std::sync::{Arc, Mutex};

use log::{Level, LevelFilter, Log, Metadata, Record};
use shared_claims::feed::{Follower, RevocationList, TokenSource};
use shared_claims::{KeyRing, LiveKeyRing, Signer};

use crate::server::Server;

static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

struct Lines;

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.lock().unwrap().push((record.level(), format!("{} {}", record.target(), record.args())));
    }

    fn flush(&self) {}
}

fn warnings_and_notes() -> Vec<(Level, String)> {
    let mut lines = LINES.lock().unwrap();
    let ours = lines.iter().filter(|(level, line)| *level <= Level::Info && line.starts_with("shared_claims"));
    let ours = ours.map(|(level, line)| (*level, line.split_once(' ').unwrap().1.to_owned())).collect();
    lines.clear();
    ours
}

#[tokio::test]
async fn an_outage_is_a_line_when_it_begins_and_a_line_when_it_ends_and_no_line_holds_a_token() {
    log::set_logger(&Lines).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let server = Server::start().await;
    let ring = LiveKeyRing::new(KeyRing::from_secret(b"kPz3vN8qWb5xTy1mRc7dGf2hJs9uLe4a").unwrap());
    let signer = Signer::live(&ring).unwrap();
    let tokens =
        TokenSource::signed(signer, "https://id.example", "greeter", "auth-service", Arc::new(|| 1_800_000_000));
    let follower = Follower::new(&server.url, "greeter", RevocationList::new(), ring, tokens).unwrap();
    tokio::spawn(follower.run(std::future::pending()));
    let begins = (Level::Info, "revocations are followed, 0 of them in force".to_owned());
    let empty = r#"{"epoch":"e1","seq":0,"entries":[]}"#;

    let call = server.next().await;
    let signature = call.token().rsplit_once('.').unwrap().1.to_owned();
    call.answer(200, empty).await;
    let mut call = server.next().await;
    assert_eq!(warnings_and_notes(), std::slice::from_ref(&begins));

    // What passes by itself is not worth a line.
    for _ in 0..2 {
        call.answer(503, "").await;
        call = server.next().await;
    }
    call.answer(200, empty).await;
    call = server.next().await;
    assert_eq!(warnings_and_notes(), []);

    for status in [503, 503, 503, 503, 500, 401, 401] {
        call.answer(status, "").await;
        call = server.next().await;
    }
    let lines = warnings_and_notes();
    let expected = [
        (Level::Warn, "revocations cannot be followed: auth-service answers 503".to_owned()),
        (Level::Warn, "revocations cannot be followed: auth-service refuses our token with 401".to_owned()),
    ];
    assert_eq!(lines, expected);
    call.answer(200, empty).await;
    server.next().await;
    assert_eq!(warnings_and_notes(), [begins]);
    let all = LINES.lock().unwrap();
    assert!(all.iter().all(|(_, line)| !line.contains(&signature)), "{all:?}");
}

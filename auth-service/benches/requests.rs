//! What a refresh and a look at the feed of revocations take through HTTP, one after the other, on SQLite and on
//! PostgreSQL where there is one.
//!
//! `cargo bench -p auth-service`. The client's own work is in these times; what the service alone takes says `load/run`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark fails by panicking, and its macros make undocumented items"
)]

#[path = "../tests/api/helpers.rs"]
#[allow(dead_code, reason = "a benchmark needs less of it than the tests do")]
mod helpers;

use std::time::{Duration, Instant};

use actix_web::rt::{System, SystemRunner};
use criterion::{Criterion, criterion_group, criterion_main};
use test_support::{Backend, TestDatabase};

use self::helpers::{TestApp, send, text};

/// Users whose sessions have ended, so that the feed has something to tell.
const ENDED: usize = 100;

fn requests(criterion: &mut Criterion) {
    for (name, backend) in [("sqlite", Backend::Sqlite), ("postgres", Backend::Postgres)] {
        let Some(database) = TestDatabase::create(backend) else {
            continue;
        };
        let system = System::new();
        let app = system.block_on(async { TestApp::start(database) });
        let mut token = system.block_on(async {
            for number in 0..ENDED {
                let tokens = app.register(&format!("user{number}")).await;
                let answer = send(app.post("/auth/logout").bearer_auth(text(&tokens["access_token"]))).await;
                assert!(answer.status.is_success(), "{}", answer.body);
            }
            text(&app.register("ada").await["refresh_token"]).to_owned()
        });
        criterion.bench_function(&format!("refresh/{name}"), |bencher| {
            bencher.iter_custom(|times| {
                timed(&system, async || {
                    for _ in 0..times {
                        let answer = app.refresh(&token).await;
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        text(&answer.body["refresh_token"]).clone_into(&mut token);
                    }
                })
            });
        });
        let service = app.service_token();
        let all = system.block_on(send(app.get("/internal/revocations").bearer_auth(&service))).body;
        assert_eq!(all["entries"].as_array().map(Vec::len), Some(ENDED), "{all}");
        let caught_up = format!("?epoch={}&after={}", text(&all["epoch"]), all["seq"]);
        for (what, query) in [("all of 100 entries", String::new()), ("caught up", caught_up)] {
            criterion.bench_function(&format!("feed/{name}, {what}"), |bencher| {
                bencher.iter_custom(|times| {
                    timed(&system, async || {
                        for _ in 0..times {
                            let asked = app.get(&format!("/internal/revocations{query}")).bearer_auth(&service);
                            let answer = send(asked).await;
                            assert_eq!(answer.status, 200, "{}", answer.body);
                        }
                    })
                });
            });
        }
        system.block_on(app.stop());
    }
}

fn timed(system: &SystemRunner, work: impl AsyncFnOnce()) -> Duration {
    let begin = Instant::now();
    system.block_on(work());
    begin.elapsed()
}

criterion_group!(benches, requests);
criterion_main!(benches);

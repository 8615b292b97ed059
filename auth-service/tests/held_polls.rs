//! A thousand verifiers that wait cost neither threads nor queries. By itself in its process, where nobody else starts
//! threads.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, and its name says what it shows"
)]

#[path = "api/helpers.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod helpers;

use std::time::{Duration, Instant};

use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, sql_types::BigInt};
use futures_util::future::join_all;
use shared_claims::feed::Feed;
use test_support::{Backend, TestDatabase};

use crate::helpers::{TestApp, send, text};

const POLLS: usize = 1000;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// The transactions that PostgreSQL has finished in the database of the tests, which this process has for itself unless
/// the tests were given a server.
fn transactions(app: &TestApp) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let mut connection = PgConnection::establish(app.database.url()).unwrap();
    let count: Count = diesel::sql_query(
        "SELECT sum(xact_commit)::bigint AS count FROM pg_stat_database WHERE datname = current_database()",
    )
    .get_result(&mut connection)
    .unwrap();
    count.count
}

async fn feed(app: &TestApp, token: &str, query: &str) -> Feed {
    let answer = send(app.get(&format!("/internal/revocations?{query}")).bearer_auth(token)).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    serde_json::from_value(answer.body).unwrap()
}

/// How many of the verifiers have been written into the registry.
async fn arrived(app: &TestApp, token: &str) -> usize {
    let answer = send(app.get("/internal/keys").bearer_auth(token)).await;
    let verifiers = answer.body["verifiers"].as_array().unwrap();
    verifiers.iter().filter(|verifier| text(&verifier["id"]).starts_with("waiting/")).count()
}

/// One test for both, as each counts threads of the process.
#[actix_web::test]
async fn a_thousand_held_polls_cost_no_thread_and_no_query_and_one_log_out_answers_them_all() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(db) = TestDatabase::create(backend) else { continue };
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let service = app.service_token();
        let epoch = feed(&app, &service, "").await.epoch;
        let before = threads();

        let wait = async {
            let polls = (0..POLLS).map(|number| {
                let (app, service, epoch) = (&app, &service, &epoch);
                async move {
                    let query = format!("after=0&epoch={epoch}&wait=60&verifier=waiting/{number}&kids=a");
                    let answer = feed(app, service, &query).await;
                    assert_eq!(answer.entries.len(), 1);
                    Instant::now()
                }
            });
            join_all(polls).await
        };
        let log_out = async {
            let mut rounds = 0;
            while arrived(&app, &service).await < POLLS {
                rounds += 1;
                assert!(rounds < 60, "only {} polls arrived", arrived(&app, &service).await);
                feed(&app, &service, "wait=1").await;
            }
            // The registry is written on the database's threads, which last for ten seconds: they are few.
            let while_held = threads();
            assert!(while_held <= before + 4, "{while_held} threads while {before} before");
            if backend == Backend::Postgres {
                let (started, first) = (Instant::now(), transactions(&app));
                for _ in 0..4 {
                    feed(&app, &service, "wait=1").await;
                }
                let (took, counted) = (started.elapsed(), transactions(&app) - first);
                // Two looks at the database a second, whoever waits, and this count itself. PostgreSQL adds up what a
                // connection did when it goes idle, with a second or so of delay.
                let looks = i64::try_from(took.as_millis() / 400).unwrap();
                assert!(counted <= 10 + looks, "{counted} transactions in {took:?}");
            }
            let out = send(app.post("/auth/logout").bearer_auth(text(&tokens["access_token"]))).await;
            assert_eq!(out.status.as_u16(), 204);
            Instant::now()
        };
        let (answered, out) = tokio::join!(wait, log_out);
        assert_eq!(answered.len(), POLLS);
        let last = answered.into_iter().max().unwrap();
        assert!(last.saturating_duration_since(out) < Duration::from_secs(1), "{:?}", last - out);
        app.stop().await;
    }
}

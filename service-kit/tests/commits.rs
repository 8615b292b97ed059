//! Who hears of a commit: whoever committed, and on PostgreSQL whoever listens.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking, and its name says what it shows")]

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use diesel::connection::SimpleConnection as _;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use service_kit::{
    Error,
    db::{Database, DatabaseUrl, Listener, Migrations},
};
use test_support::{Backend, TestDatabase, on_both_databases};
use tokio::sync::oneshot;

static MIGRATIONS: EmbeddedMigrations = embed_migrations!("tests/migrations");

fn open(url: &str) -> Database {
    let migrations = Migrations { sqlite: &MIGRATIONS, postgres: &MIGRATIONS };
    let database = Database::open(&DatabaseUrl::parse(url).unwrap(), 4, migrations).unwrap();
    database.migrate().unwrap();
    database
}

on_both_databases! {
    async fn a_commit_is_told_of_though_nobody_waits_for_it_any_more(db: TestDatabase) {
        let database = open(db.url());
        let (tell, told) = oneshot::channel();
        {
            let write = database.write_and_then(
                |db| {
                    db.batch_execute("INSERT INTO things (id) VALUES (1)")?;
                    Ok::<_, Error>("kept")
                },
                move |value| tell.send(*value).unwrap(),
            );
            assert!(is_pending(pin!(write)).await, "it has begun");
        }
        assert_eq!(told.await, Ok("kept"));
    }

    async fn what_is_rolled_back_is_not_told_of(db: TestDatabase) {
        let database = open(db.url());
        let (tell, told) = oneshot::channel();
        let failed = database
            .write_and_then(|_| Err::<(), _>(Error::NotFound), move |()| tell.send(()).unwrap())
            .await;
        assert!(matches!(failed, Err(Error::NotFound)));
        assert!(told.await.is_err());
    }

    async fn another_handle_sees_the_same_database_by_connections_of_its_own(db: TestDatabase) {
        let database = open(db.url());
        let apart = database.apart(1).unwrap();
        let insert = |number: i64| {
            move |db: &mut service_kit::db::Db| {
                Ok::<_, Error>(db.batch_execute(&format!("INSERT INTO things (id) VALUES ({number})"))?)
            }
        };
        apart.write(insert(1)).await.unwrap();
        assert!(database.write(insert(1)).await.is_err(), "it is there already");
        database.write(insert(2)).await.unwrap();
    }
}

/// Whether a future that has been polled once has not come to its end.
async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

async fn notify(database: &Database) {
    database.read(|db| Ok::<_, Error>(db.batch_execute("SELECT pg_notify('test_commits', '')")?)).await.unwrap();
}

async fn is_quiet(listener: &mut Listener) -> bool {
    is_pending(pin!(listener.next())).await
}

#[actix_web::test]
async fn a_listener_hears_what_another_connection_notifies_and_comes_back_when_it_was_cut_off() {
    let Some(db) = TestDatabase::create(Backend::Postgres) else { return };
    let database = open(&format!("{}&application_name=test-commits", db.url()));
    let mut listener = database.listen("test_commits");
    listener.next().await;
    assert!(is_quiet(&mut listener).await, "once for the connection, and no more");
    notify(&database).await;
    listener.next().await;

    db.execute(
        "DO $$ BEGIN PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE application_name = 'test-commits' AND query LIKE 'LISTEN %'; END $$",
    );
    listener.next().await;
    notify(&database).await;
    listener.next().await;
}

#[actix_web::test]
async fn nothing_is_ever_heard_of_on_sqlite() {
    let Some(db) = TestDatabase::create(Backend::Sqlite) else { return };
    let database = open(db.url());
    let mut listener = database.listen("test_commits");
    database.write(|db| Ok::<_, Error>(db.batch_execute("INSERT INTO things (id) VALUES (1)")?)).await.unwrap();
    assert!(is_quiet(&mut listener).await);
}

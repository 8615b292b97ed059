//! A database that says nothing any more, as it is when its machine hangs, and a statement that would take for ever.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking, and its name says what it shows")]

use std::time::{Duration, Instant};

use diesel::{ExpressionMethods as _, QueryDsl as _, connection::SimpleConnection as _};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use service_kit::{
    Error,
    db::{Database, DatabaseUrl, Db, Migrations, PipelinedRow, StorageError},
};
use test_support::{Backend, TestCluster, TestDatabase};

static MIGRATIONS: EmbeddedMigrations = embed_migrations!("tests/migrations");

diesel::table! {
    things (id) {
        id -> BigInt,
    }
}

fn open(db: &TestDatabase) -> Database {
    let migrations = Migrations { sqlite: &MIGRATIONS, postgres: &MIGRATIONS };
    let database = Database::open(&DatabaseUrl::parse(db.url()).unwrap(), 2, migrations).unwrap();
    database.migrate().unwrap();
    database
}

fn sleep(seconds: u32) -> impl FnOnce(&mut Db) -> Result<(), Error> + Send + 'static {
    move |db| Ok(db.batch_execute(&format!("SELECT pg_sleep({seconds})"))?)
}

fn id(row: &PipelinedRow) -> Result<i64, StorageError> {
    Ok(row.try_get(0)?)
}

async fn read_pooled(database: &Database) -> Result<(), Error> {
    database.read(|db| Ok(db.batch_execute("SELECT id FROM things")?)).await
}

async fn read_pipelined(database: &Database) -> Result<(), Error> {
    let all = things::table.select(things::id);
    Ok(database.read_pipelined(&all, id).await.map(drop)?)
}

async fn write_pipelined(database: &Database) -> Result<(), Error> {
    let insert = diesel::insert_into(things::table).values(things::id.eq(1)).on_conflict_do_nothing();
    Ok(database.write_pipelined(&insert.returning(things::id), id).await.map(drop)?)
}

/// How long it took until the database was said to be unavailable.
async fn unavailable(work: impl Future<Output = Result<(), Error>>) -> Duration {
    let begun = Instant::now();
    let refused = work.await;
    assert!(matches!(refused, Err(Error::DependencyUnavailable { dependency: "database", .. })), "{refused:?}");
    begun.elapsed()
}

#[actix_web::test]
async fn a_database_that_falls_silent_costs_seconds_and_is_taken_up_again_when_it_goes_on() {
    let Some(mut cluster) = TestCluster::start() else { return };
    let database = open(&cluster.create_database());
    let work = || (read_pooled(&database), read_pipelined(&database), write_pipelined(&database));
    let (pooled, read, write) = work();
    let answers = tokio::join!(pooled, read, write);
    assert!(matches!(answers, (Ok(()), Ok(()), Ok(()))), "{answers:?}");

    cluster.pause();
    let (pooled, read, write) = work();
    let (pooled, read, write) = tokio::join!(unavailable(pooled), unavailable(read), unavailable(write));
    for took in [pooled, read, write] {
        assert!(took < Duration::from_secs(13), "{took:?}");
    }
    // The next ones need not wait as long to know.
    let (_, read, write) = work();
    let (read, write) = tokio::join!(unavailable(read), unavailable(write));
    for took in [read, write] {
        assert!(took < Duration::from_secs(4), "{took:?}");
    }

    cluster.resume();
    let (pooled, read, write) = work();
    let answers = tokio::join!(pooled, read, write);
    assert!(matches!(answers, (Ok(()), Ok(()), Ok(()))), "{answers:?}");
}

#[actix_web::test]
async fn a_statement_that_takes_too_long_is_given_up_unless_it_may() {
    let Some(db) = TestDatabase::create(Backend::Postgres) else { return };
    let database = open(&db);
    let endless = unavailable(database.read(sleep(60)));
    let in_a_transaction = unavailable(database.write(sleep(60)));
    // What may take as long as it likes says so for itself alone: its connection is bounded again afterwards.
    let apart = database.apart(1).unwrap();
    let at_length = async {
        apart.write_at_length(sleep(9)).await.unwrap();
        let bounded = "DO $$ BEGIN ASSERT current_setting('statement_timeout') = '8s'; END $$";
        apart.read(move |db| Ok::<_, Error>(db.batch_execute(bounded)?)).await.unwrap();
    };
    let (read, write, ()) = tokio::join!(endless, in_a_transaction, at_length);
    for took in [read, write] {
        assert!(took < Duration::from_secs(10), "PostgreSQL itself gave it up: {took:?}");
    }
}

#[actix_web::test]
async fn who_waits_behind_others_for_a_database_that_is_gone_waits_no_longer_than_they_do() {
    let Some(mut cluster) = TestCluster::start() else { return };
    let database = open(&cluster.create_database());
    read_pooled(&database).await.unwrap();
    cluster.kill();
    // This one finds the connection that there was, and that it is dead.
    unavailable(read_pooled(&database)).await;
    let later = async {
        actix_web::rt::time::sleep(Duration::from_millis(700)).await;
        unavailable(read_pooled(&database)).await
    };
    // There are two connections.
    let (first, second) = (unavailable(read_pooled(&database)), unavailable(read_pooled(&database)));
    let (first, second, third) = tokio::join!(first, second, later);
    for took in [first, second, third] {
        assert!(took < Duration::from_millis(2_600), "{took:?}");
    }
}

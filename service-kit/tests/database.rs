//! The database handle: transactions, turns, and what happens when a connection is lost.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking, and its name says what it shows")]

use std::{
    collections::HashSet,
    sync::{self, Arc},
    thread,
};

use diesel::{QueryableByName, RunQueryDsl as _, connection::SimpleConnection as _, sql_types::BigInt};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use futures_util::future::join_all;
use service_kit::{
    Error,
    db::{Database, DatabaseUrl, Db, MaybeUnavailable as _, Migrations, SchemaState},
};
use test_support::{Backend, TestDatabase, on_both_databases};
use tokio::sync::Barrier;

static MIGRATIONS: EmbeddedMigrations = embed_migrations!("tests/migrations");

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn open(database: &TestDatabase) -> Database {
    open_url(database.url())
}

fn open_url(url: &str) -> Database {
    let migrations = Migrations { sqlite: &MIGRATIONS, postgres: &MIGRATIONS };
    Database::open(&DatabaseUrl::parse(url).unwrap(), 4, migrations).unwrap()
}

fn number(db: &mut Db, sql: &str) -> Result<i64, Error> {
    let row: Number = match db {
        Db::Sqlite(connection) => diesel::sql_query(sql).get_result(connection)?,
        Db::Postgres(connection) => diesel::sql_query(sql).get_result(connection)?,
    };
    Ok(row.number)
}

async fn count(database: &Database) -> i64 {
    database.read(|db| number(db, "SELECT count(*) AS number FROM things")).await.unwrap()
}

on_both_databases! {
    async fn a_schema_is_pending_until_it_is_migrated(db: TestDatabase) {
        let database = open(&db);
        assert!(matches!(database.schema_state().unwrap(), SchemaState::Pending(versions) if versions.len() == 1));
        assert_eq!(database.migrate().unwrap(), 1);
        assert_eq!(database.migrate().unwrap(), 0);
        assert_eq!(database.check().await.unwrap(), SchemaState::Current);
    }

    async fn a_database_without_room_is_unavailable_for_changes_and_its_connections_are_kept(db: TestDatabase) {
        let database = open(&db);
        database.migrate().unwrap();
        let refused = database
            .write(|db| {
                let result = match db {
                    // The most pages that the file may have, of which the table's are the last.
                    Db::Sqlite(connection) => connection.batch_execute(
                        "PRAGMA max_page_count = 1; CREATE TABLE more (text TEXT); \
                         INSERT INTO more VALUES (hex(zeroblob(100000)))",
                    ),
                    // What PostgreSQL says when it cannot make a file longer.
                    Db::Postgres(connection) => connection.batch_execute(
                        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full', \
                         MESSAGE = 'could not extend file: No space left on device'; END $$",
                    ),
                };
                Ok::<_, Error>(result?)
            })
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::DependencyUnavailable { .. }), "{refused:?}");
        assert!(!refused.is_unavailable(), "the connection is none the worse");
        assert_eq!(count(&database).await, 0);
    }

    async fn a_single_statement_that_cannot_be_committed_has_failed_though_it_returned_a_row(db: TestDatabase) {
        let database = open(&db);
        // What refers to nothing is refused at the commit, like what finds no room.
        db.execute(
            "CREATE TABLE parents (id BIGINT PRIMARY KEY); \
             CREATE TABLE children (parent BIGINT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
        );
        let insert = |db: &mut Db| number(db, "INSERT INTO children VALUES (1) RETURNING parent AS number");
        let done = database.write_statement(insert).await;
        assert!(done.is_err(), "{done:?}");
    }

    async fn a_write_that_fails_leaves_nothing(db: TestDatabase) {
        let database = open(&db);
        database.migrate().unwrap();
        let failed: Result<(), Error> = database
            .write(|db| {
                db.batch_execute("INSERT INTO things (id) VALUES (1)")?;
                Err(Error::NotFound)
            })
            .await;
        assert!(matches!(failed, Err(Error::NotFound)));
        assert_eq!(count(&database).await, 0);
        database.write(|db| Ok::<_, Error>(db.batch_execute("INSERT INTO things (id) VALUES (1)")?)).await.unwrap();
        assert_eq!(count(&database).await, 1);
    }

    async fn a_write_that_panics_leaves_nothing_and_the_next_one_works(db: TestDatabase) {
        let database = open(&db);
        database.migrate().unwrap();
        let failed: Result<(), Error> = database
            .write(|db| {
                db.batch_execute("INSERT INTO things (id) VALUES (1)")?;
                panic!("in the middle")
            })
            .await;
        assert!(matches!(failed, Err(Error::Internal(_))));
        database.write(|db| Ok::<_, Error>(db.batch_execute("INSERT INTO things (id) VALUES (2)")?)).await.unwrap();
        assert_eq!(count(&database).await, 1);
    }

    async fn many_writers_take_turns_and_none_is_lost(db: TestDatabase) {
        let database = open(&db);
        database.migrate().unwrap();
        let together = Arc::new(Barrier::new(32));
        let writers: Vec<_> = (0..32)
            .map(|id| {
                let (database, together) = (database.clone(), together.clone());
                actix_web::rt::spawn(async move {
                    together.wait().await;
                    database
                        .write(move |db| {
                            Ok::<_, Error>(db.batch_execute(&format!("INSERT INTO things (id) VALUES ({id})"))?)
                        })
                        .await
                        .unwrap();
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(count(&database).await, 32);
    }

    async fn all_workers_share_as_many_threads_as_there_are_connections(db: TestDatabase) {
        let database = open(&db);
        // Four at a time, or nobody goes on.
        let together = Arc::new(sync::Barrier::new(4));
        let worker = || {
            let (database, together) = (database.clone(), together.clone());
            thread::spawn(move || {
                let reads = (0..16).map(|_| {
                    let together = together.clone();
                    database.read(move |_| {
                        together.wait();
                        Ok::<_, Error>(thread::current().id())
                    })
                });
                actix_web::rt::System::new().block_on(join_all(reads))
            })
        };
        let workers = [worker(), worker(), worker()];
        let threads: HashSet<_> =
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).map(Result::unwrap).collect();
        assert_eq!(threads.len(), 4);
    }

    async fn replicas_that_start_at_once_migrate_once(db: TestDatabase) {
        let databases: Vec<Database> = (0..8).map(|_| open(&db)).collect();
        let together = Arc::new(std::sync::Barrier::new(databases.len()));
        let threads: Vec<_> = databases
            .into_iter()
            .map(|database| {
                let together = together.clone();
                std::thread::spawn(move || {
                    together.wait();
                    database.migrate().unwrap()
                })
            })
            .collect();
        let applied: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(applied, 1);
    }
}

#[actix_web::test]
async fn a_lost_connection_costs_one_answer_at_most() {
    let Some(db) = TestDatabase::create(Backend::Postgres) else { return };
    let database = open_url(&format!("{}&application_name=lost-connection", db.url()));
    let pipelined = async || {
        let query = diesel::sql_query("SELECT 1::bigint AS number");
        database.read_pipelined(&query, |row| Ok(row.try_get::<_, i64>(0)?)).await.map(|rows| rows[0])
    };
    let pooled = async || database.read(|db| number(db, "SELECT 1::bigint AS number")).await;
    assert_eq!((pipelined().await.unwrap(), pooled().await.unwrap()), (1, 1));

    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'lost-connection'";
    db.execute(end);
    assert_eq!(pipelined().await.unwrap(), 1, "repeated on a new connection");
    assert!(matches!(pooled().await, Err(Error::DependencyUnavailable { dependency: "database", .. })));
    assert_eq!(pooled().await.unwrap(), 1);
}

#[test]
fn a_url_that_names_no_lasting_database_is_refused() {
    for url in
        ["", "mysql://localhost/x", "sqlite:", "sqlite::memory:", "postgres://h/x?sslmode=perhaps", "postgres://h:x/y"]
    {
        assert!(DatabaseUrl::parse(url).is_err(), "{url}");
    }
    let shown = format!("{:?}", DatabaseUrl::parse("postgres://ada:lovelace@h/x").unwrap());
    assert!(!shown.contains("lovelace"), "{shown}");
}

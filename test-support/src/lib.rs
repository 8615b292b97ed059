//! A throw-away database for each test, on SQLite and on PostgreSQL, a disk to fill up, a stand-in for auth-service's
//! feed, and a judge that holds answers against an OpenAPI document.
//!
//! SQLite databases are files in a temporary directory. PostgreSQL databases are schemas of their own, on the server that
//! `TEST_DATABASE_URL` names or, without it, on a cluster that is started once for each test process from the PostgreSQL
//! programs found on the machine, and that ends with the process. Where there are neither, PostgreSQL tests pass without
//! running and one line on standard error says so; `REQUIRE_POSTGRES=1` makes that a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use this crate, and a panic is how they fail")]

mod contract;
mod disk;
mod feed;
mod postgres;

use std::error::Error;
use std::io::Write;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection};
use tempfile::TempDir;

pub use contract::{Contract, Exchange};
pub use disk::SmallDisk;
pub use feed::FakeFeed;
pub use postgres::TestCluster;

/// A database system that the services support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, built into the test.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// An empty database that nothing else uses and that is gone once this is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Directory {
        _directory: TempDir,
    },
    Schema {
        name: String,
        server_url: &'static str,
    },
    /// A schema in a cluster that takes it along when it goes.
    Cluster,
}

impl TestDatabase {
    /// Makes an empty database; a test may have several.
    ///
    /// `None` is returned only for [`Backend::Postgres`], when there is no PostgreSQL on this machine.
    ///
    /// # Panics
    ///
    /// When the database cannot be made, when the server of `TEST_DATABASE_URL` cannot be reached, and instead of
    /// returning `None` when `REQUIRE_POSTGRES=1`.
    pub fn create(backend: Backend) -> Option<Self> {
        match backend {
            Backend::Sqlite => Some(Self::in_directory()),
            Backend::Postgres => postgres::server_url().map(Self::in_schema),
        }
    }

    fn in_directory() -> Self {
        let directory = tempfile::Builder::new().prefix("signet-sqlite.").tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", directory.path().join("test.db").display());
        Self { url, place: Place::Directory { _directory: directory } }
    }

    fn in_schema(server_url: &'static str) -> Self {
        let name = format!("test_{:016x}", rand::random::<u64>());
        execute_on_server(server_url, &format!("CREATE SCHEMA {name}")).expect("a schema of the test's own");
        Self { url: with_search_path(server_url, &name), place: Place::Schema { name, server_url } }
    }

    fn in_cluster(server_url: &str) -> Self {
        let name = format!("test_{:016x}", rand::random::<u64>());
        execute_on_server(server_url, &format!("CREATE SCHEMA {name}")).expect("a schema of the test's own");
        Self { url: with_search_path(server_url, &name), place: Place::Cluster }
    }

    /// `sqlite:` and a path, or a `postgres:` URL whose `search_path` is the test's own schema. Neither has any tables.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The system this database is on.
    pub fn backend(&self) -> Backend {
        match self.place {
            Place::Directory { .. } => Backend::Sqlite,
            Place::Schema { .. } | Place::Cluster => Backend::Postgres,
        }
    }

    /// Runs SQL, one statement or several, behind the back of the code under test.
    ///
    /// # Panics
    ///
    /// When a statement fails.
    pub fn execute(&self, sql: &str) {
        match self.backend() {
            Backend::Sqlite => {
                let path = self.url.strip_prefix("sqlite:").expect("made with this prefix");
                let mut connection = SqliteConnection::establish(path).expect("the test's database file");
                connection.batch_execute("PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON").expect("pragmas");
                connection.batch_execute(sql)
            }
            Backend::Postgres => {
                PgConnection::establish(&self.url).expect("a connection to PostgreSQL").batch_execute(sql)
            }
        }
        .unwrap_or_else(|error| panic!("{error}, in: {sql}"));
    }

    /// What the database's tables look like: a line for each column (`table.column type null`) and each index, in
    /// alphabetical order. Integers of either width count as one type, as SQLite has no other.
    ///
    /// # Panics
    ///
    /// When the database cannot be asked.
    pub fn schema(&self) -> Vec<String> {
        let mut lines = match self.backend() {
            Backend::Sqlite => {
                let path = self.url.strip_prefix("sqlite:").expect("made with this prefix");
                let mut connection = SqliteConnection::establish(path).expect("the test's database file");
                diesel::sql_query(SQLITE_SCHEMA).load::<SchemaLine>(&mut connection)
            }
            Backend::Postgres => {
                let mut connection = PgConnection::establish(&self.url).expect("a connection to PostgreSQL");
                diesel::sql_query(POSTGRES_SCHEMA).load::<SchemaLine>(&mut connection)
            }
        }
        .expect("the schema");
        lines.sort_by(|a, b| a.line.cmp(&b.line));
        lines.into_iter().map(|line| line.line).collect()
    }
}

#[derive(QueryableByName)]
struct SchemaLine {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

const SQLITE_SCHEMA: &str = r#"
    SELECT m.name || '.' || p.name || ' ' ||
           CASE lower(p.type) WHEN 'bigint' THEN 'integer' ELSE lower(p.type) END ||
           CASE WHEN p."notnull" = 0 AND p.pk = 0 THEN ' null' ELSE '' END AS line
      FROM sqlite_master m JOIN pragma_table_info(m.name) p
     WHERE m.type = 'table' AND m.name NOT LIKE '\_\_diesel%' ESCAPE '\' AND m.name NOT LIKE 'sqlite%'
    UNION ALL
    SELECT 'index ' || name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_autoindex%'
"#;

const POSTGRES_SCHEMA: &str = r"
    SELECT table_name || '.' || column_name || ' ' ||
           CASE data_type WHEN 'bigint' THEN 'integer' ELSE data_type END ||
           CASE is_nullable WHEN 'YES' THEN ' null' ELSE '' END AS line
      FROM information_schema.columns
     WHERE table_schema = current_schema() AND table_name NOT LIKE '\_\_diesel%'
    UNION ALL
    SELECT 'index ' || i.relname
      FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
     WHERE i.relnamespace = current_schema()::regnamespace
       AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = x.indexrelid)
";

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Place::Schema { name, server_url } = &self.place else { return };
        // A connection that the test left in a transaction must not keep it from ending.
        let sql = format!("SET lock_timeout = '5s'; SET client_min_messages = 'warning'; DROP SCHEMA {name} CASCADE");
        if let Err(error) = execute_on_server(server_url, &sql) {
            // A panic here could hide the test's own.
            let line = format!("schema {name} was not dropped: {error}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }
}

fn execute_on_server(url: &str, sql: &str) -> Result<(), Box<dyn Error>> {
    Ok(PgConnection::establish(url)?.batch_execute(sql)?)
}

/// The URL with `-c search_path=schema` added to its `options`, percent-encoded: libpq reads no `+` as a space.
fn with_search_path(url: &str, schema: &str) -> String {
    let setting = format!("-c%20search_path%3D{schema}");
    let (server, query) = url.split_once('?').unwrap_or((url, ""));
    let (options, others): (Vec<_>, Vec<_>) =
        query.split('&').filter(|pair| !pair.is_empty()).partition(|pair| pair.starts_with("options="));
    let options = match options.last() {
        Some(given) => format!("{given}%20{setting}"),
        None => format!("options={setting}"),
    };
    let query: Vec<_> = others.into_iter().chain([options.as_str()]).collect();
    format!("{server}?{}", query.join("&"))
}

/// Writes each `async fn name(db: TestDatabase) { … }` as two tests, `name::sqlite` and `name::postgres`.
///
/// Attributes go to the module `name`, which imports all that is around it. The calling crate needs `actix-web`, whose
/// test runtime the tests run on.
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($database:ident: $type:ty $(,)?) $body:block)+) => {$(
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports, clippy::wildcard_imports)]
            use super::*;

            async fn check($database: $type) $body

            #[::actix_web::test]
            async fn sqlite() {
                if let Some(database) = $crate::TestDatabase::create($crate::Backend::Sqlite) {
                    check(database).await;
                }
            }

            #[::actix_web::test]
            async fn postgres() {
                if let Some(database) = $crate::TestDatabase::create($crate::Backend::Postgres) {
                    check(database).await;
                }
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use diesel::sql_types::BigInt;
    use diesel::{QueryableByName, RunQueryDsl, sql_query};

    use super::*;

    on_both_databases! {
        /// The second would fail with "already exists" if it saw the first's table.
        async fn two_databases_of_one_test_share_nothing(first: TestDatabase) {
            let second = TestDatabase::create(first.backend()).expect("the first was made");
            assert_ne!(first.url(), second.url());
            for database in [&first, &second] {
                database.execute("CREATE TABLE notes (id TEXT PRIMARY KEY); INSERT INTO notes VALUES ('a')");
            }
        }

        async fn the_url_starts_with_the_scheme_of_its_backend(db: TestDatabase) {
            let scheme = match db.backend() {
                Backend::Sqlite => "sqlite:/",
                Backend::Postgres => "postgres",
            };
            assert!(db.url().starts_with(scheme), "{}", db.url());
        }
    }

    #[test]
    fn drop_removes_the_sqlite_directory() {
        let database = TestDatabase::create(Backend::Sqlite).unwrap();
        database.execute("CREATE TABLE notes (id TEXT PRIMARY KEY)");
        let path = std::path::PathBuf::from(database.url().strip_prefix("sqlite:").unwrap());
        assert!(path.is_file());
        drop(database);
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn drop_removes_the_postgres_schema_and_what_is_in_it() {
        let Some(database) = TestDatabase::create(Backend::Postgres) else { return };
        database.execute("CREATE TABLE notes (id TEXT PRIMARY KEY)");
        let Place::Schema { name, server_url } = &database.place else { unreachable!("asked for PostgreSQL") };
        let (name, server_url) = (name.clone(), *server_url);
        assert_eq!(tables_in_schema(server_url, &name), (1, 1));
        drop(database);
        assert_eq!(tables_in_schema(server_url, &name), (0, 0));
    }

    /// How many schemas have this name, and how many tables they hold.
    fn tables_in_schema(server_url: &str, name: &str) -> (i64, i64) {
        #[derive(QueryableByName)]
        struct Counts {
            #[diesel(sql_type = BigInt)]
            schemas: i64,
            #[diesel(sql_type = BigInt)]
            tables: i64,
        }
        let counts: Counts = sql_query(format!(
            "SELECT (SELECT count(*) FROM information_schema.schemata WHERE schema_name = '{name}') AS schemas, \
             (SELECT count(*) FROM information_schema.tables WHERE table_schema = '{name}') AS tables"
        ))
        .get_result(&mut PgConnection::establish(server_url).unwrap())
        .unwrap();
        (counts.schemas, counts.tables)
    }

    #[test]
    fn what_was_committed_outlasts_a_kill_of_the_server_and_the_rest_does_not() {
        let Some(mut cluster) = TestCluster::start() else { return };
        let database = cluster.create_database();
        database.execute("CREATE TABLE notes (id TEXT PRIMARY KEY); INSERT INTO notes VALUES ('kept')");
        let mut connection = PgConnection::establish(database.url()).unwrap();
        connection.batch_execute("BEGIN; INSERT INTO notes VALUES ('lost')").unwrap();
        for _ in 0..2 {
            cluster.kill();
            connection.batch_execute("COMMIT").unwrap_err();
            assert!(PgConnection::establish(database.url()).is_err());
            cluster.restart();
            connection = PgConnection::establish(database.url()).unwrap();
        }
        database.execute("UPDATE notes SET id = 'alone' WHERE (SELECT count(*) FROM notes) = 1");
        database.execute("INSERT INTO notes VALUES ('kept')");
        let directory = cluster_directory(&mut connection);
        assert!(directory.is_dir());
        drop((database, cluster));
        assert!(!directory.exists());
    }

    fn cluster_directory(connection: &mut PgConnection) -> std::path::PathBuf {
        #[derive(QueryableByName)]
        struct Setting {
            #[diesel(sql_type = diesel::sql_types::Text)]
            directory: String,
        }
        let setting: Setting =
            sql_query("SELECT current_setting('data_directory') AS directory").get_result(connection).unwrap();
        setting.directory.into()
    }

    #[test]
    fn the_search_path_joins_what_the_url_already_asks_for() {
        assert_eq!(with_search_path("postgres://h/d", "s"), "postgres://h/d?options=-c%20search_path%3Ds");
        assert_eq!(
            with_search_path("postgres://h/d?options=-c%20work_mem%3D1MB&sslmode=require", "s"),
            "postgres://h/d?sslmode=require&options=-c%20work_mem%3D1MB%20-c%20search_path%3Ds"
        );
    }
}

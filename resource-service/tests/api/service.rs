//! The service around its routes: configuration, schema, health.

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query,
    sql_types::{Bool, Text},
};
use reqwest::{Method, StatusCode};
use test_support::{Backend, TestDatabase, on_both_databases};

use crate::helpers::{TestApp, body, config, problem};

#[derive(Debug, PartialEq, QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    required: bool,
}

on_both_databases! {
    async fn both_databases_have_the_same_schema(database: TestDatabase) {
        TestApp::start(&database);
        let columns: Vec<Column> = match database.backend() {
            Backend::Sqlite => sql_query(
                "SELECT name, lower(type) AS kind, \"notnull\" AS required FROM pragma_table_xinfo('persons') ORDER BY name",
            )
            .load(&mut SqliteConnection::establish(database.url().strip_prefix("sqlite:").unwrap()).unwrap())
            .unwrap(),
            Backend::Postgres => sql_query(
                "SELECT column_name::text AS name, data_type::text AS kind, is_nullable = 'NO' AS required \
                 FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = 'persons' ORDER BY 1",
            )
            .load(&mut PgConnection::establish(database.url()).unwrap())
            .unwrap(),
        };
        let column = |name: &str, kind: &str, required| Column { name: name.to_owned(), kind: kind.to_owned(), required };
        assert_eq!(
            columns,
            [
                column("age", "integer", false),
                column("age_key", "integer", true),
                column("created_at", "bigint", true),
                column("email", "text", false),
                column("id", "text", true),
                column("name", "text", true),
                column("search_text", "text", true),
                column("updated_at", "bigint", true),
                column("version", "bigint", true),
            ]
        );
    }

    async fn a_second_start_finds_everybody_again(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.import("text/csv", "id,name\na,Ann\n").await;
        let again = TestApp::start(&database);
        assert_eq!(again.everybody().await, app.everybody().await);
        assert_eq!(again.everybody().await.len(), 1);
    }

    async fn health_is_told_without_a_token(database: TestDatabase) {
        let app = TestApp::start(&database);
        for path in ["/healthz", "/readyz"] {
            let response = app.anonymous(Method::GET, path).send().await.unwrap();
            body(response, StatusCode::OK).await;
        }
    }

    async fn a_fault_of_the_database_is_500_and_says_nothing_of_it(database: TestDatabase) {
        let app = TestApp::start(&database);
        database.execute("DROP TABLE persons");
        for path in ["/persons", "/persons?q=a", "/persons/a", "/persons/export"] {
            let problem = problem(app.get(path).send().await.unwrap(), 500, "internal").await;
            assert!(!problem.to_string().contains("table") && !problem.to_string().contains("relation"), "{problem}");
        }
    }

    async fn a_schema_that_is_behind_stops_the_start_where_it_may_not_be_brought_up_to_date(database: TestDatabase) {
        let config = config(&database, &[("database.migrate", "false")]).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = resource_service::build(config, listener, service_kit::Clock::system()).unwrap_err();
        assert!(error.to_string().contains("database.migrate"), "{error}");
    }
}

#[test]
fn wrong_configuration_names_its_key() {
    let database = TestDatabase::create(Backend::Sqlite).unwrap();
    for (key, value) in [
        ("tokens.secret", "too short"),
        ("tokens.secret", ""),
        ("tokens.issuer", ""),
        ("tokens.audience", ""),
        ("tokens.sources", "header,cookie"),
        ("tokens.leeway_seconds", "31"),
        ("tokens.feed_stale_after_seconds", "1"),
        ("services.auth_url", "127.0.0.1:8081"),
        ("services.client_secret", "a secret without a client"),
        ("persons.spool_directory", "/nowhere/at/all"),
        ("database.pool_size", "0"),
        ("log.format", "xml"),
        ("persons.spool", "x"),
    ] {
        let error = config(&database, &[(key, value)]).unwrap_err().to_string();
        assert!(error.contains(key) && !error.contains('\n'), "{key}: {error}");
    }
}

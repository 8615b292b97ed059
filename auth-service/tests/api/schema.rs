//! Both databases have the same tables.

use service_kit::db::{Database, DatabaseUrl};
use test_support::{Backend, TestDatabase};

#[test]
fn both_databases_have_the_same_schema() {
    let [Some(sqlite), Some(postgres)] = [Backend::Sqlite, Backend::Postgres].map(TestDatabase::create) else { return };
    for database in [&sqlite, &postgres] {
        let url = DatabaseUrl::parse(database.url()).unwrap();
        Database::open(&url, 1, auth_service::storage::MIGRATIONS).unwrap().migrate().unwrap();
    }
    assert_eq!(sqlite.schema(), postgres.schema());
    assert!(sqlite.schema().contains(&"sessions.ended_at integer null".to_owned()));
}

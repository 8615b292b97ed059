//! What happens at the start: the first admin, and configurations that stop it.

use reqwest::StatusCode;
use serde_json::json;
use service_kit::{Clock, config, server::StartError};
use test_support::{Backend, TestDatabase, on_both_databases};
use user_service::{App, BootstrapOutcome, Config};

use crate::helpers::{PASSWORD, SECRET, config as configuration, query_texts, spawn, spawn_with};

const ADMIN: [(&str, &str); 2] =
    [("bootstrap.admin_email", "Root@example.com"), ("bootstrap.admin_password", PASSWORD)];

on_both_databases! {
    async fn the_first_start_makes_the_admin_and_the_second_finds_it(db: TestDatabase) {
        let app = spawn_with(&db, &ADMIN).await;
        assert_eq!(app.app.bootstrap_outcome(), BootstrapOutcome::Created);
        let account = app.log_in(json!({ "email": "root@example.com", "password": PASSWORD })).await;
        let account = account.expect(StatusCode::OK);
        assert_eq!((&account["user"]["roles"], &account["user"]["disabled"]), (&json!(["admin"]), &json!(false)));
        app.stop().await;

        let other = [ADMIN[0], ("bootstrap.admin_password", "eleven green herons fishing")];
        let app = spawn_with(&db, &other).await;
        assert_eq!(app.app.bootstrap_outcome(), BootstrapOutcome::AdminExists);
        let account = app.log_in(json!({ "email": "root@example.com", "password": PASSWORD })).await;
        account.expect(StatusCode::OK);
    }

    async fn a_stranger_who_registered_the_admins_address_is_not_made_admin(db: TestDatabase) {
        let app = spawn(&db).await;
        assert_eq!(app.app.bootstrap_outcome(), BootstrapOutcome::NotConfigured);
        let stranger = json!({ "email": "root@example.com", "password": "eleven green herons fishing" });
        app.register(stranger.clone()).await.expect(StatusCode::CREATED);
        app.stop().await;
        let app = spawn_with(&db, &ADMIN).await;
        assert_eq!(app.app.bootstrap_outcome(), BootstrapOutcome::EmailTaken);
        let account = app.log_in(stranger).await.expect(StatusCode::OK);
        assert_eq!(account["user"]["roles"], json!(["user"]));
    }

    async fn a_disabled_admin_and_a_similar_role_do_not_count(db: TestDatabase) {
        let app = spawn(&db).await;
        for (email, roles, disabled) in [("a@example.com", "admin", true), ("b@example.com", "super-admin", false)] {
            let body = json!({ "email": email, "password": PASSWORD, "roles": [roles], "disabled": disabled });
            app.post("/users", &app.admin_token(), body).await.expect(StatusCode::CREATED);
        }
        app.stop().await;
        assert_eq!(spawn_with(&db, &ADMIN).await.app.bootstrap_outcome(), BootstrapOutcome::Created);
    }

    async fn replicas_that_start_at_once_make_one_admin(db: TestDatabase) {
        drop(App::new(configuration(&db, &[]).unwrap(), Clock::system()).unwrap());
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let config = configuration(&db, &ADMIN).unwrap();
                std::thread::spawn(move || App::new(config, Clock::system()).unwrap().bootstrap_outcome())
            })
            .collect();
        let outcomes: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        let made = outcomes.iter().filter(|outcome| **outcome == BootstrapOutcome::Created).count();
        assert_eq!(made, 1, "{outcomes:?}");
        assert!(!outcomes.contains(&BootstrapOutcome::EmailTaken), "{outcomes:?}");
        assert_eq!(query_texts(&db, "SELECT email AS value FROM users"), ["root@example.com"]);
    }

    async fn migrations_go_down_and_up_again(db: TestDatabase) {
        let app = spawn(&db).await;
        app.stop().await;
        // They drop the same tables, so the same statements do for both.
        macro_rules! down {
            ($migration:literal) => {{
                let down = include_str!(concat!("../../migrations/sqlite/", $migration, "/down.sql"));
                assert_eq!(down, include_str!(concat!("../../migrations/postgres/", $migration, "/down.sql")));
                db.execute(down);
            }};
        }
        down!("2026-11-23-000000_add_audit_outbox");
        down!("2026-01-10-000000_create_users");
        db.execute("DELETE FROM __diesel_schema_migrations");
        let app = spawn(&db).await;
        app.get("/readyz", "").await.expect(StatusCode::OK);
        app.import("ada@example.com").await;
    }

    async fn a_wrong_configuration_names_its_key_and_shows_no_secret(db: TestDatabase) {
        let weak = [ADMIN[0], ("bootstrap.admin_password", "administrator")];
        let short = [ADMIN[0], ("bootstrap.admin_password", "short")];
        let cases: [(&str, &[(&str, &str)]); 21] = [
            ("tokens.secret", &[("tokens.secret", "")]),
            ("tokens.secret", &[("tokens.secret", "short")]),
            ("tokens.jwks_file", &[("tokens.jwks_file", "/nowhere.json")]),
            ("tokens.issuer", &[("tokens.issuer", "")]),
            ("tokens.audience", &[("tokens.audience", "")]),
            ("tokens.leeway_seconds", &[("tokens.leeway_seconds", "31")]),
            ("tokens.sources", &[("tokens.sources", "header,cookie")]),
            ("services.auth_url", &[("services.auth_url", "ftp://example.com")]),
            ("services.auth_url", &[("services.auth_url", "")]),
            ("services.client_secret", &[("services.client_id", "u1")]),
            ("services.client_id", &[("services.client_secret", PASSWORD)]),
            ("users.default_roles", &[("users.default_roles", "User")]),
            ("passwords.cost", &[("passwords.cost", "3")]),
            ("passwords.cost", &[("passwords.cost", "17")]),
            ("passwords.pepper", &[("passwords.pepper", "pepper")]),
            ("passwords.queue_length", &[("passwords.queue_length", "0")]),
            ("passwords.queue_deadline_ms", &[("passwords.queue_deadline_ms", "0")]),
            ("bootstrap.admin_email", &[("bootstrap.admin_password", PASSWORD)]),
            ("bootstrap.admin_password", &ADMIN[..1]),
            ("bootstrap.admin_password", &short),
            ("bootstrap.admin_password", &weak),
        ];
        for (key, overrides) in cases {
            let started = configuration(&db, overrides)
                .map_err(StartError::from)
                .and_then(|config| App::new(config, Clock::system()).map(drop));
            let error = started.expect_err(key);
            assert!(matches!(error, StartError::Config(_)), "{key}: {error}");
            let line = error.to_string();
            assert!(line.contains(key) && !line.contains('\n'), "{key}: {line}");
            for secret in ["administrator", PASSWORD, SECRET] {
                assert!(!line.contains(secret), "{line}");
            }
        }
    }
}

#[actix_web::test]
async fn both_databases_have_the_same_schema() {
    let Some(postgres) = TestDatabase::create(Backend::Postgres) else { return };
    let sqlite = TestDatabase::create(Backend::Sqlite).unwrap();
    spawn(&postgres).await.stop().await;
    spawn(&sqlite).await.stop().await;
    // SQLite numbers rows for a column of the type INTEGER only, which has 64 bits there.
    let mut in_sqlite = query_texts(
        &sqlite,
        "SELECT t.name || '.' || c.name || ' ' || replace(c.type, 'INTEGER', 'BIGINT') || ' ' || c.\"notnull\" AS value \
         FROM sqlite_master t JOIN pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND t.name IN ('users', 'outbox')",
    );
    let mut in_postgres = query_texts(
        &postgres,
        "SELECT table_name || '.' || column_name || ' ' || upper(data_type) || ' ' || \
         CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END AS value \
         FROM information_schema.columns \
         WHERE table_schema = current_schema() AND table_name IN ('users', 'outbox')",
    );
    in_sqlite.sort();
    in_postgres.sort();
    assert_eq!(in_sqlite.len(), 18);
    assert_eq!(in_sqlite, in_postgres);
}

#[test]
fn the_printed_configuration_shows_every_section_and_no_secret() {
    let db = TestDatabase::create(Backend::Sqlite).unwrap();
    let pepper = "k3Yv8pQz1mWn5sXc7rTb9dGh2jLf4aEu";
    let config: Config = configuration(&db, &[ADMIN[0], ADMIN[1], ("passwords.pepper", pepper)]).unwrap();
    let printed = config::print(&config).unwrap();
    for section in ["server", "database", "log", "tokens", "services", "users", "passwords", "bootstrap"] {
        assert!(printed.contains(&format!("[{section}]")), "{printed}");
    }
    for text in [printed, format!("{config:?}")] {
        for secret in [SECRET, PASSWORD, pepper] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

//! What the log never holds.

use std::{
    fmt::Write as _,
    sync::{Mutex, Once},
};

use log::{LevelFilter, Log, Metadata, Record, kv};
use reqwest::StatusCode;
use serde_json::json;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{ADMIN_SCOPE, spawn_with, stored_hash};

/// Keeps every line of this project's own crates, at every level.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        ["user_service", "service_kit", "shared_claims", "access"].iter().any(|own| target.starts_with(own))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut line = format!("{} {}", record.target(), record.args());
            record.key_values().visit(&mut Pairs(&mut line)).unwrap();
            self.0.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

struct Pairs<'a>(&'a mut String);

impl<'kvs> kv::VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        write!(self.0, " {key}={value}").unwrap();
        Ok(())
    }
}

fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

on_both_databases! {
    async fn no_line_holds_a_password_a_hash_or_a_token(db: TestDatabase) {
        capture();
        let pepper = "a-Pepper-that-nobody-may-ever-see-0";
        let (first, second) = ("nineteen silent walruses", "forty brave chinchillas");
        let app = spawn_with(&db, &[("passwords.pepper", pepper)]).await;
        let body = json!({ "email": "ada@example.com", "password": first });
        let account = app.register(body.clone()).await.expect(StatusCode::CREATED);
        app.register(body.clone()).await.refused(409, "email_taken");
        let hash = stored_hash(&db, "ada@example.com");
        let token = app.user_token(account["user"]["id"].as_str().unwrap(), ADMIN_SCOPE);
        app.change_password(&token, second, first).await.refused(401, "invalid_credentials");
        app.change_password(&token, first, second).await.expect(StatusCode::NO_CONTENT);
        let second_hash = stored_hash(&db, "ada@example.com");
        db.execute("UPDATE users SET password_hash = 'nineteen torn hashes'");
        app.log_in(body.clone()).await.refused(500, "internal");
        db.execute(&format!("UPDATE users SET password_hash = '{hash}'"));
        app.stop().await;
        let app = spawn_with(&db, &[]).await;
        app.log_in(body).await.refused(401, "invalid_credentials");
        db.execute("DROP TABLE users");
        app.get("/users/me", &token).await.refused(500, "internal");

        let asked_by = format!("subject={}", account["user"]["id"].as_str().unwrap());
        let is_access_line = |line: &String| line.starts_with("access ") && line.contains("route=/users/me ");
        assert!(LINES.0.lock().unwrap().iter().any(|line| is_access_line(line) && line.contains(&asked_by)));

        let lines = LINES.0.lock().unwrap().clone();
        let logged = |text: &str| lines.iter().any(|line| line.contains(text));
        assert!(logged("under another pepper") && logged("the stored password hash is malformed"), "{lines:?}");
        for secret in [first, second, &hash, &second_hash, pepper, &token, "nineteen torn hashes"] {
            assert!(!logged(secret), "{secret}");
        }
        assert!(!logged("$2b$") && !logged("eyJ"));
    }
}

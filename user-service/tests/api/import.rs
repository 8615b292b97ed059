//! Imports of users with the hashes of their passwords.

use std::fmt::Write as _;

use futures_util::stream;
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, FakeAuth, PASSWORD, PASSWORD_HASH, TestApp, query_texts, spawn, spawn_with, stored_hash};

/// PASSWORD as other programs write its hash: bcrypt is the same, its label is not.
fn labelled(version: &str) -> String {
    PASSWORD_HASH.replace("$2b$", version)
}

async fn send(app: &TestApp, path: &str, media_type: &str, file: impl Into<Body>) -> Answer {
    let request = app.request(Method::POST, path).bearer_auth(app.admin_token()).header("content-type", media_type);
    Answer::of(request.body(file)).await
}

async fn import(app: &TestApp, path: &str, file: &str) -> Value {
    send(app, path, "text/csv", file.to_owned()).await.expect(StatusCode::OK)
}

fn report(inserted: u64, updated: u64, unchanged: u64) -> Value {
    json!({ "inserted": inserted, "updated": updated, "unchanged": unchanged, "rejected": 0, "errors": [] })
}

fn lines(report: &Value) -> Vec<(u64, &str)> {
    let errors = report["errors"].as_array().unwrap();
    errors.iter().map(|error| (error["line"].as_u64().unwrap(), error["code"].as_str().unwrap())).collect()
}

fn emails(db: &TestDatabase) -> Vec<String> {
    query_texts(db, "SELECT email AS value FROM users ORDER BY email")
}

async fn user(app: &TestApp, email: &str) -> Value {
    let page = app.get(&format!("/users?q={email}"), &app.admin_token()).await.expect(StatusCode::OK);
    page["items"][0].clone()
}

/// A CSV file of so many users.
fn many(users: usize) -> String {
    let mut file = "email,username,name,password_hash\n".to_owned();
    for number in 0..users {
        writeln!(file, "user-{number}@example.com,user-{number},\"Person, {number}\",{PASSWORD_HASH}").unwrap();
    }
    file
}

on_both_databases! {
    async fn users_come_in_with_their_hashes_and_log_in_with_their_passwords(db: TestDatabase) {
        let app = spawn(&db).await;
        let (b, y) = (labelled("$2b$"), labelled("$2y$"));
        let file = format!(
            "password_hash,roles,email,username,name,disabled,email_verified\r\n\
             {b},editor user, Ada@Example.com ,Ada.L,\"Lovelace, Ada\",false,true\r\n\
             {y},,grace@example.com,,,,\r\n\
             {b},,hedy@example.com,,,true,\r\n"
        );
        assert_eq!(import(&app, "/users/import", &file).await, report(3, 0, 0));
        let ada = user(&app, "ada@example.com").await;
        assert_eq!(
            (&ada["username"], &ada["name"], &ada["roles"], &ada["email_verified"], &ada["disabled"], &ada["version"]),
            (&json!("Ada.L"), &json!("Lovelace, Ada"), &json!(["editor", "user"]), &json!(true), &json!(false), &json!(1))
        );
        let grace = user(&app, "grace@example.com").await;
        assert_eq!((&grace["username"], &grace["roles"]), (&Value::Null, &json!(["user"])));
        assert_eq!(user(&app, "hedy@example.com").await["disabled"], json!(true));

        for login in [json!({ "email": "ada@example.com" }), json!({ "username": "ada.l" }), json!({ "email": "grace@example.com" })] {
            let mut body = login;
            body["password"] = json!(PASSWORD);
            app.log_in(body).await.expect(StatusCode::OK);
        }
        // A log-in replaces the hash by one of ours.
        assert!(stored_hash(&db, "ada@example.com").starts_with("$bcrypt-hmac-sha256$"));
        assert_eq!(stored_hash(&db, "hedy@example.com"), b);
    }

    async fn ndjson_is_taken_like_csv(db: TestDatabase) {
        let app = spawn(&db).await;
        let a = labelled("$2a$");
        let file = format!(
            "{}\n\n{}\n{}",
            json!({ "email": "a@example.com", "password_hash": a, "roles": ["editor"], "name": null }),
            json!({ "email": "b@example.com", "password_hash": a, "username": "bee", "disabled": true }),
            json!({ "email": "c@example.com", "password_hash": a, "_id": "5f1" }),
        );
        let answer = send(&app, "/users/import", "application/x-ndjson", file).await.expect(StatusCode::OK);
        assert_eq!((&answer["inserted"], lines(&answer)), (&json!(2), vec![(4, "unknown")]));
        assert_eq!(user(&app, "a@example.com").await["roles"], json!(["editor"]));
        assert_eq!(user(&app, "b@example.com").await["disabled"], json!(true));
        app.log_in(json!({ "email": "a@example.com", "password": PASSWORD })).await.expect(StatusCode::OK);
    }

    async fn whoever_is_there_stays_as_he_is(db: TestDatabase) {
        let app = spawn(&db).await;
        let body = json!({ "email": "ada@example.com", "password": "eleven green herons fishing", "roles": ["admin"] });
        app.post("/users", &app.admin_token(), body).await.expect(StatusCode::CREATED);
        let (before, hash) = (user(&app, "ada@example.com").await, stored_hash(&db, "ada@example.com"));
        let file = format!("email,name,roles,password_hash\nADA@example.com,Eve,user,{PASSWORD_HASH}\nnew@example.com,New,,{PASSWORD_HASH}\n");
        assert_eq!(import(&app, "/users/import", &file).await, report(1, 0, 1));
        assert_eq!(import(&app, "/users/import", &file).await, report(0, 0, 2));
        assert_eq!((user(&app, "ada@example.com").await, stored_hash(&db, "ada@example.com")), (before, hash));
    }

    async fn on_demand_the_name_and_the_roles_are_those_of_the_file_and_the_password_never_is(db: TestDatabase) {
        let auth = FakeAuth::start();
        let app = spawn_with(&db, &[("services.auth_url", auth.url.as_str())]).await;
        let id = app.import("ada@example.com").await;
        let path = "/users/import?existing=update";
        let other = labelled("$2y$");
        let file = format!("email,username,name,roles,password_hash\nada@example.com,other,Ada,editor,{other}\n");
        assert_eq!(import(&app, path, &file).await, report(0, 1, 0));
        let ada = user(&app, "ada@example.com").await;
        assert_eq!(
            (&ada["id"], &ada["name"], &ada["roles"], &ada["username"], &ada["version"]),
            (&json!(id), &json!("Ada"), &json!(["editor"]), &Value::Null, &json!(2))
        );
        assert_eq!(stored_hash(&db, "ada@example.com"), PASSWORD_HASH);
        let events = auth.events(1).await;
        assert_eq!((&events[0]["user_id"], &events[0]["roles"]), (&json!(id), &json!(["editor"])));
        // What the file does not say stays.
        assert_eq!(import(&app, path, &file).await, report(0, 0, 1));
        let silent = format!("email,name,roles,password_hash\nada@example.com,,,{other}\n");
        assert_eq!(import(&app, path, &silent).await, report(0, 0, 1));
        send(&app, "/users/import?existing=replace", "text/csv", silent).await.refused(422, "validation_failed");
    }

    async fn bad_lines_are_listed_and_the_good_ones_kept(db: TestDatabase) {
        let app = spawn(&db).await;
        app.post("/users", &app.admin_token(), json!({ "email": "x@example.com", "password_hash": PASSWORD_HASH, "username": "taken" })).await.expect(StatusCode::CREATED);
        let h = PASSWORD_HASH;
        let (costly, foreign) = (h.replace("$04$", "$17$"), h.replace("$2b$", "$2x$"));
        let file = format!(
            "email,username,name,roles,disabled,password_hash\n\
             a@example.com,,,,,{h}\n\
             ,,,,,{h}\n\
             nobody,,,,,{h}\n\
             b@example.com,b,,,,{h}\n\
             c@example.com,,,Admin,,{h}\n\
             d@example.com,,,,maybe,{h}\n\
             e@example.com,,,,,\n\
             f@example.com,,,,,plain text\n\
             g@example.com,,,,,{costly}\n\
             h@example.com,,,,,{foreign}\n\
             i@example.com,,,,,$bcrypt-hmac-sha256$v=1$-{h}\n\
             j@example.com,TAKEN,,,,{h}\n\
             k@example.com,kay,,,,{h}\n\
             l@example.com,Kay,,,,{h}\n\
             A@example.com,again,,,,{h}\n\
             m@example.com,again,,,,{h}\n"
        );
        let report = import(&app, "/users/import", &file).await;
        assert_eq!(
            lines(&report),
            [
                (3, "required"), (4, "invalid"), (5, "too_short"), (6, "invalid"), (7, "invalid"), (8, "required"),
                (9, "invalid"), (10, "out_of_range"), (11, "invalid"), (12, "invalid"), (13, "username_taken"),
                (15, "username_taken"),
            ]
        );
        assert_eq!((&report["inserted"], &report["unchanged"], &report["rejected"]), (&json!(3), &json!(1), &json!(12)));
        assert!(!report.to_string().contains(&h[7..]) && !report.to_string().contains("plain text"), "{report}");
        assert_eq!(emails(&db), ["a@example.com", "k@example.com", "m@example.com", "x@example.com"]);
    }

    async fn a_dry_run_says_the_same_and_keeps_nothing(db: TestDatabase) {
        let app = spawn(&db).await;
        app.import("user-3@example.com").await;
        let mut file = many(20_500);
        // One who is in it twice, and one with the name of another, both far behind; the first batch is full by then.
        writeln!(file, "user-1@example.com,one,,{PASSWORD_HASH}").unwrap();
        writeln!(file, "other@example.com,USER-2,,{PASSWORD_HASH}").unwrap();
        file.push_str("nobody,,,\n");
        let dry = import(&app, "/users/import?dry_run=true", &file).await;
        assert_eq!(emails(&db), ["user-3@example.com"]);
        assert_eq!(import(&app, "/users/import", &file).await, dry);
        assert_eq!((&dry["inserted"], &dry["unchanged"]), (&json!(20_499), &json!(2)));
        assert_eq!(lines(&dry), [(20_503, "username_taken"), (20_504, "invalid")]);
        assert_eq!(emails(&db).len(), 20_500);
        assert_eq!(import(&app, "/users/import?dry_run=true", &file).await["unchanged"], json!(20_501));
    }

    async fn a_file_that_broke_off_is_sent_again_and_every_user_is_there_once(db: TestDatabase) {
        let app = spawn(&db).await;
        let file = many(30_000);
        let half = file.as_bytes()[..file.len() * 4 / 5].to_vec();
        let pieces = half.chunks(50_000).map(|bytes| Ok(bytes.to_vec())).collect::<Vec<_>>();
        let broken = std::iter::once(Err(std::io::Error::other("the client is killed")));
        let body = Body::wrap_stream(stream::iter(pieces.into_iter().chain(broken)));
        let request = app.request(Method::POST, "/users/import").bearer_auth(app.admin_token());
        request.header("content-type", "text/csv").body(body).send().await.unwrap_err();
        let report = import(&app, "/users/import", &file).await;
        assert_eq!(report["inserted"].as_u64().unwrap() + report["unchanged"].as_u64().unwrap(), 30_000);
        assert_eq!(emails(&db).len(), 30_000);
    }

    async fn imports_at_the_same_time_do_not_harm_each_other(db: TestDatabase) {
        let app = spawn(&db).await;
        let forwards = many(2_000);
        let (header, rows) = forwards.split_once('\n').unwrap();
        let backwards = format!("{header}\n{}\n", rows.lines().rev().collect::<Vec<_>>().join("\n"));
        let (one, other) =
            tokio::join!(import(&app, "/users/import", &forwards), import(&app, "/users/import", &backwards));
        let sum = |key: &str| one[key].as_u64().unwrap() + other[key].as_u64().unwrap();
        assert_eq!((sum("inserted"), sum("unchanged"), sum("rejected")), (2_000, 2_000, 0));
    }

    async fn a_file_without_a_usable_header_or_media_type_is_refused(db: TestDatabase) {
        let app = spawn(&db).await;
        for (file, field, code) in [
            ("", "email", "required"),
            ("email,name\na@example.com,Ann\n", "password_hash", "required"),
            ("email,password\n", "line 1", "unknown"),
            ("email,email,password_hash\n", "email", "duplicate"),
        ] {
            send(&app, "/users/import", "text/csv", file).await.refused_field(field, code);
        }
        send(&app, "/users/import", "application/json", "{}").await.refused(415, "unsupported_media_type");
        send(&app, "/users/import?dry_run=maybe", "text/csv", "").await.refused(422, "validation_failed");
        assert!(emails(&db).is_empty());
    }
}

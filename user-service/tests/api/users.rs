//! What admins do with users: make, list, read, change and delete them.

use std::collections::BTreeSet;

use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, PASSWORD, PASSWORD_HASH, TestApp, spawn, stored_hash};

/// The e-mail addresses that a list gives.
async fn listed(app: &TestApp, query: &str) -> Vec<String> {
    let page = app.get(&format!("/users?{query}"), &app.admin_token()).await.expect(StatusCode::OK);
    let emails = page["items"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap().to_owned());
    emails.collect()
}

on_both_databases! {
    async fn a_new_user_is_answered_without_any_secret(db: TestDatabase) {
        let app = spawn(&db).await;
        let body = json!({
            "email": " Ada@Example.com ", "password": PASSWORD, "username": "Ada.L", "name": "Ada Lovelace",
            "roles": ["editor", "user"], "email_verified": true, "disabled": true,
        });
        let answer = app.post("/users", &app.admin_token(), body).await;
        let user = answer.expect(StatusCode::CREATED);
        let id = user["id"].as_str().unwrap();
        assert_eq!(answer.header("location"), format!("/users/{id}"));
        assert_eq!(answer.header("etag"), "\"1\"");
        assert_eq!(user, json!({
            "id": id, "email": "ada@example.com", "username": "Ada.L", "name": "Ada Lovelace",
            "roles": ["editor", "user"], "email_verified": true, "disabled": true,
            "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "version": 1,
        }));
        let read = app.get(&format!("/users/{id}"), &app.admin_token()).await;
        assert_eq!(read.expect(StatusCode::OK), user);

        let plain = app.post("/users", &app.admin_token(), json!({ "email": "b@example.com", "password": PASSWORD })).await;
        let plain = plain.expect(StatusCode::CREATED);
        assert_eq!(plain["roles"], json!(["user"]));
        assert_eq!((&plain["username"], &plain["name"]), (&Value::Null, &Value::Null));
        assert_eq!((&plain["email_verified"], &plain["disabled"]), (&json!(false), &json!(false)));
        assert!(stored_hash(&db, "b@example.com").starts_with("$bcrypt-hmac-sha256$v=1$-$2b$04$"));
    }

    async fn every_field_that_cannot_be_taken_is_named_with_its_code(db: TestDatabase) {
        let app = spawn(&db).await;
        let long = |count: usize| "a".repeat(count);
        let good = json!({ "email": "ada@example.com", "password": PASSWORD });
        let cases = [
            ("email", Value::Null, "required"),
            ("email", json!(""), "required"),
            ("email", json!("ada"), "invalid"),
            ("email", json!("a\u{0}da@example.com"), "invalid"),
            ("email", json!("ada lovelace@example.com"), "invalid"),
            ("email", json!(format!("ada@{}.com", long(250))), "too_long"),
            ("email", json!(7), "invalid_type"),
            ("password", Value::Null, "required"),
            ("password", json!("otter-7"), "too_short"),
            ("password", json!(long(257)), "too_long"),
            ("password", json!("seven purple\u{0} otters"), "invalid"),
            ("password", json!("password123"), "too_weak"),
            ("username", json!("ab"), "too_short"),
            ("username", json!(long(33)), "too_long"),
            ("username", json!("ada@home"), "invalid"),
            ("username", json!("ada\u{0}"), "invalid"),
            ("name", json!(" "), "too_short"),
            ("name", json!(long(201)), "too_long"),
            ("name", json!("A\u{0}da"), "invalid"),
            ("name", json!("A\u{7}da"), "invalid"),
            ("roles", json!(["Admin"]), "invalid"),
            ("roles", json!(["user", "user"]), "duplicate"),
            ("roles", json!(["a b"]), "invalid"),
            ("roles", json!("admin"), "invalid_type"),
            ("disabled", json!("yes"), "invalid_type"),
            ("version", json!(7), "unknown"),
        ];
        for (field, value, code) in cases {
            let mut body = good.clone();
            body[field] = value.clone();
            let answer = app.post("/users", &app.admin_token(), body).await;
            answer.refused_field(field, code);
            if let Some(secret) = value.as_str().filter(|text| field == "password" && text.len() > 1) {
                assert!(!answer.text.contains(secret), "{answer:?}");
            }
        }
        let both = json!({ "email": "nobody", "password": "short", "username": "a b" });
        let errors = app.post("/users", &app.admin_token(), both).await.json()["errors"].clone();
        let fields: BTreeSet<_> = errors.as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(fields, BTreeSet::from(["email", "password", "username"]));
        assert_eq!(listed(&app, "").await, Vec::<String>::new());
    }

    async fn a_body_that_is_no_json_is_refused(db: TestDatabase) {
        let app = spawn(&db).await;
        let send = |content_type: &str, body: Vec<u8>| {
            let request = app.request(Method::POST, "/users").bearer_auth(app.admin_token());
            Answer::of(request.header("content-type", content_type).body(body))
        };
        send("application/json", b"{\"email\":\"ada@exam".to_vec()).await.refused(400, "invalid_request");
        send("application/json", b"{\"email\":\"\xff@example.com\"}".to_vec()).await.refused(400, "invalid_request");
        send("application/json", vec![b' '; 64 * 1024 + 1]).await.refused(413, "payload_too_large");
        send("text/plain", b"{}".to_vec()).await.refused(415, "unsupported_media_type");
    }

    async fn a_hash_is_imported_instead_of_a_password_but_not_beside_one(db: TestDatabase) {
        let app = spawn(&db).await;
        let token = app.admin_token();
        let import = |body: Value| app.post("/users", &token, body);
        let both = json!({ "email": "a@example.com", "password": PASSWORD, "password_hash": PASSWORD_HASH });
        import(both).await.refused_field("password_hash", "conflict");
        let bad = [
            ("plain".to_owned(), "invalid"),
            (PASSWORD_HASH.replace("$2b$", "$2x$"), "invalid"),
            (PASSWORD_HASH.replace("$2b$", "$2$"), "invalid"),
            (PASSWORD_HASH.replace("$04$", "$4$"), "invalid"),
            (PASSWORD_HASH.replace("$04$", "$+4$"), "invalid"),
            (format!("{PASSWORD_HASH}x"), "invalid"),
            (format!("$bcrypt-hmac-sha256$v=1$-{PASSWORD_HASH}"), "invalid"),
            (PASSWORD_HASH.replace("$04$", "$03$"), "out_of_range"),
            (PASSWORD_HASH.replace("$04$", "$17$"), "out_of_range"),
            (PASSWORD_HASH.replace("$04$", "$31$"), "out_of_range"),
        ];
        for (hash, code) in bad {
            import(json!({ "email": "a@example.com", "password_hash": hash })).await.refused_field("password_hash", code);
        }
        let answer = import(json!({ "email": "a@example.com", "password_hash": PASSWORD_HASH })).await;
        answer.expect(StatusCode::CREATED);
        assert!(!answer.text.contains("$2b$"), "{answer:?}");
    }

    async fn an_address_and_a_user_name_are_taken_whatever_their_case(db: TestDatabase) {
        let app = spawn(&db).await;
        let token = app.admin_token();
        let create = |email: &str, username: &str| {
            let body = json!({ "email": email, "username": username, "password_hash": PASSWORD_HASH });
            app.post("/users", &token, body)
        };
        create("ada@example.com", "ada").await.expect(StatusCode::CREATED);
        let other = create("grace@example.com", "Grace").await.expect(StatusCode::CREATED);
        create("ADA@Example.COM", "somebody").await.refused(409, "email_taken");
        create("somebody@example.com", "ADA").await.refused(409, "username_taken");
        create("ada@example.com", "ADA").await.refused(409, "email_taken");

        let path = format!("/users/{}", other["id"].as_str().unwrap());
        let change = |body: Value| app.patch(&path, &token, body);
        change(json!({ "email": "Ada@example.com" })).await.refused(409, "email_taken");
        change(json!({ "username": "aDa" })).await.refused(409, "username_taken");
        change(json!({ "username": "aDa", "email": "ada@example.com" })).await.refused(409, "email_taken");
        let kept = change(json!({ "username": "GRACE" })).await.expect(StatusCode::OK);
        assert_eq!((&kept["username"], &kept["email"]), (&json!("GRACE"), &json!("grace@example.com")));
    }

    async fn of_sixteen_who_want_the_same_address_or_name_one_gets_it(db: TestDatabase) {
        let app = spawn(&db).await;
        let token = app.admin_token();
        let attempts = (0..16).map(|number| {
            let email = if number % 2 == 0 { "ada@example.com" } else { "ADA@example.com" };
            app.post("/users", &token, json!({ "email": email, "password_hash": PASSWORD_HASH }))
        });
        let mut answers = futures_util::future::join_all(attempts).await;
        let attempts = (0..16).map(|number| {
            let username = if number % 2 == 0 { "grace" } else { "Grace" };
            let email = format!("grace-{number}@example.com");
            let body = json!({ "email": email, "username": username, "password_hash": PASSWORD_HASH });
            app.post("/users", &token, body)
        });
        answers.extend(futures_util::future::join_all(attempts).await);
        for (half, code) in [(0, "email_taken"), (16, "username_taken")] {
            let (won, lost): (Vec<_>, Vec<_>) =
                answers[half..half + 16].iter().partition(|answer| answer.status == StatusCode::CREATED);
            assert_eq!(won.len(), 1);
            for answer in lost {
                answer.refused(409, code);
            }
        }
        assert_eq!(listed(&app, "").await.len(), 2);
    }

    async fn a_change_sets_clears_and_leaves_alone(db: TestDatabase) {
        let app = spawn(&db).await;
        let body = json!({
            "email": "ada@example.com", "username": "ada", "name": "Ada", "email_verified": true,
            "password_hash": PASSWORD_HASH,
        });
        let token = app.admin_token();
        let user = app.post("/users", &token, body).await.expect(StatusCode::CREATED);
        let path = format!("/users/{}", user["id"].as_str().unwrap());
        app.advance_seconds(5);

        let same = app.patch(&path, &token, json!({ "name": "Ada", "email": "ADA@example.com" })).await;
        assert_eq!(same.expect(StatusCode::OK), user);
        let empty = app.patch(&path, &token, json!({})).await;
        assert_eq!(empty.expect(StatusCode::OK), user);

        let changed = app.patch(&path, &token, json!({ "name": null, "username": null })).await;
        assert_eq!(changed.header("etag"), "\"2\"");
        let changed = changed.expect(StatusCode::OK);
        assert_eq!((&changed["name"], &changed["username"]), (&Value::Null, &Value::Null));
        assert_eq!((&changed["version"], &changed["email_verified"]), (&json!(2), &json!(true)));
        assert_eq!(changed["updated_at"], "2026-01-01T00:00:05.000000Z");
        assert_eq!(changed["created_at"], user["created_at"]);

        let changed = app.patch(&path, &token, json!({ "email": "ada@example.org" })).await.expect(StatusCode::OK);
        assert_eq!((&changed["email"], &changed["email_verified"]), (&json!("ada@example.org"), &json!(false)));
        let body = json!({ "roles": ["admin"], "disabled": true });
        let changed = app.patch(&path, &token, body).await.expect(StatusCode::OK);
        assert_eq!((&changed["roles"], &changed["disabled"]), (&json!(["admin"]), &json!(true)));

        for (body, field, code) in [
            (json!({ "email": null }), "email", "invalid_type"),
            (json!({ "roles": null }), "roles", "invalid_type"),
            (json!({ "disabled": null }), "disabled", "invalid_type"),
            (json!({ "email": "ada" }), "email", "invalid"),
            (json!({ "name": "\u{0}" }), "name", "invalid"),
            (json!({ "password": PASSWORD }), "password", "unknown"),
            (json!({ "email_verified": true }), "email_verified", "unknown"),
        ] {
            app.patch(&path, &token, body).await.refused_field(field, code);
        }
        assert_eq!(app.get(&path, &token).await.expect(StatusCode::OK), changed);
    }

    async fn entity_tags_guard_changes_and_save_reads(db: TestDatabase) {
        let app = spawn(&db).await;
        let path = format!("/users/{}", app.import("ada@example.com").await);
        let send = |method: Method, name: &'static str, value: &'static str| {
            let request = app.request(method.clone(), &path).bearer_auth(app.admin_token()).header(name, value);
            Answer::of(if method == Method::PATCH { request.json(&json!({ "name": value })) } else { request })
        };
        let unchanged = send(Method::GET, "if-none-match", "\"1\"").await;
        assert_eq!((unchanged.status, unchanged.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(unchanged.header("etag"), "\"1\"");
        send(Method::GET, "if-none-match", "\"2\"").await.expect(StatusCode::OK);

        send(Method::PATCH, "if-match", "\"2\"").await.refused(412, "precondition_failed");
        send(Method::PATCH, "if-match", "\"1\"").await.expect(StatusCode::OK);
        send(Method::PATCH, "if-match", "\"1\"").await.refused(412, "precondition_failed");
        send(Method::PATCH, "if-match", "*").await.expect(StatusCode::OK);
        send(Method::DELETE, "if-match", "\"1\"").await.refused(412, "precondition_failed");
        send(Method::DELETE, "if-match", "\"3\"").await.expect(StatusCode::NO_CONTENT);
        send(Method::DELETE, "if-match", "*").await.refused(404, "not_found");
    }

    async fn who_is_not_there_is_not_found(db: TestDatabase) {
        let app = spawn(&db).await;
        let gone = app.import("ada@example.com").await;
        let path = format!("/users/{gone}");
        let token = app.admin_token();
        app.send(Method::DELETE, &path, &token, &Value::Null).await.expect(StatusCode::NO_CONTENT);
        let upper = gone.to_uppercase();
        for id in [gone.as_str(), upper.as_str(), "1", "%00", "a%20b", "00000000-0000-7000-8000-000000000001"] {
            let path = format!("/users/{id}");
            app.get(&path, &token).await.refused(404, "not_found");
            app.patch(&path, &token, json!({ "name": "x" })).await.refused(404, "not_found");
            app.send(Method::DELETE, &path, &token, &Value::Null).await.refused(404, "not_found");
        }
    }

    async fn a_list_is_searched_and_filtered_by_role(db: TestDatabase) {
        let app = spawn(&db).await;
        for (email, username, name, roles) in [
            ("ada@example.com", "countess", "Ada LOVELACE", json!(["admin"])),
            ("grace_h@navy.test", "amazing", "Grace Hopper", json!(["user", "editor"])),
            ("gracexh@navy.test", "other", "Édith Clarke", json!(["super-admin", "user"])),
            ("percent@navy.test", "percent", "100% \\ sure", json!([])),
        ] {
            let body = json!({
                "email": email, "username": username, "name": name, "roles": roles, "password_hash": PASSWORD_HASH,
            });
            app.post("/users", &app.admin_token(), body).await.expect(StatusCode::CREATED);
        }
        let (ada, grace, edith, percent) =
            ("ada@example.com", "grace_h@navy.test", "gracexh@navy.test", "percent@navy.test");
        for (query, expected) in [
            ("q=", vec![ada, grace, edith, percent]),
            ("q=lovelace", vec![ada]),
            ("q=LoveLace", vec![ada]),
            ("q=COUNT", vec![ada]),
            ("q=%C3%89DITH", vec![edith]),
            ("q=e_h", vec![grace]),
            ("q=%25", vec![percent]),
            ("q=%5C", vec![percent]),
            ("q=navy&role=user", vec![grace, edith]),
            ("role=admin", vec![ada]),
            ("role=super-admin", vec![edith]),
            ("role=editor", vec![grace]),
            ("role=edit", vec![]),
            ("q=comcountess", vec![]),
        ] {
            assert_eq!(listed(&app, query).await, expected, "{query}");
        }
        for (query, field, code) in [
            ("role=Admin", "role", "invalid"),
            ("role=", "role", "invalid"),
            ("q=%00", "q", "invalid"),
            ("limit=0", "limit", "invalid_type"),
            ("limit=201", "limit", "invalid_type"),
            ("limit=x", "limit", "invalid_type"),
        ] {
            app.get(&format!("/users?{query}"), &app.admin_token()).await.refused_field(field, code);
        }
        let long = format!("/users?q={}", "a".repeat(201));
        app.get(&long, &app.admin_token()).await.refused_field("q", "too_long");
    }

    async fn a_cursor_belongs_to_its_list(db: TestDatabase) {
        let app = spawn(&db).await;
        for number in 0..3 {
            app.import(&format!("user-{number}@example.com")).await;
        }
        let token = app.admin_token();
        let page = app.get("/users?limit=1&q=user", &token).await.expect(StatusCode::OK);
        let cursor = page["next_cursor"].as_str().unwrap();
        app.get(&format!("/users?limit=1&q=user&cursor={cursor}"), &token).await.expect(StatusCode::OK);
        for query in [format!("q=other&cursor={cursor}"), format!("cursor={cursor}"), "cursor=made-up".to_owned()] {
            app.get(&format!("/users?{query}"), &token).await.refused(400, "invalid_request");
        }
    }

    async fn walking_the_pages_meets_every_user_once_whatever_their_size(db: TestDatabase) {
        let app = spawn(&db).await;
        let mut ids = Vec::new();
        for number in 0..23 {
            ids.push(app.import(&format!("user-{number}@example.com")).await);
        }
        let mut runner = TestRunner::default();
        for _ in 0..12 {
            let limits = proptest::collection::vec(1usize..12, 23).new_tree(&mut runner).unwrap().current();
            let mut met: Vec<String> = Vec::new();
            let mut cursor = String::new();
            for limit in &limits {
                let path = format!("/users?limit={limit}{cursor}");
                let page = app.get(&path, &app.admin_token()).await.expect(StatusCode::OK);
                let items = page["items"].as_array().unwrap();
                assert!(items.len() <= *limit, "{limits:?}");
                met.extend(items.iter().map(|user| user["id"].as_str().unwrap().to_owned()));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(met, ids, "{limits:?}");
        }
    }
}

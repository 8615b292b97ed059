//! Registration and log-in, as auth-service asks for them.

use reqwest::StatusCode;
use serde_json::json;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{PASSWORD, TestApp, query_texts, spawn, spawn_with, stored_hash};

const PEPPER: &str = "k3Yv8pQz1mWn5sXc7rTb9dGh2jLf4aEu";

/// Hashes of bare passwords, made by Python's bcrypt 4.3.0 at cost 6:
/// `bcrypt.hashpw(password.encode(), bcrypt.gensalt(6, prefix=b"2a"))`, the same with `b"2b"`, and for `$2y$`, which
/// is how PHP marks the same algorithm, `bcrypt.hashpw(password.encode(), bcrypt.gensalt(6).replace(b"$2b$", b"$2y$"))`.
const RECORDED: [(&str, &str); 4] = [
    ("correct horse battery staple", "$2a$06$YNVG17W3xgOKhfIhHbWNH.ne1I8NeY701I2VKxTA4uq6GI3pn1XZO"),
    ("Pässwörter für Ada, 1843", "$2b$06$lLy/1Y2H9SyhXzGI.1QG3.fGVwk82aAh1AJOYu.k0dXZBk.PG.Pg2"),
    ("Grüße aus Königsberg 7", "$2y$06$b9bYU2vbZoGo82wRWRhvH.7JsduCZqTfC0WF2bRyTtTTRgupRMowe"),
    // 90 bytes, of which bcrypt took the first 72.
    (
        "Analytical-Engine/Analytical-Engine/Analytical-Engine/Analytical-Engine/Analytical-Engine/",
        "$2b$06$L.5nenC.svvpmsaj/uVAWu4BsZ6AYM0D9RHVjiuMOj5rKzkrV4qja",
    ),
];

const OURS: &str = "$bcrypt-hmac-sha256$v=1$-$2b$04$";

async fn log_in(app: &TestApp, email: &str, password: &str) -> crate::helpers::Answer {
    app.log_in(json!({ "email": email, "password": password })).await
}

on_both_databases! {
    async fn who_registers_logs_in_by_address_and_by_user_name(db: TestDatabase) {
        let app = spawn(&db).await;
        let body = json!({ "email": "Ada@Example.com", "password": PASSWORD, "username": "Ada", "name": "Ada L." });
        let answer = app.register(body).await;
        let registered = answer.expect(StatusCode::CREATED);
        let user = &registered["user"];
        assert_eq!(registered["authorization_version"], 1);
        assert_eq!((&user["email"], &user["roles"]), (&json!("ada@example.com"), &json!(["user"])));
        assert_eq!((&user["email_verified"], &user["disabled"]), (&json!(false), &json!(false)));
        assert!(!answer.text.contains("$2b$") && !answer.text.contains(PASSWORD), "{answer:?}");
        for name in [
            json!({ "email": "ada@example.com" }),
            json!({ "email": " ADA@example.com" }),
            json!({ "username": "ada" }),
            json!({ "username": "ADA" }),
            json!({ "username": "Ada@example.com" }),
        ] {
            let mut body = name;
            body["password"] = json!(PASSWORD);
            assert_eq!(app.log_in(body).await.expect(StatusCode::OK), registered);
        }
    }

    async fn the_roles_of_who_registers_are_configured_and_nobodys_to_choose(db: TestDatabase) {
        let app = spawn_with(&db, &[("users.default_roles", "reader, writer")]).await;
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let registered = app.register(body.clone()).await.expect(StatusCode::CREATED);
        assert_eq!(registered["user"]["roles"], json!(["reader", "writer"]));
        for field in ["roles", "disabled", "email_verified", "password_hash"] {
            let mut body = body.clone();
            body[field] = json!(null);
            app.register(body).await.refused_field(field, "unknown");
        }
    }

    async fn a_registration_is_refused_for_the_same_reasons_as_any_new_user(db: TestDatabase) {
        let app = spawn(&db).await;
        for (body, field, code) in [
            (json!({ "password": PASSWORD }), "email", "required"),
            (json!({ "email": "ada@example.com" }), "password", "required"),
            (json!({ "email": "ada@example.com", "password": "letmein!" }), "password", "too_weak"),
            (json!({ "email": "ada@example.com", "password": "ada@example.com" }), "password", "too_weak"),
            (json!({ "email": "ada@example.com", "password": PASSWORD, "username": "a@b" }), "username", "invalid"),
            (json!({ "email": "ada@example.com", "password": PASSWORD, "name": "" }), "name", "too_short"),
        ] {
            app.register(body).await.refused_field(field, code);
        }
        let hints = json!({ "email": "a@example.com", "password": "wilhelminacroft", "name": "Wilhelmina Croft" });
        app.register(hints).await.refused_field("password", "too_weak");
        app.register(json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(StatusCode::CREATED);
        let again = json!({ "email": "ADA@example.com", "password": PASSWORD });
        app.register(again).await.refused(409, "email_taken");
    }

    async fn an_unknown_user_and_a_wrong_password_are_answered_alike(db: TestDatabase) {
        let app = spawn(&db).await;
        app.import("ada@example.com").await;
        let mut answers = Vec::new();
        for body in [
            json!({ "email": "ada@example.com", "password": "wrong" }),
            json!({ "email": "grace@example.com", "password": PASSWORD }),
            json!({ "email": "nobody", "password": PASSWORD }),
            json!({ "username": "ab", "password": PASSWORD }),
            json!({ "username": "grace", "password": PASSWORD }),
            json!({ "username": "grace@example.com", "password": PASSWORD }),
            json!({ "email": "", "password": "" }),
        ] {
            let answer = app.log_in(body).await;
            answer.refused(401, "invalid_credentials");
            let mut problem = answer.json();
            problem.as_object_mut().unwrap().remove("request_id");
            answers.push(problem);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }

    async fn a_log_in_that_is_no_log_in_is_refused_field_by_field(db: TestDatabase) {
        let app = spawn(&db).await;
        for (body, field, code) in [
            (json!({ "password": PASSWORD }), "email", "required"),
            (json!({ "email": "ada@example.com" }), "password", "required"),
            (json!({ "email": "a@b.de", "username": "ada", "password": PASSWORD }), "username", "conflict"),
            (json!({ "email": "a\u{0}@b.de", "password": PASSWORD }), "email", "invalid"),
            (json!({ "username": "a\u{0}da", "password": PASSWORD }), "username", "invalid"),
            (json!({ "email": "a@b.de", "password": "a\u{0}" }), "password", "invalid"),
            (json!({ "email": "a@b.de", "password": "a".repeat(1025) }), "password", "too_long"),
            (json!({ "email": "a@b.de", "password": PASSWORD, "otp": "1" }), "otp", "unknown"),
        ] {
            app.log_in(body).await.refused_field(field, code);
        }
    }

    async fn only_who_knows_the_password_learns_that_an_account_is_disabled(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let path = format!("/users/{id}");
        app.patch(&path, &app.admin_token(), json!({ "disabled": true })).await.expect(StatusCode::OK);
        log_in(&app, "ada@example.com", "wrong").await.refused(401, "invalid_credentials");
        log_in(&app, "ada@example.com", PASSWORD).await.refused(403, "account_disabled");
    }

    async fn a_password_of_a_hundred_characters_differs_from_its_first_72(db: TestDatabase) {
        let app = spawn(&db).await;
        let long: String = "Quixotic jackdaws vex my big sphinx of quartz; ".chars().cycle().take(100).collect();
        app.register(json!({ "email": "ada@example.com", "password": long })).await.expect(StatusCode::CREATED);
        log_in(&app, "ada@example.com", &long).await.expect(StatusCode::OK);
        for length in [72, 73, 99] {
            log_in(&app, "ada@example.com", &long[..length]).await.refused(401, "invalid_credentials");
        }
        log_in(&app, "ada@example.com", &format!("{long}!")).await.refused(401, "invalid_credentials");
    }

    async fn a_hash_made_elsewhere_logs_in_and_is_upgraded(db: TestDatabase) {
        let app = spawn(&db).await;
        for (number, (password, hash)) in RECORDED.into_iter().enumerate() {
            let email = format!("user-{number}@example.com");
            let body = json!({ "email": email, "password_hash": hash });
            let user = app.post("/users", &app.admin_token(), body).await.expect(StatusCode::CREATED);
            log_in(&app, &email, "wrong").await.refused(401, "invalid_credentials");
            assert_eq!(stored_hash(&db, &email), hash);

            let account = log_in(&app, &email, password).await.expect(StatusCode::OK);
            let upgraded = stored_hash(&db, &email);
            assert!(upgraded.starts_with(OURS), "{upgraded}");
            assert_eq!((&account["authorization_version"], &account["user"]), (&json!(1), &user));

            let again = log_in(&app, &email, password).await.expect(StatusCode::OK);
            assert_eq!(again, account);
            assert_eq!(stored_hash(&db, &email), upgraded);
        }
        assert_eq!(query_texts(&db, "SELECT payload AS value FROM outbox"), Vec::<String>::new());
    }

    async fn what_bcrypt_cut_off_elsewhere_counts_after_the_upgrade(db: TestDatabase) {
        let app = spawn(&db).await;
        let (password, hash) = RECORDED[3];
        for email in ["first@example.com", "second@example.com"] {
            let body = json!({ "email": email, "password_hash": hash });
            app.post("/users", &app.admin_token(), body).await.expect(StatusCode::CREATED);
        }
        log_in(&app, "first@example.com", &password[..72]).await.expect(StatusCode::OK);
        log_in(&app, "first@example.com", password).await.refused(401, "invalid_credentials");
        log_in(&app, "second@example.com", password).await.expect(StatusCode::OK);
        log_in(&app, "second@example.com", &password[..72]).await.refused(401, "invalid_credentials");
    }

    async fn a_raised_cost_and_a_new_pepper_renew_hashes_at_the_next_log_in(db: TestDatabase) {
        let app = spawn(&db).await;
        app.register(json!({ "email": "ada@example.com", "password": PASSWORD })).await.expect(StatusCode::CREATED);
        assert!(stored_hash(&db, "ada@example.com").starts_with(OURS));
        app.stop().await;

        let app = spawn_with(&db, &[("passwords.cost", "5")]).await;
        log_in(&app, "ada@example.com", PASSWORD).await.expect(StatusCode::OK);
        assert!(stored_hash(&db, "ada@example.com").starts_with("$bcrypt-hmac-sha256$v=1$-$2b$05$"));
        app.stop().await;

        // A lower cost takes nothing back.
        let app = spawn_with(&db, &[("passwords.pepper", PEPPER), ("passwords.cost", "5")]).await;
        log_in(&app, "ada@example.com", PASSWORD).await.expect(StatusCode::OK);
        let peppered = stored_hash(&db, "ada@example.com");
        assert!(!peppered.contains("$-$") && peppered.contains("$2b$05$"), "{peppered}");
        log_in(&app, "ada@example.com", PASSWORD).await.expect(StatusCode::OK);
        app.stop().await;

        for pepper in ["", "Another-pepper-of-32-bytes-or-so"] {
            let app = spawn_with(&db, &[("passwords.pepper", pepper)]).await;
            log_in(&app, "ada@example.com", PASSWORD).await.refused(401, "invalid_credentials");
            assert_eq!(stored_hash(&db, "ada@example.com"), peppered);
            app.stop().await;
        }
    }

    async fn of_sixteen_who_register_at_once_with_one_address_one_gets_it(db: TestDatabase) {
        let app = spawn(&db).await;
        let attempts = (0..16).map(|number| {
            let email = if number % 2 == 0 { "ada@example.com" } else { "ADA@EXAMPLE.COM" };
            app.register(json!({ "email": email, "password": PASSWORD }))
        });
        let answers = futures_util::future::join_all(attempts).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == StatusCode::CREATED);
        assert_eq!(won.len(), 1);
        for answer in lost {
            answer.refused(409, "email_taken");
        }
    }
}

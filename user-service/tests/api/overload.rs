//! More passwords than can be hashed in time, while everything else goes on.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use reqwest::{Method, StatusCode};
use serde_json::json;
use service_kit::peer::TIMEOUT_HEADER;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, PASSWORD, spawn, spawn_with};

on_both_databases! {
    async fn a_full_queue_refuses_at_once_and_holds_up_nothing_else(db: TestDatabase) {
        let import = spawn(&db).await;
        import.import("ada@example.com").await;
        import.stop().await;

        // A hash at this cost takes long enough that the queue is still full when the last of the log-ins comes.
        let keys = [("passwords.cost", "12"), ("passwords.permits", "1"), ("passwords.queue_length", "2")];
        let app = spawn_with(&db, &keys).await;
        let body = |number| json!({ "email": format!("grace{number}@example.com"), "password": PASSWORD });
        let mut log_ins: FuturesUnordered<_> = (0..24).map(|number| app.log_in(body(number))).collect();

        let first = log_ins.next().await.unwrap();
        first.refused(503, "overloaded");
        assert!(first.header("retry-after").parse::<u32>().unwrap() >= 1);
        let mut refused = 1;
        let mut wrong = 0;
        // Those that hold the only thread or wait for it are still at it.
        app.get("/healthz", "").await.expect(StatusCode::OK);
        let page = app.get("/users", &app.admin_token()).await.expect(StatusCode::OK);
        assert_eq!(page["items"].as_array().unwrap().len(), 1);
        while let Some(answer) = log_ins.next().await {
            if answer.status == StatusCode::SERVICE_UNAVAILABLE {
                answer.refused(503, "overloaded");
                refused += 1;
            } else {
                answer.refused(401, "invalid_credentials");
                wrong += 1;
            }
        }
        assert_eq!(refused + wrong, 24);
        assert!(wrong >= 2, "two have room, {wrong} got in");

        // All is normal again.
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        app.log_in(body).await.expect(StatusCode::OK);
    }

    async fn whoever_fills_the_queue_with_one_account_keeps_no_other_one_out(db: TestDatabase) {
        let keys = [("passwords.cost", "11"), ("passwords.permits", "1"), ("passwords.queue_length", "12")];
        let app = spawn_with(&db, &keys).await;
        app.import("ada@example.com").await;
        let wrong = json!({ "email": "grace@example.com", "password": PASSWORD });
        let right = json!({ "email": "ada@example.com", "password": PASSWORD });
        let mut storm: FuturesUnordered<_> = (0..40).map(|_| app.log_in(wrong.clone())).collect();
        // The queue is full when the first is refused.
        storm.next().await.unwrap().refused(503, "overloaded");
        let (answer, storm) = tokio::join!(app.log_in(right), storm.collect::<Vec<_>>());
        answer.expect(StatusCode::OK);
        assert!(storm.iter().any(|answer| answer.status == StatusCode::UNAUTHORIZED), "{storm:?}");
    }

    async fn what_waited_beyond_the_deadline_is_refused_too(db: TestDatabase) {
        let keys = [("passwords.cost", "10"), ("passwords.permits", "1"), ("passwords.queue_deadline_ms", "1")];
        let app = spawn_with(&db, &keys).await;
        let body = json!({ "email": "grace@example.com", "password": PASSWORD });
        let answers = futures_util::future::join_all((0..16).map(|_| app.log_in(body.clone()))).await;
        let (late, done): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE);
        assert!(!late.is_empty(), "{done:?}");
        for answer in late {
            answer.refused(503, "overloaded");
            assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
        }
    }

    async fn what_nobody_waits_for_any_more_is_not_done_and_only_services_say_so(db: TestDatabase) {
        let app = spawn(&db).await;
        let id = app.import("ada@example.com").await;
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let log_in = async |millis: &str| {
            let request = app.request(Method::POST, "/internal/credentials/verify").header(TIMEOUT_HEADER, millis);
            Answer::of(request.bearer_auth(app.service_token()).json(&body)).await
        };
        log_in("0").await.refused(503, "overloaded");
        // What cannot be read counts for nothing, and nobody waits for ever.
        for millis in ["", "-1", "0x0", "60000", "18446744073709551615"] {
            log_in(millis).await.expect(StatusCode::OK);
        }

        let change = json!({ "current_password": PASSWORD, "new_password": "eleven violet kites aloft" });
        let request = app.request(Method::PUT, "/users/me/password").header(TIMEOUT_HEADER, "0");
        let request = request.bearer_auth(app.user_token(&id, "")).json(&change);
        Answer::of(request).await.expect(StatusCode::NO_CONTENT);
    }
}

//! The feed of revocations: what is written to it, and how it is followed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use auth_service::{
    domain::NewRevocation,
    storage::{FeedStore, MIGRATIONS, RevocationStore},
};
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_types::BigInt};
use futures_util::future::join_all;
use serde_json::{Value, json};
use service_kit::{
    Timestamp,
    db::{Database, DatabaseUrl},
};
use shared_claims::feed::{Entry, Feed, Revocation};
use test_support::{Backend, TestDatabase, on_both_databases};

use crate::helpers::{Answer, TestApp, send, text};

/// How long an entry outlasts the longest access token.
const MARGIN: i64 = 7_261;

pub async fn ask(app: &TestApp, query: &str) -> Answer {
    send(app.get(&format!("/internal/revocations?{query}")).bearer_auth(app.service_token())).await
}

pub async fn feed(app: &TestApp, query: &str) -> Feed {
    let answer = ask(app, query).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    serde_json::from_value(answer.body).unwrap()
}

async fn revocations(app: &TestApp) -> Vec<Revocation> {
    feed(app, "").await.entries.into_iter().map(|entry| entry.revocation).collect()
}

async fn order(app: &TestApp, body: Value) -> Answer {
    send(app.post("/internal/revocations").bearer_auth(app.service_token()).json(&body)).await
}

async fn tell(app: &TestApp, version: i64, change: Value) {
    let mut event = json!({"user_id": "user-1", "authorization_version": version, "roles": ["user"],
        "disabled": false, "deleted": false, "password_changed": false, "keep_session": null});
    event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let body = json!({"events": [event]});
    let answer = send(app.post("/internal/user-events").bearer_auth(app.service_token()).json(&body)).await;
    assert_eq!(answer.status.as_u16(), 204, "{}", answer.body);
}

async fn me(app: &TestApp, tokens: &Value) -> Answer {
    send(app.get("/auth/me").bearer_auth(text(&tokens["access_token"]))).await
}

async fn sid(app: &TestApp, tokens: &Value) -> String {
    text(&me(app, tokens).await.body["sid"]).to_owned()
}

async fn log_out(app: &TestApp, tokens: &Value) {
    let answer = send(app.post("/auth/logout").bearer_auth(text(&tokens["access_token"]))).await;
    assert_eq!(answer.status.as_u16(), 204, "{}", answer.body);
}

pub fn session(sid: &str) -> Revocation {
    Revocation::Session { sid: sid.to_owned() }
}

fn user(min_ver: u64) -> Revocation {
    Revocation::User { sub: "user-1".to_owned(), min_ver }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn number(database: &TestDatabase, sql: &str) -> i64 {
    let query = diesel::sql_query(format!("SELECT ({sql}) AS number"));
    let row: Number = match database.backend() {
        Backend::Sqlite => {
            let path = database.url().strip_prefix("sqlite:").unwrap();
            query.get_result(&mut SqliteConnection::establish(path).unwrap()).unwrap()
        }
        Backend::Postgres => query.get_result(&mut PgConnection::establish(database.url()).unwrap()).unwrap(),
    };
    row.number
}

on_both_databases! {
    async fn a_log_out_revokes_the_session_s_tokens_at_once_and_no_other_s(db: TestDatabase) {
        let app = TestApp::start(db);
        let here = app.register("ada").await;
        let there = app.log_in("ada").await;
        let ended = sid(&app, &here).await;
        assert_eq!(revocations(&app).await, []);
        log_out(&app, &here).await;
        me(&app, &here).await.is(401, "token_revoked");
        assert_eq!(me(&app, &there).await.status.as_u16(), 200);
        let feed = feed(&app, "").await;
        assert_eq!(feed.seq, 1);
        assert_eq!(feed.entries.len(), 1);
        assert_eq!(feed.entries[0].seq, 1);
        assert_eq!(feed.entries[0].revocation, session(&ended));
        assert_eq!(i64::try_from(feed.entries[0].until).unwrap(), app.now() + 900 + MARGIN);
        app.stop().await;
    }

    async fn whatever_ends_a_session_writes_one_entry_for_it(db: TestDatabase) {
        let app = TestApp::start(db);
        let mut expected = Vec::new();
        let first = app.register("ada").await;

        let everywhere = [first, app.log_in("ada").await];
        let mut ended = vec![sid(&app, &everywhere[0]).await, sid(&app, &everywhere[1]).await];
        let out = send(app.post("/auth/logout?all=true").bearer_auth(text(&everywhere[0]["access_token"]))).await;
        assert_eq!(out.status.as_u16(), 204);
        let mut found: Vec<String> = revocations(&app).await.into_iter().map(|revocation| match revocation {
            Revocation::Session { sid } => sid,
            other => panic!("{other:?}"),
        }).collect();
        expected.extend(found.iter().map(|sid| session(sid)));
        ended.sort();
        found.sort();
        assert_eq!(found, ended, "one entry for each session");

        let (from, gone) = (app.log_in("ada").await, app.log_in("ada").await);
        let id = sid(&app, &gone).await;
        for status in [204, 404] {
            let request = app.request(reqwest::Method::DELETE, &format!("/auth/sessions/{id}"));
            assert_eq!(send(request.bearer_auth(text(&from["access_token"]))).await.status.as_u16(), status);
        }
        me(&app, &gone).await.is(401, "token_revoked");
        expected.push(session(&id));

        let stolen = app.log_in("ada").await;
        expected.push(session(&sid(&app, &stolen).await));
        let second = app.refresh(text(&stolen["refresh_token"])).await.body;
        app.refresh(text(&second["refresh_token"])).await;
        for _ in 0..2 {
            app.refresh(text(&stolen["refresh_token"])).await.is(400, "invalid_grant");
        }
        me(&app, &second).await.is(401, "token_revoked");

        let used = app.log_in("ada").await;
        expected.push(session(&sid(&app, &used).await));
        let second = app.refresh(text(&used["refresh_token"])).await.body;
        app.refresh(text(&second["refresh_token"])).await;
        let body = json!({"refresh_token": used["refresh_token"]});
        assert_eq!(send(app.post("/auth/logout").json(&body)).await.status.as_u16(), 204);
        me(&app, &second).await.is(401, "token_revoked");

        assert_eq!(me(&app, &from).await.status.as_u16(), 200, "the one session that nothing ended");
        assert_eq!(revocations(&app).await, expected);
        app.stop().await;
    }

    async fn a_user_s_change_revokes_the_tokens_from_before_it_and_only_once(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let bob = app.register("bob").await;
        tell(&app, 2, json!({"roles": ["editor"]})).await;
        me(&app, &tokens).await.is(401, "token_revoked");
        assert_eq!(me(&app, &bob).await.status.as_u16(), 200);

        let refreshed = app.refresh(text(&tokens["refresh_token"])).await.body;
        let claims = me(&app, &refreshed).await.body;
        assert_eq!(claims["roles"], json!(["editor"]));
        assert_eq!(claims["ver"], 2);
        assert_eq!(revocations(&app).await, [user(2)]);

        // Told again, and late: nothing happens to the tokens of the present version.
        tell(&app, 2, json!({"roles": ["editor"]})).await;
        tell(&app, 1, json!({"disabled": true})).await;
        assert_eq!(revocations(&app).await, [user(2)]);
        assert_eq!(me(&app, &refreshed).await.status.as_u16(), 200);

        let kept = sid(&app, &refreshed).await;
        tell(&app, 3, json!({"password_changed": true, "keep_session": kept})).await;
        me(&app, &refreshed).await.is(401, "token_revoked");
        let refreshed = app.refresh(text(&refreshed["refresh_token"])).await.body;
        assert_eq!(me(&app, &refreshed).await.body["ver"], 3);
        tell(&app, 4, json!({"disabled": true})).await;
        me(&app, &refreshed).await.is(401, "token_revoked");
        tell(&app, 6, json!({"deleted": true})).await;
        assert_eq!(revocations(&app).await, [user(2), user(3), user(4), user(6)]);
        app.stop().await;
    }

    async fn changes_of_one_user_told_at_once_and_on_several_replicas_are_taken_up_in_order(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let other = app.beside(&[]);
        let event = |version: i64, role: &str| json!({"user_id": "user-1", "authorization_version": version,
            "roles": [role], "disabled": false, "deleted": false, "password_changed": false, "keep_session": null});
        // Two deliveries of an outbox that overlap, as after a crash between the call and its acknowledgement.
        let deliver = async |app: &TestApp, events: Vec<Value>| {
            let request = app.post("/internal/user-events").bearer_auth(app.service_token());
            assert_eq!(send(request.json(&json!({"events": events}))).await.status.as_u16(), 204);
        };
        tokio::join!(
            deliver(&app, (2..40).map(|version| event(version, "user")).chain([event(40, "editor")]).collect()),
            deliver(&other, (2..40).map(|version| event(version, "user")).collect()),
        );
        let refreshed = app.refresh(text(&tokens["refresh_token"])).await.body;
        assert_eq!(refreshed["scope"], "persons:read persons:write");
        let versions: Vec<Revocation> = revocations(&app).await;
        assert_eq!(versions, (2..=40).map(user).collect::<Vec<_>>(), "each once, none before the one it follows");
        other.stop().await;
        app.stop().await;
    }

    async fn a_user_service_that_went_back_locks_nobody_out_and_brings_no_token_back(db: TestDatabase) {
        let app = TestApp::start(db);
        let before = app.register("ada").await;
        let bob = app.register("bob").await;
        tell(&app, 5, json!({"roles": ["editor"]})).await;
        let refreshed = app.refresh(text(&before["refresh_token"])).await.body;
        let epoch = feed(&app, "").await.epoch;

        // user-service's backup says version 1; it is asked twice and believed.
        let after = app.log_in("ada").await;
        let claims = me(&app, &after).await;
        assert_eq!(claims.status.as_u16(), 200, "{}", claims.body);
        assert_eq!(claims.body["ver"], 1);
        for dead in [&before, &refreshed] {
            me(&app, dead).await.is(401, "token_revoked");
        }
        app.refresh(text(&refreshed["refresh_token"])).await.is(400, "invalid_grant");
        assert_eq!(me(&app, &bob).await.status.as_u16(), 200);
        let answer = feed(&app, &format!("epoch={epoch}&after=1")).await;
        assert_ne!(answer.epoch, epoch, "verifiers begin their lists anew");
        assert_eq!(answer.entries.len(), 1);
        assert!(matches!(&answer.entries[0].revocation, Revocation::Session { .. }));
        app.stop().await;
    }

    async fn the_operator_revokes_a_key_a_user_a_session_a_token_or_everything(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let now = app.now();
        let id = sid(&app, &tokens).await;
        assert_eq!(order(&app, json!({"kind": "session", "sid": id})).await.status.as_u16(), 204);
        me(&app, &tokens).await.is(401, "token_revoked");
        order(&app, json!({"kind": "session", "sid": id})).await.is(404, "not_found");
        app.refresh(text(&tokens["refresh_token"])).await.is(400, "invalid_grant");

        let tokens = app.log_in("ada").await;
        let second = sid(&app, &tokens).await;
        assert_eq!(order(&app, json!({"kind": "user", "sub": "user-1"})).await.status.as_u16(), 204);
        me(&app, &tokens).await.is(401, "token_revoked");

        let tokens = app.log_in("ada").await;
        let claims = me(&app, &tokens).await.body;
        let body = json!({"kind": "token", "jti": claims["jti"], "exp": claims["exp"]});
        assert_eq!(order(&app, body).await.status.as_u16(), 204);
        me(&app, &tokens).await.is(401, "token_revoked");
        let refreshed = app.refresh(text(&tokens["refresh_token"])).await.body;
        assert_eq!(me(&app, &refreshed).await.status.as_u16(), 200, "its session lives");

        assert_eq!(order(&app, json!({"kind": "all"})).await.status.as_u16(), 204);
        me(&app, &refreshed).await.is(401, "token_revoked");
        app.advance(1);
        let refreshed = app.refresh(text(&refreshed["refresh_token"])).await.body;
        assert_eq!(me(&app, &refreshed).await.status.as_u16(), 200);

        let keys = send(app.get("/internal/keys").bearer_auth(app.service_token())).await.body;
        let entries = feed(&app, "").await.entries;
        let expected = [
            (session(&id), now + 900 + MARGIN),
            (session(&second), now + 900 + MARGIN),
            (Revocation::Token { jti: text(&claims["jti"]).to_owned() }, now + 900 + MARGIN),
            (Revocation::All { issued_before: u64::try_from(now).unwrap() + 1 }, now + 900 + MARGIN),
        ];
        let found: Vec<_> =
            entries.into_iter().map(|entry| (entry.revocation, i64::try_from(entry.until).unwrap())).collect();
        assert_eq!(found, expected);
        // The last, as it takes our own service tokens with it.
        assert_eq!(order(&app, json!({"kind": "key", "kid": keys["signing"]})).await.status.as_u16(), 204);
        me(&app, &refreshed).await.is(401, "token_revoked");
        ask(&app, "").await.is(401, "token_revoked");
        app.stop().await;
    }

    async fn what_cannot_be_revoked_is_refused(db: TestDatabase) {
        let app = TestApp::start(db);
        for (body, field) in [
            (json!({}), "kind"),
            (json!({"kind": "everything"}), "kind"),
            (json!({"kind": "all", "unknown": 1}), "unknown"),
            (json!({"kind": "all", "sid": "AAAAAAAAAAAAAAAAAAAAAA"}), "sid"),
            (json!({"kind": "key"}), "kid"),
            (json!({"kind": "key", "kid": ""}), "kid"),
            (json!({"kind": "key", "kid": "a\u{0}b"}), "kid"),
            (json!({"kind": "key", "kid": "k".repeat(201)}), "kid"),
            (json!({"kind": "all", "issued_before": app.now() + 2}), "issued_before"),
            (json!({"kind": "all", "issued_before": -1}), "issued_before"),
            (json!({"kind": "session", "sid": "nonsense"}), "sid"),
            (json!({"kind": "user", "sub": ""}), "sub"),
            (json!({"kind": "token", "jti": "1"}), "exp"),
            (json!({"kind": "token", "jti": "", "exp": 1}), "jti"),
            (json!({"kind": "token", "jti": "1", "exp": u64::MAX}), "exp"),
        ] {
            let answer = order(&app, body.clone()).await;
            answer.is(422, "validation_failed");
            assert!(text(&answer.body["errors"][0]["field"]).ends_with(field), "{body}: {}", answer.body);
        }
        assert_eq!(feed(&app, "").await.seq, 0);
        app.stop().await;
    }

    async fn a_token_does_not_outlive_its_session(db: TestDatabase) {
        let app = TestApp::start_with(db, &[("SIGNET__SESSIONS__ABSOLUTE_SECONDS", "1000")]);
        let tokens = app.register("ada").await;
        let ends_at = app.now() + 1000;
        assert_eq!(tokens["expires_in"], 900);
        app.advance(700);
        let refreshed = app.refresh(text(&tokens["refresh_token"])).await.body;
        assert_eq!(refreshed["expires_in"], 300);
        assert_eq!(me(&app, &refreshed).await.body["exp"], ends_at);
        app.stop().await;

        let Some(db) = TestDatabase::create(Backend::Sqlite) else { return };
        let app = TestApp::start_with(db, &[("SIGNET__SESSIONS__ABSOLUTE_SECONDS", "60")]);
        assert_eq!(app.register("ada").await["expires_in"], 60);
        app.stop().await;
    }

    async fn a_follower_gets_what_came_after_its_number_and_all_of_another_epoch(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let mut sids = Vec::new();
        for _ in 0..5 {
            let tokens = app.log_in("ada").await;
            sids.push(sid(&app, &tokens).await);
            log_out(&app, &tokens).await;
        }
        let all = feed(&app, "").await;
        let numbers = |feed: &Feed| feed.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>();
        assert_eq!(numbers(&all), [1, 2, 3, 4, 5]);
        assert_eq!(all.entries.iter().map(|entry| entry.revocation.clone()).collect::<Vec<_>>(),
            sids.iter().map(|sid| session(sid)).collect::<Vec<_>>());
        let epoch = &all.epoch;
        for (query, expected) in [
            ("after=3".to_owned(), vec![4, 5]),
            (format!("after=3&epoch={epoch}"), vec![4, 5]),
            (format!("after=5&epoch={epoch}"), vec![]),
            ("after=5&epoch=another".to_owned(), vec![1, 2, 3, 4, 5]),
            // Not held although nothing is new: the follower has to forget what it knows.
            ("after=5&epoch=another&wait=60".to_owned(), vec![1, 2, 3, 4, 5]),
        ] {
            let answer = feed(&app, &query).await;
            assert_eq!((numbers(&answer), answer.seq, &answer.epoch), (expected, 5, epoch), "{query}");
        }
        let answer = ask(&app, "").await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store");
        app.stop().await;
    }

    async fn a_poll_is_held_until_there_is_something_new_or_its_time_is_over(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let started = Instant::now();
        let empty = feed(&app, "wait=1").await;
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!((empty.seq, empty.entries.len()), (0, 0));

        let (answer, took) = tokio::join!(
            feed(&app, "wait=60"),
            async {
                log_out(&app, &tokens).await;
                Instant::now()
            }
        );
        assert!(took.elapsed() < Duration::from_secs(1), "{:?}", took.elapsed());
        assert_eq!(answer.entries.len(), 1);
        for query in ["wait=61", "wait=-1", "after=-1", "after=x", "verifier=", "verifier=a%00b", "kids=a%0Ab"] {
            ask(&app, query).await.is(422, "validation_failed");
        }
        ask(&app, &format!("verifier={}", "x".repeat(201))).await.is(422, "validation_failed");
        app.stop().await;
    }

    async fn a_start_begins_an_epoch_and_forgets_nothing(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        log_out(&app, &tokens).await;
        let before = feed(&app, "").await;
        let again = app.restart(|| {}).await;
        me(&again, &tokens).await.is(401, "token_revoked");
        let after = feed(&again, &format!("after=1&epoch={}&wait=60", before.epoch)).await;
        assert_ne!(after.epoch, before.epoch);
        assert_eq!((after.seq, after.entries), (before.seq, before.entries));
        again.stop().await;
    }

    async fn a_restored_database_begins_an_epoch_while_the_service_runs(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let mut tokens = Vec::new();
        for _ in 0..3 {
            tokens.push(app.log_in("ada").await);
            log_out(&app, tokens.last().unwrap()).await;
        }
        let before = feed(&app, "").await;
        assert_eq!(before.seq, 3);
        // As the backup had it: two log-outs ago, of the same epoch.
        app.database.execute("DELETE FROM revocations WHERE seq > 1; UPDATE feed_state SET seq = 1");
        let after = feed(&app, &format!("after=3&epoch={}&wait=60", before.epoch)).await;
        assert_ne!(after.epoch, before.epoch);
        assert_eq!((after.seq, &after.entries[..]), (1, &before.entries[..1]));
        me(&app, &tokens[0]).await.is(401, "token_revoked");

        // Once more, and it has come as far as it was before anybody looks: the numbers are other entries'.
        let last = feed(&app, "").await;
        let more = app.log_in("ada").await;
        app.database.execute(
            "DELETE FROM revocations; UPDATE feed_state SET seq = 1; \
             INSERT INTO revocations (seq, kind, key, until) VALUES (1, 'session', 'other', 9000000000)",
        );
        log_out(&app, &more).await;
        let after = feed(&app, &format!("after=1&epoch={}&wait=60", last.epoch)).await;
        assert_ne!(after.epoch, last.epoch);
        assert_eq!(after.entries.len(), 2);
        assert_eq!(after.entries[0].revocation, session("other"));
        app.stop().await;
    }

    async fn entries_go_when_the_last_token_that_they_hit_has_expired(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        log_out(&app, &tokens).await;
        assert_eq!(order(&app, json!({"kind": "key", "kid": "leaked"})).await.status.as_u16(), 204);
        app.advance(900 + MARGIN - 1);
        assert_eq!(revocations(&app).await.len(), 2);
        app.advance(1);
        let left = feed(&app, "").await;
        assert_eq!(left.entries.len(), 1);
        assert_eq!(left.entries[0].revocation, Revocation::Key { kid: "leaked".to_owned() });
        assert_eq!(left.seq, 2);
        // The row goes with the next round, which comes within a second or two: a held poll tells the time.
        let mut rounds = 0;
        while number(&app.database, "SELECT count(*) FROM revocations") > 1 {
            rounds += 1;
            assert!(rounds < 10, "the row is still there");
            feed(&app, "after=2&wait=1").await;
        }
        app.advance(-10);
        assert_eq!(revocations(&app).await.len(), 1, "it is forgotten, not only hidden");
        app.stop().await;
    }

    async fn clocks_that_are_an_hour_behind_and_then_an_hour_ahead_forget_nothing(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        app.advance(-3_600);
        let body = json!({ "refresh_token": tokens["refresh_token"] });
        assert_eq!(send(app.post("/auth/logout").json(&body)).await.status.as_u16(), 204);
        app.advance(7_200);
        // The rounds that remove what is over come once a second; a held poll tells the time.
        for _ in 0..3 {
            feed(&app, "after=1&wait=1").await;
        }
        app.advance(-3_600);
        assert_eq!(revocations(&app).await.len(), 1);
        let answer = send(app.get("/auth/me").bearer_auth(text(&tokens["access_token"]))).await;
        assert_eq!((answer.status.as_u16(), text(&answer.body["code"])), (401, "token_revoked"));
        app.stop().await;
    }

    async fn a_longer_life_of_tokens_is_remembered_when_it_is_made_shorter(db: TestDatabase) {
        let long = TestApp::start_with(db, &[("SIGNET__TOKENS__ACCESS_TTL_SECONDS", "7200")]);
        let tokens = long.register("ada").await;
        let short = long.beside(&[("SIGNET__TOKENS__ACCESS_TTL_SECONDS", "60")]);
        long.stop().await;
        log_out(&short, &tokens).await;
        let entry = feed(&short, "").await.entries.remove(0);
        assert_eq!(i64::try_from(entry.until).unwrap(), short.now() + 7200 + MARGIN);
        let keys = send(short.get("/internal/keys").bearer_auth(short.service_token())).await.body;
        assert_eq!(keys["access_ttl_seconds"], 120, "services' own tokens live for that long");
        short.stop().await;
    }

    async fn a_replica_that_cannot_read_its_database_says_so_to_its_followers(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let epoch = feed(&app, "").await.epoch;
        let held = async { (ask(&app, "wait=60").await, Instant::now()) };
        let broken = async {
            app.database.execute("ALTER TABLE feed_state RENAME TO away");
            // A verifier that knows more makes the replica look, and it does not see.
            ask(&app, &format!("after=7&epoch={epoch}")).await.is(503, "dependency_unavailable");
            Instant::now()
        };
        let ((answer, answered), broke) = tokio::join!(held, broken);
        answer.is(503, "dependency_unavailable");
        assert!(!answer.header("retry-after").is_empty());
        assert!(answered - broke < Duration::from_secs(6), "{:?}", answered - broke);
        ask(&app, "").await.is(503, "dependency_unavailable");
        app.database.execute("ALTER TABLE away RENAME TO feed_state");
        ask(&app, "after=0&epoch=other").await;
        assert_eq!(feed(&app, "").await.epoch, epoch);
        log_out(&app, &tokens).await;
        assert_eq!(feed(&app, "wait=60").await.entries.len(), 1);
        app.stop().await;
    }

    async fn a_poll_may_wait_until_the_database_can_be_read_again(db: TestDatabase) {
        let app = TestApp::start(db);
        let epoch = feed(&app, "").await.epoch;
        app.database.execute("ALTER TABLE feed_state RENAME TO away");
        ask(&app, &format!("after=7&epoch={epoch}")).await.is(503, "dependency_unavailable");
        while ask(&app, "").await.status.as_u16() == 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let began = Instant::now();
        ask(&app, "wait=60&recover=1").await.is(503, "dependency_unavailable");
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        let held = async {
            let answer = ask(&app, "wait=60&recover=60").await;
            (answer, Instant::now())
        };
        let mended = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            app.database.execute("ALTER TABLE away RENAME TO feed_state");
            Instant::now()
        };
        let ((answer, answered), mended) = tokio::join!(held, mended);
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        assert_eq!(answer.body["entries"], json!([]), "it is told that all is well, though there is no news");
        assert!(answered - mended < Duration::from_secs(2), "{:?}", answered - mended);
        app.stop().await;
    }

    async fn held_polls_are_let_go_when_the_service_stops(db: TestDatabase) {
        let app = TestApp::start_with(db, &[("SIGNET__SERVER__SHUTDOWN_TIMEOUT_SECONDS", "30")]);
        let held = app.get("/internal/revocations?wait=60&verifier=held/1").bearer_auth(app.service_token());
        let started = Instant::now();
        let (answer, ()) = tokio::join!(send(held), async {
            // In the registry, so it has arrived.
            let mut tries = 0;
            while !send(app.get("/internal/keys").bearer_auth(app.service_token())).await.body.to_string().contains("held/1") {
                tries += 1;
                assert!(tries < 1000, "the poll never arrived");
            }
            app.stop_gracefully().await;
        });
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(answer.body["entries"], json!([]));
        assert_eq!(answer.header("connection"), "close", "the next poll goes elsewhere");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }

    async fn the_registry_knows_which_keys_each_verifier_has(db: TestDatabase) {
        let app = TestApp::start(db);
        feed(&app, "verifier=resource-service/1&kids=a,b").await;
        feed(&app, "verifier=user-service/1").await;
        until(&app, |known| kids(known, "resource-service/1") == json!(["a", "b"])).await;
        let known = until(&app, |known| kids(known, "user-service/1") == json!([])).await;
        assert_eq!(known["keys"].as_array().unwrap().len(), 1);
        assert_eq!(known["keys"][0]["kid"], known["signing"]);
        assert_eq!(known["keys"][0]["alg"], "HS256");
        let replicas = |known: &Value| {
            let verifiers = known["verifiers"].as_array().unwrap().iter();
            verifiers.filter(|verifier| text(&verifier["id"]).starts_with("auth-service/")).cloned().collect::<Vec<_>>()
        };
        let known = until(&app, |known| replicas(known).len() == 1).await;
        assert_eq!(replicas(&known)[0]["kids"], json!([known["signing"]]), "the replica itself is one");

        // On whichever replica it is asked about, and wherever the verifier goes with its next poll.
        let other = app.beside(&[]);
        feed(&other, "verifier=resource-service/1&kids=a,b,c").await;
        until(&app, |known| kids(known, "resource-service/1") == json!(["a", "b", "c"])).await;

        app.advance(100);
        let seen_at = Timestamp::from_seconds(app.now()).to_string();
        feed(&app, "verifier=resource-service/1&kids=a,b,c").await;
        until(&app, |known| verifier(known, "resource-service/1")["seen_at"] == seen_at).await;
        app.advance(100);
        until(&app, |known| verifier(known, "user-service/1").is_null()).await;
        let known = until(&app, |known| replicas(known).len() == 2).await;
        assert_eq!(kids(&known, "resource-service/1"), json!(["a", "b", "c"]), "seen 100 seconds ago");
        other.stop().await;
        assert_eq!(replicas(&registry(&app).await).len(), 1, "a replica that stops is not waited for");
        app.stop().await;
    }
}

async fn registry(app: &TestApp) -> Value {
    send(app.get("/internal/keys").bearer_auth(app.service_token())).await.body
}

fn verifier(registry: &Value, id: &str) -> Value {
    let verifiers = registry["verifiers"].as_array().unwrap();
    verifiers.iter().find(|verifier| verifier["id"] == id).cloned().unwrap_or_default()
}

fn kids(registry: &Value, id: &str) -> Value {
    verifier(registry, id)["kids"].clone()
}

/// The registry once it is as expected. A poll is written down right after it was answered; another one, held, tells the
/// time until then.
async fn until(app: &TestApp, expected: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..10 {
        let known = registry(app).await;
        if expected(&known) {
            return known;
        }
        feed(app, "wait=1").await;
    }
    panic!("it never was as expected: {}", registry(app).await);
}

on_both_databases! {
    /// Two replicas revoke at the same time on PostgreSQL (one does on SQLite) while somebody follows.
    async fn concurrent_revocations_are_numbered_without_gaps_and_seen_once_each_in_order(db: TestDatabase) {
        const LOG_OUTS: u64 = 64;
        let first = TestApp::start(db);
        let second = first.beside(&[]);
        first.register("ada").await;
        let mut tokens = Vec::new();
        for _ in 0..LOG_OUTS {
            tokens.push(first.log_in("ada").await);
        }
        let epoch = feed(&second, "").await.epoch;
        // The follower goes from one replica to the other with each poll.
        let follow = async {
            let mut entries = Vec::new();
            let mut after = 0;
            let mut replicas = [&first, &second].into_iter().cycle();
            while after < LOG_OUTS {
                let app = replicas.next().unwrap();
                let answer = feed(app, &format!("after={after}&epoch={epoch}&wait=60")).await;
                assert_eq!(answer.epoch, epoch);
                after = answer.seq;
                entries.extend(answer.entries);
            }
            entries
        };
        let revoke = join_all(tokens.iter().zip([&first, &second].into_iter().cycle()).map(|(tokens, app)| {
            let app = if first.database.backend() == Backend::Sqlite { &first } else { app };
            log_out(app, tokens)
        }));
        let (entries, _) = tokio::join!(follow, revoke);
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
        assert_eq!(numbers, (1..=LOG_OUTS).collect::<Vec<_>>());
        let mut sids: Vec<String> = entries.into_iter().map(|entry| match entry.revocation {
            Revocation::Session { sid } => sid,
            other => panic!("{other:?}"),
        }).collect();
        sids.sort();
        sids.dedup();
        assert_eq!(sids.len(), 64);
        for app in [&first, &second] {
            assert_eq!(feed(app, &format!("after={LOG_OUTS}&epoch={epoch}")).await.seq, LOG_OUTS);
        }
        for tokens in &tokens {
            me(&second, tokens).await.is(401, "token_revoked");
            me(&first, tokens).await.is(401, "token_revoked");
        }
        second.stop().await;
        first.stop().await;
    }

    /// The second replica has not read yet what the first has told: it must not seem to take it back.
    async fn a_replica_that_lags_behind_reads_before_it_answers(db: TestDatabase) {
        let first = TestApp::start(db);
        let tokens = first.register("ada").await;
        let second = first.beside(&[]);
        let epoch = feed(&second, "").await.epoch;
        log_out(&second, &tokens).await;
        let known = feed(&second, &format!("epoch={epoch}&wait=60")).await;
        assert_eq!(known.seq, 1);
        let answer = feed(&first, &format!("after=1&epoch={epoch}")).await;
        assert_eq!((answer.epoch, answer.seq), (epoch, 1), "neither another epoch nor an older state");
        me(&first, &tokens).await.is(401, "token_revoked");
        second.stop().await;
        first.stop().await;
    }
}

/// A service whose connections to PostgreSQL have a name of their own, so that the test can end them.
fn named(db: TestDatabase) -> (TestApp, String, String) {
    let name = format!("signet-{}", db.url().rsplit('_').next().unwrap());
    let url = format!("{}&application_name={name}", db.url());
    let app = TestApp::start_with(db, &[("SIGNET__DATABASE__URL", &url)]);
    (app, url, name)
}

#[actix_web::test]
async fn a_log_out_on_one_replica_answers_a_poll_held_by_another_within_a_second() {
    let Some(db) = TestDatabase::create(Backend::Postgres) else { return };
    let (first, url, name) = named(db);
    let second = first.beside(&[("SIGNET__DATABASE__URL", &url)]);
    let mut tokens = Vec::new();
    first.register("ada").await;
    for _ in 0..3 {
        tokens.push(first.log_in("ada").await);
    }
    let epoch = feed(&second, "").await.epoch;
    let held = async |app: &TestApp, after: u64| {
        let answer = feed(app, &format!("after={after}&epoch={epoch}&wait=60")).await;
        assert_eq!((answer.seq, answer.entries.len()), (after + 1, 1));
        Instant::now()
    };
    let logged_out = async |app: &TestApp, tokens: &Value| {
        log_out(app, tokens).await;
        Instant::now()
    };
    let listening = || {
        number(
            &first.database,
            &format!(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}' AND query LIKE 'LISTEN %'"
            ),
        )
    };
    // The replicas connect while they serve already.
    let mut rounds = 0;
    while listening() < 2 {
        rounds += 1;
        assert!(rounds < 50, "nobody listens");
        feed(&first, "wait=1").await;
    }
    let (answered, out) = tokio::join!(held(&second, 0), logged_out(&first, &tokens[0]));
    assert!(answered.saturating_duration_since(out) < Duration::from_secs(1));

    // Without the connections that hear notifications, and while they are being made anew.
    first.database.execute(&format!(
        "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = '{name}' AND query LIKE 'LISTEN %'; END $$"
    ));
    let (answered, out) = tokio::join!(held(&second, 1), logged_out(&first, &tokens[1]));
    assert!(answered.saturating_duration_since(out) < Duration::from_secs(1));

    // A revocation that nobody is notified of at all.
    let (answered, out) = tokio::join!(held(&second, 2), async {
        first.database.execute(
            "BEGIN; UPDATE feed_state SET seq = 3; \
             INSERT INTO revocations (seq, kind, key, until) VALUES (3, 'session', 'other', 9000000000); COMMIT",
        );
        Instant::now()
    });
    assert!(answered.saturating_duration_since(out) < Duration::from_secs(1));
    second.stop().await;
    first.stop().await;
}

/// Waits until no thread of this process has the file or one next to it open.
fn wait_until_nobody_has_open(path: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let is_open = || {
        std::fs::read_dir("/proc/self/fd").unwrap().flatten().any(|entry| {
            std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with(path))
        })
    };
    while is_open() {
        assert!(std::time::Instant::now() < deadline, "{path} is still open");
        std::thread::yield_now();
    }
}

#[actix_web::test]
async fn a_restored_sqlite_file_begins_an_epoch_with_what_it_holds() {
    let Some(db) = TestDatabase::create(Backend::Sqlite) else { return };
    let app = TestApp::start(db);
    let first = app.register("ada").await;
    let second = app.log_in("ada").await;
    log_out(&app, &first).await;
    let database = app.database.clone();
    let path = database.url().strip_prefix("sqlite:").unwrap();
    let backup = format!("{path}.backup");
    database.execute(&format!("VACUUM INTO '{backup}'"));
    log_out(&app, &second).await;
    let before = feed(&app, "").await;
    assert_eq!(before.seq, 2);
    let again = app
        .restart(|| {
            // Threads that have ended close what they had open a moment later, and would write it over the backup.
            wait_until_nobody_has_open(path);
            for suffix in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{path}{suffix}"));
            }
            std::fs::copy(&backup, path).unwrap();
        })
        .await;
    let after = feed(&again, &format!("after=2&epoch={}&wait=60", before.epoch)).await;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!((after.seq, &after.entries[..]), (1, &before.entries[..1]));
    me(&again, &first).await.is(401, "token_revoked");
    again.stop().await;
}

on_both_databases! {
    async fn thousands_of_entries_are_written_at_once_and_told_of_once(db: TestDatabase) {
        let database = Database::open(&DatabaseUrl::parse(db.url()).unwrap(), 2, MIGRATIONS).unwrap();
        database.migrate().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let told_of = Arc::new(move |entries: &[Entry]| tell.send(entries.to_vec()).unwrap());
        let store = RevocationStore::new(database.clone(), told_of);
        let now = Timestamp::from_seconds(crate::helpers::START);
        let revoked = (0..2500).map(|key| NewRevocation::Key { kid: format!("key-{key}") }).collect();
        store.revoke(revoked, Vec::new(), now).await.unwrap();
        store.revoke(Vec::new(), Vec::new(), now).await.unwrap();
        drop(store);
        let entries = told.recv().unwrap();
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=2500).collect::<Vec<_>>());
        assert!(told.recv().is_err(), "of nothing nobody is told");

        let feed = FeedStore::new(database.clone(), database);
        let (_, seq, read) = feed.snapshot(now.as_seconds()).unwrap();
        assert_eq!((seq, read), (2500, entries));
    }
}

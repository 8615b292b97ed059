//! What user-service tells: sessions end or change with their users.

use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, TestApp, send, text};

async fn tell(app: &TestApp, version: i64, change: Value) -> Answer {
    let mut event = json!({"user_id": "user-1", "authorization_version": version, "roles": ["user"],
        "disabled": false, "deleted": false, "password_changed": false, "keep_session": null});
    event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    send(app.post("/internal/user-events").bearer_auth(app.service_token()).json(&json!({"events": [event]}))).await
}

async fn own_session(app: &TestApp, tokens: &Value) -> String {
    let answer = send(app.get("/auth/me").bearer_auth(text(&tokens["access_token"]))).await;
    text(&answer.body["sid"]).to_owned()
}

on_both_databases! {
    async fn a_changed_password_ends_every_session_but_the_one_that_changed_it(db: TestDatabase) {
        let app = TestApp::start(db);
        let here = app.register("ada").await;
        let there = app.log_in("ada").await;
        let kept = own_session(&app, &here).await;
        let change = json!({"password_changed": true, "keep_session": kept});
        assert_eq!(tell(&app, 2, change).await.status.as_u16(), 204);
        app.refresh(text(&there["refresh_token"])).await.is(400, "invalid_grant");
        let refreshed = app.refresh(text(&here["refresh_token"])).await;
        let me = send(app.get("/auth/me").bearer_auth(text(&refreshed.body["access_token"]))).await;
        assert_eq!(me.body["ver"], 2);
        app.stop().await;
    }

    async fn a_disabled_or_deleted_user_s_sessions_end(db: TestDatabase) {
        let app = TestApp::start(db);
        let mut tokens = app.register("ada").await;
        for (version, change) in [(2, json!({"disabled": true})), (4, json!({"deleted": true}))] {
            assert_eq!(tell(&app, version, change).await.status.as_u16(), 204);
            app.refresh(text(&tokens["refresh_token"])).await.is(400, "invalid_grant");
            app.users.change("user-1", |user| user["authorization_version"] = (version + 1).into());
            tokens = app.log_in("ada").await;
        }
        app.stop().await;
    }

    async fn a_change_whose_event_comes_after_a_log_in_that_knew_of_it_bites_all_the_same(db: TestDatabase) {
        let app = TestApp::start(db);
        let me = async |tokens: &Value| send(app.get("/auth/me").bearer_auth(text(&tokens["access_token"]))).await;
        let before = app.register("ada").await;
        let kept = app.log_in("ada").await;
        let keep_session = own_session(&app, &kept).await;

        // user-service has the new password and the new role, and has not been able to tell yet.
        app.users.change("user-1", |user| {
            user["authorization_version"] = 3.into();
            user["user"]["roles"] = json!(["editor"]);
        });
        let after = app.log_in("ada").await;
        assert_eq!(me(&after).await.body["ver"], 3);
        assert_eq!(me(&before).await.status.as_u16(), 200);

        tell(&app, 2, json!({"password_changed": true, "keep_session": keep_session})).await;
        me(&before).await.is(401, "token_revoked");
        app.refresh(text(&before["refresh_token"])).await.is(400, "invalid_grant");
        assert_eq!(me(&after).await.status.as_u16(), 200);
        tell(&app, 3, json!({"roles": ["editor"]})).await;
        me(&kept).await.is(401, "token_revoked");
        let refreshed = app.refresh(text(&kept["refresh_token"])).await;
        assert_eq!(refreshed.body["scope"], "persons:read persons:write");
        assert_eq!(me(&refreshed.body).await.body["ver"], 3);
        assert_eq!(me(&after).await.status.as_u16(), 200);
        let refreshed = app.refresh(text(&after["refresh_token"])).await;
        assert_eq!(refreshed.body["scope"], "persons:read persons:write");
        app.stop().await;
    }

    async fn new_roles_come_with_the_next_refresh(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        tell(&app, 2, json!({"roles": ["editor"]})).await;
        let refreshed = app.refresh(text(&tokens["refresh_token"])).await;
        assert_eq!(refreshed.body["scope"], "persons:read persons:write");
        app.stop().await;
    }

    async fn an_event_that_is_told_twice_or_late_changes_nothing(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        tell(&app, 3, json!({"roles": ["editor"]})).await;
        assert_eq!(tell(&app, 3, json!({"roles": []})).await.status.as_u16(), 204);
        assert_eq!(tell(&app, 2, json!({"disabled": true})).await.status.as_u16(), 204);
        let refreshed = app.refresh(text(&tokens["refresh_token"])).await;
        assert_eq!(refreshed.body["scope"], "persons:read persons:write");
        app.stop().await;
    }

    async fn an_event_of_a_user_who_never_logged_in_is_taken(db: TestDatabase) {
        let app = TestApp::start(db);
        assert_eq!(tell(&app, 1, json!({"user_id": "user-9"})).await.status.as_u16(), 204);
        app.stop().await;
    }

    async fn a_bad_event_keeps_the_whole_batch_out(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let good = json!({"user_id": "user-1", "authorization_version": 2, "roles": ["editor"], "disabled": false,
            "deleted": false, "password_changed": false, "keep_session": null});
        let mut bad = good.clone();
        bad["keep_session"] = "nonsense".into();
        let body = json!({"events": [good, bad]});
        send(app.post("/internal/user-events").bearer_auth(app.service_token()).json(&body)).await.is(422, "validation_failed");
        let refreshed = app.refresh(text(&tokens["refresh_token"])).await;
        assert_eq!(refreshed.body["scope"], "persons:read");
        app.stop().await;
    }
}

//! The line of refresh tokens, row by row, against a model, and under many presentations at once.

use actix_web::rt::task::spawn_blocking;
use proptest::{
    prelude::*,
    test_runner::{Config as ProptestConfig, TestRunner},
};
use reqwest::StatusCode;
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, REFRESH_SECRET, TestApp, send, text};

fn refresh_token(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    text(&answer.body["refresh_token"]).to_owned()
}

on_both_databases! {
    async fn the_current_token_gives_the_next_one(db: TestDatabase) {
        let app = TestApp::start(db);
        let mut token = text(&app.register("ada").await["refresh_token"]).to_owned();
        let mut seen = vec![token.clone()];
        for _ in 0..5 {
            app.advance(100);
            token = refresh_token(&app.refresh(&token).await);
            assert!(!seen.contains(&token));
            seen.push(token.clone());
        }
        app.stop().await;
    }

    async fn the_previous_token_within_the_window_gives_the_same_newest_one(db: TestDatabase) {
        let app = TestApp::start(db);
        let first = text(&app.register("ada").await["refresh_token"]).to_owned();
        let answer = app.refresh(&first).await;
        let second = refresh_token(&answer);
        app.advance(29);
        let again = app.refresh(&first).await;
        assert_eq!(refresh_token(&again), second);
        assert_ne!(again.body["access_token"], answer.body["access_token"], "a fresh access token");
        assert_ne!(refresh_token(&app.refresh(&second).await), second, "the line goes on");
        app.stop().await;
    }

    async fn the_previous_token_after_the_window_replaces_the_one_that_got_lost(db: TestDatabase) {
        let app = TestApp::start(db);
        let first = text(&app.register("ada").await["refresh_token"]).to_owned();
        let lost = refresh_token(&app.refresh(&first).await);
        app.advance(7 * 3600);
        let third = refresh_token(&app.refresh(&first).await);
        assert_ne!(third, lost);
        assert_eq!(refresh_token(&app.refresh(&first).await), third, "and its own window begins");
        app.refresh(&lost).await.is(400, "invalid_grant");
        app.refresh(&third).await.is(400, "invalid_grant");
        app.stop().await;
    }

    async fn an_older_token_ends_the_session(db: TestDatabase) {
        let app = TestApp::start(db);
        let first = text(&app.register("ada").await["refresh_token"]).to_owned();
        let second = refresh_token(&app.refresh(&first).await);
        let third = refresh_token(&app.refresh(&second).await);
        app.refresh(&first).await.is(400, "invalid_grant");
        app.refresh(&third).await.is(400, "invalid_grant");
        app.refresh(&second).await.is(400, "invalid_grant");
        let other = text(&app.log_in("ada").await["refresh_token"]).to_owned();
        refresh_token(&app.refresh(&other).await);
        app.stop().await;
    }

    async fn a_token_that_we_did_not_make_is_refused_and_harms_nobody(db: TestDatabase) {
        let app = TestApp::start(db);
        let token = text(&app.register("ada").await["refresh_token"]).to_owned();
        let mut forged = token.clone();
        let last = if forged.ends_with('A') { "B" } else { "A" };
        forged.replace_range(forged.len() - 1.., last);
        for bad in [forged.as_str(), "srt_", "nonsense", &token.replace("srt_", ""), &format!("{token}=")] {
            let answer = app.refresh(bad).await;
            answer.is(400, "invalid_grant");
            assert!(!answer.body.to_string().contains("srt_"));
        }
        let access = app.log_in("ada").await["access_token"].clone();
        app.refresh(text(&access)).await.is(400, "invalid_grant");
        refresh_token(&app.refresh(&token).await);
        app.stop().await;
    }

    async fn a_session_ends_after_fourteen_idle_days(db: TestDatabase) {
        let app = TestApp::start(db);
        let mut token = text(&app.register("ada").await["refresh_token"]).to_owned();
        app.advance(14 * 86_400 - 1);
        token = refresh_token(&app.refresh(&token).await);
        app.advance(14 * 86_400);
        app.refresh(&token).await.is(400, "invalid_grant");
        app.stop().await;
    }

    async fn a_session_ends_after_ninety_days_however_busy(db: TestDatabase) {
        let app = TestApp::start(db);
        let mut token = text(&app.register("ada").await["refresh_token"]).to_owned();
        for _ in 0..8 {
            app.advance(11 * 86_400);
            token = refresh_token(&app.refresh(&token).await);
        }
        app.advance(2 * 86_400);
        app.refresh(&token).await.is(400, "invalid_grant");
        app.stop().await;
    }

    async fn sixty_four_presentations_at_once_all_get_the_same_new_token(db: TestDatabase) {
        let app = TestApp::start(db);
        let mut token = text(&app.register("ada").await["refresh_token"]).to_owned();
        for _ in 0..3 {
            let requests = (0..64).map(|_| {
                let request = app.post("/auth/token").form(&[("grant_type", "refresh_token"), ("refresh_token", &token)]);
                actix_web::rt::spawn(send(request))
            });
            let mut tokens = Vec::new();
            for request in requests.collect::<Vec<_>>() {
                tokens.push(refresh_token(&request.await.unwrap()));
            }
            assert!(tokens.iter().all(|other| *other == tokens[0] && *other != token));
            token.clone_from(&tokens[0]);
            app.advance(3600);
        }
        refresh_token(&app.refresh(&token).await);
        app.stop().await;
    }

    async fn tokens_of_the_former_secret_are_taken_while_it_is_being_replaced(db: TestDatabase) {
        let app = TestApp::start_with(
            db,
            &[
                ("SIGNET__REFRESH__SECRET", "Another1Secret2For3The4Refresh5Tokens6"),
                ("SIGNET__REFRESH__PREVIOUS_SECRET", REFRESH_SECRET),
            ],
        );
        let answer = app.register("ada").await;
        let keys = auth_service::domain::RefreshKeys::new(
            b"Another1Secret2For3The4Refresh5Tokens6",
            Some(REFRESH_SECRET.as_bytes()),
        );
        let place = keys.decode(text(&answer["refresh_token"])).unwrap();
        let former = auth_service::domain::RefreshKeys::new(REFRESH_SECRET.as_bytes(), None).encode(place);
        assert_ne!(former, text(&answer["refresh_token"]));
        let next = refresh_token(&app.refresh(&former).await);
        assert_eq!(keys.decode(&next).unwrap().number, 2);
        app.stop().await;
    }

    async fn any_interleaving_does_what_the_table_says(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let handle = tokio::runtime::Handle::current();
        spawn_blocking(move || {
            let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
            let steps = prop::collection::vec(step(), 1..24);
            TestRunner::new(config)
                .run(&steps, |steps| handle.block_on(follow(&app, &steps)))
                .unwrap();
            handle.block_on(app.stop());
        })
        .await
        .unwrap();
    }
}

/// What a client, or somebody who copied from it, may do next.
#[derive(Clone, Debug)]
enum Step {
    /// Present the token that was issued this many tokens ago.
    Present { ago: usize },
    /// Let time pass.
    Wait { seconds: i64 },
    /// Log out.
    LogOut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Present { ago: 0 }),
        6 => Just(Step::Present { ago: 1 }),
        2 => (2usize..5).prop_map(|ago| Step::Present { ago }),
        3 => prop_oneof![Just(1i64), Just(29), Just(30), Just(31), Just(4000), Just(14 * 86_400)]
            .prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::LogOut),
    ]
}

/// The table, written down once more and independently: what the session is, and what a presentation makes of it.
struct Model {
    current: usize,
    previous: Option<usize>,
    rotated_at: i64,
    last_used_at: i64,
    created_at: i64,
    ended: bool,
}

enum Expected {
    /// A token that was never seen.
    New,
    /// The token of this number.
    Same(usize),
    Refused,
}

impl Model {
    fn present(&mut self, number: usize, now: i64, newest: usize) -> Expected {
        let expired = now - self.last_used_at >= 14 * 86_400 || now - self.created_at >= 90 * 86_400;
        if self.ended || expired {
            return Expected::Refused;
        }
        if number == self.current || (Some(number) == self.previous && now - self.rotated_at >= 30) {
            self.previous = Some(number);
            self.current = newest + 1;
            self.rotated_at = now;
            self.last_used_at = now;
            Expected::New
        } else if Some(number) == self.previous {
            Expected::Same(self.current)
        } else {
            self.ended = true;
            Expected::Refused
        }
    }
}

async fn follow(app: &TestApp, steps: &[Step]) -> Result<(), TestCaseError> {
    let answer = app.log_in("ada").await;
    let mut issued = vec![text(&answer["refresh_token"]).to_owned()];
    let mut access = text(&answer["access_token"]).to_owned();
    let now = app.now();
    let mut model =
        Model { current: 0, previous: None, rotated_at: now, last_used_at: now, created_at: now, ended: false };
    for step in steps {
        match step {
            Step::Wait { seconds } => app.advance(*seconds),
            Step::LogOut => {
                // By refresh token, as the access token may have expired.
                let token = &issued[model.current];
                let expired = app.now() - model.last_used_at >= 14 * 86_400;
                let body = serde_json::json!({"refresh_token": token});
                let answer = send(app.post("/auth/logout").bearer_auth(&access).json(&body)).await;
                prop_assert_eq!(answer.status.as_u16(), 204, "{} (expired: {})", answer.body, expired);
                model.ended = true;
            }
            Step::Present { ago } => {
                let number = (issued.len() - 1).saturating_sub(*ago);
                let expected = model.present(number, app.now(), issued.len() - 1);
                let answer = app.refresh(&issued[number]).await;
                match expected {
                    Expected::Refused => {
                        prop_assert_eq!(answer.status.as_u16(), 400, "{}", answer.body);
                        prop_assert_eq!(&answer.body["error"], "invalid_grant");
                        prop_assert!(answer.body["access_token"].is_null());
                    }
                    Expected::Same(number) => {
                        prop_assert_eq!(&refresh_token(&answer), &issued[number]);
                        text(&answer.body["access_token"]).clone_into(&mut access);
                    }
                    Expected::New => {
                        let token = refresh_token(&answer);
                        prop_assert!(!issued.contains(&token));
                        issued.push(token);
                        text(&answer.body["access_token"]).clone_into(&mut access);
                    }
                }
            }
        }
    }
    Ok(())
}

//! How long it takes from the answer to a change until another process refuses the tokens that it revokes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use shared_claims::Claims;
use tokio::time::Instant;

use crate::{
    changes::Change,
    client::{Client, Credentials, PASSWORD, Person},
    site::{PATIENCE, Site, Stack, alone, number_from_environment},
};

/// The path that the verifier is asked for.
const READ: &str = "/persons?limit=1";

/// Users to whom nothing happens.
const BYSTANDERS: usize = 6;

/// Who takes part.
struct Cast {
    /// The replica that the verifier does not follow.
    auth: Client,
    user: Client,
    verifier: Client,
    admin: String,
    client: Credentials,
    stack: Stack,
}

impl Cast {
    async fn enter(stack: Stack) -> Self {
        let auth = stack.auth[1].client();
        let client = auth.register_client("revoker", "", &stack.site.service_token()).await;
        let (user, verifier) = (stack.user.client(), stack.resource.client());
        Self { auth, user, verifier, admin: stack.admin().await.access, client, stack }
    }

    async fn change_as_admin(&self, person: &Person, change: &serde_json::Value) {
        let path = format!("/users/{}", person.id);
        self.user.call(Method::PATCH, &path, &self.admin, Some(change)).await.unwrap().expect(200);
    }

    /// Has one token revoked, and says how long after the answer the verifier refused it.
    async fn revoke_once(&self, cause: Change, number: usize) -> Duration {
        let person = Person::register(&self.auth, &format!("victim-{number}")).await;
        let here = &person.tokens.access;
        // What else has to be refused then, and what must not be.
        let (mut also_refused, mut not_refused) = (None, None);
        let began = match cause {
            Change::LogOut => {
                not_refused = Some(person.log_in(&self.auth).await.access);
                self.taken(here).await;
                self.auth.call(Method::POST, "/auth/logout", here, None).await.unwrap().expect(204);
                Instant::now()
            }
            Change::LogOutEverywhere => {
                let there = person.log_in(&self.auth).await.access;
                self.taken(here).await;
                self.auth.call(Method::POST, "/auth/logout?all=true", &there, None).await.unwrap().expect(204);
                also_refused = Some(there);
                Instant::now()
            }
            Change::EndedSession => {
                let there = person.log_in(&self.auth).await;
                let path = format!("/auth/sessions/{}", person.tokens.claim("sid").as_str().unwrap());
                self.taken(here).await;
                self.auth.call(Method::DELETE, &path, &there.access, None).await.unwrap().expect(204);
                not_refused = Some(there.access);
                Instant::now()
            }
            Change::NewPassword => {
                let there = person.log_in(&self.auth).await.access;
                let body = json!({ "current_password": PASSWORD, "new_password": "eleven copper bells by noon" });
                self.taken(here).await;
                let changed = self.user.call(Method::PUT, "/users/me/password", &there, Some(&body));
                changed.await.unwrap().expect(204);
                Instant::now()
            }
            Change::NewRoles => {
                self.taken(here).await;
                self.change_as_admin(&person, &json!({ "roles": ["editor"] })).await;
                Instant::now()
            }
            Change::Disabled => {
                self.taken(here).await;
                self.change_as_admin(&person, &json!({ "disabled": true })).await;
                Instant::now()
            }
            Change::Deleted => {
                let path = format!("/users/{}", person.id);
                self.taken(here).await;
                self.user.call(Method::DELETE, &path, &self.admin, None).await.unwrap().expect(204);
                Instant::now()
            }
            Change::RevokedToken => {
                not_refused = Some(person.log_in(&self.auth).await.access);
                self.taken(here).await;
                self.auth.with_token("/auth/revoke", here, &self.client).await.unwrap().expect(200);
                Instant::now()
            }
            Change::RevokedKey => {
                let kid = format!("spare-{}", number / Change::ALL.len());
                let claims = Site::claims(&person.id, "persons:read");
                let claims = Claims { ver: Some(1_000_000), ..claims };
                let token = self.stack.site.sign_with(&kid, &claims);
                let service_token = self.stack.site.service_token();
                let order = json!({ "kind": "key", "kid": kid });
                self.taken(&token).await;
                let told = self.auth.call(Method::POST, "/internal/revocations", &service_token, Some(&order));
                told.await.unwrap().expect(204);
                let began = Instant::now();
                let took = self.refused(&token, began).await;
                self.taken(here).await;
                return took;
            }
        };
        let took = self.refused(here, began).await;
        if let Some(token) = also_refused {
            self.refused(&token, began).await;
        }
        if let Some(token) = not_refused {
            self.taken(&token).await;
        }
        took
    }

    async fn taken(&self, token: &str) {
        self.verifier.get(READ, token).await.unwrap().expect(200);
    }

    /// Asks without pause until the token is refused.
    async fn refused(&self, token: &str, began: Instant) -> Duration {
        loop {
            let answer = self.verifier.get(READ, token).await.unwrap();
            let took = began.elapsed();
            if answer.is_revoked() {
                return took;
            }
            answer.expect(200);
            assert!(took < PATIENCE, "the token is still taken");
        }
    }
}

/// The share of the values that is at most what this returns.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[actix_web::test]
async fn what_one_replica_revokes_another_process_refuses_within_a_second() {
    let tries = usize::try_from(number_from_environment("SIGNET_REVOCATIONS").unwrap_or(40)).unwrap();
    let _alone = alone().await;
    let Some(site) = Site::new("HS256") else { return };
    site.add_spare_keys(tries.div_ceil(Change::ALL.len()));
    let cast = Cast::enter(Stack::start(site, 2, &[]).await).await;

    let mut bystanders = Vec::new();
    for number in 0..BYSTANDERS {
        bystanders.push(Person::register(&cast.auth, &format!("bystander-{number}")).await.tokens.access);
    }
    let finished = Rc::new(Cell::new(false));
    let wrongly_refused = Rc::new(RefCell::new(Vec::new()));
    let watching = {
        let (finished, wrongly_refused) = (finished.clone(), wrongly_refused.clone());
        let verifier = cast.stack.resource.client();
        actix_web::rt::spawn(async move {
            let mut asked = 0_usize;
            while !finished.get() {
                let answer = verifier.get(READ, &bystanders[asked % BYSTANDERS]).await.unwrap();
                asked += 1;
                if answer.status != 200 {
                    wrongly_refused.borrow_mut().push(answer);
                }
            }
            asked
        })
    };

    let mut by_cause: BTreeMap<Change, Vec<Duration>> = BTreeMap::new();
    for number in 0..tries {
        let cause = Change::ALL[number % Change::ALL.len()];
        by_cause.entry(cause).or_default().push(cast.revoke_once(cause, number).await);
    }
    finished.set(true);
    let asked = watching.await.unwrap();

    let mut all: Vec<Duration> = by_cause.values().flatten().copied().collect();
    all.sort();
    println!("from the answer to the first refusal in another process, in milliseconds:");
    println!("{:<20}{:>6}{:>10}{:>10}{:>10}", "", "tries", "p50", "p99", "most");
    let line = |name: &str, sorted: &[Duration]| {
        let millis = |share| percentile(sorted, share).as_secs_f64() * 1000.0;
        println!("{name:<20}{:>6}{:>10.1}{:>10.1}{:>10.1}", sorted.len(), millis(0.5), millis(0.99), millis(1.0));
    };
    for (cause, mut took) in by_cause {
        took.sort();
        line(&format!("{cause:?}"), &took);
    }
    line("all", &all);
    println!("{asked} requests of {BYSTANDERS} others meanwhile");

    assert!(wrongly_refused.borrow().is_empty(), "{wrongly_refused:?}");
    assert!(asked > tries, "the others were hardly asked");
    assert!(percentile(&all, 0.5) < Duration::from_millis(100), "{all:?}");
    assert!(percentile(&all, 0.99) < Duration::from_secs(1), "{all:?}");
}

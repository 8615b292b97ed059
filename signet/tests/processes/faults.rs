//! Processes are killed in the middle of changes. Afterwards every change that was acknowledged holds everywhere, and of
//! those whose answer got lost every one that its owner has.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::rt::{spawn, task::spawn_blocking};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use reqwest::Method;
use serde_json::{Value, json};
use shared_claims::Claims;
use test_support::TestCluster;
use tokio::time::{Instant, sleep};

use crate::{
    changes::Change,
    client::{Answer, Client, Credentials, Outcome, PASSWORD, Person, Tokens},
    site::{BREATH, PATIENCE, Site, Stack, alone, number_from_environment},
};

const NEW_PASSWORD: &str = "eleven copper bells by noon";

/// Users to whom nothing happens.
const BYSTANDERS: usize = 4;

/// Changes that are under way together when something is killed.
const MOST_AT_ONCE: usize = 4;

/// A change and the kill that is to hit it happen within this time of each other.
const WINDOW: Duration = Duration::from_millis(60);

/// What was killed stays dead for this long at most.
const LONGEST_ABSENCE: Duration = Duration::from_millis(800);

/// How long a client waits before it tries again what was not taken.
const RETRY_AFTER: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    AuthA,
    AuthB,
    User,
    Verifier,
    Postgres,
}

const TARGETS: [Target; 5] = [Target::AuthA, Target::AuthB, Target::User, Target::Verifier, Target::Postgres];

/// Deals each value once before any comes again.
struct Deck<T: 'static> {
    all: &'static [T],
    rest: Vec<T>,
}

impl<T: Copy> Deck<T> {
    fn new(all: &'static [T]) -> Self {
        Self { all, rest: Vec::new() }
    }

    fn deal(&mut self, random: &mut StdRng) -> T {
        if self.rest.is_empty() {
            self.rest = self.all.to_vec();
            self.rest.shuffle(random);
        }
        self.rest.pop().unwrap()
    }
}

/// What the client knows of its change.
#[derive(Clone, Debug)]
enum Known {
    /// It was told that it is done.
    Acknowledged,
    /// The answer got lost, or a second try was told something else.
    Uncertain(String),
}

/// A change that is to be made, and whom it concerns.
#[derive(Clone, Debug)]
struct Planned {
    change: Change,
    person: Person,
    /// Another session of the same user, or a token that the key signed which is to be revoked.
    other: Tokens,
    kid: String,
}

impl Planned {
    /// The tokens that are refused when the change has been made, and those that go on.
    fn refused_and_taken(&self) -> (Vec<&str>, Vec<&str>) {
        let (first, other) = (self.person.tokens.access.as_str(), self.other.access.as_str());
        match self.change {
            Change::LogOut | Change::EndedSession | Change::RevokedToken => (vec![first], vec![other]),
            Change::RevokedKey => (vec![other], vec![first]),
            Change::LogOutEverywhere | Change::NewPassword | Change::NewRoles | Change::Disabled | Change::Deleted => {
                (vec![first, other], vec![])
            }
        }
    }
}

/// Everybody who can be talked to. Clones share connections.
#[derive(Clone)]
struct Doors {
    auth: [Client; 2],
    user: Client,
    verifier: Client,
    admin: String,
    revoker: Credentials,
    service_token: String,
}

/// Whether a request has certainly not been taken, so that any client may send it again.
fn is_not_taken(outcome: &Outcome) -> bool {
    match outcome {
        Ok(answer) => answer.status == 503,
        Err(cause) => cause.is_connect(),
    }
}

/// Asks, as long as nothing comes of it, as a client does that only reads.
async fn insist(mut ask: impl AsyncFnMut() -> Outcome) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) if answer.status != 503 => return answer,
            outcome => assert!(Instant::now() < deadline, "{outcome:?}"),
        }
        sleep(RETRY_AFTER).await;
    }
}

impl Doors {
    /// Every process that verifies tokens, with a path that a user's token opens.
    fn everywhere(&self) -> [(&Client, &'static str); 4] {
        let [a, b] = &self.auth;
        [(a, "/auth/me"), (b, "/auth/me"), (&self.user, "/users/me"), (&self.verifier, "/persons?limit=1")]
    }

    async fn plan(&self, change: Change, number: usize, site: &Site) -> Planned {
        let auth = &self.auth[number % 2];
        let person = Person::register(auth, &format!("victim-{number}")).await;
        let kid = format!("spare-{}", number / Change::ALL.len());
        let other = if change == Change::RevokedKey {
            let claims = Claims { ver: Some(1_000_000), ..Site::claims(&person.id, "persons:read") };
            Tokens { access: site.sign_with(&kid, &claims), ..person.tokens.clone() }
        } else {
            person.log_in(auth).await
        };
        Planned { change, person, other, kid }
    }

    /// Sends the change once.
    async fn send(&self, planned: &Planned, auth: &Client) -> Outcome {
        let Planned { change, person, other, kid } = planned;
        let own = format!("/users/{}", person.id);
        match change {
            Change::LogOut => auth.call(Method::POST, "/auth/logout", &person.tokens.access, None).await,
            Change::LogOutEverywhere => {
                auth.call(Method::POST, "/auth/logout?all=true", &person.tokens.access, None).await
            }
            Change::EndedSession => {
                let path = format!("/auth/sessions/{}", person.tokens.claim("sid").as_str().unwrap());
                auth.call(Method::DELETE, &path, &other.access, None).await
            }
            Change::NewPassword => {
                let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
                self.user.call(Method::PUT, "/users/me/password", &person.tokens.access, Some(&body)).await
            }
            Change::NewRoles => {
                self.user.call(Method::PATCH, &own, &self.admin, Some(&json!({ "roles": ["editor"] }))).await
            }
            Change::Disabled => {
                self.user.call(Method::PATCH, &own, &self.admin, Some(&json!({ "disabled": true }))).await
            }
            Change::Deleted => self.user.call(Method::DELETE, &own, &self.admin, None).await,
            Change::RevokedToken => auth.with_token("/auth/revoke", &person.tokens.access, &self.revoker).await,
            Change::RevokedKey => {
                let order = json!({ "kind": "key", "kid": kid });
                auth.call(Method::POST, "/internal/revocations", &self.service_token, Some(&order)).await
            }
        }
    }

    /// Makes the change, again where it was not taken; behind a proxy that would be another replica's turn.
    async fn make(&self, planned: &Planned, mut replica: usize) -> Known {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = self.send(planned, &self.auth[replica]).await;
            match outcome {
                Ok(answer) if (200..300).contains(&answer.status) => return Known::Acknowledged,
                outcome if !is_not_taken(&outcome) => return Known::Uncertain(format!("{outcome:?}")),
                outcome => assert!(Instant::now() < deadline, "{planned:?} is never taken: {outcome:?}"),
            }
            replica = 1 - replica;
            sleep(RETRY_AFTER).await;
        }
    }

    /// Whether the service that owns the matter has the change. Asking takes nothing that is needed later.
    async fn is_made(&self, planned: &Planned) -> bool {
        let Planned { change, person, other, .. } = planned;
        let auth = &self.auth[0];
        let active = async |token: &str| {
            let answer = insist(async || auth.with_token("/auth/introspect", token, &self.revoker).await).await;
            answer.expect(200).json()["active"].as_bool().unwrap()
        };
        let user = async || {
            let path = format!("/users/{}", person.id);
            insist(async || self.user.get(&path, &self.admin).await).await
        };
        match change {
            Change::LogOut | Change::EndedSession => !active(&person.tokens.refresh).await,
            Change::LogOutEverywhere => {
                let (first, other) = (active(&person.tokens.refresh).await, active(&other.refresh).await);
                assert_eq!(first, other, "one of two sessions has ended: {planned:?}");
                !first
            }
            Change::NewPassword => {
                let log_in = async |password: &str| {
                    let answer = insist(async || auth.log_in(&person.email, password).await).await;
                    if answer.status == 200 {
                        return true;
                    }
                    answer.expect_refusal(401, "invalid_credentials");
                    false
                };
                let (old, new) = (log_in(PASSWORD).await, log_in(NEW_PASSWORD).await);
                assert!(old != new, "{planned:?}: old {old}, new {new}");
                new
            }
            Change::NewRoles => user().await.expect(200).json()["roles"] == json!(["editor"]),
            Change::Disabled => user().await.expect(200).json()["disabled"] == json!(true),
            Change::Deleted => user().await.status == 404,
            Change::RevokedToken => !active(&person.tokens.access).await,
            Change::RevokedKey => !active(&other.access).await,
        }
    }

    async fn wait_until_refused(&self, token: &str, planned: &Planned) {
        let deadline = Instant::now() + PATIENCE;
        for (client, path) in self.everywhere() {
            loop {
                let outcome = client.get(path, token).await;
                if outcome.as_ref().is_ok_and(Answer::is_revoked) {
                    break;
                }
                assert!(Instant::now() < deadline, "lost: {path} still takes {planned:?}: {outcome:?}");
                sleep(BREATH).await;
            }
        }
    }

    async fn taken(&self, token: &str, planned: &Planned) {
        for (client, path) in self.everywhere() {
            let answer = insist(async || client.get(path, token).await).await;
            // A password that was changed elsewhere, say, is none of this token's business.
            assert_eq!(answer.status, 200, "{path} refuses a token that was not revoked, {planned:?}: {answer:?}");
        }
    }

    async fn refresh(&self, tokens: &Tokens) -> Option<Tokens> {
        let answer = insist(async || self.auth[1].refresh(&tokens.refresh).await).await;
        if answer.status == 200 {
            return Some(Tokens::of(&answer));
        }
        answer.expect_refusal(400, "invalid_grant");
        None
    }

    /// That what the owner has is so everywhere, and nothing else.
    async fn check(&self, planned: &Planned, known: &Known) -> bool {
        let made = self.is_made(planned).await;
        assert!(made || !matches!(known, Known::Acknowledged), "lost, though acknowledged: {planned:?}");
        let Planned { change, person, other, .. } = planned;
        let (refused, taken) = planned.refused_and_taken();
        if !made {
            for token in refused.into_iter().chain(taken) {
                self.taken(token, planned).await;
            }
            let tokens = self.refresh(&person.tokens).await.unwrap_or_else(|| panic!("{planned:?} was not made"));
            assert_eq!(tokens.claim("roles"), json!(["user"]));
            return false;
        }
        for token in refused {
            self.wait_until_refused(token, planned).await;
        }
        for token in taken {
            self.taken(token, planned).await;
        }
        let first = self.refresh(&person.tokens).await;
        // The token of a key that was revoked belongs to no session.
        let other = if *change == Change::RevokedKey { None } else { self.refresh(other).await };
        let roles = if *change == Change::NewRoles { json!(["editor"]) } else { json!(["user"]) };
        let (first_lives, other_lives) = match change {
            Change::LogOut | Change::EndedSession => (false, true),
            Change::LogOutEverywhere | Change::Disabled | Change::Deleted => (false, false),
            Change::NewPassword | Change::RevokedKey => (true, false),
            Change::NewRoles | Change::RevokedToken => (true, true),
        };
        assert_eq!((first.is_some(), other.is_some()), (first_lives, other_lives), "{planned:?}");
        for tokens in first.iter().chain(&other) {
            assert_eq!(tokens.claim("roles"), roles, "{planned:?}");
            self.taken(&tokens.access, planned).await;
        }
        true
    }
}

/// Users whose tokens are taken all the time, wherever something listens.
struct Bystanders {
    people: Vec<Person>,
    finished: Cell<bool>,
    asked: Cell<usize>,
    refusals: RefCell<Vec<String>>,
}

impl Bystanders {
    async fn watch(self: Rc<Self>, doors: Doors) {
        while !self.finished.get() {
            for person in &self.people {
                for (client, path) in doors.everywhere() {
                    match client.get(path, &person.tokens.access).await {
                        Ok(answer) if answer.status == 200 => self.asked.update(|count| count + 1),
                        // Something is dead, and says so or does not answer.
                        Ok(answer) if answer.status == 503 => {}
                        Ok(answer) => self.refusals.borrow_mut().push(format!("{path}: {answer:?}")),
                        Err(_) => sleep(BREATH).await,
                    }
                }
            }
        }
    }
}

fn up_to(longest: Duration, random: &mut StdRng) -> Duration {
    longest.mul_f64(random.random_range(0.0..1.0))
}

/// Kills something and starts it again at once or after a while.
async fn kill(target: Target, absence: Duration, stack: &mut Stack, cluster: &Arc<Mutex<TestCluster>>) {
    let service = match target {
        Target::AuthA => &mut stack.auth[0],
        Target::AuthB => &mut stack.auth[1],
        Target::User => &mut stack.user,
        Target::Verifier => &mut stack.resource,
        Target::Postgres => {
            let with_cluster = async |change: fn(&mut TestCluster)| {
                let cluster = cluster.clone();
                spawn_blocking(move || change(&mut cluster.lock().unwrap())).await.unwrap();
            };
            with_cluster(TestCluster::kill).await;
            sleep(absence).await;
            with_cluster(TestCluster::restart).await;
            return;
        }
    };
    service.kill();
    sleep(absence).await;
    service.start();
}

#[actix_web::test]
async fn what_was_acknowledged_holds_everywhere_whatever_is_killed_meanwhile() {
    let _alone = alone().await;
    let count = usize::try_from(number_from_environment("SIGNET_FAULTS").unwrap_or(24)).unwrap();
    let seed = number_from_environment("SIGNET_SEED").unwrap_or_else(rand::random);
    println!("SIGNET_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let Some(cluster) = TestCluster::start() else { return };
    let site = Site::in_cluster(&cluster, "HS256");
    let cluster = Arc::new(Mutex::new(cluster));
    site.add_spare_keys(count.div_ceil(Change::ALL.len()));
    // The admin's token lasts the whole test.
    let mut stack = Stack::start(site, 2, &[("SIGNET__TOKENS__ACCESS_TTL_SECONDS", "7200")]).await;
    let auth = [stack.auth[0].client(), stack.auth[1].client()];
    let doors = Doors {
        revoker: auth[0].register_client("revoker", "", &stack.site.service_token()).await,
        auth,
        user: stack.user.client(),
        verifier: stack.resource.client(),
        admin: stack.admin().await.access,
        service_token: stack.site.service_token(),
    };
    let mut people = Vec::new();
    for number in 0..BYSTANDERS {
        people.push(Person::register(&doors.auth[0], &format!("bystander-{number}")).await);
    }
    let bystanders =
        Rc::new(Bystanders { people, finished: Cell::default(), asked: Cell::default(), refusals: RefCell::default() });
    let watching = spawn(bystanders.clone().watch(doors.clone()));

    let (mut changes, mut targets) = (Deck::new(&Change::ALL), Deck::new(&TARGETS));
    let mut outcomes: BTreeMap<Target, [usize; 3]> = BTreeMap::new();
    let mut number = 0;
    while number < count {
        let target = targets.deal(&mut random);
        let mut under_way = Vec::new();
        for _ in 0..random.random_range(1..=MOST_AT_ONCE).min(count - number) {
            let planned = doors.plan(changes.deal(&mut random), number, &stack.site).await;
            let (before, replica) = (up_to(WINDOW, &mut random), random.random_range(0..2));
            let doors = doors.clone();
            under_way.push(spawn(async move {
                sleep(before).await;
                let known = doors.make(&planned, replica).await;
                (planned, known)
            }));
            number += 1;
        }
        sleep(up_to(WINDOW, &mut random)).await;
        let absence = if random.random() { Duration::ZERO } else { up_to(LONGEST_ABSENCE, &mut random) };
        kill(target, absence, &mut stack, &cluster).await;
        stack.ready().await;
        for change in under_way {
            let (planned, known) = change.await.unwrap();
            let made = doors.check(&planned, &known).await;
            let (outcome, text) = match &known {
                Known::Acknowledged => (0, "acknowledged"),
                Known::Uncertain(cause) if made => (1, cause.as_str()),
                Known::Uncertain(cause) => (2, cause.as_str()),
            };
            println!("{number:>4} {target:?} killed, {:?}, made: {made}, {text}", planned.change);
            outcomes.entry(target).or_default()[outcome] += 1;
        }
        assert!(bystanders.refusals.borrow().is_empty(), "{:#?}", bystanders.refusals.borrow());
    }

    bystanders.finished.set(true);
    watching.await.unwrap();
    for person in &bystanders.people {
        let path = format!("/users/{}", person.id);
        let user = doors.user.get(&path, &doors.admin).await.unwrap().expect(200).json();
        assert_eq!((&user["roles"], &user["disabled"]), (&json!(["user"]), &Value::Bool(false)), "{user}");
        let refreshed = Tokens::of(&doors.auth[1].refresh(&person.tokens.refresh).await.unwrap().expect(200));
        assert_eq!((refreshed.claim("roles"), refreshed.claim("ver")), (json!(["user"]), person.tokens.claim("ver")));
        person.log_in(&doors.auth[0]).await;
    }
    println!("{:<12}{:>14}{:>20}{:>24}", "killed", "acknowledged", "uncertain, made", "uncertain, not made");
    for (target, [acknowledged, made, not_made]) in outcomes {
        println!("{:<12}{acknowledged:>14}{made:>20}{not_made:>24}", format!("{target:?}"));
    }
    println!("{} requests of {BYSTANDERS} others meanwhile", bystanders.asked.get());
}

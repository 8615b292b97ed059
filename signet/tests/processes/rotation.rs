//! The keys change while everything is in use, and nobody notices.

use std::{
    cell::{Cell, RefCell},
    fs,
    rc::Rc,
    time::Duration,
};

use serde_json::Value;
use service_kit::Clock;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Client, Person, Tokens},
    site::{Site, Stack, alone, number_from_environment, wait_until},
};

const CONNECTIONS: usize = 64;

/// Of so many connections one refreshes before each request, so that tokens are issued at every moment.
const ONE_EAGER_IN: usize = 8;

const ACCESS_TTL_SECONDS: u32 = 10;

/// In the short form of the test, how long after the promotion of a key the last token of the one before it has expired:
/// the time that a token lives, and what it takes until every replica has read the file. `signet keys` allows for clocks
/// that differ and for the tokens of services as well.
const SHORT_SECONDS: u64 = ACCESS_TTL_SECONDS as u64 + 5;

/// For how long the load goes on between two events.
const WHILE: Duration = Duration::from_secs(1);

/// What the connections have done.
#[derive(Default)]
struct Load {
    finished: Cell<bool>,
    reads: Cell<usize>,
    refreshes: Cell<usize>,
    failures: RefCell<Vec<String>>,
}

impl Load {
    /// One client: reads, and renews its token when that has expired, or each time. Ends at the first failure.
    async fn run(self: Rc<Self>, name: String, auth: Client, verifier: Client, mut tokens: Tokens, eager: bool) {
        let mut issued = Instant::now();
        while !self.finished.get() {
            if eager || issued.elapsed() >= tokens.expires_in {
                match auth.refresh(&tokens.refresh).await {
                    Ok(answer) if answer.status == 200 => tokens = Tokens::of(&answer),
                    failure => return self.fail(&name, "refresh", &failure),
                }
                issued = Instant::now();
                self.refreshes.update(|count| count + 1);
            }
            match verifier.get("/persons?limit=1", &tokens.access).await {
                Ok(answer) if answer.status == 200 => {}
                failure => return self.fail(&name, "read", &failure),
            }
            self.reads.update(|count| count + 1);
        }
    }

    fn fail(&self, name: &str, what: &str, failure: &dyn std::fmt::Debug) {
        self.failures.borrow_mut().push(format!("{name}, {what}: {failure:?}"));
    }

    /// Lets the load go on for a while.
    async fn go_on(&self, what: &str) {
        let before = self.reads.get();
        sleep(WHILE).await;
        let after = self.reads.get();
        assert!(self.failures.borrow().is_empty(), "{what}: {:#?}", self.failures.borrow());
        assert!(after > before, "{what}: nothing is read any more");
        println!("{what}: {after} reads, {} refreshes", self.refreshes.get());
    }
}

/// Puts garbage in the place of the ring, until every service has said that it does not take it.
async fn garble(stack: &mut Stack, load: &Load) {
    let path = stack.site.ring();
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    for service in stack.services() {
        wait_until("the service complains of its keys", async || {
            let answer = service.readiness().await.unwrap();
            answer.status == 503 && answer.json()["errors"][0]["field"] == "keys"
        })
        .await;
    }
    load.go_on("while the ring was garbage").await;
    fs::write(&path, good).unwrap();
    stack.ready().await;
    load.go_on("after the ring was put back").await;
}

/// Says of a key that its last token has expired soon.
fn hasten(site: &Site, kid: &str) {
    let mut ring: Value = serde_json::from_slice(&fs::read(site.ring()).unwrap()).unwrap();
    let key = ring["keys"].as_array_mut().unwrap().iter_mut().find(|key| key["kid"] == kid).unwrap();
    let at = Clock::system().now().as_seconds() + SHORT_SECONDS;
    assert!(key["exp"].as_u64().unwrap() > at, "{ring}");
    key["exp"] = at.into();
    fs::write(site.ring(), ring.to_string()).unwrap();
}

#[actix_web::test]
async fn keys_are_changed_and_retired_under_load_and_not_one_request_fails() {
    let _alone = alone().await;
    let Some(site) = Site::new("HS256") else { return };
    let ttl = ACCESS_TTL_SECONDS.to_string();
    let mut stack = Stack::start(site, 2, &[("SIGNET__TOKENS__ACCESS_TTL_SECONDS", &ttl)]).await;
    let load = Rc::new(Load::default());
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        let auth = stack.auth[number % 2].client();
        let person = Person::register(&auth, &format!("user-{number}")).await;
        let (name, verifier) = (format!("connection {number}"), stack.resource.client());
        let eager = number % ONE_EAGER_IN == 0;
        let running = load.clone().run(name, auth, verifier, person.tokens, eager);
        connections.push(actix_web::rt::spawn(running));
    }
    load.go_on("at first").await;

    garble(&mut stack, &load).await;
    let former = stack.site.signing_kid();
    println!("{}", stack.site.signet_keys(&["rotate"]).await);
    let present = stack.site.signing_kid();
    assert_ne!(present, former);
    load.go_on("after the rotation").await;
    if number_from_environment("SIGNET_ROTATION_IN_FULL").is_none() {
        hasten(&stack.site, &former);
    }
    garble(&mut stack, &load).await;
    println!("{}", stack.site.signet_keys(&["retire", &former, "--wait"]).await);
    let auth = stack.auth[0].client();
    wait_until("nobody has the key any more", async || {
        let keys = auth.get("/internal/keys", &stack.site.service_token()).await.unwrap().expect(200);
        !keys.text.contains(&former)
    })
    .await;
    load.go_on("after the retirement").await;

    load.finished.set(true);
    for connection in connections {
        connection.await.unwrap();
    }
    assert!(load.failures.borrow().is_empty(), "{:#?}", load.failures.borrow());
    assert!(load.refreshes.get() > CONNECTIONS, "not everybody has refreshed");
    println!("{CONNECTIONS} connections: {} reads, {} refreshes, none failed", load.reads.get(), load.refreshes.get());
}

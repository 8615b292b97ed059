//! Clients that do everything that clients do, over and over, and know what each answer has to be.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write as _,
    rc::Rc,
    time::Instant,
};

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    Failure,
    client::{Answer, Client},
    requests::address_of,
    sample::Answers,
};

#[derive(Deserialize)]
pub(crate) struct Plan {
    auth: String,
    user: String,
    resource: String,
    /// Users who may write persons; each client is one of them.
    emails: Vec<String>,
    password: String,
    requests: usize,
    clients: usize,
}

/// How often a client refreshes within one session, and what it does between two refreshes. Each session that ends is
/// remembered by every service for hours, so that ever shorter ones would look like a leak.
const REFRESHES: usize = 80;
const STEPS: usize = 24;
const IMPORTED: usize = 100;
/// How many surprises are told in full.
const TOLD: usize = 20;
/// With more than these there is nothing to be learned from going on.
const TOO_MANY: usize = 1_000;

struct Soak {
    plan: Plan,
    done: Cell<usize>,
    answers: RefCell<BTreeMap<&'static str, Answers>>,
    unexpected: Cell<usize>,
    told: RefCell<Vec<String>>,
}

impl Soak {
    fn is_over(&self) -> bool {
        self.done.get() >= self.plan.requests || self.unexpected.get() > TOO_MANY
    }

    /// Counts an answer, and gives it if it is the expected one.
    fn see(&self, what: &'static str, expected: u16, answer: Result<Answer, Failure>) -> Option<Answer> {
        let done = self.done.get() + 1;
        self.done.set(done);
        // A hundred words of progress, whatever the number.
        if done * 100 / self.plan.requests > (done - 1) * 100 / self.plan.requests {
            println!("{}", json!({ "done": done }));
        }
        let status = answer.as_ref().map_or_else(|_| "failed".to_owned(), |answer| answer.status.as_str().to_owned());
        self.answers.borrow_mut().entry(what).or_default().add(&status);
        let surprise = match answer {
            Ok(answer) if answer.status.as_u16() == expected => return Some(answer),
            Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
            Err(failure) => failure.to_string(),
        };
        self.unexpected.set(self.unexpected.get() + 1);
        let mut told = self.told.borrow_mut();
        if told.len() < TOLD {
            told.push(format!("request {done}, {what}: {status} instead of {expected}: {surprise}"));
        }
        None
    }
}

pub(crate) async fn run(plan: Plan) -> Result<Value, Failure> {
    if plan.emails.len() < plan.clients {
        return Err("a soak needs a user for each client".into());
    }
    let begin = Instant::now();
    let clients = plan.clients;
    let soak = Rc::new(Soak {
        plan,
        done: Cell::default(),
        answers: RefCell::default(),
        unexpected: Cell::default(),
        told: RefCell::default(),
    });
    let tasks = LocalSet::new();
    let running: Vec<_> = (0..clients).map(|number| tasks.spawn_local(one_client(Rc::clone(&soak), number))).collect();
    tasks
        .run_until(async {
            for client in running {
                client.await?.map_err(|failure| failure.to_string())?;
            }
            Ok::<(), Failure>(())
        })
        .await?;
    let answers: BTreeMap<&str, Value> =
        soak.answers.borrow().iter().map(|(what, answers)| (*what, answers.report())).collect();
    Ok(json!({
        "seconds": begin.elapsed().as_secs_f64(),
        "requests": soak.done.get(),
        "answers": answers,
        "unexpected": soak.unexpected.get(),
        "unexpected_told": *soak.told.borrow(),
    }))
}

/// One client's connections and tokens.
struct Visitor {
    soak: Rc<Soak>,
    number: usize,
    auth: Client,
    user: Client,
    resource: Client,
    access: String,
    refresh: String,
}

async fn one_client(soak: Rc<Soak>, number: usize) -> Result<(), Failure> {
    let from = address_of(number);
    let connect = |address: &str| Client::new(address).forwarded_for(&from);
    let (auth, user, resource) = (connect(&soak.plan.auth)?, connect(&soak.plan.user)?, connect(&soak.plan.resource)?);
    let (access, refresh) = (String::new(), String::new());
    let mut visitor = Visitor { soak, number, auth, user, resource, access, refresh };
    let mut session = 0;
    while !visitor.soak.is_over() {
        visitor.session(session).await;
        session += 1;
    }
    Ok(())
}

impl Visitor {
    /// From log-in to log-out, or until something unexpected happens or the soak is over.
    async fn session(&mut self, session: usize) -> Option<()> {
        let email = self.soak.plan.emails[self.number].clone();
        let password = self.soak.plan.password.clone();
        let answer = self.auth.log_in(&email, &password).await;
        let answer = self.soak.see("log-in", 200, answer)?;
        self.take_tokens(&answer)?;
        for round in 0..REFRESHES {
            for step in 0..STEPS {
                if self.soak.is_over() {
                    break;
                }
                self.step(session, round, step).await?;
            }
            let form = format!("grant_type=refresh_token&refresh_token={}", self.refresh);
            let answer = self.auth.form("/auth/token", form).await;
            let answer = self.soak.see("refresh", 200, answer)?;
            self.take_tokens(&answer)?;
        }
        self.import(session).await?;
        let answer = self.auth.with_body(Method::POST, "/auth/logout", Some(&self.access), "", String::new());
        let answer = answer.await;
        self.soak.see("log-out", 204, answer)?;
        let form = format!("grant_type=refresh_token&refresh_token={}", self.refresh);
        let answer = self.auth.form("/auth/token", form).await;
        self.soak.see("refresh after log-out", 400, answer)?;
        Some(())
    }

    fn take_tokens(&mut self, answer: &Answer) -> Option<()> {
        self.access = answer.member("access_token")?;
        self.refresh = answer.member("refresh_token")?;
        Some(())
    }

    /// A step of the walk: mostly reads, as with most clients, and a person who comes, changes and goes.
    async fn step(&mut self, session: usize, round: usize, step: usize) -> Option<()> {
        let person = format!("/persons/soak-{}-{session}-{round}", self.number);
        let age = (self.number + session + round) % 100;
        match step {
            0 => {
                self.read_resource(
                    "page by age from somewhere",
                    &format!("/persons?limit=20&sort=age&min_age={age}"),
                    200,
                )
                .await
            }
            1 => self.write("create", Method::PUT, &person, json!({ "name": "Soak", "age": age }), 201).await,
            2 => self.read_resource("one person", &person, 200).await,
            3 => self.write("change", Method::PATCH, &person, json!({ "name": "Soaked" }), 200).await,
            4 => self.write("refused change", Method::PATCH, &person, json!({ "age": 151 }), 422).await,
            5 => self.write("delete", Method::DELETE, &person, Value::Null, 204).await,
            6 => self.read_resource("nobody", &person, 404).await,
            7 => {
                let answer = self.user.get("/users/me", &self.access).await;
                self.soak.see("own user", 200, answer).map(drop)
            }
            8 => {
                let answer = self.auth.get("/auth/sessions?limit=5", &self.access).await;
                self.soak.see("own sessions", 200, answer).map(drop)
            }
            9 => {
                let answer = self.resource.get("/persons?limit=1", "nobody's.token.at-all").await;
                self.soak.see("bad token", 401, answer).map(drop)
            }
            10 => {
                let answer = self.user.get("/users?limit=5", &self.access).await;
                self.soak.see("what others may", 403, answer).map(drop)
            }
            11 => self.read_resource("page by name", "/persons?limit=20&sort=-name", 200).await,
            12 => {
                let bad = self.resource.get("/persons?cursor=neither", &self.access).await;
                self.soak.see("bad cursor", 400, bad).map(drop)
            }
            13..18 => {
                let answer = self.auth.get("/auth/me", &self.access).await;
                self.soak.see("who am I", 200, answer).map(drop)
            }
            _ => self.read_resource("page", "/persons?limit=20", 200).await,
        }
    }

    async fn read_resource(&mut self, what: &'static str, path: &str, expected: u16) -> Option<()> {
        let answer = self.resource.get(path, &self.access).await;
        self.soak.see(what, expected, answer).map(drop)
    }

    async fn write(
        &mut self,
        what: &'static str,
        method: Method,
        path: &str,
        body: Value,
        expected: u16,
    ) -> Option<()> {
        let (kind, body) = if body.is_null() { ("", String::new()) } else { ("application/json", body.to_string()) };
        let answer = self.resource.with_body(method, path, Some(&self.access), kind, body).await;
        self.soak.see(what, expected, answer).map(drop)
    }

    /// The same persons each time, with other ages: the table does not grow, and every import writes.
    async fn import(&mut self, session: usize) -> Option<()> {
        let mut csv = String::from("id,name,email,age\n");
        for row in 0..IMPORTED {
            let age = (session + row) % 100;
            // Writing to a string does not fail.
            let _ = writeln!(csv, "soak-import-{}-{row},Imported {row},,{age}", self.number);
        }
        let answer =
            self.resource.with_body(Method::POST, "/persons/import", Some(&self.access), "text/csv", csv).await;
        self.soak.see("import", 200, answer).map(drop)
    }
}

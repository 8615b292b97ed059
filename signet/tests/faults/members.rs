//! An admin who makes, changes and deletes the accounts of others.

use std::{rc::Rc, time::Duration};

use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    client::PASSWORD,
    journal::{Doors, Journal, Record, Told, insist},
    seeds::between,
    site::wait_until,
};

const MOST: usize = 8;

const ROLES: [&str; 3] = ["user", "editor", "admin"];

#[derive(Clone, Debug, PartialEq)]
struct State {
    name: String,
    role: &'static str,
    is_disabled: bool,
}

impl State {
    fn of(user: &Value) -> Self {
        let role = ROLES.into_iter().find(|role| user["roles"] == json!([role])).unwrap();
        Self { name: user["name"].as_str().unwrap().to_owned(), role, is_disabled: user["disabled"] == json!(true) }
    }
}

struct Member {
    email: String,
    id: Option<String>,
    record: Record<State>,
    is_over: bool,
    /// Changes of the role that were acknowledged.
    role_changes: usize,
}

pub(crate) struct Admin {
    doors: Doors,
    journal: Rc<Journal>,
    random: StdRng,
    name: String,
    members: Vec<Member>,
}

impl Admin {
    pub(crate) fn new(name: &str, doors: Doors, journal: Rc<Journal>, random: StdRng) -> Self {
        Self { doors, journal, random, name: name.to_owned(), members: Vec::new() }
    }

    pub(crate) async fn work(mut self) -> Self {
        while !self.journal.is_over() {
            let is_told = self.step().await;
            sleep(if is_told { between(0, 30, &mut self.random) } else { Duration::from_millis(50) }).await;
        }
        self
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.doors.user.request(method, path).bearer_auth(&self.doors.admin)
    }

    async fn send(&self, kind: &'static str, request: RequestBuilder) -> Told {
        let started = Instant::now();
        let outcome = self.doors.user.send(request).await;
        self.journal.told(kind, started, outcome)
    }

    async fn step(&mut self) -> bool {
        let open = (0..self.members.len()).filter(|place| !self.members[*place].is_over).collect::<Vec<_>>();
        match open.choose(&mut self.random) {
            Some(place) if self.members.len() == MOST || self.random.random_ratio(3, 4) => self.change(*place).await,
            _ if self.members.len() < MOST => {
                let email = format!("{}-{}@example.com", self.name, self.members.len());
                let member = Member { email, id: None, record: Record::new(), is_over: false, role_changes: 0 };
                self.members.push(member);
                self.create(self.members.len() - 1).await
            }
            _ => true,
        }
    }

    /// Makes a user, or tries again.
    async fn create(&mut self, place: usize) -> bool {
        let Member { email, record, .. } = &self.members[place];
        let is_first = record.is_certain();
        let state = State { name: "Member".to_owned(), role: "user", is_disabled: false };
        let body = json!({ "email": email, "password": PASSWORD, "name": state.name });
        let told = self.send("user made", self.request(Method::POST, "/users").json(&body)).await;
        let member = &mut self.members[place];
        match told {
            Told::Done(answer) => {
                member.id = Some(answer.json()["id"].as_str().unwrap().to_owned());
                member.record.is(Some(state));
            }
            Told::Refused(answer) => {
                assert!(answer.status == 409 && !is_first, "{answer:?}");
                // It was made, and the answer got lost.
                self.members[place].id = self.find(place).await;
            }
            Told::Unknown => {
                member.record.may_be(Some(state));
                return false;
            }
        }
        true
    }

    async fn find(&self, place: usize) -> Option<String> {
        let path = format!("/users?q={}", self.members[place].email);
        match self.send("users listed", self.request(Method::GET, &path)).await {
            Told::Done(answer) => answer.json()["items"][0]["id"].as_str().map(str::to_owned),
            _ => None,
        }
    }

    async fn change(&mut self, place: usize) -> bool {
        let Some(id) = self.members[place].id.clone() else { return self.create(place).await };
        let path = format!("/users/{id}");
        let (before, etag) = match self.send("user read", self.request(Method::GET, &path)).await {
            Told::Done(answer) => (Some(State::of(&answer.json())), answer.etag),
            Told::Refused(answer) => {
                answer.expect(404);
                (None, None)
            }
            Told::Unknown => return false,
        };
        self.members[place].record.judge(&self.members[place].email, before.as_ref());
        let (Some(before), Some(etag)) = (before, etag) else { return true };
        let mut after = before.clone();
        let body = match self.random.random_range(0..8) {
            0 => None,
            1..3 => {
                after.is_disabled = !before.is_disabled;
                Some(json!({ "disabled": after.is_disabled }))
            }
            3..6 => {
                after.role =
                    ROLES.into_iter().filter(|role| *role != before.role).nth(self.random.random_range(0..2)).unwrap();
                Some(json!({ "roles": [after.role] }))
            }
            _ => {
                after.name = format!("Member {}", self.random.random::<u32>());
                Some(json!({ "name": after.name }))
            }
        };
        self.members[place].is_over |= body.is_none();
        let request = match &body {
            Some(body) => self.request(Method::PATCH, &path).json(body),
            None => self.request(Method::DELETE, &path),
        };
        let told = self.send("user changed", request.header("if-match", etag)).await;
        let member = &mut self.members[place];
        let changes_role = body.is_some() && after.role != before.role;
        let after = body.map(|_| after);
        match told {
            Told::Done(_) => {
                member.record.is(after);
                member.role_changes += usize::from(changes_role);
            }
            Told::Refused(answer) => {
                let is_late = matches!(answer.status, 404 | 412) && !member.record.is_certain();
                assert!(is_late, "{}: {answer:?}, {:?}", member.email, member.record);
            }
            Told::Unknown => {
                member.record.may_be(after);
                return false;
            }
        }
        true
    }

    /// That all users are as they should be, that they can log in or not accordingly, and that the audit log tells of them.
    pub(crate) async fn check(&self) {
        for member in &self.members {
            let found = self.doors.users_with(&member.email).await;
            assert!(found.len() <= 1, "a user is there twice: {found:?}");
            let state = found.first().map(State::of);
            member.record.judge(&member.email, state.as_ref());
            let auth = &self.doors.auth[0];
            let answer = insist(async || auth.log_in(&member.email, PASSWORD).await).await;
            let expected = match &state {
                None => (401, "invalid_credentials"),
                Some(State { is_disabled: true, .. }) => (403, "account_disabled"),
                Some(_) => (200, ""),
            };
            assert_eq!((answer.status, answer.code().as_str()), expected, "{}, {state:?}: {answer:?}", member.email);
            if let (Some(id), 1..) = (&member.id, member.role_changes) {
                self.doors.audit_tells(id, "roles_changed", member.role_changes).await;
            }
        }
    }
}

impl Doors {
    /// The users with exactly this address, in whatever letters.
    pub(crate) async fn users_with(&self, email: &str) -> Vec<Value> {
        let path = format!("/users?limit=200&q={email}");
        let answer = insist(async || self.user.get(&path, &self.admin).await).await.expect(200);
        let users = answer.json()["items"].as_array().unwrap().clone();
        users.into_iter().filter(|user| user["email"].as_str().unwrap().eq_ignore_ascii_case(email)).collect()
    }

    /// That the audit log has at least so many records of something that was done to a user.
    pub(crate) async fn audit_tells(&self, id: &str, action: &str, least: usize) {
        let path = format!("/auth/audit?limit=200&subject={id}&action={action}");
        wait_until(&format!("the audit log tells of {least} {action} of {id}"), async || {
            let answer = insist(async || self.auth[0].get(&path, &self.admin).await).await.expect(200).json();
            let records = answer["items"].as_array().unwrap();
            records.iter().filter(|record| record["outcome"] == "succeeded").count() >= least
        })
        .await;
    }
}

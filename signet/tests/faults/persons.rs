//! A client that makes, changes and deletes persons of its own.

use std::{rc::Rc, time::Duration};

use rand::{RngExt as _, rngs::StdRng};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    client::Answer,
    journal::{Doors, Journal, Record, Told, insist},
    seeds::between,
};

const MOST: usize = 24;

#[derive(Clone, Debug, PartialEq)]
struct Details {
    name: String,
    email: Option<String>,
    age: Option<u64>,
}

impl Details {
    fn random(random: &mut StdRng) -> Self {
        let number: u32 = random.random();
        Self {
            name: format!("Person {number}"),
            email: random.random::<bool>().then(|| format!("p{number}@example.com")),
            age: random.random::<bool>().then(|| random.random_range(0..=150)),
        }
    }

    fn of(person: &Value) -> Self {
        Self {
            name: person["name"].as_str().unwrap().to_owned(),
            email: person["email"].as_str().map(str::to_owned),
            age: person["age"].as_u64(),
        }
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "email": self.email, "age": self.age })
    }
}

struct Person {
    id: String,
    record: Record<Details>,
    /// It has been deleted, or somebody has tried. No id is used twice.
    is_over: bool,
}

pub(crate) struct Editor {
    doors: Doors,
    journal: Rc<Journal>,
    random: StdRng,
    name: String,
    persons: Vec<Person>,
}

impl Editor {
    pub(crate) fn new(name: &str, doors: Doors, journal: Rc<Journal>, random: StdRng) -> Self {
        Self { doors, journal, random, name: name.to_owned(), persons: Vec::new() }
    }

    pub(crate) async fn work(mut self) -> Self {
        while !self.journal.is_over() {
            let is_told = self.step().await;
            sleep(if is_told { between(0, 20, &mut self.random) } else { Duration::from_millis(50) }).await;
        }
        self
    }

    fn request(&self, method: Method, id: &str) -> RequestBuilder {
        self.doors.resource.request(method, &format!("/persons/{id}")).bearer_auth(&self.doors.admin)
    }

    async fn send(&self, kind: &'static str, request: RequestBuilder) -> Told {
        let started = Instant::now();
        let outcome = self.doors.resource.send(request).await;
        self.journal.told(kind, started, outcome)
    }

    /// Whether it was told what came of it.
    async fn step(&mut self) -> bool {
        if self.persons.len() < MOST && (self.persons.is_empty() || self.random.random_ratio(1, 4)) {
            let id = format!("{}-{}", self.name, self.persons.len());
            self.persons.push(Person { id, record: Record::new(), is_over: false });
        }
        let place = self.random.random_range(0..self.persons.len());
        let id = self.persons[place].id.clone();
        let (seen, etag) = match self.send("person read", self.request(Method::GET, &id)).await {
            Told::Done(answer) => (Some(Details::of(&answer.json())), answer.etag),
            Told::Refused(answer) => {
                answer.expect(404);
                (None, None)
            }
            Told::Unknown => return false,
        };
        self.persons[place].record.judge(&format!("person {id}"), seen.as_ref());
        match (seen, etag) {
            (Some(seen), Some(etag)) => self.change(place, &seen, &etag).await,
            _ if self.persons[place].is_over => true,
            _ => self.create(place).await,
        }
    }

    async fn create(&mut self, place: usize) -> bool {
        let details = Details::random(&mut self.random);
        let id = &self.persons[place].id;
        let request = if self.random.random() {
            let mut body = details.json();
            body["id"] = json!(id);
            self.doors.resource.request(Method::POST, "/persons").bearer_auth(&self.doors.admin).json(&body)
        } else {
            self.request(Method::PUT, id).header("if-none-match", "*").json(&details.json())
        };
        let told = self.send("person made", request).await;
        self.note(place, Some(details), told)
    }

    async fn change(&mut self, place: usize, seen: &Details, etag: &str) -> bool {
        let id = self.persons[place].id.clone();
        let (method, after, body) = match self.random.random_range(0..6) {
            0 => (Method::DELETE, None, None),
            1..4 => {
                let details = Details::random(&mut self.random);
                let body = details.json();
                (Method::PUT, Some(details), Some(body))
            }
            _ => {
                let name = format!("Renamed {}", self.random.random::<u32>());
                (Method::PATCH, Some(Details { name: name.clone(), ..seen.clone() }), Some(json!({ "name": name })))
            }
        };
        self.persons[place].is_over |= method == Method::DELETE;
        let mut request = self.request(method, &id).header("if-match", etag);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let told = self.send("person changed", request).await;
        self.note(place, after, told)
    }

    fn note(&mut self, place: usize, after: Option<Details>, told: Told) -> bool {
        let Person { id, record, .. } = &mut self.persons[place];
        match told {
            Told::Done(_) => record.is(after),
            // A former change whose answer got lost has come late.
            Told::Refused(answer) => {
                assert!(
                    matches!(answer.status, 404 | 409 | 412) && !record.is_certain(),
                    "{id}: {answer:?}, {record:?}"
                );
            }
            Told::Unknown => {
                record.may_be(after);
                return false;
            }
        }
        true
    }

    /// That all persons are as they should be, each by itself.
    pub(crate) async fn check(&self) {
        for Person { id, record, .. } in &self.persons {
            let answer = insist(async || self.doors.resource.send(self.request(Method::GET, id)).await).await;
            let seen = if answer.status == 404 { None } else { Some(Details::of(&answer.expect(200).json())) };
            record.judge(&format!("person {id}"), seen.as_ref());
        }
        for person in exported(&self.doors, &format!("{}-", self.name)).await {
            let id = person["id"].as_str().unwrap();
            assert!(self.persons.iter().any(|known| known.id == id), "nobody has made {person}");
        }
    }
}

/// All persons whose ids begin like this, as a client gets them that keeps a copy. None is there twice.
pub(crate) async fn exported(doors: &Doors, prefix: &str) -> Vec<Value> {
    let answer: Answer = insist(async || {
        let request = doors.resource.request(Method::GET, "/persons/export").bearer_auth(&doors.admin);
        doors.resource.send(request.header("accept", "application/x-ndjson")).await
    })
    .await
    .expect(200);
    let persons = answer.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut persons: Vec<Value> = persons.filter(|person| person["id"].as_str().unwrap().starts_with(prefix)).collect();
    persons.sort_by_key(|person| person["id"].as_str().unwrap().to_owned());
    for pair in persons.windows(2) {
        assert_ne!(pair[0]["id"], pair[1]["id"], "a person is there twice");
    }
    persons
}

//! Files of persons and of users, whose sending breaks off and begins anew.

use std::{fmt::Write as _, io, rc::Rc, time::Duration};

use futures_util::stream;
use rand::{RngExt as _, rngs::StdRng};
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    client::{Answer, Client, Outcome, PASSWORD},
    journal::{Doors, Journal, Told, insist},
    persons::exported,
    seeds::between,
};

/// More than a service writes at a time.
const PERSONS: usize = 22_000;

const USERS: usize = 300;

/// Bytes that are sent at a time.
const PIECE: usize = 48 * 1024;

/// PASSWORD at cost 4, by libxcrypt's crypt(3).
const HASH: &str = "$2b$04$NuZABrRV2xBW8I2qId6HH.Luw5a4GBYyVBCQ2v7Dx6IjG9kpdJEWG";

/// Sends a file piece by piece; with `cut`, only so many bytes, and then nothing.
async fn upload(client: &Client, path: &str, token: &str, file: &str, cut: Option<usize>, pause: Duration) -> Outcome {
    let pieces: Vec<io::Result<Vec<u8>>> = match cut {
        Some(length) => {
            let sent = file.as_bytes()[..length].chunks(PIECE).map(|piece| Ok(piece.to_vec()));
            sent.chain([Err(io::ErrorKind::ConnectionAborted.into())]).collect()
        }
        None => file.as_bytes().chunks(PIECE).map(|piece| Ok(piece.to_vec())).collect(),
    };
    let body = Body::wrap_stream(stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        sleep(pause).await;
        Some((pieces.next()?, pieces))
    }));
    let request = client.request(Method::POST, path).bearer_auth(token).header("content-type", "text/csv");
    client.send(request.body(body)).await
}

fn count(answer: &Answer, name: &str) -> u64 {
    answer.json()[name].as_u64().unwrap()
}

/// A client that keeps a copy of its own persons, each time in another version.
pub(crate) struct Importer {
    doors: Doors,
    journal: Rc<Journal>,
    random: StdRng,
    /// The version that was sent last, and whether all of it was acknowledged.
    version: u32,
    is_acknowledged: bool,
    /// Files of users, and which of them were acknowledged.
    users: Vec<bool>,
}

fn persons(version: u32) -> String {
    let mut file = "id,name,age\n".to_owned();
    for number in 0..PERSONS {
        writeln!(file, "import-{number:05},Version {version},{}", number % 100).unwrap();
    }
    file
}

fn users(file: usize) -> String {
    let mut text = "email,password_hash\n".to_owned();
    for number in 0..USERS {
        writeln!(text, "{},{HASH}", email(file, number)).unwrap();
    }
    text
}

fn email(file: usize, number: usize) -> String {
    format!("imported-{file}-{number}@example.com")
}

impl Importer {
    pub(crate) fn new(doors: Doors, journal: Rc<Journal>, random: StdRng) -> Self {
        Self { doors, journal, random, version: 0, is_acknowledged: true, users: Vec::new() }
    }

    pub(crate) async fn work(mut self) -> Self {
        while !self.journal.is_over() {
            if self.random.random_ratio(2, 3) {
                self.send_persons().await;
            } else {
                self.send_users().await;
            }
            sleep(between(20, 100, &mut self.random)).await;
        }
        self
    }

    /// Where the file breaks off, if it does.
    fn cut(&mut self, file: &str) -> Option<usize> {
        self.random.random_ratio(1, 3).then(|| self.random.random_range(0..file.len()))
    }

    async fn send_persons(&mut self) {
        // What has not been acknowledged is sent again, until it is.
        if self.is_acknowledged {
            self.version += 1;
            self.is_acknowledged = false;
        }
        let file = persons(self.version);
        let (cut, pause) = (self.cut(&file), between(0, 20, &mut self.random));
        let started = Instant::now();
        let outcome = upload(&self.doors.resource, "/persons/import", &self.doors.admin, &file, cut, pause).await;
        match self.journal.told("persons imported", started, outcome) {
            Told::Done(answer) => {
                assert_eq!(count(&answer, "rejected"), 0, "{answer:?}");
                self.is_acknowledged = true;
            }
            Told::Refused(answer) => panic!("{answer:?}"),
            Told::Unknown => {}
        }
    }

    async fn send_users(&mut self) {
        if self.users.last().is_none_or(|is_acknowledged| *is_acknowledged) {
            self.users.push(false);
        }
        let file = users(self.users.len() - 1);
        let (cut, pause) = (self.cut(&file), between(0, 20, &mut self.random));
        let started = Instant::now();
        let outcome = upload(&self.doors.user, "/users/import", &self.doors.admin, &file, cut, pause).await;
        match self.journal.told("users imported", started, outcome) {
            Told::Done(answer) => {
                assert_eq!(count(&answer, "rejected"), 0, "{answer:?}");
                *self.users.last_mut().unwrap() = true;
            }
            Told::Refused(answer) => panic!("{answer:?}"),
            Told::Unknown => {}
        }
    }

    /// That nobody is missing, nobody is there twice, and everybody is as the newest file has them.
    pub(crate) async fn check(&self) {
        let Doors { resource, user, admin, .. } = &self.doors;
        if self.version > 0 {
            let file = persons(self.version);
            let send =
                || insist(async || upload(resource, "/persons/import", admin, &file, None, Duration::ZERO).await);
            if !self.is_acknowledged {
                let there = exported(&self.doors, "import-").await;
                let known = [self.version - 1, self.version].map(|version| format!("Version {version}"));
                for person in &there {
                    assert!(known.iter().any(|name| person["name"] == json!(name)), "{person}");
                }
                assert!(self.version == 1 || there.len() == PERSONS, "{} persons", there.len());
                let answer = send().await.expect(200);
                let counts = ["inserted", "updated", "unchanged"].map(|name| count(&answer, name));
                assert_eq!(counts.iter().sum::<u64>(), PERSONS as u64, "{answer:?}");
                assert_eq!(counts[0], (PERSONS - there.len()) as u64, "{answer:?}");
            }
            let answer = send().await.expect(200);
            assert_eq!(count(&answer, "unchanged"), PERSONS as u64, "{answer:?}");
            let there = exported(&self.doors, "import-").await;
            assert_eq!(there.len(), PERSONS);
            for (number, person) in there.iter().enumerate() {
                let is = ["id", "name", "age"].map(|member| person[member].clone());
                let expected = [
                    json!(format!("import-{number:05}")),
                    json!(format!("Version {}", self.version)),
                    json!(number % 100),
                ];
                assert_eq!(is, expected);
            }
        }
        for (number, is_acknowledged) in self.users.iter().enumerate() {
            let file = users(number);
            let there = self.imported_users(number).await;
            assert!(!is_acknowledged || there == USERS, "{there} users of an import of {USERS}");
            let send = async || upload(user, "/users/import", admin, &file, None, Duration::ZERO).await;
            let answer = insist(send).await.expect(200);
            let counts = ["inserted", "unchanged"].map(|name| count(&answer, name));
            assert_eq!(counts, [(USERS - there) as u64, there as u64], "{answer:?}");
            assert_eq!(self.imported_users(number).await, USERS);
            for one in [0, USERS - 1] {
                insist(async || self.doors.auth[1].log_in(&email(number, one), PASSWORD).await).await.expect(200);
            }
        }
    }

    /// How many users of a file there are. None is there twice.
    async fn imported_users(&self, file: usize) -> usize {
        let Doors { user, admin, .. } = &self.doors;
        let mut emails: Vec<String> = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/users?limit=200&q=imported-{file}-{cursor}");
            let page = insist(async || user.get(&path, admin).await).await.expect(200).json();
            emails.extend(
                page["items"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap().to_owned()),
            );
            match &page["next_cursor"] {
                Value::String(next) => cursor = format!("&cursor={next}"),
                _ => break,
            }
        }
        let all = emails.len();
        emails.sort();
        emails.dedup();
        assert_eq!(emails.len(), all, "a user is there twice");
        all
    }
}

//! People who register, log in, stay logged in, and log out.

use std::{rc::Rc, time::Duration};

use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    client::{Answer, Client, Outcome, PASSWORD, Tokens},
    journal::{Doors, Journal, Record, Told, insist},
    seeds::between,
    site::wait_until,
};

const MOST_ACCOUNTS: usize = 6;

const PASSWORDS: [&str; 4] =
    [PASSWORD, "eleven copper bells by noon", "forty grey herons over the weir", "a narrow boat beneath two bridges"];

/// Whether a session, or an account, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is.
    Certain,
    /// It may be, or be no more.
    Unknown,
    /// It is not.
    Over,
}

/// A session, as the client has it that began it.
#[derive(Debug)]
struct Line {
    /// All refresh tokens that came, the newest last. It is presented until another one comes.
    refresh: Vec<String>,
    /// All access tokens that came.
    access: Vec<String>,
    sid: String,
    fate: Fate,
    /// The newest access token is from before a change of the password, so it may be revoked.
    is_outdated: bool,
}

impl Line {
    fn of(answer: &Answer, fate: Fate) -> Self {
        let tokens = Tokens::of(answer);
        let sid = tokens.claim("sid").as_str().unwrap().to_owned();
        Self { refresh: vec![tokens.refresh], access: vec![tokens.access], sid, fate, is_outdated: false }
    }

    fn newest(&self) -> &str {
        self.refresh.last().unwrap()
    }

    fn token(&self) -> &str {
        self.access.last().unwrap()
    }

    fn may_be_over(&mut self) {
        if self.fate == Fate::Certain {
            self.fate = Fate::Unknown;
        }
    }
}

#[derive(Debug)]
struct Account {
    email: String,
    fate: Fate,
    id: Option<String>,
    /// Where in the list of passwords the present one is …
    password: usize,
    /// … unless it is the one after it: nobody knows. Then the account is left alone, but for its sessions.
    is_torn: bool,
    password_changes: usize,
    name: Record<String>,
    lines: Vec<Line>,
}

impl Account {
    fn new(email: String) -> Self {
        let name = Record::new();
        let (password, password_changes) = (0, 0);
        Self {
            email,
            fate: Fate::Unknown,
            id: None,
            password,
            is_torn: false,
            password_changes,
            name,
            lines: Vec::new(),
        }
    }
}

/// Somebody with a few accounts, who does one thing at a time.
pub(crate) struct Visitor {
    doors: Doors,
    journal: Rc<Journal>,
    random: StdRng,
    name: String,
    accounts: Vec<Account>,
}

impl Visitor {
    pub(crate) fn new(name: &str, doors: Doors, journal: Rc<Journal>, random: StdRng) -> Self {
        Self { doors, journal, random, name: name.to_owned(), accounts: Vec::new() }
    }

    pub(crate) async fn work(mut self) -> Self {
        while !self.journal.is_over() {
            let is_told = self.step().await;
            sleep(if is_told { between(0, 20, &mut self.random) } else { Duration::from_millis(60) }).await;
        }
        self
    }

    /// One of the replicas, as behind a proxy.
    fn auth(&mut self) -> Client {
        self.doors.auth[self.random.random_range(0..2)].clone()
    }

    async fn send(&self, kind: &'static str, client: &Client, request: RequestBuilder) -> Told {
        let started = Instant::now();
        let outcome = client.send(request).await;
        self.journal.told(kind, started, outcome)
    }

    async fn step(&mut self) -> bool {
        if let Some(place) = self.accounts.iter().position(|account| account.fate == Fate::Unknown) {
            return self.register_again(place).await;
        }
        if self.accounts.is_empty() || (self.accounts.len() < MOST_ACCOUNTS && self.random.random_ratio(1, 25)) {
            return self.register().await;
        }
        let place = self.random.random_range(0..self.accounts.len());
        let lines = &self.accounts[place].lines;
        let open: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].fate != Fate::Over).collect();
        let Some(&line) = open.choose(&mut self.random) else { return self.log_in(place).await };
        match self.random.random_range(0..100) {
            0..8 if open.len() < 4 => self.log_in(place).await,
            0..45 => self.refresh(place, line).await,
            45..75 => self.show(place, line).await,
            75..84 => self.rename(place, line).await,
            84..90 => self.log_out(place, line).await,
            90..94 => self.end_other(place, line).await,
            94..96 => self.log_out_everywhere(place, line).await,
            _ => self.change_password(place, line).await,
        }
    }

    /// A new account, at times twice at once, in other letters and on both replicas.
    async fn register(&mut self) -> bool {
        let email = format!("{}-{}@example.com", self.name, self.accounts.len());
        self.accounts.push(Account::new(email.clone()));
        let place = self.accounts.len() - 1;
        if self.random.random_ratio(2, 3) {
            return self.register_again(place).await;
        }
        let [a, b] = self.doors.auth.clone();
        let loud = email.to_uppercase();
        let started = Instant::now();
        let (first, second) = futures_util::future::join(a.register(&email), b.register(&loud)).await;
        let told = [first, second].map(|outcome| self.journal.told("registered twice", started, outcome));
        let (mut made, mut refused) = (0, 0);
        for told in told {
            match told {
                Told::Done(answer) => {
                    made += 1;
                    self.is_registered(place, &answer);
                }
                Told::Refused(answer) => {
                    refused += 1;
                    answer.expect_refusal(409, "email_taken");
                }
                Told::Unknown => {}
            }
        }
        assert!(made <= 1, "{email} was registered twice");
        assert!(refused < 2, "{email} is taken, and nobody has it");
        made + refused == 2
    }

    fn is_registered(&mut self, place: usize, answer: &Answer) {
        let account = &mut self.accounts[place];
        account.fate = Fate::Certain;
        account.id = Some(answer.json()["user"]["id"].as_str().unwrap().to_owned());
        account.lines.push(Line::of(answer, Fate::Certain));
    }

    /// Registers, or finds out whether that was done when nobody said so.
    async fn register_again(&mut self, place: usize) -> bool {
        let is_first = self.accounts[place].name.is_certain();
        let body = json!({ "email": self.accounts[place].email, "password": PASSWORD, "name": "Visitor" });
        let auth = self.auth();
        match self.send("registered", &auth, auth.request(Method::POST, "/auth/register").json(&body)).await {
            Told::Done(answer) => {
                self.is_registered(place, &answer);
                self.accounts[place].name.is(Some("Visitor".to_owned()));
            }
            Told::Refused(answer) => {
                let account = &mut self.accounts[place];
                // Twice at once is one way to be refused at the first try, and there it has no name.
                answer.expect_refusal(409, "email_taken");
                account.fate = Fate::Certain;
                account.name.may_be(Some("Visitor".to_owned()));
            }
            Told::Unknown => {
                if is_first {
                    self.accounts[place].name.may_be(Some("Visitor".to_owned()));
                }
                return false;
            }
        }
        true
    }

    async fn log_in(&mut self, place: usize) -> bool {
        let auth = self.auth();
        let account = &self.accounts[place];
        if account.is_torn {
            return true;
        }
        let body = json!({ "email": account.email, "password": PASSWORDS[account.password] });
        match self.send("logged in", &auth, auth.request(Method::POST, "/auth/login").json(&body)).await {
            Told::Done(answer) => {
                let account = &mut self.accounts[place];
                account.id = Some(answer.json()["user"]["id"].as_str().unwrap().to_owned());
                account.lines.push(Line::of(&answer, Fate::Certain));
                true
            }
            Told::Refused(answer) => panic!("{account:?} cannot log in: {answer:?}"),
            Told::Unknown => false,
        }
    }

    async fn refresh(&mut self, place: usize, line: usize) -> bool {
        let auth = self.auth();
        let token = self.accounts[place].lines[line].newest();
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let told = self.send("refreshed", &auth, auth.request(Method::POST, "/auth/token").form(&form)).await;
        let is_torn = self.accounts[place].is_torn;
        let line = &mut self.accounts[place].lines[line];
        match told {
            Told::Done(answer) => {
                let tokens = Tokens::of(&answer);
                line.refresh.push(tokens.refresh);
                line.access.push(tokens.access);
                // What is not known to be made may come at any time.
                line.is_outdated = is_torn || line.is_outdated;
            }
            Told::Refused(answer) => {
                assert!(line.fate == Fate::Unknown, "a live session is refused: {answer:?}, {line:?}");
                answer.expect_refusal(400, "invalid_grant");
                line.fate = Fate::Over;
            }
            Told::Unknown => return false,
        }
        true
    }

    /// Whether an access token may be refused like this.
    fn may_refuse(&self, line: &Line, answer: &Answer) -> bool {
        answer.status == 401
            && match answer.code().as_str() {
                "token_expired" => self.journal.clocks_differ,
                "token_invalid" => self.journal.clocks_differ && answer.text.contains("issued in the future"),
                "token_revoked" => line.is_outdated || line.fate == Fate::Unknown,
                _ => false,
            }
    }

    #[track_caller]
    fn is_refused(&self, place: usize, line: usize, answer: &Answer) {
        let line = &self.accounts[place].lines[line];
        assert!(self.may_refuse(line, answer), "a token is refused: {answer:?}, {line:?}");
    }

    async fn show(&mut self, place: usize, line: usize) -> bool {
        let auth = self.auth();
        let (kind, client, path) = match self.random.random_range(0..4) {
            0 => ("who am I", auth, "/auth/me"),
            1 => ("my account", self.doors.user.clone(), "/users/me"),
            2 => ("proxy asks", auth, "/auth/verify"),
            _ => ("persons listed", self.doors.resource.clone(), "/persons?limit=5"),
        };
        let request = client.request(Method::GET, path).bearer_auth(self.accounts[place].lines[line].token());
        match self.send(kind, &client, request).await {
            Told::Done(_) => true,
            Told::Refused(answer) => {
                self.is_refused(place, line, &answer);
                true
            }
            Told::Unknown => false,
        }
    }

    async fn rename(&mut self, place: usize, line: usize) -> bool {
        let user = self.doors.user.clone();
        let token = self.accounts[place].lines[line].token().to_owned();
        let read = user.request(Method::GET, "/users/me").bearer_auth(&token);
        let (before, etag) = match self.send("my account", &user, read).await {
            Told::Done(answer) => (answer.json()["name"].as_str().map(str::to_owned), answer.etag.unwrap()),
            Told::Refused(answer) => {
                self.is_refused(place, line, &answer);
                return true;
            }
            Told::Unknown => return false,
        };
        self.accounts[place].name.judge("a name", before.as_ref());
        let name = format!("Visitor {}", self.random.random::<u32>());
        let change = user.request(Method::PATCH, "/users/me").bearer_auth(&token).header("if-match", etag);
        let told = self.send("renamed", &user, change.json(&json!({ "name": name }))).await;
        let account = &mut self.accounts[place];
        match told {
            Told::Done(_) => account.name.is(Some(name)),
            Told::Refused(answer) if answer.status == 412 => {
                assert!(!account.name.is_certain() || account.is_torn, "{answer:?}, {account:?}");
            }
            Told::Refused(answer) => self.is_refused(place, line, &answer),
            Told::Unknown => {
                account.name.may_be(Some(name));
                return false;
            }
        }
        true
    }

    async fn log_out(&mut self, place: usize, line: usize) -> bool {
        let auth = self.auth();
        let body = json!({ "refresh_token": self.accounts[place].lines[line].newest() });
        let told = self.send("logged out", &auth, auth.request(Method::POST, "/auth/logout").json(&body)).await;
        let line = &mut self.accounts[place].lines[line];
        match told {
            Told::Done(_) => line.fate = Fate::Over,
            Told::Refused(answer) => panic!("{answer:?}, {line:?}"),
            Told::Unknown => {
                line.may_be_over();
                return false;
            }
        }
        true
    }

    /// Ends another session of the same account.
    async fn end_other(&mut self, place: usize, line: usize) -> bool {
        let auth = self.auth();
        let lines = &self.accounts[place].lines;
        let others: Vec<usize> =
            (0..lines.len()).filter(|other| *other != line && lines[*other].fate != Fate::Over).collect();
        let Some(&other) = others.choose(&mut self.random) else { return true };
        let path = format!("/auth/sessions/{}", lines[other].sid);
        let request = auth.request(Method::DELETE, &path).bearer_auth(lines[line].token());
        match self.send("session ended", &auth, request).await {
            Told::Done(_) => self.accounts[place].lines[other].fate = Fate::Over,
            Told::Refused(answer) if answer.status == 404 => {
                let other = &mut self.accounts[place].lines[other];
                assert!(other.fate == Fate::Unknown, "a live session is not there: {answer:?}, {other:?}");
                other.fate = Fate::Over;
            }
            Told::Refused(answer) => self.is_refused(place, line, &answer),
            Told::Unknown => {
                self.accounts[place].lines[other].may_be_over();
                return false;
            }
        }
        true
    }

    async fn log_out_everywhere(&mut self, place: usize, line: usize) -> bool {
        let auth = self.auth();
        let request =
            auth.request(Method::POST, "/auth/logout?all=true").bearer_auth(self.accounts[place].lines[line].token());
        match self.send("all logged out", &auth, request).await {
            Told::Done(_) => self.accounts[place].lines.iter_mut().for_each(|line| line.fate = Fate::Over),
            Told::Refused(answer) => self.is_refused(place, line, &answer),
            Told::Unknown => {
                self.accounts[place].lines.iter_mut().for_each(Line::may_be_over);
                return false;
            }
        }
        true
    }

    async fn change_password(&mut self, place: usize, line: usize) -> bool {
        let user = self.doors.user.clone();
        let account = &self.accounts[place];
        if account.is_torn || account.password + 1 == PASSWORDS.len() {
            return true;
        }
        let body = json!({
            "current_password": PASSWORDS[account.password],
            "new_password": PASSWORDS[account.password + 1],
        });
        let request = user.request(Method::PUT, "/users/me/password").bearer_auth(account.lines[line].token());
        match self.send("password changed", &user, request.json(&body)).await {
            Told::Done(_) => {
                let account = &mut self.accounts[place];
                account.password += 1;
                account.password_changes += 1;
                for (number, other) in account.lines.iter_mut().enumerate() {
                    // Until auth-service is told, a refresh still brings tokens that this ends.
                    other.is_outdated = true;
                    if number != line {
                        other.fate = Fate::Over;
                    }
                }
            }
            Told::Refused(answer) => self.is_refused(place, line, &answer),
            Told::Unknown => {
                let account = &mut self.accounts[place];
                account.is_torn = true;
                for (number, other) in account.lines.iter_mut().enumerate() {
                    other.is_outdated = true;
                    if number != line {
                        other.may_be_over();
                    }
                }
                return false;
            }
        }
        true
    }

    /// That everything is as it was told, for each account.
    pub(crate) async fn check(&mut self) {
        for place in 0..self.accounts.len() {
            self.check_account(place).await;
        }
    }

    async fn check_account(&mut self, place: usize) {
        let auth = self.doors.auth[0].clone();
        let account = &mut self.accounts[place];
        let found = self.doors.users_with(&account.email).await;
        assert!(found.len() <= 1, "a user is there twice: {found:?}");
        assert!(account.fate == Fate::Unknown || found.len() == 1, "a user is lost: {account:?}");
        let Some(user) = found.first() else {
            assert!(account.lines.is_empty(), "{account:?}");
            return;
        };
        account.name.judge("a name", user["name"].as_str().map(str::to_owned).as_ref());
        assert_eq!((&user["roles"], &user["disabled"]), (&json!(["user"]), &Value::Bool(false)), "{account:?}");

        // What is whole has a password.
        let works = async |password: &str| {
            let answer = insist(async || auth.log_in(&account.email, password).await).await;
            if answer.status == 200 {
                return true;
            }
            answer.expect_refusal(401, "invalid_credentials");
            false
        };
        let next = if account.is_torn { works(PASSWORDS[account.password + 1]).await } else { false };
        assert_eq!(works(PASSWORDS[account.password]).await, !next, "the password of {account:?}");
        if account.password > 0 {
            assert!(!works(PASSWORDS[account.password - 1]).await, "a former password of {account:?}");
        }
        if account.password_changes > 0 {
            self.doors.audit_tells(user["id"].as_str().unwrap(), "password_changed", account.password_changes).await;
        }

        let account = &self.accounts[place];
        for line in &account.lines {
            match line.fate {
                Fate::Over => {}
                Fate::Certain => assert!(check_line(&self.doors, line).await, "a live session has ended: {line:?}"),
                Fate::Unknown => {
                    if check_line(&self.doors, line).await {
                        continue;
                    }
                }
            }
            check_end(&self.doors, line).await;
        }
    }
}

async fn present(client: &Client, token: &str) -> Option<Tokens> {
    let answer = insist(async || client.refresh(token).await).await;
    if answer.status == 200 {
        return Some(Tokens::of(&answer));
    }
    answer.expect_refusal(400, "invalid_grant");
    None
}

/// Whether a session goes on from its newest token. If so its tokens are taken everywhere, and none but the newest has a
/// future: any other ends the session.
async fn check_line(doors: &Doors, line: &Line) -> bool {
    let [a, b] = &doors.auth;
    let Some(next) = present(a, line.newest()).await else { return false };
    for (client, path) in doors.everywhere() {
        // user-service may have told of a password just now, and then the next token is good.
        let mut token = next.access.clone();
        wait_until(&format!("{path} takes {line:?}"), async || {
            let answer = insist(async || client.get(path, &token).await).await;
            if answer.status != 200 {
                assert!(line.is_outdated, "{path} refuses a live session: {answer:?}, {line:?}");
                token = present(b, &next.refresh).await.unwrap().access;
            }
            answer.status == 200
        })
        .await;
    }
    let end = present(b, &next.refresh).await.unwrap_or_else(|| panic!("the newest token is refused: {line:?}"));
    assert!(present(a, line.newest()).await.is_none(), "two tokens are alive: {line:?}");
    assert!(present(b, &end.refresh).await.is_none(), "a copy was used, and the session lives: {line:?}");
    true
}

/// That nothing of a session that is over is taken, anywhere.
async fn check_end(doors: &Doors, line: &Line) {
    for (client, path) in doors.everywhere() {
        for token in line.access.iter().rev().take(2) {
            wait_until(&format!("{path} refuses what has ended: {line:?}"), async || {
                let answer: Outcome = client.get(path, token).await;
                answer.is_ok_and(|answer| answer.status == 401)
            })
            .await;
        }
    }
    for token in &line.refresh {
        assert!(present(&doors.auth[1], token).await.is_none(), "an ended session is alive: {line:?}");
    }
}

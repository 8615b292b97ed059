//! A stack that runs as a process, and what can be seen of it from outside.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wire::{Answer, Connection};

/// The last line of the first screen.
const LAST_LINE: &str = "Ctrl-C stops the stack";

/// Megabytes of a debug build that has been treated badly: much less than what was sent to it.
const MOST_MEGABYTES: u64 = 160;

pub(crate) struct Site {
    child: Child,
    address: SocketAddr,
    /// Of the first admin.
    pub(crate) token: String,
    directory: TempDir,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("signet-abuse.").tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_signet"))
            .args(["up", "--bind", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path().join("data"))
            .env_clear()
            .env("SIGNET__PASSWORDS__COST", "4")
            .env("SIGNET__SERVER__WORKERS", "2")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut screen = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        while !screen.contains(LAST_LINE) {
            let length = stdout.read_line(&mut screen).unwrap();
            assert!(length > 0, "the stack does not start: {screen}");
        }
        let url = screen.lines().next().unwrap().strip_prefix("Signet listens on http://").unwrap();
        let shown = |word: &str| {
            let line = screen.lines().find_map(|line| line.trim().strip_prefix(word)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        let mut site = Self { child, address: url.parse().unwrap(), token: String::new(), directory };
        let log_in = json!({ "email": shown("admin "), "password": shown("password ") }).to_string();
        let mut connection = site.connect();
        connection.send(post("/auth/login", &log_in).as_bytes());
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().clone_into(&mut site.token);
        site
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// What comes for these bytes, on a connection of their own, until it is closed or nothing more is to come.
    pub(crate) fn answers_to(&self, sent: &[u8]) -> (Vec<Answer>, bool) {
        let mut connection = self.connect();
        connection.send(sent);
        connection.all()
    }

    /// A request of somebody who knows how it is done.
    pub(crate) fn serves(&self) -> Answer {
        let mut connection = self.connect();
        connection.send(self.me().as_bytes());
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// A good request, with a token.
    pub(crate) fn me(&self) -> String {
        format!("GET /auth/me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", self.token)
    }

    /// Megabytes of memory that the process has of its own.
    pub(crate) fn megabytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// The processor time that it has taken so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // proc_pid_stat(5): of what comes behind the name, the 12th is user time and the 13th system time, in hundredths.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
    }

    /// That nothing has been lost by all this: no panic, no memory, and the same answers as before.
    pub(crate) fn check(mut self) {
        self.serves();
        let persons = self.answers_to(
            format!(
                "GET /persons?limit=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-access-token: {}\r\n\r\n",
                self.token
            )
            .as_bytes(),
        );
        assert_eq!(persons.0[0].status, 200, "{persons:?}");
        let megabytes = self.megabytes();
        assert!(megabytes < MOST_MEGABYTES, "{megabytes} MB");
        assert_eq!(self.child.try_wait().unwrap(), None, "it has ended");
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        // What others do wrong is no error of ours.
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request with a body of JSON.
pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// That a refusal is a problem which names the request that it answers.
#[track_caller]
pub(crate) fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    let problem: Value = answer.json();
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
    assert!(problem["code"].is_string(), "{answer:?}");
}

//! The real program, run as an operator runs it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
};

use tempfile::TempDir;
use test_support::{Backend, TestDatabase};

/// The last line of the first screen.
const LAST_LINE: &str = "Ctrl-C stops the stack";

/// The program with these arguments and nothing of this process's environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signet"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// What the program prints when it succeeds.
#[track_caller]
pub(crate) fn output(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(arguments).output().unwrap();
    assert!(status.success(), "{arguments:?}: {status}, {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) complaint: String,
}

impl Done {
    fn of(Output { status, stdout, stderr }: Output) -> Self {
        Self {
            code: status.code().unwrap(),
            out: String::from_utf8(stdout).unwrap(),
            complaint: String::from_utf8(stderr).unwrap(),
        }
    }

    /// What it printed, if it ended in this way.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{}{}", self.out, self.complaint);
        &self.out
    }

    /// The JSON that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Runs the program to its end.
#[track_caller]
pub(crate) fn run(mut command: Command) -> Done {
    Done::of(command.output().unwrap())
}

/// The same with something on its standard input.
pub(crate) fn run_with_input(mut command: Command, input: &str) -> Done {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Done::of(child.wait_with_output().unwrap())
}

/// Sends a signal, such as `TERM`, to a process.
pub(crate) fn signal(signal: &str, process: u32) {
    let kill = format!("kill -{signal} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// An operator's directory, with databases for a stack: SQLite files in it, or schemas on PostgreSQL.
pub(crate) struct Home {
    pub(crate) directory: TempDir,
    schemas: Option<Schemas>,
}

struct Schemas {
    db: TestDatabase,
    name: String,
    url: String,
}

impl Home {
    pub(crate) fn on(db: TestDatabase) -> Self {
        let directory = tempfile::Builder::new().prefix("signet-home.").tempdir().unwrap();
        Self { directory, schemas: (db.backend() == Backend::Postgres).then(|| Schemas::next_to(db)) }
    }

    pub(crate) fn sqlite() -> Self {
        Self { directory: tempfile::Builder::new().prefix("signet-home.").tempdir().unwrap(), schemas: None }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The URL for `database.url`, if it is not the default.
    pub(crate) fn database_url(&self) -> Option<&str> {
        self.schemas.as_ref().map(|schemas| schemas.url.as_str())
    }

    /// The program, run in this directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.current_dir(self.directory.path()).env("SIGNET__PASSWORDS__COST", "4");
        if let Some(url) = self.database_url() {
            command.env("SIGNET__DATABASE__URL", url);
        }
        command
    }

    /// Starts a stack on ports that are free, and waits until it has said where.
    pub(crate) fn up(&self, arguments: &[&str]) -> Running {
        self.up_with(arguments, &[])
    }

    pub(crate) fn up_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        self.up_at(0, arguments, environment)
    }

    /// With the origin on this port, and the services' own on the three after it.
    pub(crate) fn up_at(&self, port: u16, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = self.command(&["--bind", &format!("127.0.0.1:{port}")]);
        command.args(arguments).envs(environment.iter().copied());
        Running::start(command)
    }
}

impl Schemas {
    /// The test's own schema is for one service; each of the stack's gets one with its name behind it.
    fn next_to(db: TestDatabase) -> Self {
        let (_, name) = db.url().rsplit_once("search_path%3D").expect("the URL names the schema");
        let name = name.split(['&', '%']).next().unwrap().to_owned();
        for service in ["auth", "user", "resource"] {
            db.execute(&format!("CREATE SCHEMA {name}_{service}"));
        }
        let url = db.url().replace(&name, &format!("{name}_{{service}}"));
        Self { db, name, url }
    }
}

impl Drop for Schemas {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would hide the first; the schemas of a test that failed may be of use.
            return;
        }
        let name = &self.name;
        self.db.execute(&format!(
            "SET client_min_messages = 'warning'; DROP SCHEMA {name}_auth, {name}_user, {name}_resource CASCADE"
        ));
    }
}

/// A stack that runs as a process. It is killed if nothing else has ended it.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The first screen.
    pub(crate) screen: String,
    /// The origin.
    pub(crate) url: String,
    stderr: mpsc::Receiver<String>,
    seen: String,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, stderr) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in lines.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut running =
            Self { child, stdout, screen: String::new(), url: String::new(), stderr, seen: String::new() };
        while !running.screen.contains(LAST_LINE) {
            let length = running.stdout.read_line(&mut running.screen).unwrap();
            assert!(length > 0, "the stack does not start: {}", running.rest_of_stderr());
        }
        let first = running.screen.lines().next().unwrap();
        first.strip_prefix("Signet listens on ").unwrap().clone_into(&mut running.url);
        running
    }

    /// The value next to a word on the first screen.
    pub(crate) fn shown(&self, word: &str) -> Option<&str> {
        let line = self.screen.lines().find_map(|line| line.trim().strip_prefix(word))?;
        line.split_whitespace().next()
    }

    /// The password of the admin that was made at this start.
    pub(crate) fn admin_password(&self) -> &str {
        self.shown("password ").expect("a new admin")
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        self::signal(signal, self.child.id());
    }

    /// Waits for a line on standard error.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.stderr.recv() {
                Ok(line) => self.note(&line),
                Err(mpsc::RecvError) => panic!("{text:?} was never written: {}", self.seen),
            }
        }
    }

    fn note(&mut self, line: &str) {
        self.seen.push_str(line);
        self.seen.push('\n');
    }

    fn rest_of_stderr(&mut self) -> &str {
        while let Ok(line) = self.stderr.recv() {
            self.note(&line);
        }
        &self.seen
    }

    /// Waits for its end, and gives all that it wrote to standard output and to standard error.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, String) {
        let mut out = self.screen.clone();
        self.stdout.read_to_string(&mut out).unwrap();
        let status = self.child.wait().unwrap();
        let log = self.rest_of_stderr().to_owned();
        (status, out, log)
    }

    /// Stops it as an operator does, and gives all that it wrote.
    #[track_caller]
    pub(crate) fn stop(self) -> (String, String) {
        self.signal("TERM");
        let (status, out, log) = self.wait();
        assert!(status.success(), "{status}: {log}");
        (out, log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The PostgreSQL server that tests share: the one `TEST_DATABASE_URL` names, or a throw-away cluster of this process's own.
//! And clusters for one test alone, which it may kill.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use crate::{SmallDisk, TestDatabase};

/// Ports below those that Linux, macOS and Windows hand out for port 0, so that no server under test can be given one.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

struct Server {
    url: String,
    /// Holds the pipe whose end tells the cluster to stop. A static is never dropped: the pipe closes with the process.
    _cluster: Option<Child>,
}

/// The server's URL, or `None` when there is none to be had.
///
/// # Panics
///
/// With `REQUIRE_POSTGRES=1`, instead of returning `None`.
pub(crate) fn server_url() -> Option<&'static str> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let server = find_or_start();
        if let Err(reason) = &server {
            say_skipped(reason);
        }
        server
    });
    match server {
        Ok(server) => Some(&server.url),
        Err(reason) => {
            forbid_skip(reason);
            None
        }
    }
}

fn say_skipped(reason: &str) {
    // Not eprintln!, which the test harness captures: a skipped test passes, and this line is all that shows.
    let line = format!("PostgreSQL tests did not run: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn forbid_skip(reason: &str) {
    assert!(
        environment("REQUIRE_POSTGRES").as_deref() != Some("1"),
        "PostgreSQL is required by REQUIRE_POSTGRES=1: {reason}"
    );
}

fn find_or_start() -> Result<Server, String> {
    if let Some(url) = environment("TEST_DATABASE_URL") {
        return Ok(Server { url, _cluster: None });
    }
    let programs =
        find_programs().ok_or("set TEST_DATABASE_URL or install PostgreSQL (initdb, pg_ctl and postgres)")?;
    let Started { shell, url, .. } = start(&programs, Durability::Fast, None)?;
    Ok(Server { url, _cluster: Some(shell) })
}

/// A PostgreSQL server of a test's own, which can be killed and started again. What was committed outlasts that.
#[derive(Debug)]
pub struct TestCluster {
    shell: Child,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl TestCluster {
    /// Starts a server that nothing else uses; it is gone once this is dropped.
    ///
    /// `None` when PostgreSQL's programs are not on this machine: `TEST_DATABASE_URL` is of no use here.
    ///
    /// # Panics
    ///
    /// When the server does not start, and instead of returning `None` when `REQUIRE_POSTGRES=1`.
    pub fn start() -> Option<Self> {
        Self::start_where(None)
    }

    /// The same with all its files on a small disk.
    ///
    /// # Panics
    ///
    /// As above, and when the disk [is not for PostgreSQL](SmallDisk::is_for_postgres).
    pub fn start_on(disk: &SmallDisk) -> Option<Self> {
        Self::start_where(Some(disk))
    }

    fn start_where(disk: Option<&SmallDisk>) -> Option<Self> {
        let Some(programs) = find_programs() else {
            let reason = "install PostgreSQL (initdb, pg_ctl and postgres)";
            say_skipped(reason);
            forbid_skip(reason);
            return None;
        };
        let Started { shell, answers, url } =
            start(&programs, Durability::OutlastsKill, disk).unwrap_or_else(|reason| panic!("{reason}"));
        Some(Self { shell, answers, url })
    }

    /// Makes an empty database, which goes with the server.
    ///
    /// # Panics
    ///
    /// When it cannot be made, as while the server is dead.
    pub fn create_database(&self) -> TestDatabase {
        TestDatabase::in_cluster(&self.url)
    }

    /// Ends all processes of the server as `kill -9` does.
    pub fn kill(&mut self) {
        self.command("kill", "killed");
    }

    /// Stops the server as `pg_ctl stop -m fast` does: transactions are broken off, and nothing is left to recover.
    pub fn stop_fast(&mut self) {
        self.command("fast", "stopped");
    }

    /// Stops the server as `pg_ctl stop -m immediate` does, which its next start takes for a crash.
    pub fn stop_immediately(&mut self) {
        self.command("immediate", "stopped");
    }

    /// Starts the server again where it was, after a kill or a stop, and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.command("start", "started");
    }

    /// Stops all processes of the server where they are: it takes connections and says nothing.
    pub fn pause(&mut self) {
        self.command("pause", "paused");
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) {
        self.command("resume", "resumed");
    }

    fn command(&mut self, command: &str, done: &str) {
        let commands = self.shell.stdin.as_mut().expect("it is open until this is dropped");
        // If nobody reads it any more, the answer says why.
        let _ = writeln!(commands, "{command}");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer");
        if answer.trim_end() != done {
            let _ = self.answers.read_to_string(&mut answer);
            panic!("the cluster did not {command}: {answer}");
        }
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The directory goes before the shell does.
        let _ = self.shell.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "tests have no configuration but these variables")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The directory of PostgreSQL's server programs: from PATH, else the newest version that a distribution's package installed.
fn find_programs() -> Option<PathBuf> {
    let path = environment("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path);
    let packaged = versions("/usr/lib/postgresql", "").chain(versions("/usr", "pgsql-"));
    on_path.chain(packaged).chain(pg_config_bindir()).find(|dir| {
        // `postgres` itself is found by the other two, next to where their own links lead.
        dir.join("initdb").is_file() && dir.join("pg_ctl").is_file()
    })
}

/// `parent/<prefix><version>/bin`, newest version first.
fn versions(parent: &str, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, dir)| dir)
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
    let dir = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(dir.trim_end()))
}

/// What has to be there after a crash.
#[derive(Clone, Copy)]
enum Durability {
    /// Whatever: the cluster is gone by then.
    Fast,
    /// What was committed before the server was killed.
    OutlastsKill,
}

struct Started {
    /// Stops the cluster when its standard input ends.
    shell: Child,
    answers: BufReader<ChildStdout>,
    url: String,
}

fn start(programs: &Path, durability: Durability, disk: Option<&SmallDisk>) -> Result<Started, String> {
    // PostgreSQL refuses to run as root.
    let user = if running_as_root()? {
        Some(unprivileged_user().ok_or("neither user postgres nor nobody exists to run PostgreSQL as")?)
    } else {
        None
    };
    let mut command = match (disk, user) {
        (None, None) => Command::new("sh"),
        (None, Some((uid, gid))) => {
            let mut command = Command::new("sh");
            command.uid(uid).gid(gid);
            command
        }
        (Some(disk), Some(user)) => {
            let mut command = disk.command_as(user, "sh");
            command.env("TMPDIR", disk.path());
            command
        }
        (Some(_), None) => return Err("only root may run PostgreSQL on a small disk".to_owned()),
    };
    command
        .args([OsStr::new("-c"), OsStr::new(include_str!("cluster.sh")), OsStr::new("cluster.sh"), programs.as_os_str()])
        .arg(rand::random_range(PORTS).to_string())
        .arg(match durability {
            Durability::Fast => "",
            Durability::OutlastsKill => "durable",
        })
        .env("LC_ALL", "C")
        .current_dir("/")
        // Out of reach of what a terminal or a test runner sends to this process's group.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // An inherited stream would stay open after this process, and test runners wait for its end.
        .stderr(Stdio::null());

    let mut shell = command.spawn().map_err(|error| format!("sh did not start: {error}"))?;
    let mut answers = BufReader::new(shell.stdout.take().ok_or("sh has no output")?);
    let mut answer = String::new();
    let _ = answers.read_line(&mut answer);
    if let ["ready", port, password] = answer.split_whitespace().collect::<Vec<_>>()[..] {
        let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
        return Ok(Started { shell, answers, url });
    }
    let _ = answers.read_to_string(&mut answer);
    Err(format!("the programs in {} made no cluster: {answer}", programs.display()))
}

/// A file's owner is the effective user, which std has no other safe way to ask for.
pub(crate) fn running_as_root() -> Result<bool, String> {
    let probe = tempfile::tempfile().and_then(|file| file.metadata());
    probe.map(|metadata| metadata.uid() == 0).map_err(|error| format!("no temporary file: {error}"))
}

fn unprivileged_user() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].iter().find_map(|name| {
        let mut fields =
            users.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
        Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

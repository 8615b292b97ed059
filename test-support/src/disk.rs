//! A disk so small that a test can fill it up.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::postgres::running_as_root;

/// Mounts, and keeps the namespace for as long as standard input stays open.
const HOLD: &str =
    r#"mount -t tmpfs -o "size=$2m,mode=1777" signet-small-disk "$1" && echo mounted && exec cat >/dev/null"#;

/// A tmpfs of a few megabytes. It is mounted in a namespace of its own, where only what is started through it sees it, so
/// that nothing is left behind on the machine however the test ends.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    directory: TempDir,
    is_root: bool,
}

impl SmallDisk {
    /// A disk of that many megabytes, or why there is none: not every container lets its processes mount.
    ///
    /// # Errors
    ///
    /// When the machine does not let this process mount.
    pub fn new(megabytes: u32) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("signet-disk.").tempdir().map_err(|error| error.to_string())?;
        let is_root = running_as_root()?;
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !is_root {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["sh", "-c", HOLD, "sh"]).arg(directory.path()).arg(megabytes.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| format!("unshare did not start: {error}"))?;
        let mut answer = String::new();
        if let Some(stdout) = holder.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut answer);
        }
        if answer.trim_end() != "mounted" {
            let mut reason = String::new();
            if let Some(mut stderr) = holder.stderr.take() {
                let _ = stderr.read_to_string(&mut reason);
            }
            let _ = holder.wait();
            return Err(format!("no tmpfs could be mounted: {}", reason.trim_end()));
        }
        Ok(Self { holder, directory, is_root })
    }

    /// Where the disk is for whatever runs on it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Whether root has made it: nobody else can run PostgreSQL there, which refuses to be root in a namespace.
    pub fn is_for_postgres(&self) -> bool {
        self.is_root
    }

    /// The words to put before those of a command that is to see the disk.
    pub fn launcher(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        let mut words = vec!["nsenter", "--target", &holder, "--mount"];
        if !self.is_root {
            words.extend(["--user", "--preserve-credentials"]);
        }
        words.push("--");
        words.into_iter().map(str::to_owned).collect()
    }

    /// A command on the disk as another user; only for root.
    pub(crate) fn command_as(&self, (uid, gid): (u32, u32), program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.id().to_string()).arg("--mount");
        command.args([format!("--setuid={uid}"), format!("--setgid={gid}")]).args(["--", program]);
        command
    }

    /// The same place as this process sees it.
    fn outside(&self) -> PathBuf {
        let inside = self.path();
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root")
            .join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn ballast(&self) -> PathBuf {
        self.outside().join("ballast")
    }

    /// Takes all the room that is left, once more if some has become free since.
    ///
    /// # Panics
    ///
    /// When the ballast cannot be written for another reason.
    pub fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).expect("the ballast");
        for size in [1 << 20, 4096, 1] {
            let chunk = vec![b'x'; size];
            loop {
                match ballast.write_all(&chunk) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Gives the room back.
    ///
    /// # Panics
    ///
    /// When the ballast cannot be removed.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast goes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_there_is_room_again() {
        // Where nothing may be mounted there is nothing to test: the tests that need it say so.
        let Ok(disk) = SmallDisk::new(2) else { return };
        let write = |name: &str| {
            let launcher = disk.launcher();
            let mut command = Command::new(&launcher[0]);
            command.args(&launcher[1..]).args(["sh", "-c", "echo >\"$1\"", "sh"]).arg(disk.path().join(name));
            command.stderr(Stdio::null()).status().unwrap().success()
        };
        assert!(write("first"));
        disk.fill();
        assert!(!write("second"));
        disk.free();
        assert!(write("third"));
        assert!(!disk.path().join("first").exists(), "it is seen from outside");
    }
}

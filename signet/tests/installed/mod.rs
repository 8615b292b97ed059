//! Software that is not ours: found on the machine, or installed into `target/interop`, where it stays from one run of
//! the tests to the next.
#![allow(dead_code, reason = "each of the test programs uses some of it")]

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The oldest Python that the versions in `requirements.txt` run on.
const OLDEST_PYTHON: (u32, u32) = (3, 11);
/// The oldest Node that the libraries run on: they look for `crypto` among the globals.
const OLDEST_NODE: u32 = 20;

/// The tool, or a line that says what does not run without it. With `variable=1` that is a failure.
pub(crate) fn available<T>(tests: &str, variable: &str, tool: Result<T, String>) -> Option<T> {
    match tool {
        Ok(tool) => Some(tool),
        Err(cause) => {
            assert!(environment(variable).as_deref() != Some("1"), "{tests}: {cause}");
            let cause: String = cause.trim().replace('\n', "; ").chars().take(200).collect();
            let line = format!("{tests} did not run: {cause}\n");
            // Not by a macro, whose output is shown only if the test fails.
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            None
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "tests have no configuration but these variables")]
pub(crate) fn environment(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// A program on the PATH, or where Debian keeps those of the administrator.
pub(crate) fn program(name: &str) -> Result<PathBuf, String> {
    let path = environment("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin".into(), "/usr/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("there is no {name} on this machine"))
}

/// Node, and a directory in which its modules find the packages.
pub(crate) struct Node {
    pub(crate) program: PathBuf,
    pub(crate) directory: PathBuf,
}

/// Installs what `package-lock.json` in `packages` lists.
pub(crate) fn install_node(place: &str, packages: &Path) -> Result<Node, String> {
    let node = program("node")?;
    let version = run(Command::new(&node).arg("--version"))?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_NODE) {
        return Err(format!("Node {OLDEST_NODE} or later is needed, and this is {version}"));
    }
    let npm = program("npm")?;
    let place = Place::of(place)?;
    let wanted = fs::read_to_string(packages.join("package-lock.json")).unwrap();
    if !place.holds(&wanted) {
        place.clear()?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(packages.join(name), place.directory.join(name)).unwrap();
        }
        run(Command::new(npm)
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--loglevel=error"])
            .current_dir(&place.directory))?;
        place.finish(&wanted);
    }
    Ok(Node { program: node, directory: place.directory })
}

/// Python with what a `requirements.txt` lists.
pub(crate) fn install_python(place: &str, requirements: &Path) -> Result<PathBuf, String> {
    let python = program("python3")?;
    let version = run(Command::new(&python).args(["-c", "import sys; print(sys.version_info[:2])"]))?;
    let is_old = format!("import sys; sys.exit(sys.version_info < {OLDEST_PYTHON:?})");
    if run(Command::new(&python).args(["-c", &is_old])).is_err() {
        return Err(format!("Python {OLDEST_PYTHON:?} or later is needed, and this is {version}"));
    }
    let place = Place::of(place)?;
    let installed = place.directory.join("bin/python");
    let wanted = fs::read_to_string(requirements).unwrap();
    if !place.holds(&wanted) || run(Command::new(&installed).arg("--version")).is_err() {
        place.clear()?;
        run(Command::new(python).args(["-m", "venv"]).arg(&place.directory))?;
        run(Command::new(&installed)
            .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
            .args(["--retries", "1", "--only-binary", ":all:", "--requirement"])
            .arg(requirements))?;
        place.finish(&wanted);
    }
    Ok(installed)
}

/// A directory to install into, which is kept from one run of the tests to the next.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    /// Held so that no other process installs at the same time.
    _lock: File,
}

impl Place {
    pub(crate) fn of(name: &str) -> Result<Self, String> {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("interop");
        let opened = fs::create_dir_all(&parent)
            .and_then(|()| File::create(parent.join(format!("{name}.lock"))))
            .and_then(|lock| lock.lock().map(|()| lock));
        let lock = opened.map_err(|cause| format!("{} cannot be used: {cause}", parent.display()))?;
        Ok(Self { directory: parent.join(name), _lock: lock })
    }

    /// Says, once everything is there, what was installed.
    fn mark(&self) -> PathBuf {
        self.directory.join("installed")
    }

    pub(crate) fn holds(&self, wanted: &str) -> bool {
        fs::read_to_string(self.mark()).is_ok_and(|installed| installed == wanted)
    }

    pub(crate) fn clear(&self) -> Result<(), String> {
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory).map_err(|cause| cause.to_string())?;
        }
        fs::create_dir(&self.directory).map_err(|cause| cause.to_string())
    }

    pub(crate) fn finish(&self, what: &str) {
        fs::write(self.mark(), what).unwrap();
    }
}

/// What a program prints; if it fails, why.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_owned();
    let name = Path::new(&name).file_name().unwrap_or(OsStr::new("?")).to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|cause| format!("{name} cannot be run: {cause}"))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(stdout);
    }
    Err(format!("{name} failed with {status}: {stdout}{}", String::from_utf8_lossy(&stderr)))
}

//! Log-ins that `signet login` made: the tokens of a session for each stack, in files that nobody else can read.
//!
//! A file is named after its URL and replaced as a whole. Whoever refreshes holds the directory's lock meanwhile, so
//! that two commands at a time do not present one refresh token twice.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use reqwest::{Method, StatusCode, Url};
use serde::{Deserialize, Serialize};
use service_kit::Clock;

use crate::{
    config,
    connection::{self, Connection},
    data_dir,
    failure::Failure,
};

/// An access token is replaced when it has fewer seconds to live than this.
const LEAST_LIFE_SECONDS: u64 = 30;

/// A log-in as it is kept.
#[derive(Deserialize, Serialize)]
pub(crate) struct LogIn {
    pub(crate) url: String,
    /// The user's e-mail address.
    pub(crate) user: String,
    pub(crate) access_token: String,
    /// Seconds since the epoch.
    pub(crate) expires_at: u64,
    pub(crate) refresh_token: String,
}

/// What the token endpoint gives.
#[derive(Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) expires_in: u64,
    pub(crate) refresh_token: String,
    pub(crate) scope: String,
}

impl LogIn {
    pub(crate) fn new(url: &Url, user: String, tokens: &Tokens) -> Self {
        Self {
            url: url.to_string(),
            user,
            access_token: tokens.access_token.clone(),
            expires_at: now() + tokens.expires_in,
            refresh_token: tokens.refresh_token.clone(),
        }
    }
}

fn now() -> u64 {
    Clock::system().now().as_seconds()
}

/// The directory of the log-ins.
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Where this user's programs keep such things.
    pub(crate) fn find() -> Result<Self, Failure> {
        let configuration = config::user_config_directory()
            .ok_or_else(|| anyhow!("there is no place to keep a log-in: set HOME or XDG_CONFIG_HOME"))?;
        Ok(Self::in_directory(&configuration))
    }

    fn in_directory(configuration: &Path) -> Self {
        Self { directory: configuration.join("signet").join("logins") }
    }

    /// The file of a stack's log-in.
    pub(crate) fn path(&self, url: &Url) -> PathBuf {
        let mut name = String::new();
        for byte in url.as_str().bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => name.push(char::from(byte)),
                // Writing to a string cannot fail.
                other => drop(write!(name, "_{other:02x}")),
            }
        }
        self.directory.join(format!("{name}.json"))
    }

    /// The log-in at a stack, if there is one.
    pub(crate) fn read(&self, url: &Url) -> Result<Option<LogIn>, Failure> {
        let path = self.path(url);
        let name = path.display();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(anyhow!("the log-in in {name} cannot be read: {cause}").into()),
        };
        if data_dir::is_exposed(&path) {
            Err(anyhow!("{name} may be read by others: run chmod 600 on it, and log in again if it was for long"))?;
        }
        let log_in = serde_json::from_str(&text)
            .map_err(|_| anyhow!("the log-in in {name} is damaged: delete the file and run `signet login` again"))?;
        Ok(Some(log_in))
    }

    /// Keeps a log-in in the place of the one before it.
    pub(crate) fn write(&self, url: &Url, log_in: &LogIn) -> Result<(), Failure> {
        let path = self.path(url);
        let write = || -> io::Result<()> {
            data_dir::private_directories().create(&self.directory)?;
            // Such a file is its owner's alone from the moment it is made.
            let mut file = tempfile::Builder::new().prefix(".login.").tempfile_in(&self.directory)?;
            file.write_all(&serde_json::to_vec(log_in)?)?;
            file.persist(&path)?;
            Ok(())
        };
        Ok(write().with_context(|| format!("the log-in cannot be kept in {}", path.display()))?)
    }

    /// Forgets a log-in. Says whether there was one.
    pub(crate) fn remove(&self, url: &Url) -> Result<bool, Failure> {
        let path = self.path(url);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(anyhow!("{} cannot be removed: {cause}", path.display()).into()),
        }
    }

    fn lock(&self) -> Result<File, Failure> {
        let lock = File::open(&self.directory).and_then(|lock| lock.lock().map(|()| lock));
        Ok(lock.with_context(|| format!("{} cannot be locked", self.directory.display()))?)
    }
}

/// The access token of the log-in at a stack, refreshed if its time is nearly over; nothing without a log-in.
pub(crate) async fn access_token(url: &Url) -> Result<Option<String>, Failure> {
    // Whoever has no home has no log-in.
    let Ok(store) = Store::find() else { return Ok(None) };
    let fresh = |log_in: &LogIn| log_in.expires_at > now() + LEAST_LIFE_SECONDS;
    match store.read(url)? {
        None => return Ok(None),
        Some(log_in) if fresh(&log_in) => return Ok(Some(log_in.access_token)),
        Some(_) => {}
    }
    let _lock = store.lock()?;
    // Somebody else may have refreshed it, or logged out, while we waited.
    let Some(log_in) = store.read(url)? else { return Ok(None) };
    if fresh(&log_in) {
        return Ok(Some(log_in.access_token));
    }
    let tokens = refresh(url, &log_in).await?;
    store.write(url, &LogIn::new(url, log_in.user, &tokens))?;
    Ok(Some(tokens.access_token))
}

async fn refresh(url: &Url, log_in: &LogIn) -> Result<Tokens, Failure> {
    let stack = Connection::without_token(url.clone(), "run `signet login` again")?;
    let form = [("grant_type", "refresh_token"), ("refresh_token", log_in.refresh_token.as_str())];
    let answer = stack.send(stack.request(Method::POST, "auth/token")?.form(&form)).await?;
    if answer.status() == StatusCode::BAD_REQUEST {
        Err(anyhow!("the log-in of {} at {url} has ended: run `signet login --url {url}` again", log_in.user))?;
    }
    connection::read_json(stack.succeed(answer).await?).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn log_in(url: &Url) -> LogIn {
        LogIn {
            url: url.to_string(),
            user: "ada@example.com".to_owned(),
            access_token: "a".to_owned(),
            expires_at: 1,
            refresh_token: "r".to_owned(),
        }
    }

    #[test]
    fn a_log_in_is_kept_for_its_owner_alone_and_one_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::in_directory(home.path());
        let url: Url = "https://id.example/".parse().unwrap();
        assert!(store.read(&url).unwrap().is_none());
        store.write(&url, &log_in(&url)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.path(&url)), mode(&store.directory)), (0o600, 0o700));
        assert_eq!(store.read(&url).unwrap().unwrap().user, "ada@example.com");

        fs::set_permissions(store.path(&url), fs::Permissions::from_mode(0o640)).unwrap();
        let refusal = store.read(&url).err().unwrap().to_string();
        assert!(refusal.contains("chmod 600"), "{refusal}");
        assert!(store.remove(&url).unwrap() && !store.remove(&url).unwrap());
    }

    #[test]
    fn each_stack_has_a_file_of_its_own() {
        let store = Store::in_directory(Path::new("/home/ada/.config"));
        let path = |url: &str| store.path(&url.parse().unwrap());
        assert_eq!(
            path("https://id.example:8443/a_b/"),
            Path::new("/home/ada/.config/signet/logins/https_3a_2f_2fid.example_3a8443_2fa_5fb_2f.json")
        );
        assert_ne!(path("https://id.example/a/b/"), path("https://id.example/a_b/"));
    }
}

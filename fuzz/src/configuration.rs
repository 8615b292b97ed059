//! Configuration: a TOML file and the environment, for each of the services.

use std::{fs, sync::LazyLock};

use service_kit::config::{Configuration, Sources, print};
use tempfile::TempDir;

/// Secrets that must not be seen again.
const SECRETS: [(&str, &str); 3] = [
    ("SIGNET__TOKENS__SECRET", "zX3cV6bN9mQ2wE5rT8yU1iO4pA7sD0fG"),
    ("SIGNET__REFRESH__SECRET", "hJ6kL9zX2cV5bN8mQ1wE4rT7yU0iO3pA"),
    ("SIGNET__PASSWORDS__PEPPER", "sD5fG8hJ1kL4zX7cV0bN3mQ6wE9rT2yU"),
];

/// One for each process: several may run at once.
static DIRECTORY: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::Builder::new().prefix("signet-fuzz.").tempdir().unwrap());

/// A TOML file, a line `---`, and lines of the environment such as `SIGNET__SERVER__WORKERS=3`.
pub(crate) fn enter(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // Some files never end.
    if ["/dev", "/proc", "/sys"].iter().any(|directory| text.contains(directory)) {
        return;
    }
    let (file, environment) = text.split_once("---\n").unwrap_or((text, ""));
    let path = DIRECTORY.path().join(format!("{:?}.toml", std::thread::current().id()));
    fs::write(&path, file).unwrap();
    let mut pairs: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, secret) in SECRETS {
        let key = name.rsplit("__").next().unwrap_or_default().to_lowercase();
        let given = pairs.iter().any(|(other, _)| other.to_lowercase().contains(&key)) || file.contains(&key);
        if !given {
            pairs.push((name.to_owned(), secret.to_owned()));
        }
    }
    let sources = Sources { file: Some(path), environment: pairs, overrides: Vec::new() };
    load::<auth_service::Config>(&sources);
    load::<user_service::Config>(&sources);
    load::<resource_service::Config>(&sources);
}

fn load<T: Configuration>(sources: &Sources) {
    let text = match sources.load::<T>() {
        Ok(configuration) => {
            let printed = print(&configuration).expect("what was read can be shown");
            printed.parse::<toml::Table>().expect("it is shown as TOML");
            printed
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("configuration: "), "{text:?}");
            assert!(!text.contains('\n'), "the error has more than one line: {text:?}");
            text
        }
    };
    for (name, secret) in SECRETS {
        assert!(!text.contains(secret), "{name} is shown");
    }
}

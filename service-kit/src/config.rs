//! Configuration: built-in defaults, then a TOML file, then the environment (`SIGNET__SECTION__KEY`).
//!
//! Every key that a service lists as a secret may also be given as `KEY_FILE` (`SIGNET__TOKENS__SECRET_FILE`, or
//! `tokens.secret_file` in the file): the path of a file that holds it. An unknown key or a bad value is an error that
//! names the key. This is the only place that reads the environment.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use config::{FileFormat, Map, Value, ValueKind};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::db::DatabaseUrl;

/// Why the configuration cannot be used, in one line that names the key.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// A key and what is wrong with its value.
    pub fn new(key: &str, problem: impl fmt::Display) -> Self {
        Self(format!("{key} {problem} (set {} or {key} in the file)", environment_name(key)))
    }

    fn plain(problem: impl fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

fn environment_name(key: &str) -> String {
    format!("SIGNET__{}", key.replace('.', "__").to_uppercase())
}

/// A service's configuration.
pub trait Configuration: DeserializeOwned + Serialize {
    /// The built-in defaults as TOML, every key with a comment.
    const DEFAULTS: &'static str;
    /// The keys (`section.key`) that are secrets.
    const SECRETS: &'static [&'static str];

    /// Checks what a single value cannot show.
    fn validate(&self) -> Result<(), ConfigError>;
}

/// Where the configuration comes from, on top of the built-in defaults.
#[derive(Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Pairs such as `("SIGNET__SERVER__BIND", "127.0.0.1:8081")`.
    pub environment: Vec<(String, String)>,
    /// Pairs such as `("server.bind", "127.0.0.1:8081")` that win over everything else: the command line.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// The process's own environment, and the file that was named, if one was.
    #[allow(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        Self {
            file,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(name, _)| name.starts_with("SIGNET__"))
                .collect(),
            overrides: Vec::new(),
        }
    }

    /// Puts the sources together and checks them.
    pub fn load<T: Configuration>(&self) -> Result<T, ConfigError> {
        let loaded: T = deserialize::<T, T>(self.merge::<T>()?)?;
        loaded.validate()?;
        Ok(loaded)
    }

    /// Reads one section of `T` alone, and what is wrong elsewhere does no harm: neither are the secrets of other
    /// sections needed, nor their files.
    pub fn load_section<T: Configuration, S: DeserializeOwned>(&self, name: &str) -> Result<S, ConfigError> {
        let mut root = self.merge::<T>()?;
        if let ValueKind::Table(sections) = &mut root.kind {
            sections.retain(|section, _| section == name);
        }
        let mut sections: BTreeMap<String, S> = deserialize::<T, _>(root)?;
        sections.remove(name).ok_or_else(|| ConfigError::new(name, "must be set"))
    }

    fn merge<T: Configuration>(&self) -> Result<Value, ConfigError> {
        let given = self.given()?;
        let mut merged = config::Config::builder()
            .add_source(config::File::from_str(T::DEFAULTS, FileFormat::Toml))
            .add_source(given.clone())
            .build()
            .map_err(ConfigError::plain)?
            .cache;
        // Who names a file for a secret does not want the default, where there is one.
        for (section, name) in T::SECRETS.iter().filter_map(|key| key.split_once('.')) {
            if let Some(table) = section_of(&mut merged, section)
                && table.contains_key(&format!("{name}_file"))
                && given.get::<Value>(&format!("{section}.{name}")).is_err()
            {
                table.remove(name);
            }
        }
        Ok(merged)
    }

    /// All but the defaults.
    fn given(&self) -> Result<config::Config, ConfigError> {
        let mut builder = config::Config::builder();
        if let Some(path) = &self.file {
            let text = fs::read_to_string(path)
                .map_err(|cause| ConfigError::plain(format_args!("{} cannot be read: {cause}", path.display())))?;
            text.parse::<toml::Table>().map_err(|cause| {
                ConfigError::plain(format_args!("{} is not TOML: {}", path.display(), cause.message()))
            })?;
            builder = builder.add_source(config::File::from_str(&text, FileFormat::Toml));
        }
        for (name, value) in &self.environment {
            let Some(key) = name.strip_prefix("SIGNET__") else {
                continue;
            };
            let key = key.to_lowercase().replace("__", ".");
            // A place in a list, to the crate config: it makes as many as it takes to get there.
            if key.contains('[') {
                return Err(unknown(&key));
            }
            builder = builder.set_override(&key, value.as_str()).map_err(|_| unknown(&key))?;
        }
        for (key, value) in &self.overrides {
            builder = builder.set_override(key, value.as_str()).map_err(|_| unknown(key))?;
        }
        builder.build().map_err(ConfigError::plain)
    }
}

fn section_of<'a>(root: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    let ValueKind::Table(sections) = &mut root.kind else {
        return None;
    };
    match &mut sections.get_mut(name)?.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// Reads the files that hold secrets of `T`, and makes values of it all.
fn deserialize<T: Configuration, V: DeserializeOwned>(mut root: Value) -> Result<V, ConfigError> {
    for key in T::SECRETS {
        read_secret_file(&mut root, key)?;
    }
    serde_path_to_error::deserialize(root).map_err(|error| {
        let path = error.path().to_string();
        explain(&path, &error.into_inner().to_string())
    })
}

fn unknown(key: &str) -> ConfigError {
    ConfigError::plain(format_args!("{key} is not a key (from {})", environment_name(key)))
}

/// Moves a secret from the file that `KEY_FILE` names to its key.
fn read_secret_file(root: &mut Value, key: &str) -> Result<(), ConfigError> {
    let Some((section, name)) = key.split_once('.') else {
        return Ok(());
    };
    let Some(table) = section_of(root, section) else {
        return Ok(());
    };
    let Some(path) = table.remove(&format!("{name}_file")) else {
        return Ok(());
    };
    let file_key = format!("{key}_file");
    let path = path.into_string().map_err(|_| ConfigError::new(&file_key, "must be a path"))?;
    if is_set(table, name) {
        return Err(ConfigError::new(&file_key, format_args!("and {key} are both set: keep one of them")));
    }
    let text =
        Zeroizing::new(fs::read_to_string(Path::new(&path)).map_err(|cause| {
            ConfigError::new(&file_key, format_args!("names {path}, which cannot be read: {cause}"))
        })?);
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    table.insert(name.to_owned(), Value::from(secret));
    Ok(())
}

fn is_set(table: &Map<String, Value>, name: &str) -> bool {
    table.get(name).is_some_and(|value| {
        !matches!(&value.kind, ValueKind::Nil) && value.clone().into_string().is_ok_and(|text| !text.is_empty())
    })
}

fn explain(path: &str, message: &str) -> ConfigError {
    // The crate adds its own idea of the place, which the path says better.
    let message = message.split(" for key `").next().unwrap_or(message);
    if let Some(rest) = message.strip_prefix("unknown field `")
        && let Some((field, expected)) = rest.split_once('`')
    {
        let key = match path {
            "." | "" | "?" => field.to_owned(),
            path if path == field || path.ends_with(&format!(".{field}")) => path.to_owned(),
            path => format!("{path}.{field}"),
        };
        let expected = expected.trim_start_matches(',').trim();
        return ConfigError::plain(format_args!("{key} is not a key of this program ({expected})"));
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        let key = if path == "." { field.to_owned() } else { format!("{path}.{field}") };
        return ConfigError::new(&key, "must be set");
    }
    ConfigError::new(path, format_args!("cannot be taken: {message}"))
}

/// The effective configuration as TOML, secrets redacted.
pub fn print<T: Configuration>(configuration: &T) -> Result<String, ConfigError> {
    toml::to_string(configuration).map_err(ConfigError::plain)
}

/// A secret from the configuration: never shown, zeroed when dropped.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

/// Writes a secret as it is: for a call to whom it is meant for. Everything else shows it redacted.
pub fn exposed<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

/// Reads a list from an array, or from a string with commas as the environment has it.
pub fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de> + std::str::FromStr,
    T::Err: fmt::Display,
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Array(Vec<String>),
        Commas(String),
    }
    let items = match Either::deserialize(deserializer)? {
        Either::Array(items) => items,
        Either::Commas(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
    };
    items.iter().filter(|item| !item.is_empty()).map(|item| item.parse().map_err(serde::de::Error::custom)).collect()
}

/// Reads an optional secret; an empty string counts as none.
pub fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()).map(Secret::from))
}

/// Reads an optional path; an empty string counts as none.
pub fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()).map(PathBuf::from))
}

/// The section `server`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Where the service listens.
    pub bind: SocketAddr,
    /// The proxies whose `Forwarded` and `X-Forwarded-For` are believed, as addresses or CIDRs.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The origins of web pages that may call the service, such as `https://app.example`.
    #[serde(deserialize_with = "list")]
    pub cors_origins: Vec<String>,
    /// Worker threads; 0 for one per core.
    pub workers: usize,
    /// Seconds in which the head of a connection's first request must be there.
    pub header_timeout_seconds: u64,
    /// Seconds in which a body must be there; of a file, seconds in which the next piece must be.
    pub body_timeout_seconds: u64,
    /// Seconds in which a client has to take something of its answer.
    pub write_timeout_seconds: u64,
    /// Seconds that a connection is kept for the next request.
    pub keep_alive_seconds: u64,
    /// Seconds that requests in flight have to finish in when the service is asked to stop.
    pub shutdown_timeout_seconds: u64,
    /// Seconds for which browsers that came by TLS shall use nothing else (RFC 6797, 6.1.1); 0 for not telling them.
    pub hsts_max_age_seconds: u64,
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let items: Vec<String> = list(deserializer)?;
    items
        .iter()
        .map(|item| {
            item.parse::<IpNet>()
                .or_else(|_| item.parse::<std::net::IpAddr>().map(IpNet::from))
                .map_err(|_| serde::de::Error::custom(format_args!("`{item}` is not an address or a CIDR")))
        })
        .collect()
}

impl ServerConfig {
    /// Checks the section.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, seconds) in [
            ("server.header_timeout_seconds", self.header_timeout_seconds),
            ("server.body_timeout_seconds", self.body_timeout_seconds),
            ("server.write_timeout_seconds", self.write_timeout_seconds),
            ("server.keep_alive_seconds", self.keep_alive_seconds),
        ] {
            if !(1..=3_600).contains(&seconds) {
                return Err(ConfigError::new(key, "must be from 1 to 3600"));
            }
        }
        for origin in &self.cors_origins {
            let parsed = url::Url::parse(origin).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == *origin
            });
            if parsed.is_none() {
                return Err(ConfigError::new(
                    "server.cors_origins",
                    format_args!("holds `{origin}`, which is not an origin such as https://app.example"),
                ));
            }
        }
        Ok(())
    }

    /// Worker threads to start.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}

/// The section `database`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: Secret,
    /// The most connections, and threads, for queries that block.
    pub pool_size: u32,
    /// Whether to bring the schema up to date at the start.
    pub migrate: bool,
}

impl DatabaseConfig {
    /// The URL, checked.
    pub fn parsed_url(&self) -> Result<DatabaseUrl, ConfigError> {
        DatabaseUrl::parse(self.url.expose()).map_err(|cause| ConfigError::new("database.url", cause))
    }

    /// Checks the section.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=1000).contains(&self.pool_size) {
            return Err(ConfigError::new("database.pool_size", "must be between 1 and 1000"));
        }
        self.parsed_url().map(drop)
    }
}

/// The section `log`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How a line is written.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it must be text or json"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        server: ServerConfig,
        database: DatabaseConfig,
        tokens: Tokens,
    }

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Tokens {
        #[serde(default, deserialize_with = "optional_secret")]
        secret: Option<Secret>,
    }

    impl Configuration for Example {
        const DEFAULTS: &'static str = r#"
            [server]
            bind = "127.0.0.1:8081"
            trusted_proxies = []
            cors_origins = []
            workers = 0
            header_timeout_seconds = 10
            body_timeout_seconds = 30
            write_timeout_seconds = 60
            keep_alive_seconds = 75
            shutdown_timeout_seconds = 30
            hsts_max_age_seconds = 60
            [database]
            url = "sqlite:test.db"
            pool_size = 4
            migrate = true
            [tokens]
            secret = ""
        "#;
        const SECRETS: &'static [&'static str] = &["tokens.secret", "database.url"];

        fn validate(&self) -> Result<(), ConfigError> {
            self.server.validate()?;
            self.database.validate()
        }
    }

    fn load(environment: &[(&str, &str)]) -> Result<Example, ConfigError> {
        Sources {
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Sources::default()
        }
        .load()
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[database]\npool_size = 7\nmigrate = false\n").unwrap();
        let loaded: Example = Sources {
            file: Some(file.path().to_owned()),
            environment: vec![
                ("SIGNET__DATABASE__POOL_SIZE".into(), "9".into()),
                ("SIGNET__SERVER__TRUSTED_PROXIES".into(), "10.0.0.0/8, 192.0.2.1".into()),
            ],
            overrides: Vec::new(),
        }
        .load()
        .unwrap();
        assert_eq!(loaded.database.pool_size, 9);
        assert!(!loaded.database.migrate);
        assert_eq!(loaded.server.trusted_proxies.len(), 2);
        assert_eq!(loaded.server.bind.port(), 8081);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = load(&[("SIGNET__TOKENS__SECRE", "x")]).unwrap_err().to_string();
        assert!(error.contains("tokens.secre "), "{error}");
        let error = load(&[("SIGNET__TOKEN__SECRET", "x")]).unwrap_err().to_string();
        assert!(error.contains("token "), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn a_place_in_a_list_is_no_key() {
        for name in ["SIGNET__SERVER__CORS_ORIGINS[0]", "SIGNET__A[-111111111111111111]", "SIGNET__A[999999999999]"] {
            let error = load(&[(name, "x")]).unwrap_err().to_string();
            assert!(error.contains("is not a key"), "{error}");
        }
    }

    #[test]
    fn a_bad_value_is_named_with_its_key_and_what_to_set() {
        for (name, key) in [
            ("SIGNET__DATABASE__POOL_SIZE", "database.pool_size"),
            ("SIGNET__DATABASE__MIGRATE", "database.migrate"),
            ("SIGNET__SERVER__BIND", "server.bind"),
            ("SIGNET__DATABASE__URL", "database.url"),
            ("SIGNET__SERVER__TRUSTED_PROXIES", "server.trusted_proxies"),
            ("SIGNET__SERVER__CORS_ORIGINS", "server.cors_origins"),
            ("SIGNET__SERVER__BODY_TIMEOUT_SECONDS", "server.body_timeout_seconds"),
        ] {
            let error = load(&[(name, "nonsense")]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        for key in ["HEADER_TIMEOUT", "BODY_TIMEOUT", "KEEP_ALIVE"] {
            for seconds in ["0", "3601"] {
                let name = format!("SIGNET__SERVER__{key}_SECONDS");
                let error = load(&[(&name, seconds)]).unwrap_err().to_string();
                assert!(error.contains(&name), "{error}");
            }
        }
    }

    #[test]
    fn a_secret_may_come_from_a_file_but_not_twice() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "12345678901234567890123456789012").unwrap();
        let path = file.path().to_str().unwrap();
        let loaded = load(&[("SIGNET__TOKENS__SECRET_FILE", path)]).unwrap();
        assert_eq!(loaded.tokens.secret.unwrap().expose(), "12345678901234567890123456789012");

        let error = load(&[("SIGNET__TOKENS__SECRET_FILE", path), ("SIGNET__TOKENS__SECRET", "x")]).unwrap_err();
        assert!(error.to_string().contains("tokens.secret_file"), "{error}");
        // A default is no second value.
        assert_eq!(load(&[("SIGNET__DATABASE__URL", "sqlite:a.db")]).unwrap().database.url.expose(), "sqlite:a.db");
        let url = load(&[("SIGNET__DATABASE__URL_FILE", path)]).unwrap_err().to_string();
        assert!(url.contains("database.url ") && !url.contains("both"), "{url}");
        let error = load(&[("SIGNET__TOKENS__SECRET_FILE", "/nowhere/at/all")]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
        let error = load(&[("SIGNET__SERVER__BIND_FILE", path)]).unwrap_err();
        assert!(error.to_string().contains("server.bind_file"), "{error}");
    }

    #[test]
    fn a_section_is_read_alone_whatever_is_wrong_elsewhere() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "postgres://ada:lovelace@localhost/x").unwrap();
        let pairs = |database_file: &str| Sources {
            environment: [
                ("SIGNET__DATABASE__URL_FILE", database_file),
                ("SIGNET__DATABASE__POOL_SIZE", "9"),
                ("SIGNET__TOKENS__SECRET_FILE", "/nowhere/at/all"),
                ("SIGNET__SERVER__BIND", "nonsense"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            ..Sources::default()
        };
        let sources = pairs(file.path().to_str().unwrap());
        let database: DatabaseConfig = sources.load_section::<Example, _>("database").unwrap();
        assert_eq!((database.pool_size, database.url.expose()), (9, "postgres://ada:lovelace@localhost/x"));
        let error = sources.load_section::<Example, ServerConfig>("server").unwrap_err().to_string();
        assert!(error.contains("server.bind"), "{error}");
        let error = pairs("/no/such/file").load_section::<Example, DatabaseConfig>("database").unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn a_printed_configuration_shows_no_secret() {
        let loaded = load(&[
            ("SIGNET__TOKENS__SECRET", "a-secret-that-nobody-may-see-ever"),
            ("SIGNET__DATABASE__URL", "postgres://ada:lovelace@localhost/x"),
        ])
        .unwrap();
        let printed = print(&loaded).unwrap();
        assert!(printed.contains("pool_size = 4"), "{printed}");
        for text in [printed, format!("{loaded:?}")] {
            assert!(!text.contains("nobody-may-see") && !text.contains("lovelace"), "{text}");
        }
    }
}

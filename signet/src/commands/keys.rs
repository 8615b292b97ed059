//! `signet keys`: the ring that tokens are signed and verified with, and its changes while everything runs.

use std::{fmt, fmt::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::{Clock, Timestamp};
use shared_claims::KeyRing;

use crate::{
    cli::Globals,
    config,
    connection::{self, AuthTarget, Connection},
    failure::Failure,
    output::{self, Table},
    ring_file::{self, Algorithm, RingFile, Standing},
};

/// How often auth-service is asked whether everybody knows a key.
const ASK_EVERY: Duration = Duration::from_millis(500);

const TIMEOUT: Duration = Duration::from_secs(10);

/// By how much the clocks of verifiers may be behind, and how long services take to go over to another signing key.
const MARGIN_SECONDS: u64 = 60;

/// How long a revocation waits for the issuers to sign with another key first.
const HANDOVER: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new ring with one key
    Generate(Generate),
    /// Show the keys, and which verifiers know them
    List(List),
    /// Print the public parts of the key pairs, for services that may verify and not issue
    Public(Public),
    /// Add a key, wait until every verifier knows it, and let it sign. Run again, it goes on where it was stopped
    Rotate(Rotate),
    /// Take out a key that signs no more, when the last token that it signed has expired
    Retire(Retire),
    /// Take out a key that has leaked, at once and everywhere: what it signed is refused from now on
    Revoke(Revoke),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Ring {
    /// The JWK Set file [default: `tokens.jwks_file` of the configuration, or keys.json in the data directory]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Generate {
    #[command(flatten)]
    ring: Ring,
    /// What the key signs with
    #[arg(long, value_enum, default_value = "HS256")]
    alg: Algorithm,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    ring: Ring,
    #[command(flatten)]
    target: AuthTarget,
}

#[derive(Args, Debug)]
pub(crate) struct Public {
    #[command(flatten)]
    ring: Ring,
}

#[derive(Args, Debug)]
pub(crate) struct Rotate {
    #[command(flatten)]
    ring: Ring,
    #[command(flatten)]
    target: AuthTarget,
    /// What the new key signs with [default: the same as the present one]
    #[arg(long, value_enum)]
    alg: Option<Algorithm>,
    /// Only add the key: where the file has to be brought to the services first, as with a Kubernetes Secret
    #[arg(long)]
    no_wait: bool,
    /// Seconds to wait for the verifiers
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Retire {
    /// The key's id
    kid: String,
    #[command(flatten)]
    ring: Ring,
    #[command(flatten)]
    target: AuthTarget,
    /// Wait for the last token to expire
    #[arg(long)]
    wait: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The key's id
    kid: String,
    #[command(flatten)]
    ring: Ring,
    #[command(flatten)]
    target: AuthTarget,
}

/// The answer of `GET /internal/keys`.
#[derive(Debug, Deserialize)]
struct KeyState {
    signing: String,
    verifiers: Vec<KnownVerifier>,
    access_ttl_seconds: u64,
}

#[derive(Debug, Deserialize)]
struct KnownVerifier {
    id: String,
    /// The ids of its keys; the first is the one that it signs with, if it signs.
    kids: Vec<String>,
}

impl KeyState {
    fn lacking<'a>(&'a self, kid: &'a str) -> impl Iterator<Item = &'a str> {
        let knows = move |verifier: &&KnownVerifier| !verifier.kids.iter().any(|known| known == kid);
        self.verifiers.iter().filter(knows).map(|verifier| verifier.id.as_str())
    }

    /// Those who would still sign with a key.
    fn signing_with<'a>(&'a self, kid: &'a str) -> impl Iterator<Item = &'a str> {
        let signs = move |verifier: &&KnownVerifier| verifier.kids.first().is_some_and(|first| first == kid);
        self.verifiers.iter().filter(signs).map(|verifier| verifier.id.as_str())
    }
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Generate(options) => generate(globals, &options),
        Command::List(options) => connection::converse(list(globals, &options)),
        Command::Public(options) => public(globals, &options),
        Command::Rotate(options) => connection::converse(rotate(globals, &options)),
        Command::Retire(options) => connection::converse(retire(globals, &options)),
        Command::Revoke(options) => connection::converse(revoke(globals, &options)),
    }
}

impl Ring {
    fn path(&self, globals: &Globals) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.file {
            return Ok(path.clone());
        }
        let configuration: config::UpConfig = config::sources(globals, None).load()?;
        if let Some(path) = configuration.tokens.jwks_file {
            return Ok(path);
        }
        let path = ring_file::in_directory(&globals.data_dir);
        if configuration.tokens.secret.is_some() || !path.exists() {
            Err(anyhow!(
                "there is no key ring at {}: name the file with --file, or the data directory of the stack with \
                 --data-dir; a common secret (tokens.secret) becomes a ring with `signet keys generate`",
                path.display()
            ))?;
        }
        Ok(path)
    }

    fn open(&self, globals: &Globals) -> Result<RingFile, Failure> {
        Ok(RingFile::open(&self.path(globals)?).map_err(anyhow::Error::new)?)
    }
}

fn now() -> u64 {
    Clock::system().now().as_seconds()
}

fn save(file: &RingFile) -> Result<(), Failure> {
    Ok(file.save().map_err(anyhow::Error::new)?)
}

fn generate(globals: &Globals, options: &Generate) -> Result<ExitCode, Failure> {
    let path = options.ring.file.clone().unwrap_or_else(|| ring_file::in_directory(&globals.data_dir));
    let file = RingFile::create(&path, options.alg, now()).map_err(anyhow::Error::new)?;
    output::print(format_args!("made {} with the key {}", path.display(), file.signing()));
    if options.alg == Algorithm::Hs256 {
        output::print("It is a common secret: whoever can verify with it can also issue.");
    } else {
        output::print("Give it to auth-service alone; `signet keys public` prints what the others verify with.");
    }
    Ok(ExitCode::SUCCESS)
}

fn public(globals: &Globals, options: &Public) -> Result<ExitCode, Failure> {
    let file = RingFile::read(&options.ring.path(globals)?).map_err(anyhow::Error::new)?;
    let public = file.public().map_err(anyhow::Error::new)?;
    output::print(public.trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn list(globals: &Globals, options: &List) -> Result<ExitCode, Failure> {
    let file = RingFile::read(&options.ring.path(globals)?).map_err(anyhow::Error::new)?;
    let ring = file.ring().map_err(anyhow::Error::new)?;
    let state = match Operator::new(globals, &options.target, &ring).await {
        Ok(operator) => operator.key_state().await,
        Err(failure) => Err(failure),
    };
    globals.output.report(&KeyList::new(&file, &state));
    Ok(ExitCode::SUCCESS)
}

/// The keys of a ring, and who knows them.
#[derive(Serialize)]
struct KeyList {
    file: PathBuf,
    keys: Vec<ListedKey>,
    /// How many verifiers there are, if auth-service could be asked.
    verifiers: Option<usize>,
    /// Why it could not.
    unknown_because: Option<String>,
}

#[derive(Serialize)]
struct ListedKey {
    kid: String,
    alg: String,
    made: Option<String>,
    standing: &'static str,
    /// After which time it may be retired, where that is known.
    retire_after: Option<String>,
    known_to: Option<usize>,
}

impl KeyList {
    fn new(file: &RingFile, state: &Result<KeyState, Failure>) -> Self {
        let keys = file.keys().map(|(kid, alg, made, standing)| {
            let (standing, until) = match standing {
                Standing::Signing => ("signing", None),
                Standing::Incoming => ("incoming", None),
                Standing::Outgoing { until } => ("outgoing", until),
                Standing::Public => ("public", None),
            };
            ListedKey {
                kid: kid.to_owned(),
                alg: alg.to_owned(),
                made: made.map(rfc3339),
                standing,
                retire_after: until.map(rfc3339),
                known_to: state.as_ref().ok().map(|state| state.verifiers.len() - state.lacking(kid).count()),
            }
        });
        Self {
            file: file.path().to_owned(),
            keys: keys.collect(),
            verifiers: state.as_ref().ok().map(|state| state.verifiers.len()),
            unknown_because: state.as_ref().err().map(ToString::to_string),
        }
    }
}

impl fmt::Display for KeyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["key", "alg", "made", "standing"]);
        for ListedKey { kid, alg, made, standing, retire_after, known_to } in &self.keys {
            let mut standing = match (*standing, retire_after) {
                ("signing", _) => "signs".to_owned(),
                ("incoming", _) => "verifies, to sign next".to_owned(),
                ("outgoing", Some(time)) => format!("verifies, to be retired after {time}"),
                ("outgoing", None) => "verifies".to_owned(),
                _ => "verifies, its private part is elsewhere".to_owned(),
            };
            if let (Some(known), Some(all)) = (known_to, self.verifiers) {
                // Writing to a string cannot fail.
                let _ = write!(standing, "; known to {known} of {all} verifiers");
            }
            table.row([kid.as_str(), alg.as_str(), made.as_deref().unwrap_or("-"), standing.as_str()]);
        }
        write!(f, "{}\n\n{table}", self.file.display())?;
        match &self.unknown_because {
            Some(cause) => write!(f, "\n\nWhich verifiers know them is not known: {cause}"),
            None => Ok(()),
        }
    }
}

pub(super) fn rfc3339(seconds: u64) -> String {
    let micros = i64::try_from(seconds).unwrap_or(i64::MAX / 2_000_000).saturating_mul(1_000_000);
    Timestamp::from_micros(micros).to_string().replace(".000000", "")
}

async fn rotate(globals: &Globals, options: &Rotate) -> Result<ExitCode, Failure> {
    let mut file = options.ring.open(globals)?;
    let kid = if let Some(kid) = file.incoming().map(str::to_owned) {
        output::print(format_args!("going on with {kid}, which was added before"));
        kid
    } else {
        let kid = file.add(options.alg, now()).map_err(anyhow::Error::new)?;
        save(&file)?;
        output::print(format_args!("added {kid}: it verifies, and {} still signs", file.signing()));
        kid
    };
    if options.no_wait {
        output::print("Bring the file to every service, then run the command again to let the key sign.");
        return Ok(ExitCode::SUCCESS);
    }
    let former = file.signing().to_owned();
    let ring = file.ring().map_err(anyhow::Error::new)?;
    let unfinished = |cause: &dyn fmt::Display| {
        anyhow!("{cause}; {former} still signs, and running the command again goes on from here")
    };
    let operator = Operator::new(globals, &options.target, &ring).await.map_err(|cause| unfinished(&cause))?;
    let state = operator
        .wait(Duration::from_secs(options.timeout), |state| {
            let lacking: Vec<_> = state.lacking(&kid).collect();
            (!lacking.is_empty())
                .then(|| format!("these verifiers do not know the key {kid} yet: {}", lacking.join(", ")))
        })
        .await
        .map_err(|cause| unfinished(&cause))?;
    output::print(format_args!("all {} verifiers know it", state.verifiers.len()));

    let last_token_expires = now() + state.access_ttl_seconds + MARGIN_SECONDS;
    file.promote(&kid, last_token_expires).map_err(anyhow::Error::new)?;
    save(&file)?;
    output::print(format_args!(
        "{kid} signs; {former} verifies what it has signed until {}: then `signet keys retire {former}`",
        rfc3339(last_token_expires)
    ));
    Ok(ExitCode::SUCCESS)
}

async fn retire(globals: &Globals, options: &Retire) -> Result<ExitCode, Failure> {
    let mut file = options.ring.open(globals)?;
    let kid = &options.kid;
    match file.standing_of(kid).map_err(anyhow::Error::new)? {
        Standing::Signing => Err(anyhow!("{kid} signs: `signet keys rotate` lets another one do that first"))?,
        Standing::Outgoing { until: Some(until) } if until > now() => {
            if !options.wait {
                Err(anyhow!(
                    "tokens that {kid} signed may live until {}: wait, with --wait if you like, or use \
                     `signet keys revoke` if it has leaked",
                    rfc3339(until)
                ))?;
            }
            output::print(format_args!("waiting until {}, when the last token has expired", rfc3339(until)));
            tokio::time::sleep(Duration::from_secs(until - now())).await;
        }
        Standing::Incoming | Standing::Outgoing { .. } | Standing::Public => {}
    }
    let ring = file.ring().map_err(anyhow::Error::new)?;
    let state = Operator::new(globals, &options.target, &ring).await?.key_state().await?;
    let signing: Vec<_> = state.signing_with(kid).collect();
    if state.signing == *kid || !signing.is_empty() {
        Err(anyhow!(
            "{kid} is still in use by {}: bring them the file as it is now first",
            if signing.is_empty() { "auth-service".to_owned() } else { signing.join(", ") }
        ))?;
    }
    file.remove(kid).map_err(anyhow::Error::new)?;
    save(&file)?;
    output::print(format_args!("{kid} is out of the ring"));
    Ok(ExitCode::SUCCESS)
}

async fn revoke(globals: &Globals, options: &Revoke) -> Result<ExitCode, Failure> {
    let mut file = options.ring.open(globals)?;
    let kid = &options.kid;
    let before = file.ring().map_err(anyhow::Error::new)?;
    if file.has(kid) {
        if file.signing() == kid {
            let next = match file.incoming().map(str::to_owned) {
                Some(next) => next,
                None => file.add(None, now()).map_err(anyhow::Error::new)?,
            };
            file.promote(&next, now()).map_err(anyhow::Error::new)?;
        }
        file.remove(kid).map_err(anyhow::Error::new)?;
        save(&file)?;
        output::print(format_args!("{kid} is out of the ring; {} signs", file.signing()));
    } else {
        output::print(format_args!("{kid} is not in the ring any more; the verifiers are told once more"));
    }

    // The issuers first, so that no token is made that is refused at once. Where the file still has to be brought to
    // them, the verifiers are told all the same: they must not go on taking what a thief signs.
    let after = file.ring().map_err(anyhow::Error::new)?;
    let untold = |cause: &dyn fmt::Display| anyhow!("the verifiers could not be told: {cause}; run the command again");
    let renewed = Operator::new(globals, &options.target, &after).await.map_err(|cause| untold(&cause))?;
    let handed_over = renewed
        .wait(HANDOVER, |state| state.signing_with(kid).next().map(|id| format!("{id} still signs with {kid}")))
        .await;
    let mut told = renewed.revoke(kid).await;
    if told.is_err() && handed_over.is_err() {
        // auth-service has not read the file yet, so it takes what the ring before signs.
        told = Operator::new(globals, &options.target, &before).await?.revoke(kid).await;
    }
    told.map_err(|cause| untold(&cause))?;
    output::print("every verifier that follows the feed refuses what it signed");
    if let Err(cause) = handed_over {
        output::print(format_args!("Bring the file to every service now: {cause}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The operator at auth-service's own port, with a service token of the ring's making.
struct Operator {
    connection: Connection,
}

impl Operator {
    async fn new(globals: &Globals, target: &AuthTarget, ring: &KeyRing) -> Result<Self, Failure> {
        Ok(Self { connection: Connection::with_ring(target, globals, ring).await? })
    }

    async fn key_state(&self) -> Result<KeyState, Failure> {
        let request = self.connection.request(Method::GET, "internal/keys")?.timeout(TIMEOUT);
        let answer = self.connection.send(request).await?;
        connection::read_json(self.connection.succeed(answer).await?).await
    }

    /// Asks until `missing` finds nothing missing any more. An answer that cannot be had counts as one that lacks
    /// everything, so that a restart of auth-service does not end the wait.
    async fn wait(
        &self,
        patience: Duration,
        missing: impl Fn(&KeyState) -> Option<String>,
    ) -> Result<KeyState, anyhow::Error> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let lacking = match self.key_state().await {
                Ok(state) => match missing(&state) {
                    None => return Ok(state),
                    Some(lacking) => lacking,
                },
                Err(failure) => failure.to_string(),
            };
            if tokio::time::Instant::now() + ASK_EVERY > deadline {
                return Err(anyhow!("{lacking}"));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn revoke(&self, kid: &str) -> Result<(), Failure> {
        let body = json!({ "kind": "key", "kid": kid });
        let request = self.connection.request(Method::POST, "internal/revocations")?.json(&body).timeout(TIMEOUT);
        let answer = self.connection.send(request).await?;
        self.connection.succeed(answer).await.context("auth-service")?;
        Ok(())
    }
}

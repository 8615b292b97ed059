//! `signet status`: the services of a stack at a glance.

use std::{fmt, process::ExitCode};

use clap::Args;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use service_kit::FieldError;

use crate::{
    cli::Globals,
    connection::{self, Connection},
    failure::Failure,
    output::Table,
    survey::{self, Feed, Ports},
};

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    ports: Ports,
}

#[derive(Serialize)]
struct Report {
    url: String,
    /// Who the stack says it is.
    issuer: Option<String>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    services: Vec<Service>,
    /// The ids of the public keys that tokens can be verified with; a common secret is none of them.
    public_keys: Vec<String>,
}

#[derive(Serialize)]
struct Service {
    name: &'static str,
    /// Its own port, if that is known.
    url: Option<String>,
    state: State,
    version: Option<String>,
    feed_age_seconds: Option<u64>,
    feed_entries: Option<u64>,
    outbox_events: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ready,
    NotReady,
    Unreachable,
    NotLookedAt,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Unreachable => "unreachable",
            Self::NotLookedAt => "not looked at",
        })
    }
}

impl Report {
    fn is_well(&self) -> bool {
        self.problem.is_none()
            && self.services.iter().all(|service| matches!(service.state, State::Ready | State::NotLookedAt))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.url)?;
        match (&self.issuer, &self.problem) {
            (Some(issuer), _) => writeln!(f, "issuer {issuer}\n")?,
            (None, problem) => writeln!(f, "{}\n", problem.as_deref().unwrap_or_default())?,
        }
        let mut table = Table::new(["service", "version", "state", "feed", "outbox", "port"]);
        for service in &self.services {
            let feed = service.feed_age_seconds.map_or_else(
                || "-".to_owned(),
                |age| format!("{age} s old, {} revocations", service.feed_entries.unwrap_or_default()),
            );
            table.row([
                service.name.to_owned(),
                service.version.clone().unwrap_or_else(|| "-".to_owned()),
                service.state.to_string(),
                feed,
                service.outbox_events.map_or_else(|| "-".to_owned(), |events| format!("{events} events")),
                service.url.clone().unwrap_or_else(|| Ports::option(service.name)),
            ]);
        }
        write!(f, "{table}")?;
        for service in &self.services {
            for fault in &service.faults {
                write!(f, "\n{}: {} ({} {})", service.name, fault.message, fault.field, fault.code)?;
            }
            if let Some(problem) = &service.problem {
                write!(f, "\n{}: {problem}", service.name)?;
            }
        }
        if !self.public_keys.is_empty() {
            write!(f, "\npublic keys: {}", self.public_keys.join(", "))?;
        }
        Ok(())
    }
}

pub(crate) fn run(globals: &Globals, options: &Options) -> Result<ExitCode, Failure> {
    connection::converse(async {
        let report = survey(&options.ports).await?;
        globals.output.report(&report);
        Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn survey(ports: &Ports) -> Result<Report, Failure> {
    let (issuer, problem) = match connection::told_issuer(&ports.url).await {
        Ok(issuer) => (Some(issuer), None),
        Err(failure) => (None, Some(failure.to_string())),
    };
    let mut services = Vec::new();
    for (name, url) in ports.services() {
        services.push(service(name, url).await);
    }
    let public_keys = if issuer.is_some() { public_keys(&ports.url).await.unwrap_or_default() } else { Vec::new() };
    Ok(Report { url: ports.url.to_string(), issuer, problem, services, public_keys })
}

async fn service(name: &'static str, url: Option<Url>) -> Service {
    let mut service = Service {
        name,
        url: url.as_ref().map(ToString::to_string),
        state: State::NotLookedAt,
        version: None,
        feed_age_seconds: None,
        feed_entries: None,
        outbox_events: None,
        faults: Vec::new(),
        problem: None,
    };
    match url {
        None => service.problem = Some(format!("name its own port with {} to look at it", Ports::option(name))),
        Some(url) => match survey::look(&url).await {
            Err(problem) => (service.state, service.problem) = (State::Unreachable, Some(problem)),
            Ok(seen) => {
                service.state = if seen.faults.is_empty() { State::Ready } else { State::NotReady };
                service.version = seen.version;
                service.outbox_events = seen.metrics.value("signet_outbox_events");
                if let Some(Feed { age_seconds, entries }) = seen.feed {
                    (service.feed_age_seconds, service.feed_entries) = (age_seconds, Some(entries));
                }
                service.faults = seen.faults;
            }
        },
    }
    service
}

async fn public_keys(url: &Url) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Key>,
    }
    #[derive(Deserialize)]
    struct Key {
        kid: String,
    }

    let stack = Connection::without_token(url.clone(), "no token was shown")?;
    let answer = stack.send(stack.request(Method::GET, ".well-known/jwks.json")?.timeout(survey::TIMEOUT)).await?;
    let set: Set = connection::read_json(stack.succeed(answer).await?).await?;
    Ok(set.keys.into_iter().map(|key| key.kid).collect())
}

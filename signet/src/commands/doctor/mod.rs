//! `signet doctor`: what usually goes wrong with a stack, looked for from outside and on this machine, each with the line
//! of the configuration to change. It changes nothing, and shows no secret.

mod here;
mod there;

use std::{fmt, process::ExitCode};

use clap::Args;
use serde::Serialize;

use crate::{
    cli::Globals,
    connection::{self, AtHand},
    failure::Failure,
    survey::{self, Ports, Seen},
};

#[derive(Args, Debug)]
#[command(after_help = "\
Run it where the keys of the stack are (--data-dir, or --config as for the services), and after `signet login`: with both \
it sees most. What it could not look at is reported as skipped. To measure a log-in it tries one, as nobody.")]
pub(crate) struct Options {
    #[command(flatten)]
    ports: Ports,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// It could not be looked at.
    Skipped,
    /// It may be meant so.
    Warning,
    Wrong,
}

/// What was found out about one thing.
#[derive(Debug, Serialize)]
struct Finding {
    /// Stable, such as `secrets` or `clock`.
    check: &'static str,
    level: Level,
    /// In words.
    found: String,
    /// What to do, with the line of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), change: None }
    }

    fn skipped(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Skipped, found: found.into(), change: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, change: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, found: found.into(), change: Some(change.into()) }
    }

    fn wrong(check: &'static str, found: impl Into<String>, change: impl Into<String>) -> Self {
        Self { check, level: Level::Wrong, found: found.into(), change: Some(change.into()) }
    }
}

/// A line of the configuration, as it stands in a file and in the environment.
fn line(key: &str, value: impl fmt::Display) -> String {
    let variable = format!("SIGNET__{}", key.replace('.', "__").to_uppercase());
    format!("{key} = {value}  ({variable})")
}

#[derive(Serialize)]
struct Report {
    findings: Vec<Finding>,
    wrong: usize,
    warnings: usize,
}

impl Report {
    fn new(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self { wrong: count(Level::Wrong), warnings: count(Level::Warning), findings }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { check, level, found, change } in &self.findings {
            let level = match level {
                Level::Ok => "ok",
                Level::Skipped => "skipped",
                Level::Warning => "warning",
                Level::Wrong => "WRONG",
            };
            writeln!(f, "{level:<9}{check:<12}{found}")?;
            if let Some(change) = change {
                writeln!(f, "{:<21}-> {change}", "")?;
            }
        }
        match (self.wrong, self.warnings) {
            (0, 0) => write!(f, "\nNothing is wrong."),
            (wrong, warnings) => write!(f, "\n{wrong} wrong, {warnings} to look at."),
        }
    }
}

/// A service, its own port, and what was seen there.
struct Service {
    name: &'static str,
    seen: Option<Result<Seen, String>>,
}

impl Service {
    /// What was seen, if anything was.
    fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()?.as_ref().ok()
    }
}

pub(crate) fn run(globals: &Globals, options: &Options) -> Result<ExitCode, Failure> {
    let at_hand = AtHand::find(globals);
    let mut findings = here::examine(globals, at_hand.as_ref());
    let at_hand = at_hand.ok();
    connection::converse(async {
        let mut services = Vec::new();
        for (name, url) in options.ports.services() {
            let seen = match &url {
                Some(url) => Some(survey::look(url).await),
                None => None,
            };
            services.push(Service { name, seen });
        }
        findings.extend(there::examine(&options.ports, &services, at_hand.as_ref()).await?);
        let report = Report::new(findings);
        globals.output.report(&report);
        Ok(if report.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

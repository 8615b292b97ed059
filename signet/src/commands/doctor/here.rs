//! What can be told from this machine alone: the secrets at hand, and what they are kept in.

use std::thread::available_parallelism;

use shared_claims::KeyRing;

use super::{Finding, line};
use crate::{
    cli::Globals, config::UpConfig, connection::AtHand, data_dir, failure::Failure, ring_file, secrets::SecretsFile,
};

const SECRETS: &str = "secrets";
const HASHING: &str = "hashing";

/// Below this cost a stolen hash is tried too fast to be worth much.
const LEAST_SENSIBLE_COST: u32 = 10;

const GENERATE: &str = "`signet secret generate`";

pub(super) fn examine(globals: &Globals, at_hand: Result<&AtHand, &Failure>) -> Vec<Finding> {
    let mut findings = exposed_files(globals);
    match at_hand {
        Ok(AtHand { configuration, ring }) => {
            findings.extend(weak_secrets(configuration));
            findings.extend(hashing(configuration));
            if ring.is_none() {
                let found = "no keys are at hand, so it cannot be compared whether the services have the same: name the \
                             data directory or the configuration of the stack with --data-dir or --config";
                findings.push(Finding::skipped(SECRETS, found));
            }
        }
        // Where a secret is too weak to load, or a file cannot be read, that is what is wrong.
        Err(failure) => {
            let change = format!("change that value; {GENERATE} makes a secret that is taken");
            findings.push(Finding::wrong(SECRETS, failure.to_string(), change));
        }
    }
    findings
}

fn exposed_files(globals: &Globals) -> Vec<Finding> {
    let secrets = SecretsFile::in_directory(&globals.data_dir);
    [secrets.path().to_owned(), ring_file::in_directory(&globals.data_dir)]
        .into_iter()
        .filter(|path| data_dir::is_exposed(path))
        .map(|path| {
            let found = format!("{} may be read by others", path.display());
            Finding::wrong(
                SECRETS,
                found,
                format!("chmod 600 {}, and make new keys if it was so for long", path.display()),
            )
        })
        .collect()
}

fn weak_secrets(configuration: &UpConfig) -> Vec<Finding> {
    let secrets = [
        ("tokens.secret", &configuration.tokens.secret),
        ("refresh.secret", &configuration.refresh.secret),
        ("passwords.pepper", &configuration.passwords.pepper),
    ];
    let mut findings = Vec::new();
    for (place, (key, secret)) in secrets.iter().enumerate() {
        let Some(secret) = secret else { continue };
        if let Err(cause) = KeyRing::from_secret(secret.expose().as_bytes()) {
            let change = line(key, format_args!("a random one, from {GENERATE}"));
            findings.push(Finding::wrong(SECRETS, format!("{key} is weak: {cause}"), change));
        }
        for (other, same) in &secrets[..place] {
            if same.as_ref().is_some_and(|same| same.expose() == secret.expose()) {
                let found = format!("{key} is the same as {other}: who knows one knows both");
                findings.push(Finding::wrong(SECRETS, found, line(key, format_args!("another one, from {GENERATE}"))));
            }
        }
    }
    findings
}

fn hashing(configuration: &UpConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let passwords = &configuration.passwords;
    if passwords.cost < LEAST_SENSIBLE_COST {
        let found =
            format!("passwords.cost is {} here: such hashes are quickly guessed when they are stolen", passwords.cost);
        findings.push(Finding::warning(HASHING, found, line("passwords.cost", 12)));
    }
    // What a control group leaves of the machine is counted in.
    let cpus = available_parallelism().map_or(1, usize::from);
    if passwords.permits > cpus {
        let found = format!(
            "{} threads hash passwords on {cpus} CPUs (the limit of the control group is in that): each log-in takes the \
             longer, and all else waits with them",
            passwords.permits
        );
        findings.push(Finding::wrong(HASHING, found, line("passwords.permits", "0, for one per CPU")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use service_kit::config::Sources;

    use super::*;
    use crate::commands::doctor::Level;

    fn configuration(pairs: &[(&str, &str)]) -> UpConfig {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { environment, ..Sources::default() }.load().unwrap()
    }

    const GOOD: &str = "KS3xQm0fT7vVw1nZc9yJp4rLd8hBg2aU6eXoYiNtWkM";

    #[test]
    fn weak_and_shared_secrets_are_named_and_not_shown() {
        let findings = weak_secrets(&configuration(&[
            ("SIGNET__TOKENS__SECRET", GOOD),
            ("SIGNET__REFRESH__SECRET", GOOD),
            ("SIGNET__PASSWORDS__PEPPER", "changemechangemechangemechangeme"),
        ]));
        let found: Vec<&str> = findings.iter().map(|finding| finding.found.as_str()).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("refresh.secret is the same as tokens.secret"), "{found:?}");
        assert!(found[1].starts_with("passwords.pepper is weak"), "{found:?}");
        assert!(!format!("{findings:?}").contains("changeme") && !format!("{findings:?}").contains(GOOD));
    }

    #[test]
    fn more_threads_than_there_are_cpus_are_too_many() {
        let findings = hashing(&configuration(&[("SIGNET__PASSWORDS__PERMITS", "4000")]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].level, Level::Wrong);
        assert!(findings[0].change.as_ref().unwrap().starts_with("passwords.permits = 0"));
        assert!(hashing(&configuration(&[])).is_empty());
    }
}

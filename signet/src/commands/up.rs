//! `signet up`: makes what a stack needs, runs it and says how to use it.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, anyhow};
use service_kit::{
    Clock, ConfigError, Secret,
    config::{LogFormat, print},
    server::{StartError, Terminations, termination},
};
use tokio::sync::Notify;
use user_service::BootstrapOutcome;

use crate::{
    Stack,
    cli::{Globals, UpOptions},
    commands::persons,
    config::{self, UpConfig},
    connection::{self, Connection},
    data_dir::{self, DataDir},
    failure::Failure,
    greeting::{Admin, Screen},
    output,
    ring_file::{self, Algorithm, RingFile},
    secrets::{self, SecretsError, SecretsFile, StoredSecrets},
    stack::url_of,
};

const SAMPLES: &[u8] = include_bytes!("../../demo/persons.csv");

pub(crate) fn run(globals: &Globals, options: UpOptions) -> Result<ExitCode, Failure> {
    let mut config: UpConfig = config::sources(globals, options.bind).load()?;
    if options.print_config {
        output::print(print(&config)?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    service_kit::log::start(config.log.format, default_filter(config.log.format));
    validate(&config, &globals.data_dir)?;
    let data = DataDir::open(&globals.data_dir)?;
    provide_secrets(&mut config, data.path())?;
    keep_databases_private(&config, data.path())?;
    let password_made = provide_admin_password(&mut config);
    actix_web::rt::System::new().block_on(serve(config, &data, password_made, options.demo))
}

/// Checks everything while nothing has been written yet, secrets that are still to be made included.
fn validate(config: &UpConfig, data_dir: &Path) -> Result<(), ConfigError> {
    let secret = || Some(Secret::from(secrets::random(32).as_str().to_owned()));
    let mut complete = config.clone();
    complete.take(StoredSecrets { tokens: secret(), refresh: secret(), pepper: secret() });
    provide_admin_password(&mut complete);
    if complete.tokens.issuer.is_empty() {
        complete.tokens.issuer = url_of(complete.server.bind);
    }
    complete.for_stack(data_dir).validate()
}

/// Fills in the secrets and the keys that are not configured: those that an earlier start made, or new ones.
fn provide_secrets(config: &mut UpConfig, data_dir: &Path) -> Result<(), StartError> {
    let wanted = config.wanted_secrets();
    if !wanted.any() && !config.wants_keys() {
        return Ok(());
    }
    let unusable = |cause: SecretsError| StartError::Unavailable(cause.to_string());
    let file = SecretsFile::in_directory(data_dir);
    match file.read().map_err(unusable)? {
        Some(stored) => config.take(stored),
        None if wanted.any() => {
            refuse_to_replace_lost_secrets(config, data_dir, &file)?;
            config.take(file.make(wanted).map_err(unusable)?);
        }
        None => {}
    }
    let missing = config.wanted_secrets();
    for (key, missing) in [("refresh.secret", missing.refresh), ("passwords.pepper", missing.pepper)] {
        if missing {
            let problem = format_args!("must be set: {} was made without it", file.path().display());
            return Err(ConfigError::new(key, problem).into());
        }
    }
    if config.wants_keys() {
        let path = ring_file::in_directory(data_dir);
        if !path.exists() {
            // Lost keys cost no more than a refresh of every access token, so they are simply made anew.
            RingFile::create(&path, Algorithm::Hs256, Clock::system().now().as_seconds())
                .map_err(|cause| StartError::Unavailable(cause.to_string()))?;
        }
        config.tokens.jwks_file = Some(path);
    }
    Ok(())
}

/// New secrets would go with databases that were made under others: no password would be right any more.
fn refuse_to_replace_lost_secrets(config: &UpConfig, data_dir: &Path, file: &SecretsFile) -> Result<(), StartError> {
    let users = config.database_of("user", data_dir).parsed_url()?.path();
    match users.filter(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0)) {
        Some(users) => Err(StartError::Unavailable(format!(
            "{} is missing, and {} was made with what it held: restore it from a backup, or start with another \
             --data-dir",
            file.path().display(),
            users.display()
        ))),
        None => Ok(()),
    }
}

fn keep_databases_private(config: &UpConfig, data_dir: &Path) -> Result<(), StartError> {
    for service in ["auth", "user", "resource"] {
        if let Some(path) = config.database_of(service, data_dir).parsed_url()?.path() {
            data_dir::make_private_file(&path)?;
        }
    }
    Ok(())
}

/// Makes up a password for the first admin if none is configured. Whether it is used, the users decide.
fn provide_admin_password(config: &mut UpConfig) -> bool {
    let bootstrap = &mut config.bootstrap;
    let wanted = !bootstrap.admin_email.is_empty() && bootstrap.admin_password.is_none();
    if wanted {
        bootstrap.admin_password = Some(Secret::from(secrets::readable_password().as_str().to_owned()));
    }
    wanted
}

async fn serve(config: UpConfig, data: &DataDir, password_made: bool, demo: bool) -> Result<ExitCode, Failure> {
    let stack = Stack::start(config.for_stack(data.path()), &Clock::system())?;
    let url = url_of(stack.addresses().origin);
    let outcome = stack.bootstrap_outcome();
    let given_up = Notify::new();

    let serving = stack.run_until(async {
        tokio::select! {
            () = termination() => log::info!("stopping: requests in flight are finished first"),
            () = given_up.notified() => {}
        }
    });
    let welcome = async {
        let samples = if demo { load_samples(&config, &url).await.map(Some) } else { Ok(None) };
        // Also when the samples could not be loaded: a password that was just made is not shown again.
        output::print(Screen {
            url: &url,
            admin: admin(&config, outcome, password_made),
            samples: samples.as_ref().ok().and_then(Option::as_deref),
            data_dir: data.path(),
            databases_there: config.keeps_databases_in_data_dir(),
        });
        samples.map(drop).inspect_err(|_| given_up.notify_one())
    };
    // Who asks twice does not want to wait for requests in flight.
    let impatience = async {
        let mut terminations = Terminations::new();
        terminations.next().await;
        terminations.next().await;
    };
    tokio::select! {
        (served, welcomed) = async { tokio::join!(serving, welcome) } => {
            served.context("the stack broke down")?;
            welcomed?;
            log::info!("the stack has stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = impatience => Err(anyhow!("stopped at once: requests in flight were not finished").into()),
    }
}

fn admin(config: &UpConfig, outcome: BootstrapOutcome, password_made: bool) -> Admin<'_> {
    let email = &config.bootstrap.admin_email;
    match (outcome, &config.bootstrap.admin_password) {
        (BootstrapOutcome::Created, Some(password)) if password_made => {
            Admin::Made { email, password: password.expose() }
        }
        (BootstrapOutcome::Created, _) => Admin::MadeAsConfigured { email },
        (BootstrapOutcome::AdminExists, _) => Admin::Present,
        (BootstrapOutcome::EmailTaken, _) => Admin::Missing,
        (BootstrapOutcome::NotConfigured, _) => Admin::NotAskedFor,
    }
}

/// Imports the sample persons through the origin, as any client would. They have ids of their own, so that they are
/// not doubled by another start.
async fn load_samples(config: &UpConfig, url: &str) -> Result<String, Failure> {
    let issuer = if config.tokens.issuer.is_empty() { url } else { &config.tokens.issuer };
    let token = connection::sign(&config.keys()?.ring().current(), issuer, "persons:write")?;
    let url = url.parse().context("the address of the stack")?;
    let connection = Connection::with_own_token(url, &token)?;
    let report = persons::import_csv(&connection, SAMPLES).await?;
    Ok(persons::summary_of_samples(&report))
}

/// What is logged where `RUST_LOG` says nothing: the first screen says what there is to say to a person.
const fn default_filter(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Text => "warn,signet=info",
        LogFormat::Json => service_kit::log::default_filter(format),
    }
}

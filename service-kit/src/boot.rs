//! A service's `main`: arguments, configuration, log, build, run, exit code.

use std::{fmt::Display, io::Write as _, net::TcpListener, path::PathBuf, process::ExitCode};

use clap::{Arg, ArgAction, Command, value_parser};

use crate::{
    Clock, Service,
    config::{self, Configuration, LogConfig, ServerConfig, Sources},
    server::{self, StartError},
};

/// What [`run`] needs to know of a configuration.
pub trait ServiceConfiguration: Configuration {
    /// The section `server`.
    fn server(&self) -> &ServerConfig;
    /// The section `log`.
    fn log(&self) -> &LogConfig;
}

/// Runs a service as a program: `--help`, `--version`, `--config FILE`, `--print-config`, else until it is stopped.
///
/// Exits with 0 when it was stopped, with 78 (`EX_CONFIG`) when the configuration is wrong, with 2 for unknown
/// arguments and with 1 for anything else, each with one line on standard error that says what to change.
pub fn run<C: ServiceConfiguration>(
    name: &'static str,
    about: &'static str,
    version: &'static str,
    build: impl FnOnce(C, TcpListener, Clock) -> Result<Service, StartError>,
) -> ExitCode {
    let arguments = Command::new(name)
        .about(about)
        .version(version)
        .after_help(
            "Every key of the configuration can also be set in the environment, as SIGNET__SECTION__KEY; every secret \
             also as SIGNET__SECTION__KEY_FILE, the path of a file that holds it. --print-config shows the keys.",
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("A TOML file on top of the built-in defaults"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the configuration in force, secrets redacted, and exit"),
        )
        .get_matches();
    let loaded: Result<C, _> = Sources::from_process(arguments.get_one("config").cloned()).load();
    let configuration = match loaded {
        Ok(configuration) => configuration,
        Err(cause) => return fail(name, &StartError::from(cause)),
    };
    if arguments.get_flag("print-config") {
        return match config::print(&configuration) {
            Ok(text) => {
                // Whoever closed the pipe has read enough.
                let _ = std::io::stdout().write_all(text.as_bytes());
                ExitCode::SUCCESS
            }
            Err(cause) => fail(name, &StartError::from(cause)),
        };
    }
    let format = configuration.log().format;
    crate::log::start(format, crate::log::default_filter(format));
    let bind = configuration.server().bind;
    actix_web::rt::System::new().block_on(async move {
        let started =
            server::bind("server.bind", bind).and_then(|listener| build(configuration, listener, Clock::system()));
        let service = match started {
            Ok(service) => service,
            Err(cause) => return fail(name, &cause),
        };
        log::info!("{name} {version} listens on {}", service.address());
        match service.run_until_stopped().await {
            Ok(()) => {
                log::info!("{name} has stopped");
                ExitCode::SUCCESS
            }
            Err(cause) => fail(name, &StartError::Unavailable(cause.to_string())),
        }
    })
}

fn fail(name: &str, cause: &StartError) -> ExitCode {
    complain(name, cause);
    cause.exit_code()
}

/// Writes one line to standard error.
pub fn complain(name: &str, problem: &dyn Display) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{name}: {problem}");
}

//! A service's `main`: arguments, configuration, log, build, run, exit code.

use std::{
    fmt::Display,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Arg, ArgAction, Command, value_parser};
use serde_json::Value;

use crate::{
    Clock, Service,
    config::{self, Configuration, DatabaseConfig, LogConfig, ServerConfig, Sources},
    db::Migrations,
    health,
    server::{self, StartError},
};

/// What [`run`] needs to know of a configuration.
pub trait ServiceConfiguration: Configuration {
    /// The schema of the service.
    const MIGRATIONS: Migrations;

    /// The section `server`.
    fn server(&self) -> &ServerConfig;
    /// The section `log`.
    fn log(&self) -> &LogConfig;
}

/// Runs a service as a program: `--help`, `--version`, `--config FILE`, `--print-config`, `--migrate`, `--health`, else
/// until it is stopped.
///
/// Exits with 0 when it was stopped, with 78 (`EX_CONFIG`) when the configuration is wrong, with 2 for unknown
/// arguments and with 1 for anything else, each with one line on standard error that says what to change.
pub fn run<C: ServiceConfiguration>(
    name: &'static str,
    about: &'static str,
    version: &'static str,
    build: impl FnOnce(C, TcpListener, Clock) -> Result<Service, StartError>,
) -> ExitCode {
    let arguments = arguments(name, about, version).get_matches();
    let sources = Sources::from_process(arguments.get_one("config").cloned());
    let done = if arguments.get_flag("print-config") {
        print_config::<C>(&sources)
    } else if arguments.get_flag("migrate") {
        migrate::<C>(name, &sources)
    } else if arguments.get_flag("health") {
        health::<C>(name, &sources)
    } else {
        serve(name, version, &sources, build)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            complain(name, &cause);
            cause.exit_code()
        }
    }
}

fn arguments(name: &'static str, about: &'static str, version: &'static str) -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new(name)
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
            flag("print-config")
                .conflicts_with_all(["migrate", "health"])
                .help("Print the configuration in force, secrets redacted, and exit"),
        )
        .arg(
            flag("migrate")
                .conflicts_with("health")
                .help("Bring the database's schema up to date and exit; of the configuration it needs database alone"),
        )
        .arg(flag("health").help("Ask the service that runs here whether it is ready, and exit with 0 if it is"))
}

fn print_config<C: ServiceConfiguration>(sources: &Sources) -> Result<(), StartError> {
    let text = config::print(&sources.load::<C>()?)?;
    // Whoever closed the pipe has read enough.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn migrate<C: ServiceConfiguration>(name: &str, sources: &Sources) -> Result<(), StartError> {
    let mut database: DatabaseConfig = sources.load_section::<C, _>("database")?;
    let log: LogConfig = sources.load_section::<C, _>("log")?;
    database.validate()?;
    database.migrate = true;
    crate::log::start(log.format, crate::log::default_filter(log.format));
    server::open_database(&database, C::MIGRATIONS)?;
    log::info!("{name} finds the schema that it needs");
    Ok(())
}

fn serve<C: ServiceConfiguration>(
    name: &str,
    version: &str,
    sources: &Sources,
    build: impl FnOnce(C, TcpListener, Clock) -> Result<Service, StartError>,
) -> Result<(), StartError> {
    let configuration: C = sources.load()?;
    let format = configuration.log().format;
    crate::log::start(format, crate::log::default_filter(format));
    let bind = configuration.server().bind;
    actix_web::rt::System::new().block_on(async move {
        let listener = server::bind("server.bind", bind)?;
        let service = build(configuration, listener, Clock::system())?;
        log::info!("{name} {version} listens on {}", service.address());
        service.run_until_stopped().await.map_err(|cause| StartError::Unavailable(cause.to_string()))?;
        log::info!("{name} has stopped");
        Ok(())
    })
}

/// How long the service has for each step of its answer: less than probes are usually given.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(4);

/// More than any answer about readiness has.
const HEALTH_ANSWER_BYTES: u64 = 64 * 1024;

fn health<C: ServiceConfiguration>(name: &str, sources: &Sources) -> Result<(), StartError> {
    let server: ServerConfig = sources.load_section::<C, _>("server")?;
    let address = reachable(server.bind);
    let answer = ask(address)
        .map_err(|cause| StartError::Unavailable(format!("nothing answers at {address} (server.bind): {cause}")))?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or("nonsense");
    if status == "200" {
        // Without a standard output there is nobody to tell.
        let _ = writeln!(io::stdout(), "{name}: ready");
        return Ok(());
    }
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("it does not say why");
    Err(StartError::Unavailable(format!("not ready, {status}: {detail}")))
}

/// Where what listens on all addresses is reached from this machine.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, bind.port())
}

/// One request by hand: a client with a runtime of its own would be a lot of work every few seconds.
fn ask(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
    write!(stream, "GET {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n", health::PROBE)?;
    let mut answer = Vec::new();
    stream.take(HEALTH_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Writes one line to standard error.
pub fn complain(name: &str, problem: &dyn Display) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "{name}: {problem}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_on_loopback() {
        for (bind, address) in [
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:8081", "[::1]:8081"),
            ("192.0.2.7:8081", "192.0.2.7:8081"),
            ("127.0.0.1:8081", "127.0.0.1:8081"),
        ] {
            assert_eq!(reachable(bind.parse().unwrap()), address.parse().unwrap());
        }
    }
}

//! The command line: what can be asked of the program, and what it exits with.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use service_kit::boot::complain;

use crate::{
    commands,
    failure::Failure,
    output::{self, Format},
};

/// The name in front of every line on standard error.
const NAME: &str = "signet";

const CONFIGURATION_HELP: &str = "\
Every key of the configuration can also be set in the environment, as SIGNET__SECTION__KEY; every secret also as \
SIGNET__SECTION__KEY_FILE, the path of a file that holds it. --print-config shows the keys.";

const EXIT_CODES: &str = "\
Exit codes: 0 done, and nothing found wrong; 1 failed, or something was found wrong (lines that cannot be taken, a token \
that is refused, a service that is not ready, what doctor complains of); 2 the command line is wrong; 78 the \
configuration is wrong. Each failure is one line on standard error that says what to do.";

/// Token authentication for services that would rather not ask. Without a command: `signet up`.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = format!("{CONFIGURATION_HELP}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(flatten)]
    up: UpOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command takes: where the stack on this machine keeps what is its own, and how to report.
#[derive(Args, Clone, Debug)]
pub(crate) struct Globals {
    /// The directory of the databases and of the secrets that `up` made
    #[arg(long, value_name = "DIR", default_value = "data", global = true)]
    pub(crate) data_dir: PathBuf,
    /// A TOML file on top of the built-in defaults
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// How commands that list or report something do so
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human", global = true)]
    pub(crate) output: Format,
}

#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct UpOptions {
    /// Where the stack listens; the services' own ports are the three after this one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) bind: Option<SocketAddr>,
    /// Load sample persons
    #[arg(long)]
    pub(crate) demo: bool,
    /// Print the configuration in force, secrets redacted, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl UpOptions {
    fn is_given(self) -> bool {
        self.bind.is_some() || self.demo || self.print_config
    }

    fn or(self, outer: Self) -> Self {
        Self {
            bind: self.bind.or(outer.bind),
            demo: self.demo || outer.demo,
            print_config: self.print_config || outer.print_config,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole stack in this process, on SQLite files in the data directory unless configured otherwise
    #[command(after_help = format!("{CONFIGURATION_HELP}\n\n{EXIT_CODES}"))]
    Up(UpOptions),
    /// Say what usually goes wrong with a stack, and which line of the configuration to change
    Doctor(commands::doctor::Options),
    /// Show the services of a stack: which run, which are ready, what they know
    Status(commands::status::Options),
    /// Log in to a stack, for the commands that follow
    Login(commands::login::LogIn),
    /// End the log-in
    Logout(commands::login::LogOut),
    /// Import and export persons
    #[command(subcommand)]
    Persons(commands::persons::Command),
    /// Manage users
    #[command(subcommand)]
    Users(commands::users::Command),
    /// Make, change and show the keys that tokens are signed with
    #[command(subcommand)]
    Keys(commands::keys::Command),
    /// Register programs that get tokens of their own
    #[command(subcommand)]
    Clients(commands::clients::Command),
    /// Make secrets
    #[command(subcommand)]
    Secret(commands::secret::Command),
    /// Look into access tokens, and make some for tests
    #[command(subcommand)]
    Token(commands::token::Command),
    /// Print a script that completes commands and options in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Runs the program with this process's arguments.
pub fn run() -> ExitCode {
    match parse(std::env::args_os()) {
        Ok((globals, command)) => match dispatch(&globals, command) {
            Ok(code) => code,
            Err(failure) => {
                complain(NAME, &failure);
                failure.exit_code()
            }
        },
        // Also --help and --version; both print what they have to say.
        Err(error) => error.exit(),
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Globals, Command), clap::Error> {
    let Cli { globals, up, command } = Cli::try_parse_from(arguments)?;
    match command {
        None => Ok((globals, Command::Up(up))),
        Some(Command::Up(inner)) => Ok((globals, Command::Up(inner.or(up)))),
        Some(_) if up.is_given() => Err(Cli::command()
            .error(ErrorKind::ArgumentConflict, "--bind, --demo and --print-config belong to `signet up` alone")),
        Some(other) => Ok((globals, other)),
    }
}

fn dispatch(globals: &Globals, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Up(options) => commands::up::run(globals, options),
        Command::Persons(command) => commands::persons::run(globals, command),
        Command::Users(command) => commands::users::run(globals, command),
        Command::Keys(command) => commands::keys::run(globals, command),
        Command::Clients(command) => commands::clients::run(globals, command),
        Command::Secret(command) => Ok(commands::secret::run(command)),
        Command::Doctor(options) => commands::doctor::run(globals, &options),
        Command::Status(options) => commands::status::run(globals, &options),
        Command::Login(options) => commands::login::log_in(globals, &options),
        Command::Logout(options) => commands::login::log_out(globals, &options),
        Command::Token(command) => commands::token::run(globals, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            output::print(String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(line: &str) -> Result<(Globals, Command), clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn up_is_what_runs_without_a_command_and_takes_its_options_on_either_side() {
        for line in [
            "signet --data-dir here --bind 127.0.0.1:9000 --demo",
            "signet up --data-dir here --bind 127.0.0.1:9000 --demo",
            "signet --data-dir here --demo up --bind 127.0.0.1:9000",
        ] {
            let (globals, command) = parsed(line).unwrap();
            let Command::Up(options) = command else { panic!("{line}: {command:?}") };
            assert_eq!(globals.data_dir, Path::new("here"), "{line}");
            assert_eq!(options.bind, Some("127.0.0.1:9000".parse().unwrap()), "{line}");
            assert!(options.demo, "{line}");
        }
        let (globals, command) = parsed("signet").unwrap();
        assert_eq!(globals.data_dir, Path::new("data"));
        assert!(matches!(command, Command::Up(UpOptions { bind: None, demo: false, print_config: false })));
    }

    #[test]
    fn options_of_up_are_refused_elsewhere() {
        for line in ["signet --demo secret generate", "signet --bind 127.0.0.1:1 persons export"] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains("signet up"), "{line}: {error}");
        }
    }

    #[test]
    fn a_wrong_command_line_exits_with_2() {
        for line in [
            "signet --bind nonsense",
            "signet down",
            "signet secret generate --bytes 16",
            "signet persons import",
            "signet persons import x.csv --url ftp://127.0.0.1",
            "signet users create",
            "signet users create --email a@example.com --password-stdin --generate-password",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}

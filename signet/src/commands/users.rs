//! `signet users`: accounts of a stack that runs.

use std::{
    fmt,
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    cli::Globals,
    connection::{self, Connection, Target},
    failure::Failure,
    output::{self, Table},
    secrets,
    transfer::{Format, Input, Report, progress},
};

const READ: &str = "users:read";
const WRITE: &str = "users:write";
const BOTH: &str = "users:read users:write";

/// Longer than a stack under load takes to hash a password.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A password has 256 characters at most, and a character four bytes.
const MAX_PASSWORD_BYTES: u64 = 4 * 256;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a user. The password is asked for, unless an option says where it comes from
    Create(Create),
    /// Show the users
    List(List),
    /// Bring users over from elsewhere, with the bcrypt hashes of their passwords; exits with 1 when lines were rejected
    #[command(after_help = IMPORT_HELP)]
    Import(Import),
    /// Give a user these roles in the place of those that there were
    SetRoles(SetRoles),
    /// Log a user out everywhere, and let nobody in under that name until `enable`
    Disable(Who),
    /// Let a user in again who was disabled
    Enable(Who),
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The e-mail address to log in with
    #[arg(long)]
    email: String,
    /// A user name to log in with
    #[arg(long)]
    username: Option<String>,
    /// The user's own name
    #[arg(long)]
    name: Option<String>,
    /// A role, such as user, editor or admin; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Read the password from standard input, up to the end of the line
    #[arg(long, conflicts_with = "generate_password")]
    password_stdin: bool,
    /// Make a password and print it
    #[arg(long)]
    generate_password: bool,
    #[command(flatten)]
    target: Target,
}

const IMPORT_HELP: &str = "\
CSV has a header that names email and password_hash, and any of username, name, roles (with spaces between them), \
email_verified and disabled (true or false); NDJSON has members of these names, and roles are an array. A hash is bcrypt's, \
of 60 characters that begin with $2a$, $2b$ or $2y$.

A user whose e-mail address there is already stays as is: an import never changes a password. So what was interrupted is \
simply run again, and goes on where it was.";

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those with this in their e-mail address, user name or name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only those with this role
    #[arg(long)]
    role: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// A CSV file with a header, or NDJSON; - for standard input
    file: PathBuf,
    /// Say what would become of the lines, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// What becomes of users whom there are already
    #[arg(long, value_enum, default_value = "keep")]
    existing: Existing,
    /// What the file holds, where its name does not say so (.csv, .ndjson, .jsonl)
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Existing {
    /// They stay as they are
    Keep,
    /// Their name and roles become those of the file, where it has any
    Update,
}

#[derive(Args, Debug)]
pub(crate) struct SetRoles {
    #[command(flatten)]
    who: Who,
    /// A role, such as user, editor or admin; may be given several times, and none at all takes every role away
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Who {
    /// The user's e-mail address, user name or id
    user: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct NewUser<'a> {
    email: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// Where none are given, the stack gives its own default.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
}

#[derive(Deserialize, Serialize)]
struct User {
    id: String,
    email: String,
    username: Option<String>,
    name: Option<String>,
    roles: Vec<String>,
    email_verified: bool,
    disabled: bool,
    created_at: String,
    updated_at: String,
}

/// What was done to a user.
#[derive(Serialize)]
struct Done {
    #[serde(skip)]
    what: &'static str,
    #[serde(flatten)]
    user: User,
    /// Only one that was made just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, user, password } = self;
        write!(f, "{what} {} ({})", user.email, user.id)?;
        if let Some(username) = &user.username {
            write!(f, "\nuser name  {username}")?;
        }
        write!(f, "\nroles      {}", user.roles.join(" "))?;
        match password {
            Some(password) => write!(f, "\npassword   {password}"),
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Users(Vec<User>);

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["email", "user name", "name", "roles", "made", ""]);
        for User { email, username, name, roles, disabled, created_at, .. } in &self.0 {
            table.row([
                email.as_str(),
                username.as_deref().unwrap_or("-"),
                name.as_deref().unwrap_or("-"),
                &roles.join(" "),
                created_at.get(..10).unwrap_or(created_at),
                if *disabled { "disabled" } else { "" },
            ]);
        }
        table.fmt(f)
    }
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<ExitCode, Failure> {
    let connect = |target, scope| Connection::open(target, globals, scope);
    match command {
        Command::Create(options) => connection::converse(async {
            let connection = connect(&options.target, WRITE).await?;
            create(globals, &connection, &options, &password(&options)?).await
        }),
        Command::List(options) => connection::converse(async {
            let connection = connect(&options.target, READ).await?;
            let mut query = Vec::new();
            query.extend(options.search.as_deref().map(|text| ("q", text)));
            query.extend(options.role.as_deref().map(|role| ("role", role)));
            globals.output.report(&Users(connection.all("users", &query, TIMEOUT).await?));
            Ok(ExitCode::SUCCESS)
        }),
        Command::Import(options) => {
            let format = Format::of_input(&options.file, options.format)?;
            let input = Input::open(&options.file)?;
            connection::converse(async {
                let connection = connect(&options.target, WRITE).await?;
                import(globals, &connection, &options, input, format).await
            })
        }
        Command::SetRoles(SetRoles { who, roles }) => {
            change(globals, &who, "new roles for", &serde_json::json!({ "roles": roles }))
        }
        Command::Disable(who) => change(globals, &who, "disabled", &serde_json::json!({ "disabled": true })),
        Command::Enable(who) => change(globals, &who, "enabled", &serde_json::json!({ "disabled": false })),
    }
}

async fn create(
    globals: &Globals,
    connection: &Connection,
    options: &Create,
    password: &str,
) -> Result<ExitCode, Failure> {
    let user = NewUser {
        email: &options.email,
        password,
        username: options.username.as_deref(),
        name: options.name.as_deref(),
        roles: &options.roles,
    };
    let request = connection.request(Method::POST, "users")?.json(&user).timeout(TIMEOUT);
    let answer = connection.send(request).await?;
    let user: User = connection::read_json(connection.succeed(answer).await?).await?;
    let password = options.generate_password.then(|| password.to_owned());
    globals.output.report(&Done { what: "created", user, password });
    Ok(ExitCode::SUCCESS)
}

async fn import(
    globals: &Globals,
    connection: &Connection,
    options: &Import,
    input: Input,
    format: Format,
) -> Result<ExitCode, Failure> {
    let progress = progress(input.bytes);
    let dry_run = if options.dry_run { "true" } else { "false" };
    let existing = if options.existing == Existing::Update { "update" } else { "keep" };
    let request = connection
        .request(Method::POST, "users/import")?
        .query(&[("dry_run", dry_run), ("existing", existing)])
        .header(header::CONTENT_TYPE, format.media_type())
        .body(input.into_body(progress.clone()));
    let answer = connection.send(request).await;
    progress.finish_and_clear();
    let again = |cause: Failure| anyhow!("{cause}; what was imported until then stays: run the command again to go on");
    let response = connection.succeed(answer.map_err(again)?).await?;
    let report: Report = connection::read_json(response).await.map_err(again)?;
    globals.output.report(&report);
    if options.dry_run && globals.output == output::Format::Human {
        output::print("This was a dry run: nothing has changed.");
    }
    Ok(if report.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn change(globals: &Globals, who: &Who, what: &'static str, changes: &serde_json::Value) -> Result<ExitCode, Failure> {
    connection::converse(async {
        let connection = Connection::open(&who.target, globals, BOTH).await?;
        let path = format!("users/{}", find(&connection, &who.user).await?);
        let request = connection.request(Method::PATCH, &path)?.json(changes).timeout(TIMEOUT);
        let answer = connection.send(request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            Err(unknown(&who.user))?;
        }
        let user: User = connection::read_json(connection.succeed(answer).await?).await?;
        globals.output.report(&Done { what, user, password: None });
        Ok(ExitCode::SUCCESS)
    })
}

/// The id of a user who is named by it, or by an e-mail address or user name.
async fn find(connection: &Connection, name: &str) -> Result<String, Failure> {
    if uuid::Uuid::try_parse(name).is_ok() {
        return Ok(name.to_owned());
    }
    let found: Vec<User> = connection.all("users", &[("q", name)], TIMEOUT).await?;
    let same = |other: &str| other.to_lowercase() == name.trim().to_lowercase();
    let user = found.into_iter().find(|user| same(&user.email) || user.username.as_deref().is_some_and(same));
    Ok(user.ok_or_else(|| unknown(name))?.id)
}

fn unknown(name: &str) -> anyhow::Error {
    anyhow!("there is no user {name}: `signet users list --search TEXT` finds users by a part of their names")
}

fn password(options: &Create) -> Result<Zeroizing<String>, Failure> {
    if options.generate_password {
        return Ok(secrets::readable_password());
    }
    if options.password_stdin {
        return Ok(first_line(io::stdin().lock())?);
    }
    if !io::stdin().is_terminal() {
        Err(anyhow!("there is no terminal to ask for the password on: use --password-stdin or --generate-password"))?;
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(Zeroizing::new).context("no password was read");
    let password = ask("Password: ")?;
    if *password != *ask("Once more: ")? {
        Err(anyhow!("the two passwords differ: nothing was created"))?;
    }
    Ok(password)
}

pub(super) fn first_line(input: impl io::Read) -> Result<Zeroizing<String>, anyhow::Error> {
    let mut text = Zeroizing::new(String::new());
    // One byte more than is taken, so that what is too long is refused and not cut.
    input
        .take(MAX_PASSWORD_BYTES + 1)
        .read_to_string(&mut text)
        .context("no password could be read from standard input")?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(anyhow!("standard input holds no password"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_on_standard_input_ends_with_its_line() {
        for (input, password) in
            [("secret words\n", "secret words"), ("a b \r\nmore\n", "a b "), ("no break", "no break")]
        {
            assert_eq!(first_line(input.as_bytes()).unwrap().as_str(), password);
        }
        for bad in ["", "\n", "\r\nlater\n"] {
            assert!(first_line(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(first_line(&[0xff, b'\n'][..]).is_err());
    }

    #[test]
    fn a_password_that_is_too_long_is_not_cut_to_one_that_would_be_taken() {
        let long = "x".repeat(5000);
        assert!(first_line(long.as_bytes()).unwrap().chars().count() > 256);
    }
}

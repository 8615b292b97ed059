//! `signet users`: accounts of a stack that runs.

use std::{
    io::{self, IsTerminal as _, Read as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    cli::Place,
    connection::{self, Connection, Target},
    failure::Failure,
    output, secrets,
};

/// Longer than a stack under load takes to hash a password.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A password has 256 characters at most, and a character four bytes.
const MAX_PASSWORD_BYTES: u64 = 4 * 256;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a user. The password is asked for, unless an option says where it comes from
    Create(Create),
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

#[derive(Deserialize)]
struct User {
    id: String,
    email: String,
    username: Option<String>,
    roles: Vec<String>,
}

pub(crate) fn run(place: &Place, command: Command) -> Result<ExitCode, Failure> {
    let Command::Create(options) = command;
    let connection = Connection::open(&options.target, place, "users:write")?;
    let password = password(&options)?;
    connection::converse(create(&connection, &options, &password))
}

async fn create(connection: &Connection, options: &Create, password: &str) -> Result<ExitCode, Failure> {
    let user = NewUser {
        email: &options.email,
        password,
        username: options.username.as_deref(),
        name: options.name.as_deref(),
        roles: &options.roles,
    };
    let request = connection.request(Method::POST, "users")?.json(&user).timeout(TIMEOUT);
    let answer = connection.send(request).await?;
    let made: User = connection::read_json(connection.succeed(answer).await?).await?;
    output::print(format_args!("created {} ({})", made.email, made.id));
    if let Some(username) = made.username {
        output::print(format_args!("user name  {username}"));
    }
    output::print(format_args!("roles      {}", made.roles.join(" ")));
    if options.generate_password {
        output::print(format_args!("password   {password}"));
    }
    Ok(ExitCode::SUCCESS)
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

fn first_line(input: impl io::Read) -> Result<Zeroizing<String>, anyhow::Error> {
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

//! `signet login` and `signet logout`: a session at a stack, kept for the commands that follow.

use std::{
    fmt,
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::users;
use crate::{
    cli::Globals,
    connection::{self, Connection, Target, is_loopback},
    failure::Failure,
    logins::{self, Store, Tokens},
    output,
};

/// Longer than a stack under load takes to check a password.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args, Debug)]
pub(crate) struct LogIn {
    /// The e-mail address or user name; asked for if it is not given
    #[arg(long)]
    user: Option<String>,
    /// Read the password from standard input, up to the end of the line
    #[arg(long)]
    password_stdin: bool,
    /// Send the password even if the stack is elsewhere and not reached by https
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct LogOut {
    #[command(flatten)]
    target: Target,
}

#[derive(Deserialize)]
struct Welcome {
    user: User,
    #[serde(flatten)]
    tokens: Tokens,
}

#[derive(Deserialize)]
struct User {
    email: String,
}

#[derive(Serialize)]
struct LoggedIn {
    url: String,
    user: String,
    scope: String,
    file: PathBuf,
}

impl fmt::Display for LoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "logged in to {} as {}", self.url, self.user)?;
        writeln!(f, "scope    {}", self.scope)?;
        write!(f, "kept in  {}", self.file.display())
    }
}

pub(crate) fn log_in(globals: &Globals, options: &LogIn) -> Result<ExitCode, Failure> {
    let url = &options.target.url;
    if url.scheme() == "http" && !is_loopback(url) && !options.insecure {
        Err(anyhow!("{url} would get the password in the clear: use https, or --insecure if nobody listens there"))?;
    }
    let store = Store::find()?;
    let user = match &options.user {
        Some(user) => user.clone(),
        None => ask_for_user()?,
    };
    let password = password(options)?;
    connection::converse(async {
        let unauthorized = "is it the right user at the right stack (--url)?";
        let stack = Connection::without_token(url.clone(), unauthorized)?;
        // An @ tells an address from a user name.
        let field = if user.contains('@') { "email" } else { "username" };
        let body = json!({ field: user, "password": *password });
        let answer = stack.send(stack.request(Method::POST, "auth/login")?.json(&body).timeout(TIMEOUT)).await?;
        let Welcome { user, tokens } = connection::read_json(stack.succeed(answer).await?).await?;
        // The session of a log-in before this one would live on, and nobody would know its tokens any more.
        if let Ok(Some(former)) = store.read(url) {
            let _ = end(&stack, &former).await;
        }
        store.write(url, &logins::LogIn::new(url, user.email.clone(), &tokens))?;
        let file = store.path(url);
        globals.output.report(&LoggedIn { url: url.to_string(), user: user.email, scope: tokens.scope, file });
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) fn log_out(_: &Globals, options: &LogOut) -> Result<ExitCode, Failure> {
    let url = &options.target.url;
    let store = Store::find()?;
    let log_in = store.read(url)?.ok_or_else(|| anyhow!("there is no log-in at {url}: `signet login` makes one"))?;
    store.remove(url)?;
    connection::converse(async {
        let stack = Connection::without_token(url.clone(), "the session has ended already")?;
        end(&stack, &log_in).await.map_err(|cause| {
            anyhow!(
                "the log-in is forgotten here, but its session at {url} could not be ended ({cause}): end it there, or it \
                 ends by itself when nobody uses it"
            )
        })?;
        output::print(format_args!("logged out of {url}"));
        Ok(ExitCode::SUCCESS)
    })
}

/// Ends the session of a log-in.
async fn end(stack: &Connection, log_in: &logins::LogIn) -> Result<(), Failure> {
    let body = json!({ "refresh_token": log_in.refresh_token });
    let answer = stack.send(stack.request(Method::POST, "auth/logout")?.json(&body).timeout(TIMEOUT)).await?;
    stack.succeed(answer).await?;
    Ok(())
}

fn ask_for_user() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        Err(anyhow!("there is no terminal to ask for the user on: use --user"))?;
    }
    output::print("E-mail address or user name:");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("no user was read")?;
    Ok(line.trim().to_owned())
}

fn password(options: &LogIn) -> Result<Zeroizing<String>, Failure> {
    if options.password_stdin {
        return Ok(users::first_line(io::stdin().lock())?);
    }
    if !io::stdin().is_terminal() {
        Err(anyhow!("there is no terminal to ask for the password on: use --password-stdin"))?;
    }
    Ok(rpassword::prompt_password("Password: ").map(Zeroizing::new).context("no password was read")?)
}

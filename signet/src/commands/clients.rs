//! `signet clients`: programs that get tokens of their own, by the grant `client_credentials`.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use service_kit::peer::INTERNAL_SCOPE;

use crate::{
    cli::Place,
    connection::{self, AuthTarget, Connection},
    failure::Failure,
    output,
};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register a client and print its secret, which is shown this once
    Create(Create),
    /// Show the clients
    List(List),
    /// Delete a client: its tokens are refused from now on
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// What people call it
    #[arg(long)]
    name: String,
    /// A scope that its tokens may carry, such as persons:read; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    #[command(flatten)]
    target: AuthTarget,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    target: AuthTarget,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The client's id
    client_id: String,
    #[command(flatten)]
    target: AuthTarget,
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    #[serde(default)]
    client_secret: Option<String>,
    name: String,
    scope: String,
    created_at: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Registered>,
    next_cursor: Option<String>,
}

pub(crate) fn run(place: &Place, command: Command) -> Result<ExitCode, Failure> {
    let connect = |target: &AuthTarget| Connection::open_auth_service(target, place, INTERNAL_SCOPE);
    match command {
        Command::Create(options) => connection::converse(create(&connect(&options.target)?, &options)),
        Command::List(options) => connection::converse(list(&connect(&options.target)?)),
        Command::Delete(options) => connection::converse(delete(&connect(&options.target)?, &options.client_id)),
    }
}

async fn create(connection: &Connection, options: &Create) -> Result<ExitCode, Failure> {
    let body = json!({ "name": options.name, "scope": options.scopes.join(" ") });
    let request = connection.request(Method::POST, "internal/clients")?.json(&body).timeout(TIMEOUT);
    let answer = connection.send(request).await?;
    let made: Registered = connection::read_json(connection.succeed(answer).await?).await?;
    output::print(format_args!("client_id      {}", made.client_id));
    output::print(format_args!("client_secret  {}", made.client_secret.unwrap_or_default()));
    output::print(format_args!("scope          {}", made.scope));
    Ok(ExitCode::SUCCESS)
}

async fn list(connection: &Connection) -> Result<ExitCode, Failure> {
    let mut table = format!("{:<28}{:<22}{:<24}scope", "client_id", "made", "name");
    let mut cursor: Option<String> = None;
    loop {
        let mut request = connection.request(Method::GET, "internal/clients")?.query(&[("limit", "200")]);
        if let Some(cursor) = &cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        let answer = connection.send(request.timeout(TIMEOUT)).await?;
        let page: Page = connection::read_json(connection.succeed(answer).await?).await?;
        for client in page.items {
            let Registered { client_id, name, scope, created_at, .. } = client;
            let made = created_at.get(..19).unwrap_or(&created_at);
            // Writing to a string cannot fail.
            let _ = write!(table, "\n{client_id:<28}{made:<22}{name:<24}{scope}");
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            output::print(table);
            return Ok(ExitCode::SUCCESS);
        }
    }
}

async fn delete(connection: &Connection, client_id: &str) -> Result<ExitCode, Failure> {
    let path = format!("internal/clients/{client_id}");
    let answer = connection.send(connection.request(Method::DELETE, &path)?.timeout(TIMEOUT)).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        Err(anyhow!("there is no client {client_id}: `signet clients list` shows those that there are"))?;
    }
    connection.succeed(answer).await?;
    output::print(format_args!("{client_id} is deleted: its tokens are refused from now on"));
    Ok(ExitCode::SUCCESS)
}

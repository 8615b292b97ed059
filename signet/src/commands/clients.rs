//! `signet clients`: programs that get tokens of their own, by the grant `client_credentials`.

use std::{fmt, process::ExitCode, time::Duration};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::peer::INTERNAL_SCOPE;

use crate::{
    cli::Globals,
    connection::{self, AuthTarget, Connection},
    failure::Failure,
    output::{self, Table},
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

#[derive(Deserialize, Serialize)]
struct Registered {
    client_id: String,
    /// Only where it was made just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    name: String,
    scope: String,
    created_at: String,
}

impl fmt::Display for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "client_id      {}", self.client_id)?;
        writeln!(f, "client_secret  {}", self.client_secret.as_deref().unwrap_or_default())?;
        write!(f, "scope          {}", self.scope)
    }
}

#[derive(Serialize)]
struct Clients(Vec<Registered>);

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["client_id", "made", "name", "scope"]);
        for Registered { client_id, name, scope, created_at, .. } in &self.0 {
            let made = created_at.get(..19).unwrap_or(created_at);
            table.row([client_id.as_str(), made, name, scope]);
        }
        table.fmt(f)
    }
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<ExitCode, Failure> {
    connection::converse(async {
        let connect = |target| Connection::open_auth_service(target, globals, INTERNAL_SCOPE);
        match command {
            Command::Create(options) => create(globals, &connect(&options.target).await?, &options).await,
            Command::List(options) => list(globals, &connect(&options.target).await?).await,
            Command::Delete(options) => delete(&connect(&options.target).await?, &options.client_id).await,
        }
    })
}

async fn create(globals: &Globals, connection: &Connection, options: &Create) -> Result<ExitCode, Failure> {
    let body = json!({ "name": options.name, "scope": options.scopes.join(" ") });
    let request = connection.request(Method::POST, "internal/clients")?.json(&body).timeout(TIMEOUT);
    let answer = connection.send(request).await?;
    let made: Registered = connection::read_json(connection.succeed(answer).await?).await?;
    globals.output.report(&made);
    Ok(ExitCode::SUCCESS)
}

async fn list(globals: &Globals, connection: &Connection) -> Result<ExitCode, Failure> {
    let clients = connection.all("internal/clients", &[], TIMEOUT).await?;
    globals.output.report(&Clients(clients));
    Ok(ExitCode::SUCCESS)
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

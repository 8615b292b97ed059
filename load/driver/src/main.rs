//! The client that the measuring stand loads servers with: reads a plan as JSON from standard input, carries it out on one
//! thread, and writes what it saw as JSON lines, the last of which is the report.
//!
//! It stands beside wrk for what wrk cannot do: a fixed number of requests, a refresh token per connection, a rate that
//! does not yield to a slow server, and clients that know which answer is the right one.

mod client;
mod refresh;
mod requests;
mod sample;
mod soak;
mod storm;

use std::{io::Read as _, process::ExitCode};

use serde::Deserialize;

/// What went wrong, for the person who reads it.
type Failure = Box<dyn std::error::Error>;

/// What to do, by its `kind`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Plan {
    Requests(requests::Plan),
    Refresh(refresh::Plan),
    Storm(storm::Plan),
    Soak(soak::Plan),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let report = match serde_json::from_str(&text)? {
        Plan::Requests(plan) => requests::run(plan).await?,
        Plan::Refresh(plan) => refresh::run(plan).await?,
        Plan::Storm(plan) => storm::run(plan).await?,
        Plan::Soak(plan) => soak::run(plan).await?,
    };
    println!("{report}");
    Ok(())
}

//! `signet secret`: random values for the configuration.

use std::process::ExitCode;

use clap::{Subcommand, value_parser};

use crate::{output, secrets};

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a new random secret as base64url: for tokens.secret, refresh.secret or passwords.pepper
    Generate {
        /// Random bytes in it, 32 at least
        #[arg(long, value_name = "N", default_value_t = 32, value_parser = value_parser!(u16).range(32..=1024))]
        bytes: u16,
    },
}

pub(crate) fn run(command: Command) -> ExitCode {
    let Command::Generate { bytes } = command;
    output::print(secrets::random(usize::from(bytes)).as_str());
    ExitCode::SUCCESS
}

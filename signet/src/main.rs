//! `signet`: the operator's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    signet::cli::run()
}

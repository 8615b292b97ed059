//! The program `user-service`: all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::boot::run(
        "user-service",
        "Owns the users and their password hashes",
        env!("CARGO_PKG_VERSION"),
        user_service::build,
    )
}

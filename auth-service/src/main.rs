//! The auth-service as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::boot::run(
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_DESCRIPTION"),
        env!("CARGO_PKG_VERSION"),
        auth_service::build,
    )
}

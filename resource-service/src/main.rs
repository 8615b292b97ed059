//! The program resource-service.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::boot::run(
        "resource-service",
        env!("CARGO_PKG_DESCRIPTION"),
        env!("CARGO_PKG_VERSION"),
        resource_service::build,
    )
}

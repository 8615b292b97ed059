//! The build script of the programs: has the linker pack the places that the loader has to change at the start.
//!
//! Unpacked they take a megabyte of each program, all of which is read before it begins. glibc understands packed ones
//! since 2.36. What is linked with that is not sure to run with an older one anyhow.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "so a build script is told things, and tells them")]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../service-kit/link.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    let is_for_this_machine = std::env::var("HOST").is_ok_and(|host| host == target);
    if target.ends_with("-linux-gnu") && is_for_this_machine && glibc() >= Some((2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc; nothing where that cannot be told.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let (major, minor) = std::str::from_utf8(&told.stdout).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

//! The operator's program and the one-process stack.
//!
//! [`Stack`] runs the three services and one origin in front of them in a single process. `signet up` makes what such a
//! stack needs, starts it and says how to use it; the other commands talk to a stack that runs, wherever it does.

pub mod cli;
mod commands;
pub mod config;
mod connection;
mod data_dir;
mod failure;
mod greeting;
mod logins;
mod output;
mod ring_file;
mod secrets;
mod stack;
mod survey;
mod transfer;

pub use stack::{Addresses, Stack, StackConfig};

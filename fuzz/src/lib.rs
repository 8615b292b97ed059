//! The doors by which bytes from outside come in, and what holds for whatever comes: no panic, and what each door asserts
//! beyond that, mostly that two readers of the same thing agree.
//!
//! A fuzzer runs them (`fuzz/run`), and so does an ordinary test with the files of `corpus/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a door says that something is wrong by panicking"
)]

mod bearer;
mod body;
mod client_address;
mod configuration;
mod cursor;
mod form_token;
mod import;
mod jwk_set;
mod precondition;
mod refresh_token;
mod request_context;
mod scope;
mod signed;
mod token;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// One way in.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// What it is called, as is the folder with its inputs.
    pub name: &'static str,
    /// Takes an input, and panics if what should hold does not.
    pub enter: fn(&[u8]),
}

/// All of them.
pub const DOORS: &[Door] = &[
    Door { name: "bearer", enter: bearer::enter },
    Door { name: "client_address", enter: client_address::enter },
    Door { name: "configuration", enter: configuration::enter },
    Door { name: "csv", enter: import::enter_csv },
    Door { name: "cursor", enter: cursor::enter },
    Door { name: "form", enter: body::enter_form },
    Door { name: "form_token", enter: form_token::enter },
    Door { name: "json", enter: body::enter_json },
    Door { name: "jwk_set", enter: jwk_set::enter },
    Door { name: "ndjson", enter: import::enter_ndjson },
    Door { name: "payload", enter: token::enter_payload },
    Door { name: "precondition", enter: precondition::enter },
    Door { name: "query", enter: body::enter_query },
    Door { name: "refresh_token", enter: refresh_token::enter },
    Door { name: "request_context", enter: request_context::enter },
    Door { name: "scope", enter: scope::enter },
    Door { name: "token", enter: token::enter },
    Door { name: "token_changed", enter: token::enter_changed },
];

/// The door of that name.
pub fn door(name: &str) -> Option<&'static Door> {
    DOORS.iter().find(|door| door.name == name)
}

/// What a future gives that never waits for anything but itself.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    // Reading a body yields to others after each piece of it, which is soon over.
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("it waits for something that never comes");
}

/// Bytes cut into pieces of sizes that follow from the seed; the whole for 0.
fn cut(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let mut state = u32::from(seed);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = match seed {
            0 => rest.len(),
            1..=8 => usize::from(seed),
            // Now short, now long.
            _ => 1 + (state >> 24) as usize % (1 << (state >> 20 & 7)),
        };
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The lines of an input, whose first character says what each is.
fn lines(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    data.split(|byte| *byte == b'\n').filter_map(|line| line.split_first()).map(|(kind, rest)| (*kind, rest))
}

//! What the program writes to standard output.

use std::{fmt::Display, io::Write as _};

/// Writes a line, or several, and a line break.
pub(crate) fn print(text: impl Display) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe has read enough.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

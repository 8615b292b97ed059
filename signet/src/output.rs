//! What the program writes to standard output.

use std::{
    fmt::{self, Display},
    io::Write as _,
};

use clap::ValueEnum;
use serde::Serialize;

/// How a command reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Human,
    /// One JSON value
    Json,
}

impl Format {
    /// Writes a report in this format.
    pub(crate) fn report(self, report: &(impl Serialize + Display)) {
        match self {
            Self::Human => print(report),
            // What is reported are maps with names and lists: this cannot fail.
            Self::Json => print(serde_json::to_string_pretty(report).unwrap_or_default()),
        }
    }
}

/// Writes a line, or several, and a line break.
pub(crate) fn print(text: impl Display) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe has read enough.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Rows under their headings, each column as wide as what is in it. It ends without a line break.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<T: Into<String>>(headings: impl IntoIterator<Item = T>) -> Self {
        let mut table = Self::default();
        table.row(headings);
        table
    }

    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            for (place, cell) in row.iter().enumerate() {
                if place + 1 == row.len() {
                    f.write_str(cell)?;
                } else {
                    write!(f, "{cell:<width$}  ", width = widths[place])?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_what_is_in_it() {
        let mut table = Table::new(["name", "age"]);
        table.row(["Étienne", "63"]);
        table.row(["Bo", ""]);
        assert_eq!(table.to_string(), "name     age\nÉtienne  63\nBo       ");
    }
}

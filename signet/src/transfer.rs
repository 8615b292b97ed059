//! Files on their way into a stack: what they hold, how they are read, and how far they are.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::Body;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::failure::Failure;

const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Csv,
    Ndjson,
}

impl Format {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// What a file's name says that it holds.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }

    /// What a file holds that is to be read, unless its name is silent.
    pub(crate) fn of_input(path: &Path, told: Option<Self>) -> Result<Self, Failure> {
        let format = told.or_else(|| Self::of(path));
        Ok(format.ok_or_else(|| {
            anyhow!("{} does not say what it holds: add --format csv or --format ndjson", path.display())
        })?)
    }
}

/// What a stack says of an import.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) unchanged: u64,
    pub(crate) rejected: u64,
    pub(crate) errors: Vec<LineError>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct LineError {
    pub(crate) line: u64,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inserted, updated, unchanged, rejected, errors } = self;
        write!(f, "{inserted} inserted, {updated} updated, {unchanged} unchanged, {rejected} rejected")?;
        for LineError { line, code, message } in errors {
            write!(f, "\nline {line}: {message} ({code})")?;
        }
        match rejected.saturating_sub(errors.len() as u64) {
            0 => Ok(()),
            unlisted => write!(f, "\nand {unlisted} lines more"),
        }
    }
}

/// A file that is to be sent.
pub(crate) struct Input {
    reader: Box<dyn Read + Send>,
    /// Where the size is known in advance.
    pub(crate) bytes: Option<u64>,
}

impl Input {
    /// Opens it; - is standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, anyhow::Error> {
        if path == Path::new("-") {
            return Ok(Self { reader: Box::new(io::stdin()), bytes: None });
        }
        let name = path.display();
        let file = File::open(path).with_context(|| format!("{name} cannot be opened"))?;
        let metadata = file.metadata().with_context(|| format!("{name} cannot be read"))?;
        if metadata.is_dir() {
            return Err(anyhow!("{name} is a directory"));
        }
        Ok(Self { reader: Box::new(file), bytes: metadata.is_file().then_some(metadata.len()) })
    }

    /// The body of a request, read on a thread of its own while it is sent. A failure to read breaks the request off,
    /// so that half of a file is never taken for the whole.
    pub(crate) fn into_body(self, progress: ProgressBar) -> Body {
        let (sender, receiver) = mpsc::channel::<io::Result<Vec<u8>>>(4);
        let mut reader = self.reader;
        std::thread::spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let chunk = match reader.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(length) => {
                        chunk.truncate(length);
                        Ok(chunk)
                    }
                    Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                    Err(cause) => Err(cause),
                };
                let failed = chunk.is_err();
                // Whoever stopped listening has its answer already.
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        Body::wrap_stream(stream::unfold(receiver, move |mut receiver| {
            let progress = progress.clone();
            async move {
                let chunk = receiver.recv().await?;
                if let Ok(chunk) = &chunk {
                    progress.inc(chunk.len() as u64);
                }
                Some((chunk, receiver))
            }
        }))
    }
}

/// A bar on standard error, shown only when that is a terminal.
pub(crate) fn progress(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:30} {bytes}/{total_bytes} ({bytes_per_sec}, {eta} to go)"),
        None => (ProgressBar::no_length(), "{spinner} {bytes} ({bytes_per_sec})"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    // A template of our own that cannot be read would leave the default one.
    ProgressStyle::with_template(template).map_or(bar.clone(), |style| bar.with_style(style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_name_says() {
        for (name, format) in [
            ("persons.csv", Some(Format::Csv)),
            ("dir/PERSONS.CSV", Some(Format::Csv)),
            ("persons.ndjson", Some(Format::Ndjson)),
            ("persons.jsonl", Some(Format::Ndjson)),
            ("persons.json", None),
            ("persons", None),
            ("-", None),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn the_templates_of_the_bars_can_be_read() {
        for template in
            ["{bar:30} {bytes}/{total_bytes} ({bytes_per_sec}, {eta} to go)", "{spinner} {bytes} ({bytes_per_sec})"]
        {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}

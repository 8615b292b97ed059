//! `signet persons`: persons into a stack that runs, and out of it, in files of any size.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use futures_util::stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{Body, Method, Response, header};
use serde::Deserialize;
use service_kit::boot::complain;
use tokio::sync::mpsc;

use crate::{
    cli::Place,
    connection::{self, Connection, Target},
    failure::Failure,
    output,
};

const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Insert or update persons by their id from a file; exits with 1 when lines of it were rejected
    Import(Import),
    /// Write all persons to a file or to standard output
    Export(Export),
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// A CSV file with a header, or NDJSON; - for standard input
    file: PathBuf,
    /// Import all lines or, when one cannot be taken, none
    #[arg(long)]
    atomic: bool,
    /// What the file holds, where its name does not say so (.csv, .ndjson, .jsonl)
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// The file to write, or - for standard output
    #[arg(default_value = "-")]
    file: PathBuf,
    /// What to write, where the file's name does not say so (.csv, .ndjson, .jsonl); csv for standard output
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Ndjson,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// What a file's name says that it holds.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// What the stack says of an import.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    inserted: u64,
    updated: u64,
    unchanged: u64,
    rejected: u64,
    errors: Vec<LineError>,
}

#[derive(Debug, Deserialize)]
struct LineError {
    line: u64,
    code: String,
    message: String,
}

impl Report {
    /// In a sentence, for those that come with the program.
    pub(crate) fn summary_of_samples(&self) -> String {
        let Self { inserted, updated, unchanged, .. } = self;
        match (inserted, updated) {
            (0, 0) => format!("The {unchanged} sample persons were there already."),
            (_, 0) => format!("{inserted} sample persons are loaded."),
            _ => format!("{inserted} sample persons are loaded, {updated} are as they were made again."),
        }
    }
}

/// Imports CSV that is at hand.
pub(crate) async fn import_csv(connection: &Connection, text: &'static [u8]) -> Result<Report, Failure> {
    let request = connection
        .request(Method::POST, "persons/import?atomic=true")?
        .header(header::CONTENT_TYPE, Format::Csv.media_type())
        .body(text);
    connection::read_json(connection.succeed(connection.send(request).await?).await?).await
}

pub(crate) fn run(place: &Place, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Import(options) => {
            let format = options.format.or_else(|| Format::of(&options.file)).ok_or_else(|| {
                anyhow!("{} does not say what it holds: add --format csv or --format ndjson", options.file.display())
            })?;
            let input = Input::open(&options.file)?;
            let connection = Connection::open(&options.target, place, "persons:write")?;
            connection::converse(import(&connection, input, format, options.atomic))
        }
        Command::Export(options) => {
            let format = options.format.or_else(|| Format::of(&options.file)).unwrap_or(Format::Csv);
            let connection = Connection::open(&options.target, place, "persons:read")?;
            connection::converse(export(&connection, &options.file, format))
        }
    }
}

struct Input {
    reader: Box<dyn Read + Send>,
    /// Where the size is known in advance.
    bytes: Option<u64>,
}

impl Input {
    fn open(path: &Path) -> Result<Self, anyhow::Error> {
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
    fn into_body(self, progress: ProgressBar) -> Body {
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

async fn import(connection: &Connection, input: Input, format: Format, atomic: bool) -> Result<ExitCode, Failure> {
    let progress = progress(input.bytes);
    let path = if atomic { "persons/import?atomic=true" } else { "persons/import" };
    let request = connection
        .request(Method::POST, path)?
        .header(header::CONTENT_TYPE, format.media_type())
        .body(input.into_body(progress.clone()));
    let answer = connection.send(request).await;
    progress.finish_and_clear();
    match connection.succeed(answer?).await {
        Ok(response) => {
            let report: Report = connection::read_json(response).await?;
            print_report(&report);
            Ok(if report.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(refusal) => {
            let lines = refusal.problem.as_ref().map_or(&[][..], |problem| &problem.errors);
            if atomic && lines.iter().any(|error| error.field.starts_with("line ")) {
                for error in lines {
                    output::print(format_args!("{}: {} ({})", error.field, error.message, error.code));
                }
                complain("signet", &"nothing was imported: some lines cannot be taken, and --atomic wants all or none");
                return Ok(ExitCode::FAILURE);
            }
            Err(refusal.into())
        }
    }
}

fn print_report(report: &Report) {
    let Report { inserted, updated, unchanged, rejected, errors } = report;
    output::print(format_args!("{inserted} inserted, {updated} updated, {unchanged} unchanged, {rejected} rejected"));
    for LineError { line, code, message } in errors {
        output::print(format_args!("line {line}: {message} ({code})"));
    }
    let unlisted = rejected.saturating_sub(errors.len() as u64);
    if unlisted > 0 {
        output::print(format_args!("and {unlisted} lines more"));
    }
}

async fn export(connection: &Connection, path: &Path, format: Format) -> Result<ExitCode, Failure> {
    let request = connection.request(Method::GET, "persons/export")?.header(header::ACCEPT, format.media_type());
    let response = connection.succeed(connection.send(request).await?).await?;
    if path == Path::new("-") {
        // Standard output may be the terminal that the bar would be drawn on.
        let progress = if io::stdout().is_terminal() { ProgressBar::hidden() } else { progress(None) };
        let copied = copy(response, &mut io::stdout().lock(), &progress).await;
        progress.finish_and_clear();
        copied?;
        return Ok(ExitCode::SUCCESS);
    }
    let progress = progress(None);
    let written = export_to_file(response, path, &progress).await;
    progress.finish_and_clear();
    let bytes = written?;
    output::print(format_args!("{bytes} bytes written to {}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes under another name until all is there: a broken export leaves what stood under this one as it was.
async fn export_to_file(response: Response, path: &Path, progress: &ProgressBar) -> Result<u64, Failure> {
    let unwritable = || format!("{} cannot be written", path.display());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".signet-export.");
    // Like any file that a program writes: what the umask leaves.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(directory).with_context(unwritable)?;
    let bytes = copy(response, file.as_file_mut(), progress).await?;
    file.as_file().sync_all().with_context(unwritable)?;
    file.persist(path).with_context(unwritable)?;
    Ok(bytes)
}

async fn copy(mut response: Response, out: &mut impl Write, progress: &ProgressBar) -> Result<u64, Failure> {
    let mut bytes = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                out.write_all(&chunk).context("the export cannot be written")?;
                bytes += chunk.len() as u64;
                progress.inc(chunk.len() as u64);
            }
            Ok(None) => break,
            Err(cause) => {
                let cause = anyhow::Error::new(cause.without_url());
                return Err(cause.context("the export broke off, what came of it is not complete").into());
            }
        }
    }
    out.flush().context("the export cannot be written")?;
    Ok(bytes)
}

/// A bar on standard error, shown only when that is a terminal.
fn progress(bytes: Option<u64>) -> ProgressBar {
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

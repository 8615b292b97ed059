//! `signet persons`: persons into a stack that runs, and out of it, in files of any size.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use reqwest::{Method, Response, header};
use service_kit::boot::complain;

use crate::{
    cli::Globals,
    connection::{self, Connection, Target},
    failure::Failure,
    output,
    transfer::{Format, Input, Report, progress},
};

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

/// In a sentence, for those that come with the program.
pub(crate) fn summary_of_samples(report: &Report) -> String {
    let Report { inserted, updated, unchanged, .. } = report;
    match (inserted, updated) {
        (0, 0) => format!("The {unchanged} sample persons were there already."),
        (_, 0) => format!("{inserted} sample persons are loaded."),
        _ => format!("{inserted} sample persons are loaded, {updated} are as they were made again."),
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

pub(crate) fn run(globals: &Globals, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Import(options) => {
            let format = Format::of_input(&options.file, options.format)?;
            let input = Input::open(&options.file)?;
            connection::converse(async {
                let connection = Connection::open(&options.target, globals, "persons:write").await?;
                import(globals, &connection, input, format, options.atomic).await
            })
        }
        Command::Export(options) => {
            let format = options.format.or_else(|| Format::of(&options.file)).unwrap_or(Format::Csv);
            connection::converse(async {
                let connection = Connection::open(&options.target, globals, "persons:read").await?;
                export(&connection, &options.file, format).await
            })
        }
    }
}

async fn import(
    globals: &Globals,
    connection: &Connection,
    input: Input,
    format: Format,
    atomic: bool,
) -> Result<ExitCode, Failure> {
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
            globals.output.report(&report);
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

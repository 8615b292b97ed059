//! The log: `env_logger` with this request's id and trace id in every line, as text or as JSON.

use std::io::{self, Write};

use env_logger::fmt::Formatter;
use log::{Level, LevelFilter, Record, kv};

use crate::{Clock, config::LogFormat, context::RequestContext};

/// These write what they were given at their finest levels: query parameters, headers and bodies. Their detail stays
/// off whatever `RUST_LOG` says, so that no setting can put a secret into the log.
const CAPPED: &[&str] = &[
    "tokio_postgres",
    "postgres_openssl",
    "actix_http",
    "actix_web",
    "actix_server",
    "hyper",
    "hyper_util",
    "h2",
    "reqwest",
    "rustls",
    "mio",
    "r2d2",
    "config",
];

/// What is written where `RUST_LOG` says nothing: in JSON, which somebody collects, a line for every request; as text,
/// for somebody who reads along, what is out of the ordinary. `RUST_LOG=info` asks for the lines as text too.
pub const fn default_filter(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Text => "info,access=warn",
        LogFormat::Json => "info",
    }
}

/// Starts the log. `RUST_LOG` chooses what is written, `default_filter` where it says nothing.
/// A second call in one process changes nothing.
pub fn start(format: LogFormat, default_filter: &str) {
    let mut builder =
        env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default_filter.to_owned()));
    for module in CAPPED {
        builder.filter_module(module, LevelFilter::Warn);
    }
    let write = match format {
        LogFormat::Text => text,
        LogFormat::Json => json,
    };
    builder.format(move |out, record| if is_withheld(record) { Ok(()) } else { write(out, record) });
    // Only a second start in the same process fails, and then the first one's settings stand.
    let _ = builder.try_init();
}

/// Whether a record is one of the details that stay off. A filter alone does not keep them out: `RUST_LOG` could name a
/// module inside one of these, and the more precise name wins.
///
/// So does what actix-http calls an error of ours: bytes on a connection that are no HTTP. Anybody could fill the log with
/// those.
fn is_withheld(record: &Record<'_>) -> bool {
    let root = record.target().split("::").next().unwrap_or_default();
    record.level() > Level::Warn && CAPPED.contains(&root)
        || root == "actix_http" && record.args().to_string().starts_with("stream error: ")
}

fn text(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let style = out.default_level_style(record.level());
    write!(
        out,
        "{} {style}{:<5}{style:#} {}: {}",
        Clock::system().now(),
        record.level(),
        record.target(),
        OneLine(record.args()),
    )?;
    if let Some(context) = RequestContext::current() {
        write!(out, " request_id={} trace_id={}", context.request_id.as_str(), context.trace.trace_id())?;
    }
    let mut pairs = Vec::new();
    // Only a visitor that fails makes this fail, and ours does not.
    let _ = record.key_values().visit(&mut Pairs(&mut pairs));
    for (key, value) in pairs {
        match value {
            serde_json::Value::String(value) => write!(out, " {key}={}", OneLine(&value))?,
            value => write!(out, " {key}={value}")?,
        }
    }
    writeln!(out)
}

fn json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let mut line = serde_json::Map::new();
    line.insert("time".into(), Clock::system().now().to_string().into());
    line.insert("level".into(), record.level().as_str().to_lowercase().into());
    line.insert("target".into(), record.target().into());
    line.insert("message".into(), record.args().to_string().into());
    if let Some(context) = RequestContext::current() {
        line.insert("request_id".into(), context.request_id.as_str().into());
        line.insert("trace_id".into(), context.trace.trace_id().to_string().into());
    }
    let mut pairs = Vec::new();
    // Only a visitor that fails makes this fail, and ours does not.
    let _ = record.key_values().visit(&mut Pairs(&mut pairs));
    line.extend(pairs);
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

struct Pairs<'a>(&'a mut Vec<(String, serde_json::Value)>);

impl<'kvs> kv::VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let value = if let Some(number) = value.to_u64() {
            number.into()
        } else if let Some(number) = value.to_f64() {
            number.into()
        } else {
            value.to_string().into()
        };
        self.0.push((key.to_string(), value));
        Ok(())
    }
}

/// Text with its line breaks and other control characters escaped, so that nobody can forge a line.
struct OneLine<T>(T);

impl<T: std::fmt::Display> std::fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.0.to_string();
        for character in text.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_details_of_what_handles_secrets_stay_off_however_precisely_they_are_asked_for() {
        let withheld =
            |target, level| is_withheld(&Record::builder().target(target).level(level).args(format_args!("")).build());
        assert!(withheld("tokio_postgres::query", Level::Debug));
        assert!(withheld("actix_http::h1::decoder", Level::Trace));
        assert!(withheld("reqwest", Level::Info));
        assert!(!withheld("reqwest::connect", Level::Warn));
        assert!(!withheld("auth_service::routes", Level::Trace));
        assert!(!withheld("reqwesting", Level::Trace));
    }

    #[test]
    fn what_is_no_http_is_no_error_of_ours() {
        let withheld = |target, text: &str| {
            is_withheld(&Record::builder().target(target).level(Level::Error).args(format_args!("{text}")).build())
        };
        assert!(withheld("actix_http::h1::dispatcher", "stream error: request parse error: invalid Header provided"));
        assert!(!withheld("actix_http::h1::dispatcher", "Internal server error: unexpected eof"));
        assert!(!withheld("auth_service::routes", "stream error: x"));
    }
}

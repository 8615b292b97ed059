//! The HTTP client behind the follower and the token source.

use std::error::Error as _;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that the next part of a body is waited for.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a whole body is waited for.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// Why something that calls auth-service cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The address is not the URL of an HTTP server.
    #[error("auth-service's address must be a URL such as http://127.0.0.1:8081")]
    Url,
    /// There can be no HTTP client on this machine.
    #[error("there can be no HTTP client: {0}")]
    Client(String),
}

/// A client that follows no redirection, because it carries credentials, and that no environment variable sends through
/// a proxy. Where there is no TLS at this address, the certificates of the system, some hundred files, are not read.
pub(super) fn client(url: &Url) -> Result<Client, SetupError> {
    let mut builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(Policy::none()).no_proxy();
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|cause| SetupError::Client(describe(cause)))
}

/// An absolute URL of an HTTP server.
pub(super) fn parse_url(text: &str) -> Result<Url, SetupError> {
    let url = Url::parse(text).map_err(|_| SetupError::Url)?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(SetupError::Url) }
}

/// Why there was no whole body.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It came to an end too early.
    Cut(String),
    /// It came too slowly.
    Slow,
    /// It is longer than it may be.
    TooLong,
}

/// The body, if it has at most `limit` bytes.
pub(super) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let read = async {
        let announced = response.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced > limit {
            return Err(BodyError::TooLong);
        }
        let mut body = Vec::with_capacity(announced);
        loop {
            let chunk = tokio::time::timeout(CHUNK_TIMEOUT, response.chunk()).await.map_err(|_| BodyError::Slow)?;
            match chunk.map_err(|cause| BodyError::Cut(describe(cause)))? {
                Some(chunk) if chunk.len() > limit - body.len() => return Err(BodyError::TooLong),
                Some(chunk) => body.extend_from_slice(&chunk),
                None => return Ok(body),
            }
        }
    };
    tokio::time::timeout(BODY_TIMEOUT, read).await.map_err(|_| BodyError::Slow)?
}

/// An error with its causes, without the URL, which has no place in a log.
pub(super) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

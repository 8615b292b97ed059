//! Entity tags and the requests that depend on them (RFC 9110, 8.8.3 and 13).

use std::{
    fmt,
    future::{Ready, ready},
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderName, HeaderValue, TryIntoHeaderPair},
};

use crate::problem::Error;

/// A strong entity tag made from an object's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag(pub i64);

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl TryIntoHeaderPair for ETag {
    type Error = header::InvalidHeaderValue;

    fn try_into_pair(self) -> Result<(HeaderName, HeaderValue), Self::Error> {
        Ok((header::ETAG, HeaderValue::from_str(&self.to_string())?))
    }
}

/// What `If-Match` demands of the present version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// There was no such header.
    Any,
    /// `*`: the object must exist.
    Exists,
    /// The object's version must be one of these.
    OneOf(Vec<i64>),
}

impl IfMatch {
    /// Whether a present version meets the demand; `None` stands for an object that does not exist.
    pub fn allows(&self, version: Option<i64>) -> bool {
        match (self, version) {
            (Self::Any, _) | (Self::Exists, Some(_)) => true,
            (Self::OneOf(versions), Some(version)) => versions.contains(&version),
            (Self::Exists | Self::OneOf(_), None) => false,
        }
    }

    /// Fails with 412 if the demand is not met.
    pub fn require(&self, version: Option<i64>) -> Result<(), Error> {
        if self.allows(version) { Ok(()) } else { Err(Error::PreconditionFailed) }
    }
}

impl FromRequest for IfMatch {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request))
    }
}

fn read(request: &HttpRequest) -> Result<IfMatch, Error> {
    let mut versions = Vec::new();
    let mut any = true;
    for value in request.headers().get_all(header::IF_MATCH) {
        any = false;
        let text = value.to_str().map_err(|_| Error::InvalidRequest("If-Match is not readable.".to_owned()))?;
        for tag in text.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(IfMatch::Exists);
            }
            // A weak tag never matches strongly, and one that we did not make matches nothing.
            if let Some(version) = version(tag) {
                versions.push(version);
            }
        }
    }
    Ok(if any { IfMatch::Any } else { IfMatch::OneOf(versions) })
}

fn version(tag: &str) -> Option<i64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// Whether `If-None-Match` says that the caller has this version already: then 304 is the answer to a read.
pub fn not_modified(request: &HttpRequest, present: ETag) -> bool {
    request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || version(tag.strip_prefix("W/").unwrap_or(tag)) == Some(present.0))
}

//! Where in a request a token may stand.

use std::borrow::Cow;

use actix_web::http::header::{AUTHORIZATION, HeaderName};
use actix_web::{HttpMessage, HttpRequest};
use url::form_urlencoded;

use super::form::FormBearer;
use super::rejection::Rejection;
use crate::error::Error;

/// The name of a token in a query or a form (RFC 6750 §2.2 and §2.3).
pub(super) const PARAMETER: &[u8] = b"access_token";

const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

/// Where tokens are looked for. `Authorization: Bearer` always is.
///
/// The query and the form are off by default. A URL ends up in logs, in the browser's history and in `Referer`, and its
/// token with it (RFC 6750 §5.3; RFC 9700 §4.3.2 forbids it outright). A form puts the token into the markup of a page
/// and into every place that keeps request bodies; RFC 6750 §2.2 leaves it to clients that cannot set a header. Turn
/// either on for such clients only.
///
/// A request that uses two of the ways that are on is refused, even with the same token twice (RFC 6750 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The header `x-access-token`, which many Node tutorials use; on by default.
    pub x_access_token: bool,
    /// The query parameter `access_token`.
    pub query: bool,
    /// The field `access_token` of a form; needs the middleware [`FormToken`](super::FormToken) as well.
    pub form: bool,
}

impl Default for Sources {
    fn default() -> Self {
        Self { x_access_token: true, query: false, form: false }
    }
}

impl Sources {
    /// The sources with these names: `header`, `x-access-token`, `query`, `form`. What is not named is off, except
    /// `header`.
    pub fn from_names<I>(names: I) -> Result<Self, UnknownSource>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut sources = Self { x_access_token: false, query: false, form: false };
        for name in names {
            match name.as_ref() {
                "header" => {}
                "x-access-token" => sources.x_access_token = true,
                "query" => sources.query = true,
                "form" => sources.form = true,
                unknown => return Err(UnknownSource(unknown.to_owned())),
            }
        }
        Ok(sources)
    }
}

/// A name that [`Sources::from_names`] does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown token source {0:?}: it must be one of header, x-access-token, query, form")]
pub struct UnknownSource(String);

/// The one token of a request.
pub(super) fn find<'r>(request: &'r HttpRequest, sources: Sources, realm: &str) -> Result<Cow<'r, str>, Rejection> {
    let mut found = from_authorization(request, realm)?.map(Cow::Borrowed);
    let mut add = |token: Option<Cow<'r, str>>| match token {
        Some(_) if found.is_some() => {
            Err(Rejection::request(realm, "the request presents an access token in more than one way"))
        }
        Some(token) => {
            found = Some(token);
            Ok(())
        }
        None => Ok(()),
    };
    if sources.x_access_token {
        add(from_x_access_token(request, realm)?.map(Cow::Borrowed))?;
    }
    if sources.query {
        add(from_query(request, realm)?)?;
    }
    if sources.form {
        add(from_form(request, realm)?.map(Cow::Owned))?;
    }
    found.ok_or_else(|| Rejection::missing(realm))
}

/// The value of a header that must not be repeated; `None` where it is absent.
fn only_value<'r>(
    request: &'r HttpRequest,
    name: &HeaderName,
    realm: &str,
    repeated: &'static str,
) -> Result<Option<&'r str>, Rejection> {
    const NOT_ASCII: Error = Error::malformed("the header that carries the token is not ASCII");

    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Rejection::request(realm, repeated));
    }
    // `to_str` looks at one byte after the other. What it refuses besides, control characters, no header value holds.
    match str::from_utf8(value.as_bytes()) {
        Ok(text) if text.is_ascii() => Ok(Some(text)),
        _ => Err(Rejection::invalid(realm, NOT_ASCII)),
    }
}

/// A scheme other than `Bearer`, or `Bearer` with nothing after it, presents no token.
fn from_authorization<'r>(request: &'r HttpRequest, realm: &str) -> Result<Option<&'r str>, Rejection> {
    let repeated = "the request has more than one Authorization header";
    let Some(value) = only_value(request, &AUTHORIZATION, realm, repeated)? else { return Ok(None) };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let token = token.trim_matches(' ');
    Ok((scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token))
}

fn from_x_access_token<'r>(request: &'r HttpRequest, realm: &str) -> Result<Option<&'r str>, Rejection> {
    let repeated = "the request has more than one x-access-token header";
    let value = only_value(request, &X_ACCESS_TOKEN, realm, repeated)?;
    Ok(value.map(|token| token.trim_matches(' ')).filter(|token| !token.is_empty()))
}

fn from_query<'r>(request: &'r HttpRequest, realm: &str) -> Result<Option<Cow<'r, str>>, Rejection> {
    let pairs = form_urlencoded::parse(request.query_string().as_bytes());
    let mut tokens = pairs.filter(|(name, _)| name.as_bytes() == PARAMETER).map(|(_, token)| token);
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(Rejection::request(realm, "the query has more than one access_token"));
    }
    Ok(token.filter(|token| !token.is_empty()))
}

fn from_form(request: &HttpRequest, realm: &str) -> Result<Option<String>, Rejection> {
    match request.extensions().get::<FormBearer>() {
        Some(FormBearer::One(token)) => Ok(Some(token.clone()).filter(|token| !token.is_empty())),
        Some(FormBearer::Many) => Err(Rejection::request(realm, "the form has more than one access_token")),
        None => Ok(None),
    }
}

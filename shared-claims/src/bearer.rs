//! The token of a request: where it may stand, and whether it lets the caller in.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::access::Access;
use crate::claims::Claims;
use crate::error::Error;
use crate::rejection::Rejection;
use crate::verifier::Verifier;

/// The name of a token in a query or a form (RFC 6750 §2.2 and §2.3).
pub(crate) const PARAMETER: &[u8] = b"access_token";

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
    /// The field `access_token` of a form; only for actix-web, and it needs the middleware `FormToken` as well.
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

/// A header that a token may stand in. A framework knows the names in a form of its own, and need not make it each time.
#[derive(Clone, Copy)]
pub(crate) enum TokenHeader {
    Authorization,
    XAccessToken,
}

/// A request of whatever framework, as far as a token may stand in it.
pub(crate) trait Request {
    /// The values of a header.
    fn header(&self, name: TokenHeader) -> impl Iterator<Item = &[u8]>;

    /// The query, without its question mark.
    fn query(&self) -> &str;

    /// What a form held under `access_token`, if one was looked into.
    fn form(&self) -> Option<FormBearer>;
}

/// What a form held under `access_token`.
#[derive(Clone)]
#[cfg_attr(not(feature = "actix"), expect(dead_code, reason = "only actix-web's middleware looks into forms"))]
pub(crate) enum FormBearer {
    One(String),
    Many,
}

/// The claims of a caller who may enter.
pub(crate) fn authorize<A: Access>(
    verifier: &Verifier,
    request: &impl Request,
    sources: Sources,
) -> Result<Claims, Rejection> {
    let realm = verifier.audience();
    let token = find(request, sources, realm)?;
    let claims = verifier.verify(&token).map_err(|error| Rejection::invalid(realm, error))?;
    if A::allows(&claims) { Ok(claims) } else { Err(Rejection::insufficient(realm, A::SCOPE, A::DENIED)) }
}

/// The one token of a request.
fn find<'r>(request: &'r impl Request, sources: Sources, realm: &str) -> Result<Cow<'r, str>, Rejection> {
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
    request: &'r impl Request,
    name: TokenHeader,
    realm: &str,
    repeated: &'static str,
) -> Result<Option<&'r str>, Rejection> {
    const NOT_ASCII: Error = Error::malformed("the header that carries the token is not ASCII");

    let mut values = request.header(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Rejection::request(realm, repeated));
    }
    // All bytes are looked at, many at a time.
    let is_visible = value.iter().fold(true, |visible, byte| visible & matches!(byte, b'\t' | b' '..=b'~'));
    let text = str::from_utf8(value).ok().filter(|_| is_visible);
    text.map(Some).ok_or_else(|| Rejection::invalid(realm, NOT_ASCII))
}

/// A scheme other than `Bearer`, or `Bearer` with nothing after it, presents no token.
fn from_authorization<'r>(request: &'r impl Request, realm: &str) -> Result<Option<&'r str>, Rejection> {
    let repeated = "the request has more than one Authorization header";
    let Some(value) = only_value(request, TokenHeader::Authorization, realm, repeated)? else { return Ok(None) };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let token = token.trim_matches(' ');
    Ok((scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token))
}

fn from_x_access_token<'r>(request: &'r impl Request, realm: &str) -> Result<Option<&'r str>, Rejection> {
    let repeated = "the request has more than one x-access-token header";
    let value = only_value(request, TokenHeader::XAccessToken, realm, repeated)?;
    Ok(value.map(|token| token.trim_matches(' ')).filter(|token| !token.is_empty()))
}

fn from_query<'r>(request: &'r impl Request, realm: &str) -> Result<Option<Cow<'r, str>>, Rejection> {
    let pairs = form_urlencoded::parse(request.query().as_bytes());
    let mut tokens = pairs.filter(|(name, _)| name.as_bytes() == PARAMETER).map(|(_, token)| token);
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(Rejection::request(realm, "the query has more than one access_token"));
    }
    Ok(token.filter(|token| !token.is_empty()))
}

fn from_form(request: &impl Request, realm: &str) -> Result<Option<String>, Rejection> {
    match request.form() {
        Some(FormBearer::One(token)) => Ok(Some(token).filter(|token| !token.is_empty())),
        Some(FormBearer::Many) => Err(Rejection::request(realm, "the form has more than one access_token")),
        None => Ok(None),
    }
}

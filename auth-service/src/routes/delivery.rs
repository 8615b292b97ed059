//! How tokens reach the client: the refresh token in the body, or in a cookie that scripts cannot read.

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder,
    cookie::{Cookie, SameSite, time::Duration},
    dev::Payload,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use std::{
    convert::Infallible,
    future::{Ready, ready},
};

use service_kit::Secret;

use crate::{domain::SessionPolicy, issue::TokenResponse};

const COOKIE: &str = "signet_refresh";

/// What a handler knows of the client's wish: `X-Session: cookie` keeps the refresh token in a cookie.
///
/// The cookie is read only where that header is sent, which a form or a link on somebody else's page cannot do; it is
/// `SameSite=Strict` besides.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    cookie: bool,
    secure: bool,
    presented: Option<Secret>,
}

impl FromRequest for Delivery {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let cookie = text("x-session").is_some_and(|wish| wish.eq_ignore_ascii_case("cookie"));
        let presented =
            if cookie { request.cookie(COOKIE).map(|cookie| Secret::from(cookie.value().to_owned())) } else { None };
        ready(Ok(Self { cookie, secure: !is_loopback(text("host").unwrap_or_default()), presented }))
    }
}

/// Whether the client reached us on its own machine: there, and only there, a cookie does without TLS.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Delivery {
    /// The refresh token from the cookie.
    pub(crate) fn presented(&self) -> Option<&str> {
        self.presented.as_ref().map(Secret::expose)
    }

    /// The answer that carries tokens.
    pub(crate) fn respond(
        &self,
        status: StatusCode,
        mut tokens: TokenResponse,
        policy: &SessionPolicy,
    ) -> HttpResponse {
        let mut response = with_tokens(status);
        if self.cookie
            && let Some(token) = tokens.refresh_token.take()
        {
            response.cookie(self.cookie(token, policy.idle_seconds));
        }
        response.json(tokens)
    }

    /// Takes the cookie away again where there may be one.
    pub(crate) fn forget(&self, response: &mut HttpResponse) {
        if self.cookie
            && let Ok(value) = header::HeaderValue::from_str(&self.cookie(String::new(), 0).to_string())
        {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }

    fn cookie(&self, value: String, max_age_seconds: i64) -> Cookie<'static> {
        Cookie::build(COOKIE, value)
            .path("/auth")
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(self.secure)
            .max_age(Duration::seconds(max_age_seconds))
            .finish()
    }
}

/// A response that carries tokens: no cache may keep it, not even one of HTTP/1.0 (RFC 6749, 5.1).
pub(crate) fn with_tokens(status: StatusCode) -> HttpResponseBuilder {
    let mut response = no_store(status);
    response.insert_header((header::PRAGMA, "no-cache"));
    response
}

/// A response that no cache may keep.
pub(crate) fn no_store(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, NO_STORE));
    response
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_client_s_own_machine_is_loopback() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "127.8.8.8", "app.localhost:1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com", "10.0.0.1", "[2001:db8::1]:80", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

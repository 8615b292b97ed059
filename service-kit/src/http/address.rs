//! Who is calling and whether by TLS, seen through the proxies that are trusted and no others.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::IpAddr,
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{HeaderMap, HeaderName},
    web,
};
use ipnet::IpNet;

/// The proxies that may say on whose behalf they call.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// The caller's address: the connection's own, unless that is a trusted proxy; then the rightmost address that the
    /// proxies name and that is not a trusted proxy itself. `Forwarded` (RFC 7239) counts only where there is no
    /// `X-Forwarded-For`: that is the one which nearly every proxy writes, and then it hands on a client's own `Forwarded`.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let hops = list(headers, &X_FORWARDED_FOR);
        let hops: Vec<Option<IpAddr>> = if hops.is_empty() {
            list(headers, &FORWARDED).iter().map(|element| parse(parameter(element, "for")?)).collect()
        } else {
            hops.iter().map(|hop| parse(hop)).collect()
        };
        for hop in hops.into_iter().rev() {
            // An element that no proxy of ours would write ends the chain: what is left of it proves nothing.
            let Some(hop) = hop else { break };
            client = hop;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// Whether the caller has come by TLS: a trusted proxy says so in `X-Forwarded-Proto`, or in the element of
    /// `Forwarded` that names the caller. Where there is a list of the former, what the nearest proxy wrote counts.
    pub fn is_https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let is_https = |scheme: &str| scheme.trim().trim_matches('"').eq_ignore_ascii_case("https");
        if !self.trusts(peer.to_canonical()) {
            return false;
        }
        if let Some(scheme) = list(headers, &X_FORWARDED_PROTO).last() {
            return is_https(scheme);
        }
        // It counts here where it counts for the address.
        if headers.contains_key(&X_FORWARDED_FOR) {
            return false;
        }
        let elements = list(headers, &FORWARDED);
        let from_a_proxy =
            |element: &&String| parameter(element, "for").and_then(parse).is_some_and(|node| self.trusts(node));
        let callers = elements.iter().rev().find(|element| !from_a_proxy(element)).or(elements.first());
        callers.and_then(|element| parameter(element, "proto")).is_some_and(is_https)
    }
}

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// What an element of `Forwarded` says of something (RFC 7239, 4).
fn parameter<'a>(element: &'a str, wanted: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

/// The elements of a list. One that is no text is there all the same: a client must not hide a header that a proxy has
/// added to by what it put there first.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|element| String::from_utf8_lossy(element).trim().to_owned())
        .collect()
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `"[2001:db8::1]:80"`.
fn parse(node: &str) -> Option<IpAddr> {
    let node = node.trim().trim_matches('"');
    let address = if let Some(rest) = node.strip_prefix('[') {
        rest.split(']').next()?.parse().ok()?
    } else if let Ok(address) = node.parse::<IpAddr>() {
        address
    } else {
        node.rsplit_once(':')?.0.parse().ok()?
    };
    Some(IpAddr::to_canonical(&address))
}

/// The caller's address; nothing for a connection without one (a Unix socket).
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub Option<IpAddr>);

impl FromRequest for ClientAddress {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let address = request.peer_addr().map(|peer| {
            request
                .app_data::<web::Data<TrustedProxies>>()
                .map_or(peer.ip(), |proxies| proxies.client_address(peer.ip(), request.headers()))
        });
        ready(Ok(Self(address)))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn client(peer: &str, name: &'static str, value: &str) -> String {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        proxies.client_address(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_may_name_another_caller() {
        assert_eq!(client("192.0.2.9", "x-forwarded-for", "198.51.100.1"), "192.0.2.9");
        assert_eq!(client("10.0.0.1", "x-forwarded-for", "198.51.100.1"), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", "x-forwarded-for", "198.51.100.1"), "198.51.100.1");
    }

    #[test]
    fn a_client_s_own_forwarded_does_not_count_beside_what_the_proxy_writes() {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("forwarded"), "for=203.0.113.66".parse().unwrap());
        headers.insert(HeaderName::from_static("x-forwarded-for"), "198.51.100.1".parse().unwrap());
        assert_eq!(proxies.client_address("10.0.0.1".parse().unwrap(), &headers).to_string(), "198.51.100.1");
    }

    #[test]
    fn bytes_that_a_client_puts_before_what_the_proxy_writes_hide_nothing() {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("forwarded"), "for=203.0.113.66".parse().unwrap());
        let value = HeaderValue::from_bytes(b"\xff, 198.51.100.1").unwrap();
        headers.insert(HeaderName::from_static("x-forwarded-for"), value);
        assert_eq!(proxies.client_address("10.0.0.1".parse().unwrap(), &headers).to_string(), "198.51.100.1");
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_counts() {
        assert_eq!(client("10.0.0.1", "x-forwarded-for", "203.0.113.7, 198.51.100.1, 10.2.3.4"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", "x-forwarded-for", "203.0.113.7, nonsense, 10.2.3.4"), "10.2.3.4");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let value = "for=203.0.113.7, for=\"[2001:db8::17]:4711\";proto=https";
        assert_eq!(client("fd00::1", "forwarded", value), "2001:db8::17");
        assert_eq!(client("10.0.0.1", "forwarded", "for=198.51.100.1:80;by=10.0.0.1"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", "forwarded", "for=_hidden"), "10.0.0.1");
    }

    fn https(peer: &str, pairs: &[(&'static str, &str)]) -> bool {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        proxies.is_https(peer.parse().unwrap(), &headers)
    }

    #[test]
    fn only_a_trusted_proxy_may_say_that_the_caller_came_by_tls() {
        assert!(https("10.0.0.1", &[("x-forwarded-proto", "https")]));
        assert!(https("::ffff:10.0.0.1", &[("x-forwarded-proto", "HTTPS")]));
        assert!(!https("192.0.2.9", &[("x-forwarded-proto", "https")]));
        assert!(!https("192.0.2.9", &[("forwarded", "for=198.51.100.1;proto=https")]));
        assert!(!https("10.0.0.1", &[]));
        assert!(!https("10.0.0.1", &[("x-forwarded-proto", "http")]));
        assert!(!https("10.0.0.1", &[("x-forwarded-proto", "httpsx")]));
    }

    #[test]
    fn what_the_nearest_proxy_says_of_the_scheme_counts() {
        assert!(!https("10.0.0.1", &[("x-forwarded-proto", "https, http")]));
        assert!(!https("10.0.0.1", &[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")]));
        assert!(https("10.0.0.1", &[("x-forwarded-proto", "http, https")]));
        let both = [("x-forwarded-proto", "http"), ("forwarded", "for=198.51.100.1;proto=https")];
        assert!(!https("10.0.0.1", &both));
        let other = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1;proto=https")];
        assert!(!https("10.0.0.1", &other));
    }

    #[test]
    fn forwarded_says_of_the_caller_s_own_hop_how_it_was_made() {
        assert!(https("10.0.0.1", &[("forwarded", "for=198.51.100.1;proto=https")]));
        assert!(https("10.0.0.1", &[("forwarded", "Proto=\"https\"; For=198.51.100.1")]));
        assert!(https("10.0.0.1", &[("forwarded", "for=198.51.100.1;proto=https, for=10.0.0.2;proto=http")]));
        assert!(!https("10.0.0.1", &[("forwarded", "for=203.0.113.7;proto=https, for=198.51.100.1;proto=http")]));
        assert!(https("10.0.0.1", &[("forwarded", "for=10.0.0.3;proto=https, for=10.0.0.2;proto=http")]));
    }
}

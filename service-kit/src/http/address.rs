//! Who is calling, seen through the proxies that are trusted and no others.

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
        let hops = list(headers, &HeaderName::from_static("x-forwarded-for"));
        let hops: Vec<Option<IpAddr>> = if hops.is_empty() {
            list(headers, &HeaderName::from_static("forwarded"))
                .iter()
                .map(|element| {
                    element
                        .split(';')
                        .filter_map(|pair| pair.split_once('='))
                        .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
                        .and_then(|(_, node)| parse(node))
                })
                .collect()
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
}

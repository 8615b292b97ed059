//! Who is calling: nobody can say so but a trusted proxy, and what a client puts before it makes no difference.

use std::{net::IpAddr, str::FromStr as _};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use service_kit::http::TrustedProxies;

use crate::lines;

/// Lines: `P` and the address of the peer, `X` and the value of an `X-Forwarded-For`, `F` and that of a `Forwarded`, `E`
/// and what an evil client sends as either.
pub(crate) fn enter(data: &[u8]) {
    let proxies = ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"].map(|network| network.parse().unwrap());
    let proxies = TrustedProxies(proxies.into());
    let trusted = |address: IpAddr| proxies.0.iter().any(|network| network.contains(&address.to_canonical()));
    let mut peer = IpAddr::from([10, 0, 0, 1]);
    let (mut forwarded_for, mut forwarded, mut evil) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, text) in lines(data) {
        let value = HeaderValue::from_bytes(text).ok();
        match kind {
            b'P' => peer = str::from_utf8(text).ok().and_then(|text| IpAddr::from_str(text).ok()).unwrap_or(peer),
            b'X' => forwarded_for.extend(value),
            b'F' => forwarded.extend(value),
            b'E' => evil.extend(value),
            _ => {}
        }
    }
    let headers =
        |first: &[HeaderValue], then: &[HeaderValue], name: &'static str, other: (&'static str, &[HeaderValue])| {
            let mut headers = HeaderMap::new();
            for value in first.iter().chain(then) {
                headers.append(HeaderName::from_static(name), value.clone());
            }
            for value in other.1 {
                headers.append(HeaderName::from_static(other.0), value.clone());
            }
            headers
        };
    for (name, values, other, others) in [
        ("x-forwarded-for", &forwarded_for, "forwarded", &forwarded),
        ("forwarded", &forwarded, "x-forwarded-for", &forwarded_for),
    ] {
        let client = proxies.client_address(peer, &headers(&[], values, name, (other, others)));
        assert_eq!(client, client.to_canonical());
        if !trusted(peer) {
            assert_eq!(client, peer.to_canonical(), "a stranger named somebody else");
        }
        // The proxies say who it is: whatever the client has sent stands before that, and is not looked at.
        if name == "x-forwarded-for" && !values.is_empty() && !trusted(client) {
            let deceived = proxies.client_address(peer, &headers(&evil, values, name, (other, others)));
            assert_eq!(deceived, client, "the client chose its own address");
            let deceived = proxies.client_address(peer, &headers(&[], values, name, (other, &evil)));
            assert_eq!(deceived, client, "the client chose its own address");
        }
    }
}

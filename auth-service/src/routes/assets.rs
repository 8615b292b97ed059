//! Files of the pages that are part of the program: as browsers want them, and under a strict policy.

use std::io::Write as _;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName},
    },
    web::Bytes,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};

/// A file that never changes while the program runs.
#[derive(Debug)]
pub(crate) struct Asset {
    content_type: &'static str,
    etag: String,
    body: Bytes,
    /// Where it is shorter.
    gzip: Option<Bytes>,
}

/// For how long browsers may keep a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// They ask each time whether it is still the same one.
    Revalidate,
    /// Its address names its content.
    Forever,
}

impl Asset {
    /// Compresses a file, and makes its entity tag.
    pub(crate) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let gzip = compress(&body).filter(|gzip| gzip.len() < body.len());
        Self { content_type, etag: fingerprint([&*body]), body, gzip }
    }

    /// How many bytes a client that takes gzip is sent.
    #[cfg(test)]
    pub(crate) fn transfer_bytes(&self) -> usize {
        self.gzip.as_ref().unwrap_or(&self.body).len()
    }

    /// Answers GET and HEAD: compressed if the client takes that, and with 304 if it has the file.
    pub(crate) fn respond(&self, request: &HttpRequest, caching: Caching, policy: &'static str) -> HttpResponse {
        let gzip = self.gzip.as_ref().filter(|_| takes_gzip(request));
        // Another encoding is another representation (RFC 9110, 8.8.3.3).
        let etag = format!("\"{}{}\"", self.etag, if gzip.is_some() { "-gzip" } else { "" });
        let mut response = HttpResponse::build(StatusCode::OK);
        response
            .insert_header((header::VARY, "Accept-Encoding"))
            .insert_header((header::ETAG, etag.clone()))
            .insert_header((
                header::CACHE_CONTROL,
                match caching {
                    Caching::Revalidate => "no-cache",
                    Caching::Forever => "public, max-age=31536000, immutable",
                },
            ))
            .insert_header((header::CONTENT_SECURITY_POLICY, policy))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
            .insert_header((HeaderName::from_static("cross-origin-resource-policy"), "same-origin"));
        if has(request, &etag) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        response.insert_header((header::CONTENT_TYPE, self.content_type));
        match gzip {
            Some(gzip) => response.insert_header((header::CONTENT_ENCODING, "gzip")).body(gzip.clone()),
            None => response.body(self.body.clone()),
        }
    }
}

/// A name for contents: the same for the same, and another for others.
pub(crate) fn fingerprint<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> String {
    let hashes: Vec<u8> = contents.into_iter().flat_map(|content| digest(&SHA256, content).as_ref().to_vec()).collect();
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, &hashes).as_ref()[..15])
}

fn compress(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Whether `If-None-Match` names this entity tag; the comparison is the weak one (RFC 9110, 13.1.2).
fn has(request: &HttpRequest, etag: &str) -> bool {
    request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether `Accept-Encoding` asks for gzip (RFC 9110, 12.5.3).
fn takes_gzip(request: &HttpRequest) -> bool {
    let offers = request.headers().get_all(header::ACCEPT_ENCODING).filter_map(|value| value.to_str().ok());
    let weight = |wanted: &str| {
        offers.clone().flat_map(|text| text.split(',')).find_map(|element| {
            let mut parts = element.split(';').map(str::trim);
            parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            Some(weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)))
        })
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_a_client_that_asks_for_gzip_gets_it() {
        for (accepted, expected) in [
            ("gzip", true),
            ("br, GZip;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.000", false),
            ("identity", false),
            ("br", false),
            ("", false),
        ] {
            let request = TestRequest::default().insert_header((header::ACCEPT_ENCODING, accepted)).to_http_request();
            assert_eq!(takes_gzip(&request), expected, "{accepted:?}");
        }
        assert!(!takes_gzip(&TestRequest::default().to_http_request()));
    }

    #[test]
    fn a_fingerprint_tells_contents_apart_and_where_they_are_cut() {
        let one = fingerprint([b"ab".as_slice(), b"c"]);
        assert_eq!(one, fingerprint([b"ab".as_slice(), b"c"]));
        assert_ne!(one, fingerprint([b"a".as_slice(), b"bc"]));
        assert_eq!(one.len(), 20);
    }
}

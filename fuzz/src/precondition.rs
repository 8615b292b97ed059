//! `If-Match` and `If-None-Match` (RFC 9110, 13.1).

use actix_web::{FromRequest as _, dev::Payload, http::header::HeaderValue, test::TestRequest};
use futures_util::FutureExt as _;
use service_kit::http::{ETag, IfMatch, not_modified};

use crate::lines;

/// Lines: `M` and the value of an `If-Match`, `N` and that of an `If-None-Match`.
pub(crate) fn enter(data: &[u8]) {
    let mut request = TestRequest::default();
    let mut demands = Vec::new();
    for (kind, text) in lines(data) {
        let name = match kind {
            b'M' => "if-match",
            b'N' => "if-none-match",
            _ => continue,
        };
        let Ok(value) = HeaderValue::from_bytes(text) else { continue };
        demands.push((name, text));
        request = request.append_header((name, value));
    }
    let request = request.to_http_request();
    let holds = |name: &str, version: i64| {
        let tag = format!("\"{version}\"");
        let of_name = demands.iter().filter(|(other, _)| *other == name);
        of_name.flat_map(|(_, text)| text.split(|byte| *byte == b',')).any(|part| {
            let part = part.trim_ascii();
            part == b"*"
                || part == tag.as_bytes()
                || (name == "if-none-match" && part == [b"W/", tag.as_bytes()].concat())
        })
    };
    for version in [1, 2, 17] {
        if holds("if-none-match", version) && demands.iter().all(|(_, text)| text.is_ascii()) {
            assert!(not_modified(&request, ETag(version)));
        }
    }
    let any = !demands.iter().any(|(name, _)| *name == "if-match");
    let Ok(demand) = IfMatch::from_request(&request, &mut Payload::None).now_or_never().expect("it takes no await")
    else {
        assert!(demands.iter().any(|(_, text)| !text.is_ascii()));
        return;
    };
    assert_eq!(demand == IfMatch::Any, any);
    assert_eq!(demand.allows(None), any, "what does not exist meets no demand");
    for version in [1, 2, 17] {
        if holds("if-match", version) {
            assert!(demand.allows(Some(version)));
        }
    }
    if let IfMatch::OneOf(versions) = &demand {
        for version in versions {
            assert!(demand.allows(Some(*version)));
        }
    }
}

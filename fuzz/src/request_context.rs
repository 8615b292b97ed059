//! The ids that a caller may bring along: the request's and the trace's.

use service_kit::context::{RequestContext, RequestId, TraceContext};

/// A line with an `X-Request-Id`, and one with a `traceparent`.
pub(crate) fn enter(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (id, trace) = text.split_once('\n').unwrap_or((text, text));
    let context = RequestContext::new(Some(id), Some(trace));
    let kept = RequestId::parse(id);
    let shown = context.request_id.as_str();
    assert!((1..=64).contains(&shown.len()) && shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown:?}");
    match kept {
        Some(kept) => assert_eq!((kept.as_str(), shown), (id, id)),
        None => assert_ne!(shown, id),
    }
    let onward = context.trace.to_header();
    assert_eq!(TraceContext::parse(&onward), Some(context.trace), "{onward}");
    match TraceContext::parse(trace) {
        Some(parsed) => {
            assert_eq!(parsed.trace_id().to_string(), trace[3..35]);
            assert_eq!(context.trace.trace_id().to_string(), trace[3..35]);
            assert_eq!(parsed.to_header()[3..], trace[3..55]);
            assert_eq!(onward[..36], parsed.to_header()[..36]);
        }
        None => assert!(onward.ends_with("-00"), "{onward}"),
    }
}

//! What one request carries through the service and on to the next one: its id, its W3C trace context, and the time by
//! which its answer is of use.
//!
//! The middleware in [`crate::http`] sets it; log lines, problem responses and calls to other services read it.

use std::{
    cell::Cell,
    fmt,
    time::{Duration, Instant},
};

use rand::Rng as _;

/// A request's id: the caller's `X-Request-Id` if it is sane (1 to 64 of `A-Za-z0-9._-`), else a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    bytes: [u8; 64],
    length: u8,
}

impl RequestId {
    /// Takes a caller's id, or nothing if it is not sane.
    pub fn parse(text: &str) -> Option<Self> {
        let sane = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !sane {
            return None;
        }
        let mut bytes = [0; 64];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    fn from_random(id: [u8; 16]) -> Self {
        let mut bytes = [0; 64];
        hex(&id, &mut bytes[..32]);
        Self { bytes, length: 32 }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The W3C trace context (`traceparent`, version 00) of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent` header; nothing if it is malformed or all zero, as the recommendation asks
    /// (W3C Trace Context, 3.2.2).
    pub fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let dashes = bytes.len() >= 55 && bytes[2] == b'-' && bytes[35] == b'-' && bytes[52] == b'-';
        let version_00 = bytes.starts_with(b"00") && bytes.len() == 55;
        let later = !bytes.starts_with(b"00")
            && !bytes.starts_with(b"ff")
            && (bytes.len() == 55 || bytes.get(55) == Some(&b'-'));
        if !dashes || !(version_00 || later) {
            return None;
        }
        let mut version = [0; 1];
        let mut context = Self { trace_id: [0; 16], parent_id: [0; 8], flags: 0 };
        let mut flags = [0; 1];
        unhex(&bytes[0..2], &mut version)?;
        unhex(&bytes[3..35], &mut context.trace_id)?;
        unhex(&bytes[36..52], &mut context.parent_id)?;
        unhex(&bytes[53..55], &mut flags)?;
        context.flags = flags[0];
        (context.trace_id != [0; 16] && context.parent_id != [0; 8]).then_some(context)
    }

    /// The trace id in hexadecimal.
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        Hex(self.trace_id)
    }

    /// The header for a call that this request makes.
    pub fn to_header(&self) -> String {
        format!("00-{}-{}-{:02x}", Hex(self.trace_id), Hex(self.parent_id), self.flags)
    }
}

struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn unhex(text: &[u8], out: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (pair, byte) in text.chunks_exact(2).zip(out) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

/// What travels with a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// The request's id.
    pub request_id: RequestId,
    /// The trace that the request belongs to, this service's span as its parent.
    pub trace: TraceContext,
    /// When nobody waits for the answer any more, where that is known.
    pub deadline: Option<Instant>,
}

impl RequestContext {
    /// From the headers `X-Request-Id` and `traceparent` of a request, where they are sane; the rest is new.
    pub fn new(request_id: Option<&str>, traceparent: Option<&str>) -> Self {
        let mut random = [0; 24];
        rand::rng().fill_bytes(&mut random);
        let mut id = [0; 16];
        id.copy_from_slice(&random[..16]);
        let mut span = [0; 8];
        span.copy_from_slice(&random[16..]);
        let request_id = request_id.and_then(RequestId::parse).unwrap_or_else(|| RequestId::from_random(id));
        let (trace_id, flags) =
            traceparent.and_then(TraceContext::parse).map_or((id, 0), |trace| (trace.trace_id, trace.flags));
        Self { request_id, trace: TraceContext { trace_id, parent_id: span, flags }, deadline: None }
    }

    /// The same, to be answered by then or earlier: a deadline is never put off.
    #[must_use]
    pub fn by(self, deadline: Instant) -> Self {
        Self { deadline: Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline))), ..self }
    }

    /// The context of the request that is being answered, if one is.
    pub fn current() -> Option<Self> {
        TASK.try_with(|context| *context).ok().or_else(|| THREAD.with(Cell::get))
    }

    /// Runs a future as part of this request.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        TASK.scope(self, future)
    }
}

/// How long the answer to the present request is still of use; nothing where that is not known.
pub fn time_left() -> Option<Duration> {
    let deadline = RequestContext::current()?.deadline?;
    Some(deadline.saturating_duration_since(Instant::now()))
}

/// Runs a future as part of the present request, whose answer is of use for so long and no longer.
pub async fn within<F: Future>(limit: Duration, future: F) -> F::Output {
    match RequestContext::current() {
        Some(context) => context.by(Instant::now() + limit).scope(future).await,
        None => future.await,
    }
}

/// Runs a function on another thread as part of a request.
pub(crate) fn on_thread<T>(context: Option<RequestContext>, function: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            THREAD.with(|current| current.set(None));
        }
    }
    THREAD.with(|current| current.set(context));
    let _reset = Reset;
    function()
}

tokio::task_local! {
    static TASK: RequestContext;
}

thread_local! {
    static THREAD: Cell<Option<RequestContext>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        let kept = RequestContext::new(Some("order-17.a_B"), None);
        assert_eq!(kept.request_id.as_str(), "order-17.a_B");
        for bad in ["", "a b", "a\nb", &"x".repeat(65), "é"] {
            assert_eq!(RequestContext::new(Some(bad), None).request_id.as_str().len(), 32);
        }
    }

    #[tokio::test]
    async fn a_deadline_can_be_drawn_nearer_and_never_put_off() {
        assert_eq!(time_left(), None);
        let context = RequestContext::new(None, None);
        assert_eq!(context.scope(async { time_left() }).await, None);
        let left = context.scope(within(Duration::from_secs(9), async {
            within(Duration::from_mins(1), async { time_left() }).await
        }));
        assert!(left.await.unwrap() <= Duration::from_secs(9));
        let over = context.by(Instant::now()).scope(within(Duration::from_secs(9), async { time_left() }));
        assert_eq!(over.await, Some(Duration::ZERO));
    }

    #[test]
    fn a_trace_goes_on_under_its_id_with_a_span_of_our_own() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = RequestContext::new(None, Some(header)).trace;
        assert_eq!(trace.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let onward = trace.to_header();
        assert!(onward.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && onward.ends_with("-01"));
        assert!(!onward.contains("00f067aa0ba902b7"));
    }

    #[test]
    fn a_malformed_traceparent_starts_a_new_trace() {
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        assert!(TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra").is_some());
    }
}

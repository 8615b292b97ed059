//! Bodies: JSON, and forms where a call takes them.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::header,
    web::{Bytes, BytesMut},
};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, Visitor},
};

use crate::problem::{Error, FieldError};

/// The largest body that [`Json`] and [`FormOrJson`] take.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a client has for a body; in the app data of every service. Without it, 30 seconds.
#[derive(Clone, Copy, Debug)]
pub struct BodyTimeout(pub Duration);

impl BodyTimeout {
    /// What holds for a request.
    pub fn of(request: &HttpRequest) -> Self {
        request.app_data::<Self>().copied().unwrap_or(Self(Duration::from_secs(30)))
    }

    /// Waits for what a client is to send, but no longer than it has time.
    pub(crate) async fn limit<T>(self, received: impl Future<Output = T>) -> Result<T, Error> {
        let mut received = pin!(received);
        // Nearly always it is there already, and no timer is needed.
        if let Some(received) = received.as_mut().now_or_never() {
            return Ok(received);
        }
        let late = |_| Error::InvalidRequest("The body did not come in time.".to_owned());
        tokio::time::timeout(self.0, received).await.map_err(late)
    }
}

/// A body of `application/json`.
///
/// A body that does not come in time ([`BodyTimeout`]) or breaks off is 400 `invalid_request`. Malformed JSON is 400 `invalid_request`; a member that is unknown, missing, double or of a wrong type is 422
/// `validation_failed` and names it; another media type is 415; more than [`MAX_BODY_BYTES`] is 413.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// A body of `application/json` or `application/x-www-form-urlencoded`.
#[derive(Debug)]
pub struct FormOrJson<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = request.content_type().to_ascii_lowercase();
        let body = read(request, payload);
        Box::pin(async move {
            if media_type != "application/json" {
                return Err(Error::UnsupportedMediaType { expected: "application/json" });
            }
            from_json(&body.await?).map(Self)
        })
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for FormOrJson<T> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = request.content_type().to_ascii_lowercase();
        let body = read(request, payload);
        Box::pin(async move {
            match media_type.as_str() {
                "application/json" => from_json(&body.await?).map(Self),
                "application/x-www-form-urlencoded" => from_form(&body.await?).map(Self),
                _ => Err(Error::UnsupportedMediaType {
                    expected: "application/json or application/x-www-form-urlencoded",
                }),
            }
        })
    }
}

fn read(request: &HttpRequest, payload: &mut Payload) -> impl Future<Output = Result<Bytes, Error>> + use<> {
    let encoded = request
        .headers()
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let timeout = BodyTimeout::of(request);
    let payload = payload.take();
    async move {
        if encoded {
            return Err(Error::UnsupportedMediaType { expected: "a body without Content-Encoding" });
        }
        if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(TOO_LARGE);
        }
        timeout.limit(receive(payload)).await?
    }
}

const TOO_LARGE: Error = Error::PayloadTooLarge { limit_bytes: MAX_BODY_BYTES };

async fn receive(mut payload: Payload) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let broken =
            |_| Error::InvalidRequest("The body broke off before its end, or is cut into pieces wrongly.".to_owned());
        let chunk = chunk.map_err(broken)?;
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(TOO_LARGE);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let text = str::from_utf8(body).map_err(|_| Error::InvalidRequest("The body is not valid UTF-8.".to_owned()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_data() {
            data_error(&path, &cause.to_string())
        } else {
            Error::InvalidRequest(format!("The body is not well-formed JSON: {cause}."))
        }
    })?;
    deserializer.end().map_err(|cause| Error::InvalidRequest(format!("The body is not well-formed JSON: {cause}.")))?;
    // serde would take an array, too, as the values of a struct in the order of its fields.
    if text.trim_ascii_start().starts_with('[') {
        return Err(data_error("", "expected an object"));
    }
    Ok(value)
}

pub(super) fn from_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let pairs = serde_html_form::Deserializer::from_bytes(body);
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let path = error.path().to_string();
        data_error(&path, &error.into_inner().to_string())
    })
}

/// Turns what serde says of a member into an entry of `errors`, without the value.
pub(super) fn data_error(path: &str, message: &str) -> Error {
    let message = message.split(" at line ").next().unwrap_or(message);
    let quoted = |prefix: &str| message.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
    let parent = path.trim_start_matches('.');
    let join = |name: &str| match parent {
        "" | "?" => name.to_owned(),
        parent if parent == name || parent.ends_with(&format!(".{name}")) => parent.to_owned(),
        parent => format!("{parent}.{name}"),
    };
    let (field, code, message) = if let Some(name) = quoted("unknown field `") {
        (join(name), "unknown", "This member is not known here.".to_owned())
    } else if let Some(name) = quoted("missing field `") {
        (join(name), "required", "This field is required.".to_owned())
    } else if let Some(name) = quoted("duplicate field `") {
        (join(name), "duplicate", "This member stands there more than once.".to_owned())
    } else {
        let expected = message.rsplit_once("expected ").map_or("another value", |(_, expected)| expected);
        (parent.to_owned(), "invalid_type", format!("Expected {expected}."))
    };
    Error::Validation(vec![FieldError { field, code: code.into(), message }])
}

/// A whole number. JSON has but one kind of numbers, so `36.0` is one, too (JSON Schema, 4.2.3): some languages write it
/// so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(pub i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() != 0.0 {
                    return Err(E::invalid_type(de::Unexpected::Float(number), &self));
                }
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "what is out of range becomes the nearest end of it"
                )]
                Ok(Whole(number as i64))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// For a member of a PATCH that may be `null`: tells "set to null" (`Some(None)`) from "not there" (`None`).
/// Use it with `#[serde(default, deserialize_with = "present")]`.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

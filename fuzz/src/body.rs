//! Bodies and queries as handlers take them: JSON, forms, and what stands behind the question mark.

use actix_web::{FromRequest as _, dev::Payload, error::PayloadError, http::StatusCode, test::TestRequest, web::Bytes};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde::Deserialize;
use service_kit::{
    Error,
    http::{FormOrJson, Limit, MAX_BODY_BYTES, Query, Whole, present},
    problem::respond,
};
use url::form_urlencoded;

use crate::{at_once, cut};

/// What calls with a body have in them, in one.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::option_option, reason = "not there, null and a value are three things to say")]
struct Body {
    name: String,
    note: Option<String>,
    #[serde(default, deserialize_with = "present")]
    email: Option<Option<String>>,
    age: Option<Whole>,
    flag: Option<bool>,
    #[serde(default)]
    roles: Vec<String>,
}

/// The same of a query, whose parameters may be anybody's.
#[derive(Debug, Deserialize)]
struct Parameters {
    #[serde(default)]
    limit: Limit,
    cursor: Option<String>,
    q: Option<String>,
    min_age: Option<i64>,
    all: Option<bool>,
}

/// A byte that says how the body is cut, and a body of JSON.
pub(crate) fn enter_json(data: &[u8]) {
    let Some((seed, body)) = data.split_first() else { return };
    let read = read("application/json", body, *seed);
    let expected = serde_json::from_slice::<Body>(body).ok().filter(|_| body.trim_ascii_start().starts_with(b"{"));
    match read {
        Ok(body) => assert_eq!(Some(body), expected),
        Err(error) => {
            assert!(expected.is_none() || body.len() > MAX_BODY_BYTES, "{error} for {expected:?}");
            assert_well_worded(&error);
        }
    }
}

/// A byte that says how the body is cut, and a form.
pub(crate) fn enter_form(data: &[u8]) {
    let Some((seed, form)) = data.split_first() else { return };
    let fields: Vec<_> = form_urlencoded::parse(form).into_owned().collect();
    let values = |name: &str| {
        fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    match read("application/x-www-form-urlencoded", form, *seed) {
        Ok(body) => {
            assert_eq!([body.name.as_str()], values("name")[..]);
            assert_eq!(body.roles, values("roles"));
            let email = body.email.flatten();
            for (name, value) in [("note", &body.note), ("email", &email)] {
                let given: Vec<_> = values(name).into_iter().filter(|value| !value.is_empty()).collect();
                let taken: Vec<_> = value.iter().map(String::as_str).filter(|value| !value.is_empty()).collect();
                assert_eq!(taken, given, "{name}");
                assert!(values(name).len() < 2, "{name} is there twice");
            }
            for (name, value) in
                [("age", body.age.map(|Whole(age)| age.to_string())), ("flag", body.flag.map(|flag| flag.to_string()))]
            {
                assert!(values(name).len() < 2, "{name} is there twice");
                assert!(value.is_none() || !values(name).is_empty(), "{name} is made up");
            }
            let known = ["name", "note", "email", "age", "flag", "roles"];
            assert!(fields.iter().all(|(name, _)| known.contains(&name.as_str())), "{fields:?}");
        }
        Err(error) => assert_well_worded(&error),
    }
}

/// What stands behind the question mark.
pub(crate) fn enter_query(data: &[u8]) {
    let Ok(query) = str::from_utf8(data) else { return };
    let Ok(uri) = format!("/?{query}").parse::<actix_web::http::Uri>() else { return };
    let query = uri.query().unwrap_or_default();
    let request = TestRequest::with_uri(&format!("/?{query}")).to_http_request();
    let read =
        Query::<Parameters>::from_request(&request, &mut Payload::None).now_or_never().expect("it takes no await");
    let values = |name: &str| {
        let fields = form_urlencoded::parse(query.as_bytes()).into_owned();
        fields.filter(|(other, _)| other == name).map(|(_, value)| value).collect::<Vec<_>>()
    };
    match read {
        Ok(Query(parameters)) => {
            assert!((1..=200).contains(&parameters.limit.get()));
            for (name, value) in [("cursor", parameters.cursor), ("q", parameters.q)] {
                let value = value.unwrap_or_default();
                assert_eq!(value, values(name).concat(), "{name}");
            }
            for (name, given) in [("min_age", parameters.min_age.is_some()), ("all", parameters.all.is_some())] {
                assert!(!given || values(name).len() == 1, "{name}");
            }
        }
        Err(error) => assert_well_worded(&error),
    }
}

fn read(media_type: &str, body: &[u8], seed: u8) -> Result<Body, Error> {
    let whole = read_in_pieces(media_type, body, 0);
    let pieces = read_in_pieces(media_type, body, seed);
    assert_eq!(
        pieces.as_ref().map_err(ToString::to_string),
        whole.as_ref().map_err(ToString::to_string),
        "the body means something else in pieces"
    );
    whole
}

fn read_in_pieces(media_type: &str, body: &[u8], seed: u8) -> Result<Body, Error> {
    let request = TestRequest::post().insert_header(("content-type", media_type)).to_http_request();
    let pieces: Vec<Result<Bytes, PayloadError>> =
        cut(body, seed).into_iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let mut payload = Payload::from(stream::iter(pieces).boxed_local());
    at_once(FormOrJson::<Body>::from_request(&request, &mut payload)).map(|FormOrJson(body)| body)
}

/// A refusal is the client's fault, and goes out as a problem.
fn assert_well_worded(error: &Error) {
    let response = respond(error);
    let status = response.status();
    assert!(
        [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY, StatusCode::PAYLOAD_TOO_LARGE].contains(&status),
        "{status} {error}"
    );
    let body = actix_web::body::MessageBody::try_into_bytes(response.into_body()).expect("it is in memory");
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], status.as_u16());
}

//! The query of a URL.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use serde::de::DeserializeOwned;

use super::body::from_form;
use crate::problem::Error;

/// The parameters of a query. Those that a call does not know are passed over; a value that it cannot take is 422
/// `validation_failed`.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(from_form(request.query_string().as_bytes()).map(Self))
    }
}

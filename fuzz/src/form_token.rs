//! A token in a form (RFC 6750, 2.2): it is taken out, and the other fields come through as they were, however the body
//! is cut.

use actix_web::{
    FromRequest as _, HttpMessage as _, HttpResponse,
    dev::{Payload, Service as _, ServiceRequest, Transform as _, fn_service},
    error::PayloadError,
    test::TestRequest,
    web::{self, Bytes},
};
use futures_util::{StreamExt as _, stream};
use shared_claims::{
    AnyToken,
    actix::{Authorized, BearerConfig, FormToken, Sources},
};
use url::form_urlencoded;

use crate::{at_once, cut, signed::KEYS};

/// A byte that says how the form is cut, and the form. A `$` stands for a genuine token.
pub(crate) fn enter(data: &[u8]) {
    let Some((seed, form)) = data.split_first() else { return };
    let genuine = KEYS[0].genuine.as_bytes();
    let form = form.split(|byte| *byte == b'$').collect::<Vec<_>>().join(genuine);
    let (taken, rest) = pass(&form, *seed);
    assert_eq!((taken, &rest), (pass(&form, 0).0, &pass(&form, 0).1), "the form means something else in pieces");
    if form.len() > 64 * 1024 {
        assert!(!taken && rest == form);
        return;
    }
    let fields = |form: &[u8]| form_urlencoded::parse(form).into_owned().collect::<Vec<_>>();
    let (tokens, others): (Vec<_>, Vec<_>) = fields(&form).into_iter().partition(|(name, _)| name == "access_token");
    assert_eq!(fields(&rest), others);
    assert_eq!(taken, tokens.len() == 1 && tokens[0].1.as_bytes() == genuine);
}

/// Whether the caller came in, and the form that the handler saw.
fn pass(form: &[u8], seed: u8) -> (bool, Vec<u8>) {
    at_once(async {
        let handler = fn_service(|mut request: ServiceRequest| async move {
            let authorized = Authorized::<AnyToken>::from_request(request.request(), &mut Payload::None).await;
            let mut body = Vec::new();
            let mut payload = request.take_payload();
            while let Some(piece) = payload.next().await {
                body.extend_from_slice(&piece?);
            }
            request.extensions_mut().insert((authorized.is_ok(), body));
            Ok(request.into_response(HttpResponse::Ok().finish()))
        });
        let service = FormToken.new_transform(handler).await.unwrap();
        let sources = Sources { x_access_token: false, query: false, form: true };
        let mut request = TestRequest::post()
            .insert_header(("content-type", "application/x-www-form-urlencoded"))
            .app_data(web::Data::new(KEYS[0].verifier.clone()))
            .app_data(BearerConfig::default().sources(sources))
            .to_srv_request();
        let pieces: Vec<Result<Bytes, PayloadError>> =
            cut(form, seed).into_iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        request.set_payload(Payload::from(stream::iter(pieces).boxed_local()));
        let response: Result<_, actix_web::Error> = service.call(request).await;
        let request = response.unwrap().into_parts().0;
        request.extensions_mut().remove::<(bool, Vec<u8>)>().unwrap()
    })
}

//! How a client proves who it is (RFC 6749, 2.3): its id and secret in the header `Authorization: Basic`, or in the body.

use std::{
    convert::Infallible,
    future::{Ready, ready},
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use service_kit::Secret;
use utoipa::ToSchema;

use crate::{
    app::State,
    domain::{Client, ClientId, ClientSecret, SecretHash},
    error::OAuthError,
};

/// What the header `Authorization` holds.
pub(crate) enum Authorization {
    /// There is none, or of a scheme that proves nothing about a client.
    None,
    /// An id and a secret.
    Basic { id: String, secret: ClientSecret },
    /// A token.
    Bearer,
    /// `Basic`, but what follows cannot be read.
    Unreadable,
    /// More than one.
    Repeated,
}

impl FromRequest for Authorization {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut values = request.headers().get_all(header::AUTHORIZATION);
        let authorization = match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(_), Some(_)) => Self::Repeated,
            (Some(value), None) => value.to_str().map_or(Self::None, Self::read),
        };
        ready(Ok(authorization))
    }
}

impl Authorization {
    fn read(value: &str) -> Self {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("Bearer") {
            Self::Bearer
        } else if scheme.eq_ignore_ascii_case("Basic") {
            basic(rest.trim_matches(' '))
                .map_or(Self::Unreadable, |(id, secret)| Self::Basic { id, secret: Secret::from(secret).into() })
        } else {
            Self::None
        }
    }
}

/// Both halves are encoded like a form's before they are joined (RFC 6749, 2.3.1). Our ids and secrets have no character
/// for which that makes a difference to those who forget it.
fn basic(encoded: &str) -> Option<(String, String)> {
    let joined = Secret::from(String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?);
    let (id, secret) = joined.expose().split_once(':')?;
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8().ok().map(Into::into)
    };
    Some((decoded(id)?, decoded(secret)?))
}

/// The parameters in a body that have to do with the client.
pub(crate) struct ClientParameters {
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<Secret>,
}

/// The body of an introspection and of a revocation. The parameter `token_type_hint` is passed over, as RFC 7662, 2.1 and
/// RFC 7009, 2.1 allow: a token shows by itself what it is.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TokenParameters {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required, min_length = 1)]
    token: Option<Secret>,
    #[serde(default, deserialize_with = "given")]
    client_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    client_secret: Option<Secret>,
}

impl TokenParameters {
    /// The client's part, and the token, which must be there.
    pub(crate) fn into_parts(self) -> (ClientParameters, Result<Secret, OAuthError>) {
        let Self { token, client_id, client_secret } = self;
        let token = token.ok_or_else(|| OAuthError::InvalidRequest("The parameter token is required.".to_owned()));
        (ClientParameters { client_id, client_secret }, token)
    }
}

/// A parameter without a value counts as one that was left out (RFC 6749, 3.2).
pub(crate) fn given<'de, T: From<String>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()).map(T::from))
}

/// The client behind a request; nothing for a public one, which has no secret.
///
/// Fails where a client tries and does not succeed, where it tries in two ways, and where a registered client leaves its
/// secret out.
pub(crate) async fn authenticate(
    state: &State,
    authorization: Authorization,
    parameters: ClientParameters,
) -> Result<Option<Client>, OAuthError> {
    let refuse = |detail: &str| Err(OAuthError::InvalidRequest(detail.to_owned()));
    let ClientParameters { client_id, client_secret } = parameters;
    let (id, secret) = match (authorization, client_secret) {
        (Authorization::Repeated, _) => return refuse("There is more than one Authorization header."),
        (Authorization::Unreadable, None) => return Err(OAuthError::InvalidClient),
        (Authorization::Basic { .. } | Authorization::Unreadable, Some(_)) => {
            return refuse("The client proves who it is in more than one way.");
        }
        (Authorization::Basic { id, secret }, None) => {
            if client_id.is_some_and(|other| other != id) {
                return refuse("The parameter client_id names another client than the header Authorization.");
            }
            (id, secret)
        }
        (Authorization::None | Authorization::Bearer, Some(secret)) => match client_id {
            Some(id) => (id, secret.into()),
            None => return refuse("The parameter client_secret needs the parameter client_id."),
        },
        (Authorization::None | Authorization::Bearer, None) => {
            // A public client may call itself anything but what a client with a secret is called.
            return match client_id.as_deref().and_then(ClientId::parse) {
                Some(id) if state.clients.find(&id).await?.is_some() => Err(OAuthError::InvalidClient),
                _ => Ok(None),
            };
        }
    };
    let client = match ClientId::parse(&id) {
        Some(id) => state.clients.find(&id).await?,
        None => None,
    };
    // A client that nobody knows takes as long as a wrong secret.
    let nobody = SecretHash::from_stored("0".repeat(64));
    let matches = client.as_ref().map_or(&nobody, |client| &client.secret_hash).matches(&secret);
    let client = client.filter(|_| matches).ok_or(OAuthError::InvalidClient)?;
    if let Err(cause) = state.clients.note_use(&client, state.clock.now()).await {
        // The client has proved who it is: it need not suffer for our bookkeeping.
        log::warn!("the use of a client could not be noted: {cause}");
    }
    Ok(Some(client))
}

/// The client behind a request that only clients with a secret may make.
pub(crate) async fn demand(
    state: &State,
    authorization: Authorization,
    parameters: ClientParameters,
) -> Result<Client, OAuthError> {
    authenticate(state, authorization, parameters).await?.ok_or(OAuthError::InvalidClient)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Option<(String, String)> {
        match Authorization::read(value) {
            Authorization::Basic { id, secret } => Some((id, secret.expose().to_owned())),
            _ => None,
        }
    }

    #[test]
    fn both_halves_of_the_header_are_decoded_like_a_form() {
        let encoded = |text: &str| read(&format!("basic  {}", STANDARD.encode(text)));
        let halves = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(encoded("cli_a-b:scs_c-d"), halves("cli_a-b", "scs_c-d"));
        assert_eq!(encoded("cli%5Fa%2Db:scs%5fc%2dd"), halves("cli_a-b", "scs_c-d"));
        assert_eq!(encoded("a+b:c%3Ad:e"), halves("a b", "c:d:e"));
        assert_eq!(encoded(":"), halves("", ""));
        assert_eq!(encoded("100%:%zz"), halves("100%", "%zz"));
    }

    proptest! {
        #[test]
        fn an_id_and_a_secret_of_any_characters_come_back(id in ".{0,20}", secret in ".{0,20}") {
            let joined = [&id, &secret].map(|half| utf8_percent_encode(half, NON_ALPHANUMERIC).to_string()).join(":");
            prop_assert_eq!(read(&format!("Basic {}", STANDARD.encode(joined))), Some((id, secret)));
        }

        #[test]
        fn any_header_is_read_without_a_panic(value in ".{0,60}|(?i:basic) [A-Za-z0-9+/=]{0,40}") {
            let _ = Authorization::read(&value);
        }
    }

    #[test]
    fn a_header_that_cannot_be_read_is_told_from_one_of_another_scheme() {
        for value in ["Basic", "Basic ", "Basic !", "Basic YTpi=", "Basic YQ==", "Basic /////w==", "basic %"] {
            assert!(matches!(Authorization::read(value), Authorization::Unreadable), "{value}");
        }
        for value in ["", "Digest x", "Basicx YTpi"] {
            assert!(matches!(Authorization::read(value), Authorization::None), "{value}");
        }
        assert!(matches!(Authorization::read("bEaReR x"), Authorization::Bearer));
    }
}

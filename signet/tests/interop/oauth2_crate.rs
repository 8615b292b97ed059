//! The crate `oauth2` against a running stack.

use std::{convert::Infallible, future::Future};

use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, IntrospectionUrl, RequestTokenError,
    ResourceOwnerPassword, ResourceOwnerUsername, RevocationUrl, Scope, StandardRevocableToken,
    TokenIntrospectionResponse as _, TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicErrorResponseType, BasicTokenType},
};
use serde_json::Value;

use crate::{
    ring::Kind,
    stack::{Credentials, PASSWORD, TestStack, get},
};

/// The closure that the crate sends its requests with.
///
/// The crate demands https of the revocation endpoint and has no switch for loopback, so the test names that endpoint by
/// https, and here is where TLS would begin.
fn send(
    http: &reqwest::Client,
    request: HttpRequest,
) -> impl Future<Output = Result<HttpResponse, Infallible>> + use<> {
    let http = http.clone();
    async move {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().replacen("https://127.0.0.1", "http://127.0.0.1", 1);
        let response = http.request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
        let mut answer = HttpResponse::default();
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        *answer.body_mut() = response.bytes().await.unwrap().to_vec();
        Ok(answer)
    }
}

async fn use_every_endpoint(stack: &TestStack, credentials: &Credentials, auth_type: AuthType, username: &str) {
    let http = |request| send(&stack.http, request);
    let well_known = format!("{}/.well-known/oauth-authorization-server", stack.issuer);
    let metadata: Value = serde_json::from_str(&get(&stack.http, &well_known, None).await.2).unwrap();
    let endpoint = |name: &str| metadata[name].as_str().unwrap().to_owned();
    let revocation = endpoint("revocation_endpoint").replacen("http:", "https:", 1);
    let of_secret = |secret: &str| {
        BasicClient::new(ClientId::new(credentials.id.clone()))
            .set_client_secret(ClientSecret::new(secret.to_owned()))
            .set_auth_type(auth_type.clone())
            .set_token_uri(TokenUrl::new(endpoint("token_endpoint")).unwrap())
            .set_introspection_url(IntrospectionUrl::new(endpoint("introspection_endpoint")).unwrap())
            .set_revocation_url(RevocationUrl::new(revocation.clone()).unwrap())
    };
    let client = of_secret(&credentials.secret);

    let persons = || Scope::new("persons:read".to_owned());
    let own = client.exchange_client_credentials().add_scope(persons()).request_async(&http).await.unwrap();
    assert_eq!(own.token_type(), &BasicTokenType::Bearer);
    assert_eq!(own.scopes(), Some(&vec![persons()]));
    assert!(own.refresh_token().is_none() && own.expires_in().is_some());

    let name = ResourceOwnerUsername::new(username.to_owned());
    let password = ResourceOwnerPassword::new(PASSWORD.to_owned());
    let first = client.exchange_password(&name, &password).request_async(&http).await.unwrap();
    let me = format!("{}/auth/me", stack.issuer);
    let (status, _, body) = get(&stack.http, &me, Some(first.access_token().secret())).await;
    assert_eq!(status, 200, "{body}");
    let subject = serde_json::from_str::<Value>(&body).unwrap()["sub"].as_str().unwrap().to_owned();

    let second = client.exchange_refresh_token(first.refresh_token().unwrap()).request_async(&http).await.unwrap();
    let refresh_token = second.refresh_token().unwrap();
    assert_ne!(refresh_token.secret(), first.refresh_token().unwrap().secret());
    assert_ne!(second.access_token().secret(), first.access_token().secret());

    let told = client.introspect(second.access_token()).request_async(&http).await.unwrap();
    assert!(told.active());
    assert_eq!(told.sub(), Some(subject.as_str()));
    assert_eq!(told.client_id().map(|id| id.as_str()), Some(credentials.id.as_str()));
    assert_eq!(told.iss(), Some(stack.issuer.as_str()));

    let access_token = StandardRevocableToken::AccessToken(second.access_token().clone());
    client.revoke_token(access_token).unwrap().request_async(&http).await.unwrap();
    assert!(!client.introspect(second.access_token()).request_async(&http).await.unwrap().active());
    assert_eq!(get(&stack.http, &me, Some(second.access_token().secret())).await.0, 401);
    let revoked = StandardRevocableToken::RefreshToken(refresh_token.clone());
    client.revoke_token(revoked).unwrap().request_async(&http).await.unwrap();

    let refused = |error: RequestTokenError<_, oauth2::basic::BasicErrorResponse>| match error {
        RequestTokenError::ServerResponse(response) => response.error().clone(),
        other => panic!("{other:?}"),
    };
    let again = client.exchange_refresh_token(refresh_token).request_async(&http).await.unwrap_err();
    assert_eq!(refused(again), BasicErrorResponseType::InvalidGrant);
    let wrong = of_secret("wrong").exchange_client_credentials().request_async(&http).await.unwrap_err();
    assert_eq!(refused(wrong), BasicErrorResponseType::InvalidClient);
}

#[actix_web::test]
async fn the_crate_oauth2_uses_every_endpoint_with_the_secret_in_either_place() {
    let mut stack = TestStack::start(Kind::CommonSecret);
    let credentials = stack.client("persons:read").await;
    for (auth_type, email) in [(AuthType::BasicAuth, "ada@example.com"), (AuthType::RequestBody, "eve@example.com")] {
        stack.register(email).await;
        use_every_endpoint(&stack, &credentials, auth_type, email).await;
    }
    stack.stop().await;
}

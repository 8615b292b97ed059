//! What clients may find out by themselves: the endpoints (RFC 8414) and the public keys (RFC 7517).

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web,
};
use serde::Serialize;
use service_kit::Error;
use utoipa::ToSchema;

use crate::{app::State, config::Config, domain::ScopeSet};

/// For as long a copy is good: a new key needs to have been published for longer before it signs.
const CACHE_CONTROL: &str = "public, max-age=300";

/// The metadata of the authorization server (RFC 8414, 2).
#[derive(Serialize, ToSchema)]
pub(crate) struct Metadata {
    issuer: String,
    token_endpoint: String,
    introspection_endpoint: String,
    revocation_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<String>,
    /// There is no authorization endpoint. RFC 8414 demands the member, so it is there and empty, although section 3.2
    /// would leave out what is empty: clients look for it.
    #[schema(value_type = Vec<String>)]
    response_types_supported: [&'static str; 0],
    #[schema(value_type = Vec<String>)]
    grant_types_supported: [&'static str; 3],
    #[schema(value_type = Vec<String>)]
    token_endpoint_auth_methods_supported: [&'static str; 3],
    #[schema(value_type = Vec<String>)]
    introspection_endpoint_auth_methods_supported: [&'static str; 3],
    #[schema(value_type = Vec<String>)]
    revocation_endpoint_auth_methods_supported: [&'static str; 2],
}

impl Metadata {
    /// What a configuration makes of it; the scopes are those that roles can give.
    pub(crate) fn new(config: &Config, scopes: &ScopeSet) -> Self {
        let issuer = config.tokens.issuer.clone();
        let at = |path: &str| format!("{}{path}", issuer.trim_end_matches('/'));
        Self {
            token_endpoint: at("/auth/token"),
            introspection_endpoint: at("/auth/introspect"),
            revocation_endpoint: at("/auth/revoke"),
            jwks_uri: at("/.well-known/jwks.json"),
            scopes_supported: scopes.iter().map(str::to_owned).collect(),
            response_types_supported: [],
            grant_types_supported: ["password", "refresh_token", "client_credentials"],
            token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
            introspection_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "Bearer"],
            revocation_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
            issuer,
        }
    }
}

/// `GET /.well-known/oauth-authorization-server`.
pub(crate) async fn authorization_server(state: web::Data<State>) -> HttpResponse {
    public().json(&state.metadata)
}

/// `GET /.well-known/jwks.json`: the public keys that tokens may be signed with. A common secret is none of them.
pub(crate) async fn jwks(state: web::Data<State>) -> Result<HttpResponse, Error> {
    let body = state.keys.ring().current().public_jwk_set();
    Ok(public().json(body))
}

fn public() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::build(StatusCode::OK);
    response.insert_header((header::CACHE_CONTROL, CACHE_CONTROL));
    response
}

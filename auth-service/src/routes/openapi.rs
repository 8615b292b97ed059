//! What the service tells of its interface: `GET /auth/openapi.json`.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use service_kit::{
    Code, Timestamp,
    openapi::{Answer, Description, Document, Operation},
    problem::codes::{INSUFFICIENT_SCOPE, NOT_FOUND, RATE_LIMITED},
};
use shared_claims::actix::AnyUser;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema, Type,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    audit::{RecordList, UsersRead},
    client_auth::TokenParameters,
    introspect::Introspection,
    metadata::Metadata,
    sessions::{LogOutBody, SessionList},
    token::TokenRequest,
};
use crate::{
    error::{ACCOUNT_DISABLED, EMAIL_TAKEN, INVALID_CREDENTIALS, USERNAME_TAKEN, oauth},
    issue::TokenResponse,
    users::{Credentials, Registration},
};

static DOCUMENT: LazyLock<Document> = LazyLock::new(document);

/// `GET /auth/openapi.json`.
pub(crate) async fn openapi(request: HttpRequest) -> HttpResponse {
    DOCUMENT.respond(&request)
}

/// What user-service takes and shows: described there, and once more here, for services share no types.
pub(crate) mod users {
    use super::{Timestamp, ToSchema};

    /// An e-mail address. Two that differ in case only are the same.
    #[derive(ToSchema)]
    #[schema(format = "idn-email", max_length = 254, examples("ada@example.com"))]
    #[allow(dead_code, reason = "a description")]
    pub(crate) struct Email(String);

    #[derive(ToSchema)]
    #[schema(pattern = "^[A-Za-z0-9._-]{3,32}$", examples("ada"))]
    #[allow(dead_code, reason = "a description")]
    pub(crate) struct Username(String);

    #[derive(ToSchema)]
    #[schema(
        max_length = 200,
        // White space around it is cut off; within there is none but what is no control character.
        pattern = r"^[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]([^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])?[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$",
        examples("Ada Lovelace")
    )]
    #[allow(dead_code, reason = "a description")]
    pub(crate) struct Name(String);

    #[derive(ToSchema)]
    #[schema(format = Password, min_length = 8, max_length = 256, pattern = r"^[^\x00]*$")]
    #[allow(dead_code, reason = "a description")]
    pub(crate) struct NewPassword(String);

    /// A password that is held against a stored hash.
    #[derive(ToSchema)]
    #[schema(format = Password, max_length = 1024, pattern = r"^[^\x00]*$")]
    #[allow(dead_code, reason = "a description")]
    pub(crate) struct PresentedPassword(String);

    /// An e-mail address or a user name, as somebody typed it.
    #[derive(ToSchema)]
    #[schema(pattern = r"^[^\x00]*$")]
    #[allow(dead_code, reason = "a description")]
    pub(crate) struct PresentedName(String);

    #[derive(ToSchema)]
    #[allow(dead_code, reason = "a description")]
    pub(crate) struct User {
        id: String,
        email: Email,
        #[schema(required)]
        username: Option<Username>,
        #[schema(required)]
        name: Option<Name>,
        roles: Vec<String>,
        email_verified: bool,
        disabled: bool,
        created_at: Timestamp,
        updated_at: Timestamp,
        #[schema(minimum = 1)]
        version: i64,
    }
}

/// The claims of an access token (RFC 9068, 2.2).
#[derive(ToSchema)]
#[allow(dead_code, reason = "claims are written by shared-claims, and described here")]
struct Claims {
    /// The issuer.
    iss: String,
    /// The user's id, or the client's own in a client's token.
    sub: String,
    /// The services that the token is meant for.
    aud: Vec<String>,
    /// When it was issued, in seconds since 1970.
    iat: u64,
    /// When it expires, in seconds since 1970.
    exp: u64,
    /// When it begins to be valid, if not at once.
    #[schema(nullable = false)]
    nbf: Option<u64>,
    /// Its own id.
    jti: String,
    /// The session that it was issued in.
    #[schema(nullable = false)]
    sid: Option<String>,
    /// What it allows, separated by spaces.
    #[schema(nullable = false)]
    scope: Option<String>,
    #[schema(nullable = false)]
    roles: Option<Vec<String>>,
    /// The authorization version: a token with a lower one than the user's is dead.
    #[schema(nullable = false)]
    ver: Option<u64>,
    /// The client, in a token that no user stands behind.
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// How the user proved who it is (RFC 8176).
    #[schema(nullable = false)]
    amr: Option<Vec<String>>,
    /// When the user did, in seconds since 1970.
    #[schema(nullable = false)]
    auth_time: Option<u64>,
}

/// A JWK Set (RFC 7517, 5).
#[derive(ToSchema)]
#[allow(dead_code, reason = "the set is written by shared-claims, and described here")]
struct JwkSet {
    keys: Vec<PublicJwk>,
}

/// A public key (RFC 7517, 4).
#[derive(ToSchema)]
#[allow(dead_code, reason = "a description")]
struct PublicJwk {
    /// `OKP`, `EC` or `RSA`.
    kty: String,
    kid: String,
    /// `EdDSA`, `ES256` or `RS256`.
    alg: String,
    /// `sig`.
    #[schema(rename = "use", nullable = false)]
    purpose: Option<String>,
    /// The curve of `OKP` and `EC`.
    #[schema(nullable = false)]
    crv: Option<String>,
    #[schema(nullable = false)]
    x: Option<String>,
    #[schema(nullable = false)]
    y: Option<String>,
    /// The modulus of `RSA`.
    #[schema(nullable = false)]
    n: Option<String>,
    /// The exponent of `RSA`.
    #[schema(nullable = false)]
    e: Option<String>,
}

/// Scopes with spaces between them (RFC 6749, 3.3).
struct ScopeText;

impl PartialSchema for ScopeText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^[ !#-\[\]-~]*$")).into()
    }
}

/// The grants of the token endpoint.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code, reason = "a description")]
pub(super) enum GrantType {
    Password,
    RefreshToken,
    ClientCredentials,
}

fn user() -> Value {
    json!({
        "id": "0193596e-5b1a-7b1c-9d2e-3f4a5b6c7d8e",
        "email": "ada@example.com",
        "username": "ada",
        "name": "Ada Lovelace",
        "roles": ["user"],
        "email_verified": false,
        "disabled": false,
        "created_at": "2026-11-23T12:00:00.000000Z",
        "updated_at": "2026-11-23T12:00:00.000000Z",
        "version": 1,
    })
}

fn tokens() -> Value {
    json!({
        "access_token": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLiJ9.eyJ9.c2lnbmF0dXJl",
        "token_type": "Bearer",
        "expires_in": 900,
        "refresh_token": "c2Vzc2lvbi1udW1iZXItbWFj",
        "scope": "persons:read",
    })
}

fn tokens_with_user() -> Value {
    let mut tokens = tokens();
    tokens["user"] = user();
    tokens
}

fn delivery(operation: Operation) -> Operation {
    operation.header::<String>(
        "X-Session",
        "`cookie`: the refresh token is kept in the cookie `signet_refresh` (`HttpOnly`, `SameSite=Strict`, \
         `Path=/auth`) and left out of the body. Any other value is passed over.",
    )
}

fn tokens_answer(status: u16, text: &str, example: Value) -> Answer {
    Answer::new(status, text).json::<TokenResponse>(example).header("Cache-Control").header("Set-Cookie")
}

fn accounts() -> [Operation; 5] {
    let me = |operation: Operation| {
        operation.any_token().answer(
            Answer::new(200, "The claims")
                .json::<Claims>(json!({
                    "iss": "http://127.0.0.1:8080",
                    "sub": "0193596e-5b1a-7b1c-9d2e-3f4a5b6c7d8e",
                    "aud": ["auth-service", "user-service", "resource-service"],
                    "iat": 1_795_435_200, "exp": 1_795_436_100,
                    "jti": "0193596e-7c2b-7d3c-8e4f-5a6b7c8d9e0f",
                    "sid": "q83vEjRWeJq83vEjRWeJqw",
                    "scope": "persons:read", "roles": ["user"], "ver": 1,
                    "amr": ["pwd"], "auth_time": 1_795_435_200,
                }))
                .header("Cache-Control"),
        )
    };
    [
        delivery(Operation::post("/auth/register", "register", "Registers a user and logs it in"))
            .describe(
                "The password must have a zxcvbn score of 3 or 4, with the user's own data as hints: a schema cannot say \
                 that, and a weaker one is refused with `too_weak`.",
            )
            .form_or_json_body::<Registration>(&json!({
                "email": "ada@example.com", "username": "ada", "password": "violet-anchor-42-meadow",
            }))
            .asks_others()
            .fails(&[EMAIL_TAKEN, USERNAME_TAKEN])
            .answer(tokens_answer(201, "The user, and the tokens of its first session", tokens_with_user())),
        delivery(Operation::post("/auth/login", "logIn", "Logs a user in"))
            .describe("With `email` or `username`, and the password.")
            .form_or_json_body::<Credentials>(&json!({ "username": "ada", "password": "violet-anchor-42-meadow" }))
            .asks_others()
            .fails(&[INVALID_CREDENTIALS, ACCOUNT_DISABLED, RATE_LIMITED])
            .answer(tokens_answer(200, "The user, and the tokens of a new session", tokens_with_user())),
        me(Operation::get("/auth/me", "readClaims", "Who the token says that the caller is")),
        me(Operation::post("/auth/me", "readClaimsByForm", "The same, for clients that send the token in a form")),
        Operation::get("/auth/verify", "verify", "Whether a proxy should let a request pass")
            .describe("For `auth_request` of nginx, ForwardAuth of Traefik and the like.")
            .any_token()
            .query::<ScopeText>("scope", "Scopes that the token must have, separated by spaces.")
            .fails(&[INSUFFICIENT_SCOPE])
            .answer(
                Answer::new(204, "It may pass.")
                    .header("Cache-Control")
                    .header("X-Auth-Subject")
                    .header("X-Auth-Scope")
                    .header("X-Auth-Roles"),
            ),
    ]
}

fn sessions() -> [Operation; 3] {
    [
        delivery(Operation::post("/auth/logout", "logOut", "Ends this session, or all"))
            .describe(
                "Who is meant is told by the access token or, where that has expired, by the refresh token in the body or \
                 the cookie. The session's access tokens are dead at once, everywhere.",
            )
            .token::<AnyUser>()
            .security(&[COOKIE, ""])
            .query::<bool>("all", "Every session of this user.")
            .optional_body::<LogOutBody>(&json!({ "refresh_token": "c2Vzc2lvbi1udW1iZXItbWFj" }))
            .asks_others()
            .answer(Answer::new(204, "It has ended.").header("Cache-Control").header("Set-Cookie")),
        Operation::get("/auth/sessions", "listSessions", "Where the caller is logged in")
            .describe("The newest session first, all on one page.")
            .token::<AnyUser>()
            .asks_others()
            .answer(
                Answer::new(200, "The sessions")
                    .json::<SessionList>(json!({
                        "items": [{
                            "id": "q83vEjRWeJq83vEjRWeJqw",
                            "created_at": "2026-11-23T12:00:00.000000Z",
                            "last_used_at": "2026-11-23T12:10:00.000000Z",
                            "expires_at": "2027-02-21T12:00:00.000000Z",
                            "address": "192.0.2.7",
                            "user_agent": "curl/8.14.1",
                            "current": true,
                        }],
                        "next_cursor": null,
                    }))
                    .header("Cache-Control"),
            ),
        Operation::delete("/auth/sessions/{id}", "endSession", "Ends one of the caller's sessions")
            .token::<AnyUser>()
            .path_parameter::<SessionIdText>("id", "The session's id.")
            .asks_others()
            .fails(&[NOT_FOUND])
            .answer(Answer::new(204, "It has ended.").header("Cache-Control")),
    ]
}

/// A session's id: 128 bits in base64url.
struct SessionIdText;

impl PartialSchema for SessionIdText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9_-]{21}[AQgw]$")).into()
    }
}

/// The name of a user, a client, a service or an action.
struct FilterText;

impl PartialSchema for FilterText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(200))
            .pattern(Some(r"^[^\x00-\x1f\x7f-\x9f]*$"))
            .into()
    }
}

fn log() -> [Operation; 1] {
    [Operation::get("/auth/audit", "readAudit", "Who did what to whom")
        .describe(
            "Log-ins and their failures, sessions that ended and why, reused refresh tokens, changes of users, their \
             roles and passwords, of clients and of keys, and revocations; the newest first, across all services. \
             Filters hold together.",
        )
        .token::<UsersRead>()
        .pages()
        .query::<FilterText>("subject", "Only what was done to the user with this id.")
        .query::<FilterText>("actor", "Only what was done by the user or client with this id, or by this service.")
        .query::<FilterText>("action", "Only this action, such as `login`.")
        .query::<Timestamp>("since", "Only from this time on (RFC 3339).")
        .query::<Timestamp>("until", "Only from before this time (RFC 3339).")
        .asks_others()
        .answer(
            Answer::new(200, "A page of records")
                .json::<RecordList>(json!({
                    "items": [{
                        "id": "0193596e-7c2b-7d3c-8e4f-5a6b7c8d9e0f",
                        "at": "2026-11-23T12:00:00.000000Z",
                        "action": "login",
                        "outcome": "succeeded",
                        "actor": { "type": "user", "id": "0193596e-5b1a-7b1c-9d2e-3f4a5b6c7d8e" },
                        "subject": "0193596e-5b1a-7b1c-9d2e-3f4a5b6c7d8e",
                        "session": "q83vEjRWeJq83vEjRWeJqw",
                        "client_id": null,
                        "address": "192.0.2.7",
                        "user_agent": "curl/8.14.1",
                        "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                        "details": null,
                    }],
                    "next_cursor": null,
                }))
                .header("Cache-Control"),
        )]
}

/// What may go wrong at each of the OAuth endpoints.
const OAUTH_COMMON: &[Code] = &[
    oauth::INVALID_REQUEST,
    oauth::INVALID_CLIENT,
    oauth::BODY_TOO_LARGE,
    oauth::OTHER_MEDIA_TYPE,
    oauth::SERVER_ERROR,
    oauth::TEMPORARILY_UNAVAILABLE,
];

fn oauth_endpoints() -> [Operation; 3] {
    [
        delivery(Operation::post("/auth/token", "token", "Issues tokens (RFC 6749)"))
            .describe(
                "Grants: `password` with `username` (or an e-mail address) and `password`, `refresh_token` with \
                 `refresh_token` (or the cookie), `client_credentials` with the client's secret. Parameters that a grant \
                 does not know are passed over.",
            )
            .in_oauth_form()
            .security(&["", CLIENT, COOKIE])
            .form_or_json_body::<TokenRequest>(&json!({
                "grant_type": "refresh_token", "refresh_token": "c2Vzc2lvbi1udW1iZXItbWFj",
            }))
            .fails(OAUTH_COMMON)
            .fails(&[
                oauth::INVALID_GRANT,
                oauth::INVALID_SCOPE,
                oauth::UNSUPPORTED_GRANT_TYPE,
                oauth::TOO_MANY_ATTEMPTS,
            ])
            .answer(tokens_answer(200, "The tokens; no refresh token for a client itself", tokens())),
        Operation::post("/auth/introspect", "introspect", "Whether a token is good, and what it says (RFC 7662)")
            .describe("For clients with a secret, and for services with a token of their own.")
            .in_oauth_form()
            .security(&[CLIENT, "bearer", ""])
            .form_or_json_body::<TokenParameters>(&json!({ "token": "c2Vzc2lvbi1udW1iZXItbWFj" }))
            .fails(OAUTH_COMMON)
            .fails(&[oauth::INVALID_TOKEN, oauth::INSUFFICIENT_SCOPE])
            .answer(
                Answer::new(200, "What it says; `active: false` and nothing else of one that is not good")
                    .json::<Introspection>(json!({ "active": true, "scope": "persons:read", "token_type": "Bearer" }))
                    .header("Cache-Control"),
            ),
        Operation::post("/auth/revoke", "revoke", "Gives a token back (RFC 7009)")
            .describe("A token that is good for nothing is answered alike: the client has what it wants.")
            .in_oauth_form()
            .security(&[CLIENT, ""])
            .form_or_json_body::<TokenParameters>(&json!({ "token": "c2Vzc2lvbi1udW1iZXItbWFj" }))
            .fails(OAUTH_COMMON)
            .fails(&[oauth::UNAUTHORIZED_CLIENT])
            .answer(Answer::new(200, "It is good for nothing any more.").header("Cache-Control")),
    ]
}

fn well_known() -> [Operation; 2] {
    let issuer = "http://127.0.0.1:8080";
    [
        Operation::get("/.well-known/oauth-authorization-server", "metadata", "The endpoints (RFC 8414)")
            .describe("An issuer with a path has them at this address with that path behind it, too.")
            .answer(
                Answer::new(200, "The metadata")
                    .json::<Metadata>(json!({
                        "issuer": issuer,
                        "token_endpoint": format!("{issuer}/auth/token"),
                        "introspection_endpoint": format!("{issuer}/auth/introspect"),
                        "revocation_endpoint": format!("{issuer}/auth/revoke"),
                        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
                        "scopes_supported": ["persons:read", "persons:write", "users:read", "users:write"],
                        "response_types_supported": [],
                        "grant_types_supported": ["password", "refresh_token", "client_credentials"],
                        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
                        "introspection_endpoint_auth_methods_supported":
                            ["client_secret_basic", "client_secret_post", "Bearer"],
                        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                    }))
                    .header("Cache-Control"),
            ),
        Operation::get("/.well-known/jwks.json", "keys", "The public keys (RFC 7517)")
            .describe("A common secret is none of them.")
            .answer(
                Answer::new(200, "The keys that tokens may be signed with")
                    .json::<JwkSet>(json!({ "keys": [] }))
                    .header("Cache-Control"),
            ),
    ]
}

const CLIENT: &str = "client";
const COOKIE: &str = "refreshCookie";

/// The document.
pub fn document() -> Document {
    let client = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some("A client's id and secret (RFC 6749, 2.3.1); both may stand in the body instead."))
        .build();
    let cookie = ApiKeyValue::with_description(
        "signet_refresh",
        "The refresh token of a browser; read only where `X-Session: cookie` is sent.",
    );
    let one_of = |member: &str| json!({ "required": [member], "properties": { member: { "type": "string" } } });
    Description::new(
        "Tokens and sessions",
        "auth-service: issues tokens and keeps sessions.",
        env!("CARGO_PKG_VERSION"),
        &[
            ("persons:read", "Read persons"),
            ("persons:write", "Create, change and delete persons"),
            ("users:read", "See all users"),
            ("users:write", "Make, change and delete users"),
        ],
    )
    .tag("accounts", "Registration, log-in, and who the caller is")
    .tag("sessions", "Where one is logged in")
    .tag("audit", "Who did what to whom")
    .tag("oauth", "The endpoints of OAuth 2; failures in the form of RFC 6749, 5.2")
    .tag("discovery", "What clients may find out by themselves")
    .security_scheme(CLIENT, SecurityScheme::Http(client))
    .security_scheme(COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)))
    .operations("accounts", accounts())
    .operations("sessions", sessions())
    .operations("audit", log())
    .operations("oauth", oauth_endpoints())
    .operations("discovery", well_known())
    .operations("discovery", [Operation::document("/auth/openapi.json")])
    .rule::<Credentials>(json!({ "oneOf": [one_of("email"), one_of("username")] }))
    .finish()
}

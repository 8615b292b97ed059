//! `/internal/clients`: the operator registers clients, sees them and deletes them.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use service_kit::{
    Error, Timestamp,
    audit::Origin,
    http::{Cursor, Json, Limit, Page, Query},
    peer::Internal,
    validate::{Invalid, Validator},
};
use shared_claims::actix::Authorized;

use super::{delivery::no_store, random_bytes};
use crate::{
    app::State,
    domain::{Client, ClientId, ClientName, ClientSecret, NewClient, ScopeSet, SecretHash},
};

const MAX_SCOPE_CHARACTERS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    name: Option<String>,
    scope: Option<String>,
}

#[derive(Serialize)]
struct ClientResponse {
    client_id: String,
    name: String,
    scope: String,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
}

impl From<Client> for ClientResponse {
    fn from(client: Client) -> Self {
        Self {
            client_id: client.id.as_str().to_owned(),
            name: client.name,
            scope: client.scope.to_string(),
            created_at: client.created_at,
            last_used_at: client.last_used_at,
        }
    }
}

/// The only answer that carries the secret.
#[derive(Serialize)]
struct NewClientResponse<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    name: &'a str,
    scope: String,
    created_at: Timestamp,
}

/// `POST /internal/clients`: registers a client and makes its secret, which is shown this once.
pub(crate) async fn register(
    state: web::Data<State>,
    caller: Authorized<Internal>,
    origin: Origin,
    body: Json<Registration>,
) -> Result<HttpResponse, Error> {
    let mut validator = Validator::new();
    let name = validator.required("name", body.0.name, |name| ClientName::parse(&name));
    let scope = validator.check("scope", parse_scope(&body.0.scope.unwrap_or_default()));
    let (name, scope) = validator.finish_with(name.zip(scope))?;
    let secret = ClientSecret::from_bytes(random_bytes()?);
    let client = NewClient {
        id: ClientId::from_bytes(random_bytes()?),
        name,
        secret_hash: SecretHash::of(&secret),
        scope,
        created_at: state.clock.now(),
    };
    state.clients.insert(client.clone(), origin.by(&caller)).await?;
    Ok(no_store(StatusCode::CREATED).json(NewClientResponse {
        client_id: client.id.as_str(),
        client_secret: secret.expose(),
        name: client.name.as_str(),
        scope: client.scope.to_string(),
        created_at: client.created_at,
    }))
}

fn parse_scope(text: &str) -> Result<ScopeSet, Invalid> {
    if text.chars().count() > MAX_SCOPE_CHARACTERS {
        let message = format!("The scopes must have at most {MAX_SCOPE_CHARACTERS} characters together.");
        return Err(Invalid::new("too_long", message));
    }
    ScopeSet::parse(text).ok_or_else(|| {
        Invalid::new(
            "invalid",
            "These must be scopes with spaces between them, such as \"persons:read persons:write\".",
        )
    })
}

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    limit: Limit,
    cursor: Option<String>,
}

/// What a cursor of this list belongs to.
const LIST: &str = "clients";

/// `GET /internal/clients`: the registered clients, in the order of their ids.
pub(crate) async fn list(
    state: web::Data<State>,
    _caller: Authorized<Internal>,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Error> {
    let ListQuery { limit, cursor } = query.0;
    let after = match cursor {
        Some(cursor) => Cursor::decode(&cursor, &LIST, 1)?.pop(),
        None => None,
    };
    let clients = state.clients.list(after, limit).await?;
    let page = Page::new(clients, limit, |last| Cursor::new(&LIST, vec![last.id.as_str().to_owned()]));
    Ok(no_store(StatusCode::OK).json(page.map(ClientResponse::from)))
}

/// `DELETE /internal/clients/{id}`: removes a client. Its tokens and the sessions that were begun with it end at once.
pub(crate) async fn delete(
    state: web::Data<State>,
    caller: Authorized<Internal>,
    origin: Origin,
    id: web::Path<String>,
) -> Result<HttpResponse, Error> {
    let id = ClientId::parse(&id).ok_or(Error::NotFound)?;
    if !state.clients.delete(&id, origin.by(&caller), state.clock.now()).await? {
        return Err(Error::NotFound);
    }
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}

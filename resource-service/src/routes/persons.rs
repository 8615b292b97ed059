//! Persons, one by one and page by page.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde::{Deserialize, Serialize};
use service_kit::{
    Timestamp,
    http::{Cursor, ETag, IfMatch, Json, Limit, Page, Query, not_modified, present},
    validate::{Invalid, Validator},
};
use shared_claims::actix::Authorized;

use super::{PersonsRead, PersonsWrite, State};
use crate::{
    domain::{Age, Details, Email, List, Name, NewPerson, Person, PersonId, Position, Sort},
    error::Error,
    storage::Put,
};

/// `GET /persons`.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    limit: Limit,
    cursor: Option<String>,
    q: Option<String>,
    min_age: Option<i64>,
    max_age: Option<i64>,
    sort: Option<String>,
}

impl ListQuery {
    fn list(&self) -> Result<List, Error> {
        let mut validator = Validator::new();
        let search = validator.optional("q", self.q.as_deref(), List::parse_search);
        let min_age = validator.optional("min_age", self.min_age, Age::parse);
        let max_age = validator.optional("max_age", self.max_age, Age::parse);
        let sort = validator.optional("sort", self.sort.as_deref(), Sort::parse);
        validator.finish()?;
        Ok(List {
            sort: sort.flatten().unwrap_or_default(),
            search: search.flatten().flatten(),
            min_age: min_age.flatten(),
            max_age: max_age.flatten(),
        })
    }
}

/// `POST /persons`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePerson {
    id: Option<String>,
    name: String,
    email: Option<String>,
    age: Option<i64>,
}

impl CreatePerson {
    fn parse(self) -> Result<NewPerson, Error> {
        let mut validator = Validator::new();
        let id = validator.optional("id", self.id, PersonId::parse);
        let details = parse_details(&mut validator, self.name, self.email, self.age);
        let parsed =
            id.zip(details).map(|(id, details)| NewPerson { id: id.unwrap_or_else(PersonId::generate), details });
        Ok(validator.finish_with(parsed)?)
    }
}

/// `PUT /persons/{id}`: what is not there is none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplacePerson {
    name: String,
    email: Option<String>,
    age: Option<i64>,
}

/// `PATCH /persons/{id}`: what is not there stays, and `null` clears.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::option_option, reason = "not there, null and a value are three things to say")]
pub(crate) struct ChangePerson {
    #[serde(default, deserialize_with = "present")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    age: Option<Option<i64>>,
}

/// What a PATCH says, checked: `None` for what is to stay.
#[derive(Debug)]
#[allow(clippy::option_option, reason = "not there, null and a value are three things to say")]
struct Change {
    name: Option<Name>,
    email: Option<Option<Email>>,
    age: Option<Option<Age>>,
}

impl ChangePerson {
    fn parse(self) -> Result<Change, Error> {
        let mut validator = Validator::new();
        let name = validator.optional("name", self.name, |name| {
            name.map_or_else(|| Err(Invalid::new("required", "A name cannot be removed.")), Name::parse)
        });
        let email = validator.optional("email", self.email, |email| email.map(Email::parse).transpose());
        let age = validator.optional("age", self.age, |age| age.map(Age::parse).transpose());
        validator.finish()?;
        Ok(Change { name: name.flatten(), email: email.flatten(), age: age.flatten() })
    }
}

impl Change {
    fn apply(self, details: &Details) -> Details {
        Details {
            name: self.name.unwrap_or_else(|| details.name.clone()),
            email: self.email.unwrap_or_else(|| details.email.clone()),
            age: self.age.unwrap_or(details.age),
        }
    }
}

fn parse_details(validator: &mut Validator, name: String, email: Option<String>, age: Option<i64>) -> Option<Details> {
    let name = validator.check("name", Name::parse(name));
    let email = validator.optional("email", email, Email::parse);
    let age = validator.optional("age", age, Age::parse);
    Some(Details { name: name?, email: email?, age: age? })
}

/// A person as clients see it.
#[derive(Debug, Serialize)]
struct PersonResponse<'a> {
    id: &'a PersonId,
    name: &'a Name,
    email: Option<&'a Email>,
    age: Option<Age>,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: i64,
}

impl<'a> From<&'a Person> for PersonResponse<'a> {
    fn from(person: &'a Person) -> Self {
        Self {
            id: &person.id,
            name: &person.details.name,
            email: person.details.email.as_ref(),
            age: person.details.age,
            created_at: person.created_at,
            updated_at: person.updated_at,
            version: person.version,
        }
    }
}

/// What a person takes in JSON as a rule, so that a body is written without growing its buffer.
const TYPICAL_PERSON_BYTES: usize = 256;

fn json(value: &impl Serialize, typical_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut body = Vec::with_capacity(typical_bytes);
    serde_json::to_writer(&mut body, value).map_err(Error::internal)?;
    Ok(body)
}

fn respond(mut response: actix_web::HttpResponseBuilder, person: &Person) -> Result<HttpResponse, Error> {
    let body = json(&PersonResponse::from(person), TYPICAL_PERSON_BYTES)?;
    Ok(response.insert_header(ETag(person.version)).content_type("application/json").body(body))
}

/// Lists persons.
pub(crate) async fn list(
    _: Authorized<PersonsRead>,
    state: web::Data<State>,
    Query(query): Query<ListQuery>,
) -> Result<HttpResponse, Error> {
    let list = query.list()?;
    let sort = list.sort;
    let after = match &query.cursor {
        Some(cursor) => {
            let parts = Cursor::decode(cursor, &list, Position::parts(sort))?;
            let position = Position::from_parts(sort, parts).ok_or_else(|| {
                service_kit::Error::InvalidRequest("The cursor is not one that this list gave out.".to_owned())
            })?;
            Some(position)
        }
        None => None,
    };
    let rows = state.persons.page(&list, after.as_ref(), query.limit.plus_one()).await?;
    let page = Page::new(rows, query.limit, |last| Cursor::new(&list, Position::of(last, sort).into_parts()));
    let typical_bytes = (page.items.len() + 1) * TYPICAL_PERSON_BYTES;
    let page = Page { items: page.items.iter().map(PersonResponse::from).collect(), next_cursor: page.next_cursor };
    Ok(HttpResponse::Ok().content_type("application/json").body(json(&page, typical_bytes)?))
}

/// Reads a person.
pub(crate) async fn read(
    _: Authorized<PersonsRead>,
    state: web::Data<State>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let id = existing(path)?;
    let person = state.persons.find(&id).await?.ok_or(service_kit::Error::NotFound)?;
    let tag = ETag(person.version);
    if not_modified(&request, tag) {
        return Ok(HttpResponse::NotModified().insert_header(tag).finish());
    }
    respond(HttpResponse::Ok(), &person)
}

/// Creates a person.
pub(crate) async fn create(
    _: Authorized<PersonsWrite>,
    state: web::Data<State>,
    Json(body): Json<CreatePerson>,
) -> Result<HttpResponse, Error> {
    let person = state.persons.create(body.parse()?, state.clock.now()).await?;
    created(&person)
}

/// Creates or replaces a person.
pub(crate) async fn replace(
    _: Authorized<PersonsWrite>,
    state: web::Data<State>,
    path: web::Path<String>,
    if_match: IfMatch,
    request: HttpRequest,
    Json(body): Json<ReplacePerson>,
) -> Result<HttpResponse, Error> {
    let mut validator = Validator::new();
    let id = validator.check("id", PersonId::parse(path.into_inner()));
    let details = parse_details(&mut validator, body.name, body.email, body.age);
    let new = validator.finish_with(id.zip(details).map(|(id, details)| NewPerson { id, details }))?;
    let only_create = only_create(&request);
    let allow = move |version: Option<i64>| {
        if_match.require(version)?;
        if only_create && version.is_some() {
            return Err(service_kit::Error::PreconditionFailed.into());
        }
        Ok(())
    };
    match state.persons.put(new, state.clock.now(), allow).await? {
        Put::Created(person) => created(&person),
        Put::Replaced(person) => respond(HttpResponse::Ok(), &person),
    }
}

/// Changes some of a person.
pub(crate) async fn change(
    _: Authorized<PersonsWrite>,
    state: web::Data<State>,
    path: web::Path<String>,
    if_match: IfMatch,
    Json(body): Json<ChangePerson>,
) -> Result<HttpResponse, Error> {
    let change = body.parse()?;
    let id = existing(path)?;
    let person = state
        .persons
        .change(id, state.clock.now(), move |person| {
            if_match.require(Some(person.version))?;
            Ok(change.apply(&person.details))
        })
        .await?
        .ok_or(service_kit::Error::NotFound)?;
    respond(HttpResponse::Ok(), &person)
}

/// Deletes a person.
pub(crate) async fn delete(
    _: Authorized<PersonsWrite>,
    state: web::Data<State>,
    path: web::Path<String>,
    if_match: IfMatch,
) -> Result<HttpResponse, Error> {
    let id = existing(path)?;
    let deleted = state.persons.delete(id, move |version| Ok(if_match.require(Some(version))?)).await?;
    if deleted { Ok(HttpResponse::NoContent().finish()) } else { Err(service_kit::Error::NotFound.into()) }
}

fn created(person: &Person) -> Result<HttpResponse, Error> {
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/persons/{}", person.id.as_str())));
    respond(response, person)
}

/// The id in a path that names a person who may exist: there is none under an id that cannot be.
fn existing(path: web::Path<String>) -> Result<PersonId, Error> {
    PersonId::parse(path.into_inner()).map_err(|_| service_kit::Error::NotFound.into())
}

/// Whether `If-None-Match: *` asks to create and never to replace (RFC 9110, 13.1.2).
fn only_create(request: &HttpRequest) -> bool {
    request.headers().get_all(header::IF_NONE_MATCH).any(|value| value.as_bytes().trim_ascii() == b"*")
}

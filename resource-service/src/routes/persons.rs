//! Persons, one by one and page by page.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web,
};
use serde::Deserialize;
use service_kit::{
    TimestampText,
    http::{Cursor, ETag, IfMatch, Json, Limit, Query, Whole, not_modified, present},
    json,
    validate::{Invalid, Validator},
};
use shared_claims::actix::Authorized;
use utoipa::ToSchema;

use super::{PersonsRead, PersonsWrite, State};
use crate::{
    domain::{Age, Details, Email, List, Name, NewPerson, Person, PersonId, PersonRef, Position, Sort},
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
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePerson {
    #[schema(value_type = Option<PersonId>)]
    id: Option<String>,
    #[schema(value_type = Name)]
    name: String,
    #[schema(value_type = Option<Email>)]
    email: Option<String>,
    #[schema(value_type = Option<Age>)]
    age: Option<Whole>,
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
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplacePerson {
    #[schema(value_type = Name)]
    name: String,
    #[schema(value_type = Option<Email>)]
    email: Option<String>,
    #[schema(value_type = Option<Age>)]
    age: Option<Whole>,
}

/// `PATCH /persons/{id}`: what is not there stays, and `null` clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::option_option, reason = "not there, null and a value are three things to say")]
pub(crate) struct ChangePerson {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Name, required = false)]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Email>)]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Age>)]
    age: Option<Option<Whole>>,
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
        let age = validator.optional("age", self.age, |age| age.map(parse_age).transpose());
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

fn parse_details(
    validator: &mut Validator,
    name: String,
    email: Option<String>,
    age: Option<Whole>,
) -> Option<Details> {
    let name = validator.check("name", Name::parse(name));
    let email = validator.optional("email", email, Email::parse);
    let age = validator.optional("age", age, parse_age);
    Some(Details { name: name?, email: email?, age: age? })
}

fn parse_age(number: Whole) -> Result<Age, Invalid> {
    Age::parse(number.0)
}

/// What a person takes in JSON as a rule, so that a body is written without growing its buffer.
const TYPICAL_PERSON_BYTES: usize = 256;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Appends a person as clients see it.
fn push_person(out: &mut Vec<u8>, person: PersonRef<'_>, times: &mut TimestampText) {
    out.extend_from_slice(b"{\"id\":");
    json::push_string(out, person.id);
    out.extend_from_slice(b",\"name\":");
    json::push_string(out, person.name);
    out.extend_from_slice(b",\"email\":");
    match person.email {
        Some(email) => json::push_string(out, email),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"age\":");
    match person.age {
        Some(age) => json::push_integer(out, age.into()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"created_at\":\"");
    out.extend_from_slice(times.of(person.created_at));
    out.extend_from_slice(b"\",\"updated_at\":\"");
    out.extend_from_slice(times.of(person.updated_at));
    out.extend_from_slice(b"\",\"version\":");
    json::push_integer(out, person.version);
    out.push(b'}');
}

/// The body of a page, written while its rows are read: one row more than it holds tells that there is another page.
struct PageBody {
    body: Vec<u8>,
    sort: Sort,
    room: usize,
    times: TimestampText,
    last: Option<Position>,
    more: bool,
}

impl PageBody {
    fn new(limit: Limit, sort: Sort) -> Self {
        let mut body = Vec::with_capacity((limit.get() + 1) * TYPICAL_PERSON_BYTES);
        body.extend_from_slice(b"{\"items\":[");
        Self { body, sort, room: limit.get(), times: TimestampText::default(), last: None, more: false }
    }

    fn push(&mut self, person: PersonRef<'_>) {
        let Some(room) = self.room.checked_sub(1) else {
            self.more = true;
            return;
        };
        self.room = room;
        if self.body.ends_with(b"}") {
            self.body.push(b',');
        }
        push_person(&mut self.body, person, &mut self.times);
        if room == 0 {
            self.last = Some(Position::of(person, self.sort));
        }
    }

    fn finish(mut self, list: &List) -> Vec<u8> {
        self.body.extend_from_slice(b"],\"next_cursor\":");
        match self.last.filter(|_| self.more) {
            Some(end) => json::push_string(&mut self.body, &Cursor::new(list, end.into_parts()).encode()),
            None => self.body.extend_from_slice(b"null"),
        }
        self.body.push(b'}');
        self.body
    }
}

fn respond(mut response: actix_web::HttpResponseBuilder, person: &Person) -> HttpResponse {
    let mut body = Vec::with_capacity(TYPICAL_PERSON_BYTES);
    push_person(&mut body, person.view(), &mut TimestampText::default());
    response.insert_header(ETag(person.version)).insert_header((header::CONTENT_TYPE, JSON)).body(body)
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
    let mut page = PageBody::new(query.limit, sort);
    state.persons.page(&list, after.as_ref(), query.limit.plus_one(), |person| page.push(person)).await?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JSON)).body(page.finish(&list)))
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
    Ok(respond(HttpResponse::Ok(), &person))
}

/// Creates a person.
pub(crate) async fn create(
    _: Authorized<PersonsWrite>,
    state: web::Data<State>,
    Json(body): Json<CreatePerson>,
) -> Result<HttpResponse, Error> {
    let person = state.persons.create(body.parse()?, state.clock.now()).await?;
    Ok(created(&person))
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
        Put::Created(person) => Ok(created(&person)),
        Put::Replaced(person) => Ok(respond(HttpResponse::Ok(), &person)),
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
    Ok(respond(HttpResponse::Ok(), &person))
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

fn created(person: &Person) -> HttpResponse {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use service_kit::Timestamp;

    use super::*;

    type Stored = (String, String, Option<String>, Option<i32>, i64, i64, i64);

    fn stored() -> impl Strategy<Value = Stored> {
        let time = 0..4_000_000_000_000_000i64;
        (".*", ".*", any::<Option<String>>(), any::<Option<i32>>(), time.clone(), time, any::<i64>())
    }

    proptest! {
        #[test]
        fn a_page_says_what_its_rows_say(
            rows in prop::collection::vec(stored(), 0..5),
            limit in 1usize..5,
            descending in any::<bool>(),
        ) {
            let list = List { sort: Sort { descending, ..Sort::default() }, ..List::default() };
            let mut page = PageBody::new(serde_json::from_value(json!(limit)).unwrap(), list.sort);
            for (id, name, email, age, created_at, updated_at, version) in &rows {
                page.push(PersonRef {
                    id,
                    name,
                    email: email.as_deref(),
                    age: *age,
                    created_at: Timestamp::from_micros(*created_at),
                    updated_at: Timestamp::from_micros(*updated_at),
                    version: *version,
                });
            }
            let body = String::from_utf8(page.finish(&list)).unwrap();

            let items = rows.iter().take(limit).map(|(id, name, email, age, created_at, updated_at, version)| json!({
                "id": id,
                "name": name,
                "email": email,
                "age": age,
                "created_at": Timestamp::from_micros(*created_at),
                "updated_at": Timestamp::from_micros(*updated_at),
                "version": version,
            }));
            let next = (rows.len() > limit).then(|| Cursor::new(&list, vec![rows[limit - 1].0.clone()]).encode());
            let expected = json!({ "items": items.collect::<Vec<_>>(), "next_cursor": next });
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap(), expected);
        }
    }
}

//! What the service tells of its interface: `GET /persons/openapi.json`.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use service_kit::{
    Timestamp,
    import::Report,
    openapi::{Answer, Description, Document, Operation},
    problem::codes::{NOT_ACCEPTABLE, NOT_FOUND, PRECONDITION_FAILED, VALIDATION_FAILED},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::{
    PersonsRead, PersonsWrite,
    persons::{ChangePerson, CreatePerson, ReplacePerson},
};
use crate::{
    domain::{Age, Email, Name, PersonId},
    error::PERSON_EXISTS,
};

static DOCUMENT: LazyLock<Document> = LazyLock::new(document);

/// `GET /persons/openapi.json`.
pub(crate) async fn openapi(request: HttpRequest) -> HttpResponse {
    DOCUMENT.respond(&request)
}

/// A person as clients see it.
#[derive(ToSchema)]
#[schema(as = Person)]
#[allow(dead_code, reason = "persons are written straight from their rows, and described here")]
struct PersonShown {
    id: PersonId,
    name: Name,
    #[schema(required)]
    email: Option<Email>,
    #[schema(required)]
    age: Option<Age>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// 1 at first, and 1 more with every change.
    #[schema(minimum = 1)]
    version: i64,
}

/// A page of persons.
#[derive(ToSchema)]
#[allow(dead_code, reason = "pages are written straight from their rows, and described here")]
struct PersonPage {
    items: Vec<PersonShown>,
    /// What to send as `cursor` for the next page; `null` on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What `q` takes.
struct Search;

impl PartialSchema for Search {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(200));
        text.pattern(Some(r"^[^\x00-\x1f\x7f-\x9f]*$")).into()
    }
}

/// What `sort` takes.
struct SortName;

impl PartialSchema for SortName {
    fn schema() -> RefOr<Schema> {
        let names = ["id", "-id", "name", "-name", "age", "-age", "created_at", "-created_at"];
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).default(Some(json!("id"))).into()
    }
}

fn person() -> Value {
    json!({
        "id": "A000055",
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "age": 36,
        "created_at": "2026-11-23T12:00:00.000000Z",
        "updated_at": "2026-11-23T12:00:00.000000Z",
        "version": 1,
    })
}

fn shown(status: u16, text: &str) -> Answer {
    Answer::new(status, text).json::<PersonShown>(person()).header("ETag")
}

fn made() -> Answer {
    shown(201, "The new person").header("Location")
}

const CSV: &str = "id,name,email,age\nA000055,Ada Lovelace,ada@example.com,36\n";
const NDJSON: &str = "{\"id\":\"A000055\",\"name\":\"Ada Lovelace\",\"email\":\"ada@example.com\",\"age\":36}\n";

fn persons() -> [Operation; 6] {
    let id = |operation: Operation| operation.path_parameter::<PersonId>("id", "The person's id.");
    let described = json!({ "name": "Ada Lovelace", "email": "ada@example.com", "age": 36 });
    [
        Operation::get("/persons", "listPersons", "Lists persons")
            .describe("Filters hold together. Persons without an age are in no list that asks for one.")
            .token::<PersonsRead>()
            .pages()
            .query::<Search>("q", "Only persons whose name or e-mail address has this text in it, in whatever case.")
            .query::<Age>("min_age", "Only persons of this age or older.")
            .query::<Age>("max_age", "Only persons of this age or younger.")
            .query::<SortName>("sort", "The order; `-` for descending. Ids settle ties.")
            .asks_others()
            .answer(
                Answer::new(200, "A page of persons")
                    .json::<PersonPage>(json!({ "items": [person()], "next_cursor": null })),
            ),
        Operation::post("/persons", "createPerson", "Creates a person")
            .describe("Without `id` the person gets a UUID of version 7.")
            .token::<PersonsWrite>()
            .json_body::<CreatePerson>(&described)
            .asks_others()
            .fails(&[PERSON_EXISTS])
            .answer(made()),
        id(Operation::get("/persons/{id}", "readPerson", "Reads a person"))
            .token::<PersonsRead>()
            .if_none_match()
            .asks_others()
            .fails(&[NOT_FOUND])
            .answer(shown(200, "The person"))
            .answer(Answer::new(304, "The caller has this version.").header("ETag")),
        id(Operation::put("/persons/{id}", "replacePerson", "Creates or replaces a person"))
            .describe("What the body leaves out is removed. `If-None-Match: *` creates and never replaces.")
            .token::<PersonsWrite>()
            .if_match()
            .header::<String>("If-None-Match", "`*`: only if there is no such person yet.")
            .json_body::<ReplacePerson>(&described)
            .asks_others()
            .fails(&[PRECONDITION_FAILED])
            .answer(shown(200, "The person, replaced"))
            .answer(made()),
        id(Operation::patch("/persons/{id}", "changePerson", "Changes some of a person"))
            .describe("What the body leaves out stays, and `null` clears.")
            .token::<PersonsWrite>()
            .if_match()
            .json_body::<ChangePerson>(&json!({ "age": 37 }))
            .asks_others()
            .fails(&[NOT_FOUND])
            .answer(shown(200, "The person, changed")),
        id(Operation::delete("/persons/{id}", "deletePerson", "Deletes a person"))
            .token::<PersonsWrite>()
            .if_match()
            .asks_others()
            .fails(&[NOT_FOUND])
            .answer(Answer::new(204, "There is no such person any more.")),
    ]
}

fn files() -> [Operation; 2] {
    let report = json!({
        "inserted": 1, "updated": 0, "unchanged": 0, "rejected": 1,
        "errors": [{ "line": 3, "code": "out_of_range", "message": "age: An age is a whole number from 0 to 150." }],
    });
    [
        Operation::post("/persons/import", "importPersons", "Imports a file of persons")
            .describe(
                "Persons are created or replaced by `id`; a line without one creates. Good lines are kept and bad ones \
                 reported, unless `atomic` is set. The file is read as it comes in, so it may be of any size; a record \
                 has 64 KiB at most.",
            )
            .token::<PersonsWrite>()
            .query::<bool>("atomic", "All lines or none: one bad line, and the answer is 422 with the lines in `errors`.")
            .file(
                "CSV with a header that names some of the columns `id`, `name`, `email` and `age`, and `name` at least; \
                 or a JSON object per line.",
                &[("text/csv", CSV), ("application/x-ndjson", NDJSON)],
            )
            .asks_others()
            .fails(&[VALIDATION_FAILED])
            .answer(Answer::new(200, "What became of the lines").json::<Report>(report)),
        Operation::get("/persons/export", "exportPersons", "Exports all persons")
            .describe("In the order of their ids, as `Accept` has it; CSV if it does not matter.")
            .token::<PersonsRead>()
            .asks_others()
            .fails(&[NOT_ACCEPTABLE])
            .answer(
                Answer::new(200, "A file that an import takes")
                    .text("text/csv", CSV)
                    .text("application/x-ndjson", NDJSON)
                    .header("Content-Disposition"),
            ),
    ]
}

/// The document.
pub fn document() -> Document {
    Description::new(
        "Persons",
        "resource-service: persons, one by one, page by page and file by file.",
        env!("CARGO_PKG_VERSION"),
        &[("persons:read", "Read persons"), ("persons:write", "Create, change and delete persons")],
    )
    .tag("persons", "Persons, one by one and page by page")
    .tag("files", "Persons by the file")
    .tag("document", "This document")
    .operations("persons", persons())
    .operations("files", files())
    .operations("document", [Operation::document("/persons/openapi.json")])
    .finish()
}

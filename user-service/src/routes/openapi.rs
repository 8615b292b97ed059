//! What the service tells of its interface: `GET /users/openapi.json`.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use service_kit::{
    http::Page,
    import::Report,
    openapi::{Answer, Description, Document, Operation, not_modified},
    problem::codes::{NOT_FOUND, RATE_LIMITED},
};
use shared_claims::actix::AnyUser;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::{
    UserResponse,
    me::{OwnChanges, PasswordChange},
    users::{AnybodysChanges, Creation, UsersRead, UsersWrite},
};
use crate::{
    domain::{import::Existing, role::Role, user::UserId},
    error::codes::{ACCOUNT_DISABLED, EMAIL_TAKEN, INVALID_CREDENTIALS, USERNAME_TAKEN},
};

static DOCUMENT: LazyLock<Document> = LazyLock::new(document);

/// `GET /users/openapi.json`.
pub(crate) async fn openapi(request: HttpRequest) -> HttpResponse {
    DOCUMENT.respond(&request)
}

/// What `q` takes.
struct Search;

impl PartialSchema for Search {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(200));
        text.pattern(Some(r"^[^\x00-\x1f\x7f-\x9f]*$")).into()
    }
}

/// A password that is held against a stored hash: that may be of one that would not be taken today.
#[derive(ToSchema)]
#[schema(format = Password, max_length = 1024, pattern = r"^[^\x00]*$")]
#[allow(dead_code, reason = "it is described here, and parsed by the domain")]
pub(super) struct PresentedPassword(String);

/// A bcrypt hash that was made elsewhere, of a cost from 4 to 16.
#[derive(ToSchema)]
#[schema(pattern = r"^\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]$")]
#[allow(dead_code, reason = "it is described here, and parsed by the domain")]
pub(super) struct BcryptHash(String);

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

fn shown(status: u16, text: &str) -> Answer {
    Answer::new(status, text).json::<UserResponse>(user()).header("ETag").header("Cache-Control")
}

const STRENGTH: &str = "The password must have a zxcvbn score of 3 or 4, with the user's own data as hints: a schema \
                        cannot say that, and a weaker one is refused with `too_weak`.";

fn own() -> [Operation; 4] {
    [
        Operation::get("/users/me", "readMe", "Reads one's own account")
            .token::<AnyUser>()
            .if_none_match()
            .asks_others()
            .fails(&[ACCOUNT_DISABLED, NOT_FOUND])
            .answer(shown(200, "The caller"))
            .answer(not_modified()),
        Operation::patch("/users/me", "changeMe", "Changes one's own account")
            .describe("What the body leaves out stays, and `null` clears. Another e-mail address is not verified yet.")
            .token::<AnyUser>()
            .if_match()
            .json_body::<OwnChanges>(&json!({ "name": "Ada Lovelace" }))
            .asks_others()
            .fails(&[ACCOUNT_DISABLED, NOT_FOUND, EMAIL_TAKEN, USERNAME_TAKEN])
            .answer(shown(200, "The caller, changed")),
        Operation::delete("/users/me", "deleteMe", "Deletes one's own account")
            .describe("All sessions end, and all tokens die with them.")
            .token::<AnyUser>()
            .if_match()
            .asks_others()
            .fails(&[ACCOUNT_DISABLED, NOT_FOUND])
            .answer(Answer::new(204, "The account is gone.")),
        Operation::put("/users/me/password", "changeMyPassword", "Changes one's own password")
            .describe(&format!("All other sessions end. {STRENGTH}"))
            .token::<AnyUser>()
            .if_match()
            .json_body::<PasswordChange>(&json!({
                "current_password": "violet-anchor-42-meadow",
                "new_password": "seven green herons fishing",
            }))
            .asks_others()
            .fails(&[INVALID_CREDENTIALS, ACCOUNT_DISABLED, NOT_FOUND, RATE_LIMITED])
            .answer(Answer::new(204, "The password is another one.")),
    ]
}

const CSV: &str = "email,username,name,roles,password_hash\n\
                   ada@example.com,ada,Ada Lovelace,user,$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n";
const NDJSON: &str = "{\"email\":\"ada@example.com\",\"roles\":[\"user\"],\
                      \"password_hash\":\"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"}\n";

fn everybodys() -> [Operation; 6] {
    let id = |operation: Operation| operation.path_parameter::<UserId>("id", "The user's id.");
    let report = json!({
        "inserted": 1, "updated": 0, "unchanged": 0, "rejected": 1,
        "errors": [{ "line": 3, "code": "required", "message": "password_hash: This field is required." }],
    });
    [
        Operation::get("/users", "listUsers", "Lists users")
            .describe("In the order in which they were made. Filters hold together.")
            .token::<UsersRead>()
            .pages()
            .query::<Search>("q", "Only users whose address, user name or name has this text in it, in whatever case.")
            .query::<Role>("role", "Only users with this role.")
            .asks_others()
            .answer(
                Answer::new(200, "A page of users")
                    .json::<Page<UserResponse>>(json!({ "items": [user()], "next_cursor": null }))
                    .header("Cache-Control"),
            ),
        Operation::post("/users", "createUser", "Makes a user")
            .describe(&format!(
                "With a `password`, or with the bcrypt hash of one, which is replaced at the user's next log-in. {STRENGTH}"
            ))
            .token::<UsersWrite>()
            .json_body::<Creation>(&json!({ "email": "ada@example.com", "password": "violet-anchor-42-meadow" }))
            .asks_others()
            .fails(&[EMAIL_TAKEN, USERNAME_TAKEN])
            .answer(shown(201, "The new user").header("Location")),
        id(Operation::get("/users/{id}", "readUser", "Reads a user"))
            .token::<UsersRead>()
            .if_none_match()
            .asks_others()
            .fails(&[NOT_FOUND])
            .answer(shown(200, "The user"))
            .answer(not_modified()),
        id(Operation::patch("/users/{id}", "changeUser", "Changes a user"))
            .describe(
                "What the body leaves out stays, and `null` clears. Tokens from before a change of `roles` or `disabled` \
                 are dead at once, and the sessions of a user who is disabled end.",
            )
            .token::<UsersWrite>()
            .if_match()
            .json_body::<AnybodysChanges>(&json!({ "roles": ["user", "editor"] }))
            .asks_others()
            .fails(&[NOT_FOUND, EMAIL_TAKEN, USERNAME_TAKEN])
            .answer(shown(200, "The user, changed")),
        id(Operation::delete("/users/{id}", "deleteUser", "Deletes a user"))
            .describe("All sessions end, and all tokens die with them.")
            .token::<UsersWrite>()
            .if_match()
            .asks_others()
            .fails(&[NOT_FOUND])
            .answer(Answer::new(204, "There is no such user any more.")),
        Operation::post("/users/import", "importUsers", "Imports a file of users with the hashes of their passwords")
            .describe(
                "Whom there is not yet, by e-mail address, is made. Good lines are kept and bad ones reported; the file is \
                 read as it comes in, so it may be of any size, and may be sent again. A password is never overwritten.",
            )
            .token::<UsersWrite>()
            .query::<bool>("dry_run", "Say what would become of the lines, and keep nothing.")
            .query::<Existing>("existing", "What becomes of users whom there are already.")
            .file(
                "CSV with a header that names `email` and `password_hash` and perhaps `username`, `name`, `roles` (with \
                 spaces between them), `email_verified` and `disabled`; or a JSON object per line.",
                &[("text/csv", CSV), ("application/x-ndjson", NDJSON)],
            )
            .asks_others()
            .answer(Answer::new(200, "What became of the lines").json::<Report>(report)),
    ]
}

/// The document.
pub fn document() -> Document {
    let one_of =
        |member: &str, value: &str| json!({ "required": [member], "properties": { member: { "type": value } } });
    Description::new(
        "Users",
        "user-service: who the users are.",
        env!("CARGO_PKG_VERSION"),
        &[("users:read", "See all users"), ("users:write", "Make, change and delete users")],
    )
    .tag("me", "One's own account, whatever one's scopes")
    .tag("users", "Everybody's accounts, for admins")
    .tag("document", "This document")
    .operations("me", own())
    .operations("users", everybodys())
    .operations("document", [Operation::document("/users/openapi.json")])
    .rule::<Creation>(json!({ "oneOf": [one_of("password", "string"), one_of("password_hash", "string")] }))
    .finish()
}

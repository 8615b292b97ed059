//! OpenAPI 3.1 documents: what a service tells of its own interface.
//!
//! A service describes each of its routes with an [`Operation`]. What follows from a handler's arguments, such as the
//! statuses and codes of a token or of a body, comes with the argument: [`Operation::token`], [`Operation::json_body`]
//! and the like. So a description holds only what is the route's own. Schemas are derived from the types that are read
//! and written.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::Bytes,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use shared_claims::actix::Access;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        AllOfBuilder, ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, License, Object, ObjectBuilder,
        OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required, ResponseBuilder, Schema, SecurityRequirement,
        Server, Tag, Type,
        example::ExampleBuilder,
        path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{KnownFormat, SchemaFormat},
        security::{
            ApiKey, ApiKeyValue, ClientCredentials, Flow, HttpAuthScheme, HttpBuilder, OAuth2, Password, Scopes,
            SecurityScheme,
        },
    },
};

use crate::{
    clock::Timestamp,
    http::{Limit, MAX_BODY_BYTES},
    problem::{Code, Problem, codes},
};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const PROBLEM: &str = "application/problem+json";

/// The headers that answers carry. Each is there wherever it is named, except those of [`SOMETIMES`].
const HEADERS: &[(&str, &str)] = &[
    (
        "X-Request-Id",
        "The request's id: the caller's, if it is sane, else a new one. It stands in every line of the log.",
    ),
    ("ETag", "The version, as a strong entity tag: for `If-Match` and `If-None-Match`."),
    ("Location", "Where the new object is."),
    ("Retry-After", "Seconds until another try makes sense."),
    ("WWW-Authenticate", "The scheme that is asked for, and what was wrong (RFC 6750, 3; RFC 7617)."),
    ("Cache-Control", "Who may keep the answer, and for how long."),
    ("Content-Disposition", "The name to save the file under."),
    ("Set-Cookie", "The refresh token, where the request had `X-Session: cookie`."),
    ("X-Auth-Subject", "The claim `sub`."),
    ("X-Auth-Scope", "The claim `scope`."),
    ("X-Auth-Roles", "The claim `roles`, with spaces between them."),
];
const SOMETIMES: &[&str] = &["Set-Cookie"];

/// A finished document.
#[derive(Clone, Debug)]
pub struct Document(Arc<Finished>);

#[derive(Debug)]
struct Finished {
    value: Value,
    body: Bytes,
    etag: String,
}

impl Document {
    /// The document.
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// Answers GET and HEAD: the document, or 304 if the caller has it.
    pub fn respond(&self, request: &HttpRequest) -> HttpResponse {
        let known = request
            .headers()
            .get_all(header::IF_NONE_MATCH)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0.etag);
        let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let mut response = HttpResponse::build(status);
        response.insert_header((header::ETAG, self.0.etag.as_str()));
        response.insert_header((header::CACHE_CONTROL, "no-cache"));
        if known {
            return response.finish();
        }
        response.insert_header((header::CONTENT_TYPE, JSON)).body(self.0.body.clone())
    }
}

type Named = Vec<(String, RefOr<Schema>)>;

/// A document in the making.
pub struct Description {
    title: &'static str,
    text: &'static str,
    version: &'static str,
    scopes: &'static [(&'static str, &'static str)],
    tags: Vec<Tag>,
    schemes: Vec<(&'static str, SecurityScheme)>,
    operations: Vec<Operation>,
    rules: Vec<(String, Value)>,
}

impl std::fmt::Debug for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Description").field("title", &self.title).finish_non_exhaustive()
    }
}

impl Description {
    /// A service by its title, a few words on it, its version, and the scopes that its calls ask for.
    pub fn new(
        title: &'static str,
        text: &'static str,
        version: &'static str,
        scopes: &'static [(&'static str, &'static str)],
    ) -> Self {
        let (tags, schemes, operations, rules) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { title, text, version, scopes, tags, schemes, operations, rules }
    }

    /// A group of operations.
    #[must_use]
    pub fn tag(mut self, name: &str, text: &str) -> Self {
        let mut tag = Tag::new(name);
        tag.description = Some(text.to_owned());
        self.tags.push(tag);
        self
    }

    /// A further way to prove who one is, beside access tokens.
    #[must_use]
    pub fn security_scheme(mut self, name: &'static str, scheme: SecurityScheme) -> Self {
        self.schemes.push((name, scheme));
        self
    }

    /// Operations, all of one group.
    #[must_use]
    pub fn operations(mut self, tag: &str, operations: impl IntoIterator<Item = Operation>) -> Self {
        self.operations.extend(operations.into_iter().map(|operation| operation.tag(tag)));
        self
    }

    /// What else holds for a schema by name: keywords that no derive knows, such as "either this member or that".
    #[must_use]
    pub fn rule<T: ToSchema>(mut self, keywords: Value) -> Self {
        self.rules.push((T::name().into_owned(), keywords));
        self
    }

    /// Puts everything together.
    pub fn finish(self) -> Document {
        let mut schemas = Named::new();
        register::<Problem>(&mut schemas);
        let mut paths: BTreeMap<&str, PathItem> = BTreeMap::new();
        let mut used = BTreeSet::new();
        for mut operation in self.operations {
            schemas.append(&mut operation.schemas);
            let (path, method) = (operation.path, operation.method.clone());
            let item = PathItem::new(method, operation.build(&mut used));
            match paths.get_mut(path) {
                Some(known) => known.merge_operations(item),
                None => {
                    paths.insert(path, item);
                }
            }
        }
        let mut components = ComponentsBuilder::new().schemas_from_iter(schemas);
        for (name, text) in HEADERS.iter().filter(|(name, _)| used.contains(name)) {
            let schema = Object::with_type(if *name == "Retry-After" { Type::Integer } else { Type::String });
            components =
                components.header(*name, HeaderBuilder::new().schema(Some(schema)).description(Some(*text)).build());
        }
        for (name, scheme) in access_token_schemes(self.scopes).into_iter().chain(self.schemes) {
            components = components.security_scheme(name, scheme);
        }
        let paths = paths.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item));
        let license = License::builder().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
        let info = InfoBuilder::new()
            .title(self.title)
            .description(Some(self.text))
            .version(self.version)
            .license(Some(license))
            .build();
        let document = OpenApiBuilder::new()
            .info(info)
            .servers(Some([Server::new("/")]))
            .paths(paths)
            .components(Some(components.build()))
            .tags(Some(self.tags))
            .build();
        // A document that cannot be written would be a fault of this module, and its test finds it.
        let mut value = serde_json::to_value(document).unwrap_or_default();
        for (name, keywords) in self.rules {
            let schema = &mut value["components"]["schemas"][name];
            if let (Some(schema), Value::Object(keywords)) = (schema.as_object_mut(), keywords) {
                schema.extend(keywords);
            }
        }
        describe_forms(&mut value);
        if let Some(headers) = value["components"]["headers"].as_object_mut() {
            for (_, header) in headers.iter_mut().filter(|(name, _)| !SOMETIMES.contains(&name.as_str())) {
                header["required"] = true.into();
            }
        }
        let body = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let etag = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..15]);
        Document(Arc::new(Finished { value, body, etag: format!("\"{etag}\"") }))
    }
}

/// A form has no `null`: the schema of its body is that of the JSON body without it.
fn describe_forms(document: &mut Value) {
    let mut forms = BTreeMap::new();
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(|item| item.values_mut()) {
        let Some(schema) = operation.pointer_mut("/requestBody/content/application~1x-www-form-urlencoded/schema")
        else {
            continue;
        };
        let Some(name) = schema["$ref"].as_str().and_then(|place| place.rsplit('/').next()).map(str::to_owned) else {
            continue;
        };
        let form = format!("{name}Form");
        *schema = json!({ "$ref": format!("#/components/schemas/{form}") });
        forms.insert(form, name);
    }
    for (form, name) in forms {
        let mut schema = document["components"]["schemas"][name].clone();
        for property in schema["properties"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            without_null(property);
        }
        document["components"]["schemas"][form] = schema;
    }
}

fn without_null(schema: &mut Value) {
    if let Some(types) = schema.get("type").and_then(Value::as_array) {
        schema["type"] = types.iter().find(|name| *name != "null").cloned().unwrap_or_default();
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let left: Vec<Value> = choices.iter().filter(|choice| choice["type"] != "null").cloned().collect();
        if let [only] = left.as_slice() {
            *schema = only.clone();
        }
    }
}

const BEARER: &str = "bearer";
const OAUTH: &str = "oauth";
const TUTORIAL_HEADER: &str = "x-access-token";

fn access_token_schemes(scopes: &[(&str, &str)]) -> Vec<(&'static str, SecurityScheme)> {
    let scopes: Scopes = scopes.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let token_url = || "/auth/token".to_owned();
    let flows = [
        Flow::Password(Password::with_refresh_url(token_url(), scopes.clone(), token_url())),
        Flow::ClientCredentials(ClientCredentials::new(token_url(), scopes)),
    ];
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token (RFC 6750, RFC 9068)."))
        .build();
    let header = ApiKeyValue::with_description("x-access-token", "An access token, in the header of many tutorials.");
    vec![
        (BEARER, SecurityScheme::Http(bearer)),
        (OAUTH, SecurityScheme::OAuth2(OAuth2::with_description(flows, "Gets the access token, too (RFC 6749)."))),
        (TUTORIAL_HEADER, SecurityScheme::ApiKey(ApiKey::Header(header))),
    ]
}

/// The form that the failures of an operation have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureForm {
    Problem,
    /// That of RFC 6749, 5.2.
    OAuth,
}

/// One method of one path.
pub struct Operation {
    method: HttpMethod,
    path: &'static str,
    builder: OperationBuilder,
    answers: Vec<Answer>,
    failures: BTreeMap<u16, Vec<Code>>,
    form: FailureForm,
    schemas: Named,
}

impl Operation {
    fn new(method: HttpMethod, path: &'static str, id: &str, summary: &str) -> Self {
        let builder = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        Self {
            method,
            path,
            builder,
            answers: Vec::new(),
            failures: BTreeMap::new(),
            form: FailureForm::Problem,
            schemas: Named::new(),
        }
        .fails(&[codes::INTERNAL])
    }

    /// `GET`, with an id and a summary.
    pub fn get(path: &'static str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Get, path, id, summary)
    }

    /// `POST`.
    pub fn post(path: &'static str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Post, path, id, summary)
    }

    /// `PUT`.
    pub fn put(path: &'static str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Put, path, id, summary)
    }

    /// `PATCH`.
    pub fn patch(path: &'static str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Patch, path, id, summary)
    }

    /// `DELETE`.
    pub fn delete(path: &'static str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Delete, path, id, summary)
    }

    /// The route that serves the document itself.
    pub fn document(path: &'static str) -> Self {
        Self::get(path, "openapi", "This document")
            .answer(
                Answer::new(200, "The document")
                    .header("ETag")
                    .header("Cache-Control")
                    .content(JSON, RefOr::T(Object::with_type(Type::Object).into())),
            )
            .answer(not_modified())
            .if_none_match()
    }

    fn tag(mut self, name: &str) -> Self {
        self.builder = self.builder.tag(name);
        self
    }

    /// What is worth knowing before one calls it; Markdown.
    #[must_use]
    pub fn describe(mut self, text: &str) -> Self {
        self.builder = self.builder.description(Some(text));
        self
    }

    /// Answers failures as RFC 6749, 5.2 has it. Say so first.
    #[must_use]
    pub fn in_oauth_form(mut self) -> Self {
        self.form = FailureForm::OAuth;
        self.failures.clear();
        register::<OAuthFailure>(&mut self.schemas);
        self
    }

    /// Asks for an access token that is let in as `A` has it.
    #[must_use]
    pub fn token<A: Access>(self) -> Self {
        self.any_token_of(A::SCOPE).fails(&[codes::INSUFFICIENT_SCOPE])
    }

    /// Asks for an access token, whosever it is.
    #[must_use]
    pub fn any_token(self) -> Self {
        self.any_token_of(None)
    }

    fn any_token_of(mut self, scope: Option<&str>) -> Self {
        for name in [BEARER, OAUTH, TUTORIAL_HEADER] {
            self.builder = self.builder.security(SecurityRequirement::new(name, scope));
        }
        self.fails(&[
            codes::INVALID_REQUEST,
            codes::TOKEN_MISSING,
            codes::TOKEN_INVALID,
            codes::TOKEN_EXPIRED,
            codes::TOKEN_REVOKED,
            codes::DEPENDENCY_UNAVAILABLE,
        ])
    }

    /// Takes one of these ways to prove who one is.
    #[must_use]
    pub fn security(mut self, schemes: &[&str]) -> Self {
        for name in schemes {
            self.builder = if name.is_empty() {
                self.builder.security(SecurityRequirement::default())
            } else {
                self.builder.security(SecurityRequirement::new::<_, [&str; 0], _>(*name, []))
            };
        }
        self
    }

    /// A part of the path. Nothing is there under one that cannot be.
    #[must_use]
    pub fn path_parameter<T: PartialSchema>(self, name: &str, text: &str) -> Self {
        self.parameter::<T>(ParameterIn::Path, name, text, Required::True)
    }

    /// A parameter of the query.
    #[must_use]
    pub fn query<T: PartialSchema>(self, name: &str, text: &str) -> Self {
        self.parameter::<T>(ParameterIn::Query, name, text, Required::False).fails(&[codes::VALIDATION_FAILED])
    }

    /// A header of the request.
    #[must_use]
    pub fn header<T: PartialSchema>(self, name: &str, text: &str) -> Self {
        self.parameter::<T>(ParameterIn::Header, name, text, Required::False)
    }

    /// `If-Match`: the call is for certain versions only.
    #[must_use]
    pub fn if_match(self) -> Self {
        self.header::<EntityTags>("If-Match", "The versions that the call is for, or `*` for any that is there.")
            .fails(&[codes::PRECONDITION_FAILED, codes::INVALID_REQUEST])
    }

    /// `If-None-Match` on a read.
    #[must_use]
    pub fn if_none_match(self) -> Self {
        self.header::<String>("If-None-Match", "The versions that the caller has: 304 if it is one of them.")
    }

    fn parameter<T: PartialSchema>(mut self, place: ParameterIn, name: &str, text: &str, required: Required) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(text))
            .schema(Some(T::schema()));
        self.builder = self.builder.parameter(parameter);
        self
    }

    /// A list: `limit` and `cursor`.
    #[must_use]
    pub fn pages(self) -> Self {
        self.query::<Limit>("limit", "How many items the page has at most.")
            .query::<CursorText>("cursor", "The `next_cursor` of the page before, of the same list.")
            .fails(&[codes::INVALID_REQUEST])
    }

    /// A body of JSON.
    #[must_use]
    pub fn json_body<T: ToSchema>(self, example: &Value) -> Self {
        self.body::<T>(&[JSON], example, Required::True)
    }

    /// A body of JSON or a form.
    #[must_use]
    pub fn form_or_json_body<T: ToSchema>(self, example: &Value) -> Self {
        self.body::<T>(&[JSON, FORM], example, Required::True)
    }

    /// A body of JSON or a form, or none.
    #[must_use]
    pub fn optional_body<T: ToSchema>(self, example: &Value) -> Self {
        self.body::<T>(&[JSON, FORM], example, Required::False)
    }

    fn body<T: ToSchema>(mut self, media_types: &[&str], example: &Value, required: Required) -> Self {
        register::<T>(&mut self.schemas);
        let schema = || Ref::from_schema_name(T::name());
        let text = format!("At most {MAX_BODY_BYTES} bytes, without `Content-Encoding`.");
        let body = RequestBodyBuilder::new().required(Some(required)).description(Some(text));
        let body = media_types.iter().fold(body, |body, media_type| {
            body.content(
                *media_type,
                ContentBuilder::new().schema(Some(schema())).example(Some(example.clone())).build(),
            )
        });
        self.builder = self.builder.request_body(Some(body.build()));
        match self.form {
            FailureForm::Problem => self.fails(&[
                codes::INVALID_REQUEST,
                codes::PAYLOAD_TOO_LARGE,
                codes::UNSUPPORTED_MEDIA_TYPE,
                codes::VALIDATION_FAILED,
            ]),
            FailureForm::OAuth => self,
        }
    }

    /// A body that is a file of one of these media types, each with an example; it may be of any size.
    #[must_use]
    pub fn file(mut self, text: &str, media_types: &[(&str, &str)]) -> Self {
        let body = RequestBodyBuilder::new().required(Some(Required::True)).description(Some(text));
        let body = media_types.iter().fold(body, |body, (media_type, example)| {
            let schema = Object::with_type(Type::String);
            body.content(*media_type, ContentBuilder::new().schema(Some(schema)).example(Some(json!(example))).build())
        });
        self.builder = self.builder.request_body(Some(body.build()));
        self.fails(&[codes::INVALID_REQUEST, codes::UNSUPPORTED_MEDIA_TYPE, codes::VALIDATION_FAILED])
    }

    /// Works with the database, or with another service.
    #[must_use]
    pub fn asks_others(self) -> Self {
        self.fails(&[codes::OVERLOADED, codes::DEPENDENCY_UNAVAILABLE])
    }

    /// What it answers when all goes well.
    #[must_use]
    pub fn answer(mut self, mut answer: Answer) -> Self {
        self.schemas.append(&mut answer.schemas);
        self.answers.push(answer);
        self
    }

    /// The failures that are its own.
    #[must_use]
    pub fn fails(mut self, codes: &[Code]) -> Self {
        for code in codes {
            let known = self.failures.entry(code.status.as_u16()).or_default();
            if !known.contains(code) {
                known.push(*code);
            }
        }
        self
    }

    fn build(self, used: &mut BTreeSet<&'static str>) -> OperationBuilder {
        let Self { mut builder, answers, failures, form, .. } = self;
        for answer in answers {
            builder = builder.response(answer.status.to_string(), answer.build(used));
        }
        for (status, codes) in failures {
            builder = builder.response(status.to_string(), failure(form, status, &codes).build(used));
        }
        builder
    }
}

/// What is answered with one status.
pub struct Answer {
    status: u16,
    text: String,
    headers: Vec<&'static str>,
    content: Vec<(String, ContentBuilder)>,
    schemas: Named,
}

impl Answer {
    /// A status and what it means here.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        let (headers, content, schemas) = (vec!["X-Request-Id"], Vec::new(), Named::new());
        Self { status, text: text.into(), headers, content, schemas }
    }

    /// A JSON body.
    #[must_use]
    pub fn json<T: ToSchema>(mut self, example: Value) -> Self {
        register::<T>(&mut self.schemas);
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(T::name()))).example(Some(example));
        self.content.push((JSON.to_owned(), content));
        self
    }

    /// A body of text.
    #[must_use]
    pub fn text(mut self, media_type: &str, example: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(Object::with_type(Type::String))).example(Some(json!(example)));
        self.content.push((media_type.to_owned(), content));
        self
    }

    fn content(mut self, media_type: &str, schema: RefOr<Schema>) -> Self {
        self.content.push((media_type.to_owned(), ContentBuilder::new().schema(Some(schema))));
        self
    }

    /// A header that comes with it: one of those that services send.
    #[must_use]
    pub fn header(mut self, name: &'static str) -> Self {
        self.headers.push(name);
        self
    }

    fn build(self, used: &mut BTreeSet<&'static str>) -> ResponseBuilder {
        let mut response = ResponseBuilder::new().description(self.text);
        for name in self.headers {
            used.insert(name);
            response = response.header_ref(name, Ref::new(format!("#/components/headers/{name}")));
        }
        for (media_type, content) in self.content {
            response = response.content(media_type, content.build());
        }
        response
    }
}

/// `304` to a read.
pub fn not_modified() -> Answer {
    Answer::new(304, "The caller has this version.").header("ETag").header("Cache-Control")
}

fn failure(form: FailureForm, status: u16, codes: &[Code]) -> Answer {
    let names: Vec<&str> = codes.iter().map(|code| code.name).collect();
    let titles: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.name, code.title)).collect();
    let mut answer = Answer::new(status, titles.join("; ")).header("Cache-Control");
    if status == 503 {
        answer = answer.header("Retry-After");
    }
    // A 403 about the account, and not about the token, asks for no other token.
    if status == 401 || (status == 403 && names == [codes::INSUFFICIENT_SCOPE.name]) {
        answer = answer.header("WWW-Authenticate");
    }
    let (base, member, media_type) = match form {
        FailureForm::Problem => (Problem::name(), "code", PROBLEM),
        FailureForm::OAuth => (OAuthFailure::name(), "error", JSON),
    };
    let mut these = ObjectBuilder::new()
        .property(member, ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names.iter().copied())));
    if form == FailureForm::Problem {
        these = these.property("status", ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])));
    }
    let schema = AllOfBuilder::new().item(Ref::from_schema_name(base)).item(these).build();
    let mut content = ContentBuilder::new().schema(Some(Schema::AllOf(schema)));
    content = content.examples_from_iter(codes.iter().map(|code| {
        let value = match form {
            FailureForm::Problem => problem_example(*code),
            FailureForm::OAuth => json!({ "error": code.name, "error_description": code.title }),
        };
        (code.name, ExampleBuilder::new().summary(code.title).value(Some(value)).build())
    }));
    answer.content.push((media_type.to_owned(), content));
    answer
}

fn problem_example(code: Code) -> Value {
    let mut example = json!({
        "type": "about:blank",
        "title": code.title,
        "status": code.status.as_u16(),
        "code": code.name,
        "detail": "What happened this time.",
        "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    });
    if code == codes::VALIDATION_FAILED {
        example["errors"] = json!([{ "field": "name", "code": "required", "message": "This field is required." }]);
    }
    example
}

fn register<T: ToSchema>(schemas: &mut Named) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

/// The body of a failure at the OAuth endpoints (RFC 6749, 5.2).
#[derive(ToSchema)]
#[schema(as = OAuthFailure)]
#[allow(dead_code, reason = "it is written elsewhere, and described here")]
struct OAuthFailure {
    /// The stable code.
    error: String,
    /// A sentence for a developer.
    #[schema(pattern = r"^[ !#-\[\]-~]*$")]
    error_description: String,
}

/// What `If-Match` takes.
struct EntityTags;

impl PartialSchema for EntityTags {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r#"^(\*|"[0-9]{1,18}"(, "[0-9]{1,18}")*)$"#))
            .examples([json!("\"3\"")])
            .into()
    }
}

/// What `cursor` takes.
struct CursorText;

impl PartialSchema for CursorText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9_-]+$")).into()
    }
}

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(200))
            .default(Some(json!(Self::default().get())))
            .into()
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, with microseconds"))
            .examples([json!("2026-11-23T12:00:00.000000Z")])
            .into()
    }
}

impl ToSchema for Timestamp {}

//! Holds answers against an OpenAPI document: what is not in the document must not be answered.

use std::collections::{BTreeSet, HashMap};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// A document, ready to judge answers by.
///
/// It is read more strictly than a client would: an object has the members that its schema names, and no others.
#[derive(Debug)]
pub struct Contract {
    document: Value,
    /// By the place in the document that they are from.
    validators: HashMap<String, Validator>,
    prefixes: BTreeSet<String>,
}

/// An answer, and what it is an answer to.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The method.
    pub method: &'a str,
    /// The path without the query, as it was sent.
    pub path: &'a str,
    /// The status.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: &'a [(String, String)],
    /// The body; nothing where it was not read.
    pub body: Option<&'a [u8]>,
}

impl Contract {
    /// Reads a document.
    ///
    /// # Panics
    ///
    /// When it is none, or has a schema that is none.
    pub fn new(mut document: Value) -> Self {
        for schema in document["components"]["schemas"].as_object_mut().expect("schemas").values_mut() {
            close(schema);
        }
        let mut validators = HashMap::new();
        let paths = document["paths"].as_object().expect("paths");
        for (path, item) in paths {
            for (method, operation) in item.as_object().expect("a path item") {
                for (status, response) in operation["responses"].as_object().expect("responses") {
                    for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                        let place = format!("{method} {path} {status} {media_type}");
                        let validator = validator(&document, &content["schema"]);
                        validators.insert(place, validator);
                    }
                }
            }
        }
        let prefixes = paths.keys().map(|path| first_segment(path).to_owned()).collect();
        Self { document, validators, prefixes }
    }

    /// The documented routes, such as `GET /persons/{id}`.
    ///
    /// # Panics
    ///
    /// When it is no document.
    pub fn routes(&self) -> BTreeSet<String> {
        let of = |(path, item): (&String, &Value)| {
            let methods = item.as_object().expect("a path item").keys();
            methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
        };
        self.paths().iter().flat_map(of).collect()
    }

    /// The failures that are documented anywhere, as `status code`.
    ///
    /// # Panics
    ///
    /// When it is no document.
    pub fn failures(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for operation in self.paths().values().flat_map(|item| item.as_object().expect("a path item").values()) {
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let parts = &response["content"]["application/problem+json"]["schema"]["allOf"];
                for part in parts.as_array().into_iter().flatten() {
                    let codes = part["properties"]["code"]["enum"].as_array().into_iter().flatten();
                    found.extend(codes.filter_map(Value::as_str).map(|code| format!("{status} {code}")));
                }
            }
        }
        found
    }

    fn paths(&self) -> &Map<String, Value> {
        self.document["paths"].as_object().expect("paths")
    }

    /// Says what is wrong with an answer, if anything is. Paths that the document has no neighbour of are not its own.
    pub fn judge(&self, exchange: Exchange<'_>) -> Result<(), String> {
        let Exchange { method, path, status, headers, body } = exchange;
        let told = || format!("{method} {path} answers {status}");
        if !self.prefixes.contains(first_segment(path)) || method == "OPTIONS" {
            return Ok(());
        }
        let Some((template, item)) = self.find(path) else {
            return if status == 404 { Ok(()) } else { Err(format!("{}: there is no such path", told())) };
        };
        let documented = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
        let Some(operation) = item.get(&documented) else {
            return if status == 405 { Ok(()) } else { Err(format!("{}: there is no such method", told())) };
        };
        let Some(response) = operation["responses"].get(status.to_string()) else {
            return Err(format!("{}: this status is not documented", told()));
        };
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        for name in response["headers"].as_object().into_iter().flatten().map(|(name, _)| name) {
            let demanded = self.document["components"]["headers"][name]["required"] == true;
            if demanded && header(&name.to_lowercase()).is_none() {
                return Err(format!("{}: {name} is missing", told()));
            }
        }
        let media_type = header("content-type").map(|value| value.split(';').next().unwrap_or(value).trim());
        let contents = response["content"].as_object();
        match (contents, media_type) {
            (None, None) => {
                return body
                    .is_none_or(<[u8]>::is_empty)
                    .then_some(())
                    .ok_or_else(|| format!("{}: no body is documented", told()));
            }
            (Some(contents), Some(media_type)) if contents.contains_key(media_type) => {}
            _ => return Err(format!("{}: the media type {media_type:?} is not documented", told())),
        }
        let (Some(body), Some(media_type)) = (body, media_type) else { return Ok(()) };
        if method == "HEAD" || !media_type.ends_with("json") {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(body).map_err(|cause| format!("{}: {cause}", told()))?;
        let place = format!("{documented} {template} {status} {media_type}");
        let errors: Vec<String> = self.validators[&place]
            .iter_errors(&value)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(format!("{}: {errors:#?} in {value}", told())) }
    }

    /// The path item for a path; one without parameters is preferred.
    fn find(&self, path: &str) -> Option<(&String, &Value)> {
        let fits = |template: &str| {
            let (wanted, found): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            wanted.len() == found.len()
                && wanted
                    .iter()
                    .zip(found)
                    .all(|(wanted, found)| *wanted == found || (wanted.starts_with('{') && !found.is_empty()))
        };
        self.paths().get_key_value(path).or_else(|| self.paths().iter().find(|(template, _)| fits(template)))
    }
}

fn first_segment(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let root = json!({ "allOf": [schema], "components": document["components"] });
    jsonschema::options().should_validate_formats(true).build(&root).expect("a schema")
}

/// Says of objects with named members that they have no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

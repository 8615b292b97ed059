//! What the documents promise is what the code has.

use std::{collections::BTreeSet, fs, path::Path};

use service_kit::problem::codes;
use test_support::Contract;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// The rows of the table of errors in docs/api.md, as `status code`.
fn documented_codes() -> BTreeSet<String> {
    read("docs/api.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let status: u16 = cells.next()?.parse().ok()?;
            let code = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
            Some(format!("{status} {code}"))
        })
        .collect()
}

#[test]
fn every_error_code_is_documented_with_its_status_and_no_other() {
    let known: BTreeSet<String> = codes::ALL
        .iter()
        .chain(auth_service::error::ALL)
        .chain(user_service::codes::ALL)
        .chain([&resource_service::PERSON_EXISTS])
        .map(|code| format!("{} {}", code.status.as_u16(), code.name))
        .collect();
    assert_eq!(documented_codes(), known);
}

#[test]
fn every_error_code_is_in_a_document_of_a_service_that_answers_with_it() {
    let documents = [auth_service::openapi(), user_service::openapi(), resource_service::openapi()];
    let told: BTreeSet<String> =
        documents.iter().flat_map(|document| Contract::new(document.value().clone()).failures()).collect();
    // A document has no place for what is answered to a method that it does not have.
    let known: BTreeSet<String> =
        documented_codes().into_iter().filter(|code| code != "405 method_not_allowed").collect();
    assert_eq!(told, known);
}

#[test]
fn every_key_of_the_stack_s_configuration_is_in_the_readme() {
    let readme = read("README.md");
    let defaults: toml::Table = read("signet/config/default.toml").parse().unwrap();
    for (section, keys) in &defaults {
        for key in keys.as_table().unwrap().keys() {
            let named = readme.contains(&format!("`{section}.{key}`"));
            let covered = readme.contains(&format!("`{section}.*`")) || readme.contains(&format!("`{section}.NAME`"));
            assert!(named || covered, "README.md does not name {section}.{key}");
        }
    }
}

//! The code on the page `docs/verify-elsewhere.md`.

use std::{fs, path::Path};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify-elsewhere.md");

/// What opens or closes a block of code.
const FENCE: &str = "\n```";

/// The block whose first line is a comment with this name, such as `# service.py: …`.
pub(crate) fn file(name: &str) -> String {
    let begins = |line: &str| {
        line.strip_prefix("# ")
            .or_else(|| line.strip_prefix("// "))
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|line| line.starts_with(": "))
    };
    block(|_, code| code.lines().next().is_some_and(begins)).unwrap_or_else(|| panic!("the page has no {name}"))
}

/// The first block in a language.
pub(crate) fn first(language: &str) -> String {
    block(|other, _| other == language).unwrap_or_else(|| panic!("the page has no code in {language}"))
}

/// Writes a file of the page into a directory.
pub(crate) fn write(name: &str, directory: &Path) {
    fs::write(directory.join(name), file(name)).unwrap();
}

fn block(wanted: impl Fn(&str, &str) -> bool) -> Option<String> {
    let page = fs::read_to_string(PAGE).unwrap();
    let mut parts = page.split(FENCE);
    // What stands before the first block. Then code and prose take turns.
    parts.next();
    while let (Some(block), _) = (parts.next(), parts.next()) {
        let (language, code) = block.split_once('\n').unwrap();
        if wanted(language, code) {
            return Some(format!("{code}\n"));
        }
    }
    None
}

/// The text with one thing in the place of another, which must be there.
#[track_caller]
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in:\n{text}");
    text.replace(from, to)
}

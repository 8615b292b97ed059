//! The console: the page at `/` and its files, which are part of the program.

use std::{collections::BTreeMap, sync::LazyLock};

use actix_web::{HttpRequest, HttpResponse, web};
use service_kit::Error;

use super::assets::{Asset, Caching, fingerprint};

/// What the page may do: nothing inline, nothing from elsewhere, in nobody's frame, and no text made into markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../console/", $name)).as_slice())),+]
    };
}

/// All that the page loads.
const FILES: &[(&str, &[u8])] = &files![
    "api.js",
    "app.js",
    "icon.svg",
    "pages/history.js",
    "pages/import.js",
    "pages/persons.js",
    "pages/profile.js",
    "pages/sessions.js",
    "pages/token.js",
    "pages/users.js",
    "pages/welcome.js",
    "session.js",
    "style.css",
    "ui.js",
    "vendor/hooks.js",
    "vendor/htm.js",
    "vendor/preact.js",
    "view.js",
];

const INDEX: &str = include_str!("../../../console/index.html");

struct Console {
    /// Changes with every change of any file.
    version: String,
    index: Asset,
    files: BTreeMap<&'static str, Asset>,
}

static CONSOLE: LazyLock<Console> = LazyLock::new(|| {
    let version = fingerprint(FILES.iter().flat_map(|(name, content)| [name.as_bytes(), content]));
    // Files name each other relative to where they are, so it is enough that the page names their directory. It does so
    // relative to where it is itself: a proxy may have put it under a path.
    let index = INDEX.replace("\"./", &format!("\"console/{version}/"));
    let files = FILES.iter().map(|(name, content)| (*name, Asset::new(content_type(name), *content))).collect();
    Console { version, index: Asset::new("text/html; charset=utf-8", index), files }
});

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// `GET /`: the page. It names the files of this version, so browsers ask for it anew each time.
pub(crate) async fn index(request: HttpRequest) -> HttpResponse {
    CONSOLE.index.respond(&request, Caching::Revalidate, POLICY)
}

/// `GET /console/{version}/{file}`. While replicas of two versions are running, a page of one may ask the other: it gets
/// what there is, and does not keep it.
pub(crate) async fn file(path: web::Path<(String, String)>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let (version, name) = path.into_inner();
    let asset = CONSOLE.files.get(name.as_str()).ok_or(Error::NotFound)?;
    let caching = if version == CONSOLE.version { Caching::Forever } else { Caching::Revalidate };
    Ok(asset.respond(&request, caching, POLICY))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn directory() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../console"))
    }

    #[test]
    fn every_file_of_the_console_is_part_of_the_program() {
        let mut found = BTreeSet::new();
        let mut directories = vec![directory().to_owned()];
        while let Some(next) = directories.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    found.insert(path.strip_prefix(directory()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.retain(|name| {
            Path::new(name).extension().is_none_or(|kind| kind != "md")
                && !name.contains("LICENSE")
                && name != "index.html"
        });
        let embedded: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(embedded, found);
    }

    #[test]
    fn everything_that_a_file_loads_is_there() {
        let sources = FILES.iter().map(|(name, content)| (*name, std::str::from_utf8(content).unwrap()));
        for (name, text) in sources.chain([("index.html", INDEX)]).filter(|(name, _)| !name.starts_with("vendor/p")) {
            let here = Path::new(name).parent().unwrap();
            let quoted = text.split(['"', '\'']).filter(|part| {
                (part.starts_with("./") || part.starts_with("../")) && !part.contains(char::is_whitespace)
            });
            for target in quoted {
                let path = fs::canonicalize(directory().join(here).join(target)).unwrap_or_else(|cause| {
                    panic!("{name} loads {target}: {cause}");
                });
                let path = path.strip_prefix(fs::canonicalize(directory()).unwrap()).unwrap().to_str().unwrap();
                assert!(FILES.iter().any(|(known, _)| *known == path), "{name} loads {target}, which is not embedded");
            }
        }
    }

    #[test]
    fn nothing_in_the_page_stands_inline_or_comes_from_elsewhere() {
        let body = INDEX.to_lowercase();
        for forbidden in ["<style", " style=", "javascript:", " onload", " onclick", "=\"http", "=\"//"] {
            assert!(!body.contains(forbidden), "{forbidden}");
        }
        for script in body.split("<script").skip(1) {
            assert!(script.contains("src=\"./") && script.contains("></script>"), "{script}");
        }
    }

    #[test]
    fn all_of_it_is_no_more_than_a_hundred_kilobytes_when_compressed() {
        let console = &*CONSOLE;
        let sizes = console.files.values().chain([&console.index]).map(Asset::transfer_bytes);
        let total: usize = sizes.sum();
        assert!(total <= 100_000, "{total} bytes");
    }
}

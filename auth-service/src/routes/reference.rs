//! The API reference: the page at `/docs`, which shows the documents of all three services.

use std::{collections::BTreeMap, sync::LazyLock};

use actix_web::{HttpRequest, HttpResponse, web};
use service_kit::Error;

use super::assets::{Asset, Caching};

/// What the page may do: nothing inline, but for attributes `style`, which the templates of `RapiDoc` are full of, and nothing
/// from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
                      connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";

struct Reference {
    index: Asset,
    files: BTreeMap<&'static str, Asset>,
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| {
    let html = "text/html; charset=utf-8";
    let script = "text/javascript; charset=utf-8";
    let style = "text/css; charset=utf-8";
    macro_rules! file {
        ($media_type:expr, $name:literal) => {
            Asset::new($media_type, include_bytes!(concat!("../../reference/", $name)).as_slice())
        };
    }
    Reference {
        index: file!(html, "index.html"),
        files: BTreeMap::from([
            ("reference.css", file!(style, "reference.css")),
            ("reference.js", file!(script, "reference.js")),
            ("vendor/rapidoc-min.js", file!(script, "vendor/rapidoc-min.js")),
        ]),
    }
});

/// `GET /docs`.
pub(crate) async fn index(request: HttpRequest) -> HttpResponse {
    REFERENCE.index.respond(&request, Caching::Revalidate, POLICY)
}

/// `GET /docs/{file}`.
pub(crate) async fn file(name: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let asset = REFERENCE.files.get(name.as_str()).ok_or(Error::NotFound)?;
    Ok(asset.respond(&request, Caching::Revalidate, POLICY))
}

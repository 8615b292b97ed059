//! What handlers are made of: endpoints, bodies, queries, pages, entity tags, and the middleware around them.

mod address;
mod body;
mod endpoint;
mod etag;
mod middleware;
mod pace;
mod page;
mod query;

pub use self::{
    address::{ClientAddress, TrustedProxies},
    body::{BodyTimeout, FormOrJson, Json, MAX_BODY_BYTES, Whole, present},
    endpoint::{Endpoint, Endpoints, not_found},
    etag::{ETag, IfMatch, not_modified},
    middleware::RequestScope,
    page::{Cursor, Limit, Page},
    query::Query,
};
pub(crate) use self::{middleware::Subject, pace::Paced};

//! The one URL that says where the database is: `sqlite:PATH` or `postgres://…`.

use std::{fmt, path::PathBuf, sync::Arc};

use zeroize::Zeroizing;

use super::{Backend, pipeline::PipelineTarget};

/// A database URL that is known to be usable. It may hold a password, so it is never shown.
#[derive(Clone)]
pub struct DatabaseUrl {
    text: Zeroizing<String>,
    pipeline: Option<Arc<PipelineTarget>>,
}

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Neither of the two databases.
    #[error("must be sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE")]
    Scheme,
    /// No file that lasts.
    #[error("must name a file: a database in memory would be another one for every connection")]
    Memory,
    /// PostgreSQL's part is wrong.
    #[error("is not a PostgreSQL URL that can be used: {0}")]
    Postgres(String),
}

impl DatabaseUrl {
    /// Reads a URL. Nothing is opened yet.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(":memory:") || path.contains("mode=memory") {
                return Err(UrlError::Memory);
            }
            return Ok(Self { text: Zeroizing::new(path.to_owned()), pipeline: None });
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let mut url = url::Url::parse(text).map_err(|cause| UrlError::Postgres(cause.to_string()))?;
            let pipeline = PipelineTarget::from_url(&url)?;
            let given: Vec<String> = url.query_pairs().map(|(key, _)| key.into_owned()).collect();
            for (key, value) in
                [("connect_timeout", "3"), ("tcp_user_timeout", "15000"), ("application_name", "signet")]
            {
                if !given.iter().any(|name| name == key) {
                    url.query_pairs_mut().append_pair(key, value);
                }
            }
            // libpq reads a plus sign in a query as a plus sign, never as a space.
            let query = url.query().map(|query| query.replace('+', "%20"));
            url.set_query(query.as_deref());
            return Ok(Self { text: Zeroizing::new(url.to_string()), pipeline: Some(Arc::new(pipeline)) });
        }
        Err(UrlError::Scheme)
    }

    /// Which database it names.
    pub fn backend(&self) -> Backend {
        match self.pipeline {
            Some(_) => Backend::Postgres,
            None => Backend::Sqlite,
        }
    }

    /// The SQLite file.
    pub fn path(&self) -> Option<PathBuf> {
        self.pipeline.is_none().then(|| PathBuf::from(self.text.as_str()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn pipeline_target(&self) -> Option<&Arc<PipelineTarget>> {
        self.pipeline.as_ref()
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({:?})", self.backend())
    }
}

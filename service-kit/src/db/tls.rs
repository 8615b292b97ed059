//! TLS to PostgreSQL, made ready when a server takes it.
//!
//! OpenSSL takes some 3 MiB of memory once it is set up, and a database on the same machine or behind a mesh often speaks
//! no TLS.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, OnceLock},
};

use openssl::{
    error::ErrorStack,
    ssl::{SslConnector, SslMethod, SslVerifyMode},
};
use postgres_openssl::{MakeTlsConnector, TlsStream};
use tokio_postgres::{
    Socket,
    tls::{MakeTlsConnect, TlsConnect},
};

/// What is looked at in the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Nothing,
    /// Who has signed it.
    Chain,
    /// That, and whom it names.
    ChainAndName,
}

/// How connections are encrypted. Clones share what has been made ready.
#[derive(Clone)]
pub(super) struct Tls(Arc<Shared>);

struct Shared {
    check: Check,
    /// A file of certificates to trust, in place of the system's.
    roots: Option<String>,
    ready: OnceLock<MakeTlsConnector>,
}

impl Tls {
    /// Fails if there is a file of certificates and it cannot be read.
    pub(super) fn new(check: Check, roots: Option<String>) -> Result<Self, ErrorStack> {
        let tls = Self(Arc::new(Shared { check, roots, ready: OnceLock::new() }));
        if tls.0.roots.is_some() {
            tls.connector()?;
        }
        Ok(tls)
    }

    fn connector(&self) -> Result<MakeTlsConnector, ErrorStack> {
        if let Some(ready) = self.0.ready.get() {
            return Ok(ready.clone());
        }
        let Shared { check, roots, ready } = &*self.0;
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        if *check == Check::Nothing {
            connector.set_verify(SslVerifyMode::NONE);
        }
        if let Some(path) = roots {
            connector.set_ca_file(path)?;
        }
        let mut connector = MakeTlsConnector::new(connector.build());
        let checks_name = *check == Check::ChainAndName;
        connector.set_callback(move |connect, _| {
            connect.set_verify_hostname(checks_name);
            Ok(())
        });
        Ok(ready.get_or_init(|| connector).clone())
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = TlsStream<Socket>;
    type TlsConnect = TlsTo;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<TlsTo, Infallible> {
        Ok(TlsTo { tls: self.clone(), host: host.to_owned() })
    }
}

/// [`Tls`] to one host.
pub(super) struct TlsTo {
    tls: Tls,
    host: String,
}

impl TlsConnect<Socket> for TlsTo {
    type Stream = TlsStream<Socket>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let to_host =
            |mut connector: MakeTlsConnector| MakeTlsConnect::<Socket>::make_tls_connect(&mut connector, &self.host);
        match self.tls.connector().and_then(to_host) {
            Ok(connector) => connector.connect(socket),
            Err(cause) => Box::pin(ready(Err(cause.into()))),
        }
    }
}

//! PostgreSQL on the worker itself: connections that many requests share by pipelining, a few per worker.

use std::{
    any::TypeId,
    cell::{Cell, RefCell},
    collections::HashMap,
    error::Error as StdError,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use actix_web::web::BytesMut;
use anyhow::{Context as _, anyhow};
use diesel::{
    pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata},
    query_builder::{QueryBuilder as _, QueryFragment, QueryId, bind_collector::RawBytesBindCollector},
    result::Error as DieselError,
};
use futures_util::{TryStreamExt as _, pin_mut};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tokio_postgres::{
    Client, Row, Statement,
    config::SslMode,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

use super::{
    ANSWER_TIMEOUT, STATEMENT_TIMEOUT, StorageError, UrlError,
    tls::{Check, Tls},
};

/// A connection that nobody drives yet.
pub(super) type RawConnection =
    tokio_postgres::Connection<tokio_postgres::Socket, postgres_openssl::TlsStream<tokio_postgres::Socket>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How often a connection is asked whether its queries get ahead.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a query does to those behind it on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Reads by key take microseconds: all of a worker's share one connection, so that under load one packet carries
    /// many of them.
    Reads,
    /// A commit waits for the disk, and what is queued behind it waits too: a worker's spread over a few connections.
    Commits,
}

impl Traffic {
    const fn lanes_per_worker(self) -> usize {
        match self {
            Self::Reads => 1,
            Self::Commits => 4,
        }
    }
}

/// Where the connections go, read from the same URL that libpq reads, `sslmode` and `sslrootcert` meaning the same.
pub(super) struct PipelineTarget {
    config: tokio_postgres::Config,
    tls: Tls,
}

impl PipelineTarget {
    pub(super) fn from_url(url: &url::Url) -> Result<Self, UrlError> {
        let refuse = |cause: &dyn std::fmt::Display| UrlError::Postgres(cause.to_string());
        let mut mode = None;
        let mut root_certificate = None;
        let mut rest = Vec::new();
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" => root_certificate = Some(value.into_owned()),
                _ => rest.push((key.into_owned(), value.into_owned())),
            }
        }
        let mut plain = url.clone();
        plain.set_query(None);
        if !rest.is_empty() {
            plain.query_pairs_mut().extend_pairs(rest);
        }
        // tokio-postgres, too, takes a plus sign literally.
        let plain = plain.to_string().replace('+', "%20");
        let mut config: tokio_postgres::Config = plain.parse().map_err(|cause: tokio_postgres::Error| {
            let reason = std::error::Error::source(&cause).map_or_else(|| cause.to_string(), ToString::to_string);
            refuse(&reason)
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("signet");
        }

        let (ssl_mode, check) = match mode.as_deref().unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Check::Nothing),
            "allow" | "prefer" => (SslMode::Prefer, Check::Nothing),
            // As libpq has it: a root certificate makes `require` check the chain.
            "require" if root_certificate.is_none() => (SslMode::Require, Check::Nothing),
            "require" | "verify-ca" => (SslMode::Require, Check::Chain),
            "verify-full" => (SslMode::Require, Check::ChainAndName),
            _ => {
                return Err(refuse(&"sslmode must be disable, allow, prefer, require, verify-ca or verify-full"));
            }
        };
        config.ssl_mode(ssl_mode);
        let roots = root_certificate.filter(|path| path != "system");
        let named = roots.clone().unwrap_or_default();
        let tls = Tls::new(check, roots).map_err(|_| refuse(&format!("sslrootcert {named} cannot be read")))?;
        Ok(Self { config, tls })
    }

    /// A connection and its client, to be driven by whoever asked for it. It mostly waits, so the other end is asked for
    /// a sign of life now and then.
    pub(super) async fn connect_raw(&self) -> anyhow::Result<(tokio_postgres::Client, RawConnection)> {
        let mut config = self.config.clone();
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(3);
        let connecting = config.connect(self.tls.clone());
        Ok(tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.context("connecting took too long")??)
    }

    async fn connect(&self, connect_by: Instant) -> anyhow::Result<Rc<Lane>> {
        let connecting = self.config.connect(self.tls.clone());
        let (client, connection) = timeout_at(connect_by, connecting).await.context("connecting took too long")??;
        let lane = Rc::new(Lane {
            client,
            statements: RefCell::default(),
            in_flight: Cell::new(0),
            finished: Cell::new(0),
            closed: Rc::default(),
        });
        let (closed, watched) = (lane.closed.clone(), Rc::downgrade(&lane));
        actix_web::rt::spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(cause) = ended {
                        log::debug!("a pipelined connection ended: {cause}");
                    }
                }
                // Whoever waits for an answer on it is told that it is closed.
                () = silence(watched) => log::warn!("a pipelined connection is given up: there was no answer on it"),
            }
            closed.set(true);
        });
        let limit = format!("SET statement_timeout = {}", STATEMENT_TIMEOUT.as_millis());
        timeout_at(connect_by, lane.client.batch_execute(&limit)).await.context("connecting took too long")??;
        Ok(lane)
    }
}

/// Ends when queries were under way on the lane for longer than a query may take and none of them got an answer; never
/// for a lane that is gone, whose connection ends by itself. Watching the lane costs less than a timer for each query.
async fn silence(lane: Weak<Lane>) {
    let looks = ANSWER_TIMEOUT.as_secs() / LOOK_EVERY.as_secs();
    let mut before = 0;
    let mut silent = 0;
    while let Some(lane) = lane.upgrade() {
        let finished = lane.finished.get();
        silent = if lane.in_flight.get() > 0 && finished == before { silent + 1 } else { 0 };
        before = finished;
        if silent >= looks {
            return;
        }
        drop(lane);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    std::future::pending::<()>().await;
}

/// A connection, and what has been prepared on it.
struct Lane {
    client: Client,
    statements: RefCell<Statements>,
    in_flight: Cell<usize>,
    /// How many queries have ended, well or not.
    finished: Cell<u64>,
    closed: Rc<Cell<bool>>,
}

/// Prepared statements: by the type of the query where that settles its text, else by the text. They are kept for as
/// long as the connection, so a query must not have any number of texts.
#[derive(Default)]
struct Statements {
    by_type: HashMap<TypeId, Statement>,
    by_text: HashMap<String, Statement>,
}

impl Lane {
    /// Reads each row as it arrives, so that no more than one is held at a time.
    async fn query<Q, T>(
        &self,
        query: &Q,
        mut read: impl FnMut(&Row) -> Result<T, StorageError>,
    ) -> Result<Vec<T>, StorageError>
    where
        Q: QueryFragment<Pg> + QueryId,
    {
        let mut binds = RawBytesBindCollector::<Pg>::new();
        query.collect_binds(&mut binds, &mut BuiltInTypes, &Pg)?;
        let statement = self.statement(query, &binds.metadata).await?;
        let rows = self.client.query_raw(&statement, binds.binds.iter().map(|bytes| Bind(bytes.as_deref()))).await?;
        pin_mut!(rows);
        let mut all = Vec::new();
        while let Some(row) = rows.try_next().await? {
            all.push(read(&row)?);
        }
        Ok(all)
    }

    /// The prepared statement for a query. Two requests that find it missing at once both prepare it, and one is kept.
    async fn statement<Q: QueryFragment<Pg> + QueryId>(
        &self,
        query: &Q,
        binds: &[PgTypeMetadata],
    ) -> Result<Statement, StorageError> {
        let id = Q::query_id();
        if let Some(known) = id.and_then(|id| self.statements.borrow().by_type.get(&id).cloned()) {
            return Ok(known);
        }
        let mut text = PgQueryBuilder::default();
        query.to_sql(&mut text, &Pg)?;
        let text = text.finish();
        if id.is_none()
            && let Some(known) = self.statements.borrow().by_text.get(&text).cloned()
        {
            return Ok(known);
        }
        let types = binds.iter().map(|bind| {
            let oid = bind.oid().map_err(|cause| DieselError::SerializationError(cause.into()))?;
            Type::from_oid(oid).ok_or_else(|| DieselError::SerializationError("a type that is not built in".into()))
        });
        let types: Vec<Type> = types.collect::<Result<_, _>>()?;
        let statement = self.client.prepare_typed(&text, &types).await?;
        let mut statements = self.statements.borrow_mut();
        match id {
            Some(id) => statements.by_type.insert(id, statement.clone()),
            None => statements.by_text.insert(text, statement.clone()),
        };
        Ok(statement)
    }
}

/// Knows PostgreSQL's own types only, whose ids diesel has: there is no other in our tables.
struct BuiltInTypes;

impl PgMetadataLookup for BuiltInTypes {
    fn lookup_type(&mut self, name: &str, _: Option<&str>) -> PgTypeMetadata {
        log::error!("the type {name} is not one of PostgreSQL's own");
        PgTypeMetadata::new(0, 0)
    }
}

/// A value as diesel has written it, in the binary form of its type.
#[derive(Debug)]
struct Bind<'a>(Option<&'a [u8]>);

impl ToSql for Bind<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Ok(match self.0 {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The connections of one worker for one kind of traffic.
struct Lanes {
    open: RefCell<Vec<Rc<Lane>>>,
    most: usize,
    connecting: Mutex<()>,
}

impl Lanes {
    /// The lane with the least to do; `None` if another one should be made first.
    fn pick(&self) -> Option<Rc<Lane>> {
        let mut lanes = self.open.borrow_mut();
        lanes.retain(|lane| !lane.closed.get());
        let least = lanes.iter().min_by_key(|lane| lane.in_flight.get())?;
        (least.in_flight.get() == 0 || lanes.len() >= self.most).then(|| least.clone())
    }
}

/// The pipelined connections of all workers of a service.
pub(super) struct Pipelines {
    target: Arc<PipelineTarget>,
}

impl Pipelines {
    pub(super) fn new(target: Arc<PipelineTarget>) -> Self {
        Self { target }
    }

    pub(super) async fn run<Q, T>(
        &self,
        database_id: u64,
        traffic: Traffic,
        connect_by: Instant,
        query: &Q,
        read: impl FnMut(&Row) -> Result<T, StorageError>,
    ) -> Result<Vec<T>, StorageError>
    where
        Q: QueryFragment<Pg> + QueryId,
    {
        thread_local! {
            static WORKER: RefCell<HashMap<(u64, bool), Rc<Lanes>>> = RefCell::new(HashMap::new());
        }
        let lanes = WORKER.with(|worker| {
            let mut worker = worker.borrow_mut();
            let lanes = worker.entry((database_id, traffic == Traffic::Reads)).or_insert_with(|| {
                Rc::new(Lanes {
                    open: RefCell::default(),
                    most: traffic.lanes_per_worker(),
                    connecting: Mutex::new(()),
                })
            });
            lanes.clone()
        });
        let lane = self.lane(&lanes, connect_by).await.map_err(StorageError::Unreachable)?;
        let result = {
            let _in_flight = InFlight::new(&lane);
            lane.query(query, read).await
        };
        match result {
            Err(StorageError::Pipelined(cause)) if lane.closed.get() => Err(StorageError::unreachable(cause)),
            Err(StorageError::Unreachable(cause)) => {
                lane.closed.set(true);
                Err(StorageError::Unreachable(cause))
            }
            result => result,
        }
    }

    async fn lane(&self, lanes: &Lanes, connect_by: Instant) -> anyhow::Result<Rc<Lane>> {
        if let Some(lane) = lanes.pick() {
            return Ok(lane);
        }
        let _connecting = timeout_at(connect_by, lanes.connecting.lock())
            .await
            .map_err(|_| anyhow!("waiting for a connection took too long"))?;
        if let Some(lane) = lanes.pick() {
            return Ok(lane);
        }
        let lane = self.target.connect(connect_by).await?;
        lanes.open.borrow_mut().push(lane.clone());
        Ok(lane)
    }
}

/// Counts a query as under way for as long as it lives.
struct InFlight<'a>(&'a Lane);

impl<'a> InFlight<'a> {
    fn new(lane: &'a Lane) -> Self {
        lane.in_flight.set(lane.in_flight.get() + 1);
        Self(lane)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.finished.set(self.0.finished.get().wrapping_add(1));
    }
}

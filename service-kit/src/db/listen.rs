//! `LISTEN`: one replica hears at once what another has committed.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use anyhow::bail;
use rand::RngExt as _;
use tokio_postgres::{AsyncMessage, Client};

use super::pipeline::{PipelineTarget, RawConnection};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Hears the notifications of one PostgreSQL channel, on a connection of its own. On SQLite it never hears anything.
///
/// Notifications may get lost while the connection is, so whoever listens has to look for himself now and then.
pub struct Listener {
    target: Option<Arc<PipelineTarget>>,
    channel: &'static str,
    open: Option<Open>,
    failures: u32,
}

struct Open {
    connection: RawConnection,
    /// The connection ends when nobody holds its client.
    _client: Client,
}

impl Listener {
    pub(super) fn new(target: Option<Arc<PipelineTarget>>, channel: &'static str) -> Self {
        Self { target, channel, open: None, failures: 0 }
    }

    /// Waits for a notification, or for the connection to be made (anew): something may have been missed before that.
    ///
    /// Await it to the end each time: a try to connect that is dropped half way is lost.
    pub async fn next(&mut self) {
        let Some(target) = self.target.clone() else { return std::future::pending().await };
        loop {
            if let Some(open) = &mut self.open {
                match open.notified().await {
                    Ok(()) => return,
                    Err(cause) => {
                        log::debug!("the connection that listens to {} ended: {cause:#}", self.channel);
                        self.open = None;
                    }
                }
            }
            if self.failures > 0 {
                tokio::time::sleep(pause(self.failures)).await;
            }
            match Open::new(&target, self.channel).await {
                Ok(open) => {
                    self.failures = 0;
                    self.open = Some(open);
                    return;
                }
                Err(cause) => {
                    // One line when it begins; each further try would only repeat it.
                    let level = if self.failures == 0 { log::Level::Warn } else { log::Level::Debug };
                    log::log!(level, "cannot listen to {} of the database: {cause:#}", self.channel);
                    self.failures = self.failures.saturating_add(1);
                }
            }
        }
    }
}

impl Open {
    async fn new(target: &PipelineTarget, channel: &str) -> anyhow::Result<Self> {
        let (client, mut connection) = target.connect_raw().await?;
        {
            let statement = format!("LISTEN {channel}");
            let mut listening = pin!(client.batch_execute(&statement));
            // The connection has to be polled for the statement to get anywhere.
            loop {
                tokio::select! {
                    done = &mut listening => break done?,
                    message = poll_fn(|context| connection.poll_message(context)) => match message {
                        Some(message) => drop(message?),
                        None => bail!("the server closed the connection"),
                    },
                }
            }
        }
        Ok(Self { connection, _client: client })
    }

    async fn notified(&mut self) -> anyhow::Result<()> {
        loop {
            match poll_fn(|context| self.connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(cause)) => return Err(cause.into()),
                None => bail!("the server closed it"),
            }
        }
    }
}

/// How long to wait after so many failures in a row: anything up to twice as long each time, so that replicas do not
/// come back all at once.
fn pause(failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

//! An HTTP server that does what the test says, request by request, good answers and bad.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::{Url, form_urlencoded};

/// Long enough for anything that is on its way, and the end of a test that waits for nothing.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    listener: TcpListener,
    pub(crate) url: String,
}

/// A request that waits for its answer.
pub(crate) struct Call {
    stream: TcpStream,
    pub(crate) method: String,
    pub(crate) url: Url,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) form: HashMap<String, String>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// The next request on a new connection.
    pub(crate) async fn next(&self) -> Call {
        let (stream, _) = in_time(self.listener.accept()).await.unwrap();
        Call::read(stream).await.expect("a request should come over the connection")
    }

    /// Whether nobody has asked for anything.
    pub(crate) fn is_idle(&self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.listener.poll_accept(&mut context).is_pending()
    }
}

pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("this should have happened by now")
}

impl Call {
    /// A request, or nothing if the connection ends before it comes.
    async fn read(mut stream: TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break bytes.drain(..end + 4).collect::<Vec<u8>>();
            }
            if in_time(stream.read_buf(&mut bytes)).await.unwrap() == 0 {
                return None;
            }
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let mut request = lines.next().unwrap().split(' ');
        let (method, target) = (request.next().unwrap().to_owned(), request.next().unwrap());
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        while bytes.len() < length {
            assert!(in_time(stream.read_buf(&mut bytes)).await.unwrap() > 0, "the body should be whole");
        }
        let form = form_urlencoded::parse(&bytes).into_owned().collect();
        let url = Url::parse("http://server").unwrap().join(target).unwrap();
        Some(Self { stream, method, url, headers, form })
    }

    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let mut values = self.url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} should not come twice");
        value
    }

    /// The token of the Authorization header.
    pub(crate) fn token(&self) -> &str {
        self.headers["authorization"].strip_prefix("Bearer ").unwrap()
    }

    /// Answers and closes the connection.
    pub(crate) async fn answer(self, status: u16, body: impl AsRef<[u8]>) {
        let length = body.as_ref().len();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        self.raw([head.as_bytes(), body.as_ref()].concat()).await;
    }

    /// Answers and waits for the next request on the same connection.
    pub(crate) async fn answer_and_go_on(mut self, body: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        self.stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        Self::read(self.stream).await.expect("the connection should be used again")
    }

    /// Sends these bytes, whatever they mean, and closes the connection.
    pub(crate) async fn raw(mut self, bytes: impl AsRef<[u8]>) {
        // The client may have heard enough before the end.
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.shutdown().await;
    }

    /// Waits until the client gives up.
    pub(crate) async fn abandoned(mut self) {
        let mut byte = [0];
        assert!(matches!(in_time(self.stream.read(&mut byte)).await, Ok(0) | Err(_)), "nothing more should be sent");
    }
}

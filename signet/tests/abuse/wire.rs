//! HTTP/1.1 as it goes over the wire, sent as it should not be.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// How long an answer may take that is expected.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing comes before nothing more is expected.
const SILENCE: Duration = Duration::from_millis(700);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a header, which may come more than once.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|cause| panic!("{cause} in {self:?}"))
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    closed: bool,
}

impl Connection {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new(), closed: false }
    }

    /// Sends, as far as the other side takes it: it may have closed the connection at the first bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        match self.stream.write_all(bytes) {
            Err(cause) if !matches!(cause.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("it does not take what is sent: {cause}")
            }
            _ => {}
        }
    }

    /// Says that no more is to come.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next answer, which must come.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            if let Some(answer) = self.parse() {
                return answer;
            }
            assert!(!self.closed, "the connection was closed: {:?}", String::from_utf8_lossy(&self.received));
            assert!(self.receive(PATIENCE), "no answer comes");
        }
    }

    /// Waits as long, or until something comes; it is read later.
    pub(crate) fn listen(&mut self, patience: Duration) {
        let _ = self.receive(patience);
    }

    /// All answers until the connection is closed, or nothing more comes; and whether it was closed.
    pub(crate) fn all(mut self) -> (Vec<Answer>, bool) {
        let mut answers = Vec::new();
        loop {
            match self.parse() {
                Some(answer) => answers.push(answer),
                None if self.closed => break,
                // The first answer is waited for, and then only a further one that is on its way.
                None if answers.is_empty() => assert!(self.receive(PATIENCE), "no answer comes"),
                None if !self.receive(SILENCE) => break,
                None => {}
            }
        }
        assert!(self.received.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&self.received));
        (answers, self.closed)
    }

    /// Waits until the connection is closed, and gives what came before.
    pub(crate) fn until_closed(mut self) -> Vec<Answer> {
        while !self.closed {
            assert!(self.receive(PATIENCE), "the connection stays open");
        }
        std::iter::from_fn(|| self.parse()).collect()
    }

    /// Waits for more bytes, or for the end.
    fn receive(&mut self, patience: Duration) -> bool {
        let mut bytes = [0; 16 * 1024];
        self.stream.set_read_timeout(Some(patience)).unwrap();
        match self.stream.read(&mut bytes) {
            Ok(0) => self.closed = true,
            Ok(length) => self.received.extend_from_slice(&bytes[..length]),
            Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) => {
                assert!(is_reset(&cause), "{cause}");
                self.closed = true;
            }
        }
        true
    }

    fn parse(&mut self) -> Option<Answer> {
        let end = self.received.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(self.received[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap();
        assert!(first.starts_with("HTTP/1."), "{first:?} is not an answer");
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
        let whole = end + 4 + length;
        if self.received.len() < whole {
            return None;
        }
        let body = self.received[end + 4..whole].to_vec();
        self.received.drain(..whole);
        Some(Answer { status, headers, body })
    }
}

fn is_reset(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

//! Connections that are read no further ahead than they are answered, and given up when their answers are not taken.
//!
//! actix-http reads on while it answers, until 128 KiB wait to be understood. From there on it asks to be called again at
//! once, and does so until there is room. A client that sends without listening would have a core for good, one that
//! sends on while its request takes long for as long as that takes. So nothing is read while an answer cannot be sent,
//! and little while a request is being answered; the rest stays with the kernel, and with it with the client.

use std::{
    cell::Cell,
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_web::rt::net::TcpStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How many bytes are read before what was read is looked at.
///
/// actix-http's buffer has 8 KiB at first. It makes room by moving what has not been looked at to the front as long as
/// that is less than half of it, and else by growing for good.
const TURN: usize = 4 * 1024;

/// How many bytes are read beyond a request before it is answered.
const AHEAD: usize = 48 * 1024;

/// What a chunk takes beside its bytes: its length and two ends of lines.
const CHUNK_FRAME: usize = 8;

/// How far a connection may be read. It is shared by the connection and by whoever answers its requests, one at a time.
#[derive(Default)]
pub(crate) struct Pace {
    /// An answer is being made.
    answering: Cell<bool>,
    /// Bytes that may still be read until it is made.
    allowance: Cell<usize>,
    /// An answer waits for the client to take it.
    stuck: Cell<bool>,
    /// Whom to call when more may be read.
    reader: Cell<Option<Waker>>,
}

impl Pace {
    /// A request with a body of this length, so far as that is known, is being answered until the guard is dropped.
    pub(crate) fn answer(self: &Rc<Self>, body_length: Option<u64>) -> Answering {
        self.answering.set(true);
        self.allow(usize::try_from(body_length.unwrap_or(0)).unwrap_or(usize::MAX));
        Answering(self.clone())
    }

    /// A chunk of a body of unknown length has been taken by whoever answers, so the connection may be read on.
    pub(crate) fn took(&self, chunk: usize) {
        self.allow(chunk + CHUNK_FRAME);
    }

    /// How many bytes may be read now.
    fn room(&self) -> usize {
        if self.stuck.get() {
            return 0;
        }
        if !self.answering.get() {
            // All requests so far are answered.
            self.allowance.set(AHEAD);
            return TURN;
        }
        self.allowance.get().min(TURN)
    }

    fn allow(&self, bytes: usize) {
        self.allowance.set(self.allowance.get().saturating_add(bytes));
        self.resume();
    }

    fn resume(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// While it lives, a request is being answered.
pub(crate) struct Answering(Rc<Pace>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.set(false);
        self.0.resume();
    }
}

/// A connection with its [`Pace`].
pub(crate) struct Paced {
    stream: TcpStream,
    pace: Rc<Pace>,
    /// Bytes read since it paused last.
    turn: usize,
    write_timeout: Duration,
    /// Ends when nothing of an answer has been taken for so long.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// Gives the connection up when the client takes nothing of an answer for so long.
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self { stream, pace: Rc::default(), turn: 0, write_timeout, patience: None }
    }

    pub(crate) fn pace(&self) -> Rc<Pace> {
        self.pace.clone()
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = self.pace.room();
        if room == 0 {
            self.pace.reader.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        if self.turn >= TURN {
            self.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = room.min(TURN - self.turn);
        let stream = Pin::new(&mut self.stream);
        let (polled, read) = if buffer.remaining() <= room {
            let before = buffer.filled().len();
            (stream.poll_read(context, buffer), buffer.filled().len() - before)
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
            let polled = stream.poll_read(context, &mut part);
            let read = part.filled().len();
            buffer.advance(read);
            (polled, read)
        };
        self.turn = if polled.is_pending() { 0 } else { self.turn + read };
        self.pace.allowance.set(self.pace.allowance.get().saturating_sub(read));
        polled
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            if self.pace.stuck.replace(false) {
                self.patience = None;
                self.pace.resume();
            }
            return polled;
        }
        self.pace.stuck.set(true);
        let write_timeout = self.write_timeout;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        match patience.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

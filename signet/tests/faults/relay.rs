//! A relay between two ends of TCP connections, which can treat them badly.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use actix_web::rt::{spawn, task::JoinHandle};
use rand::{RngExt as _, rngs::StdRng};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::sleep,
};

use crate::seeds::choices;

/// How a connection fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Everything passes.
    Faithful,
    /// After some bytes, fewer than that many in either direction, both ends find it reset.
    Reset { most_bytes: usize },
    /// Each piece of an answer is late, by that much at most.
    Late { most: Duration },
    /// It is accepted, and nothing ever comes of it.
    Silent,
    /// What is asked passes, and the answer breaks off after a few bytes without being closed.
    HalfAnswered,
}

struct Shared {
    target: SocketAddr,
    manner: Cell<Manner>,
    /// Rung when the manner has changed: connections that are held under a former one end.
    changed: Notify,
    random: RefCell<StdRng>,
    /// Connections that were reset.
    resets: Cell<usize>,
}

/// A relay that listens on a port of its own for as long as this value lives.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Rc<Shared>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Rc::new(Shared {
            target,
            manner: Cell::new(Manner::Faithful),
            changed: Notify::new(),
            random: RefCell::new(choices(seed, 0x5e1a)),
            resets: Cell::default(),
        });
        let accepting = spawn({
            let shared = shared.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    spawn(shared.clone().serve(stream));
                }
            }
        });
        Self { address, shared, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Treats connections so from now on, those that there are included.
    pub(crate) fn treat(&self, manner: Manner) {
        self.shared.manner.set(manner);
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn resets(&self) -> usize {
        self.shared.resets.get()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Asked,
    Answered,
}

impl Shared {
    async fn serve(self: Rc<Self>, near: TcpStream) {
        if self.manner.get() == Manner::Silent {
            // Whoever asks here waits until things are better, and is then told to ask again.
            self.changed.notified().await;
            return;
        }
        let Ok(far) = TcpStream::connect(self.target).await else { return };
        let _ = far.set_nodelay(true);
        {
            let ((mut near_reads, mut near_writes), (mut far_reads, mut far_writes)) = (split(&near), split(&far));
            let cut = tokio::select! {
                cut = self.carry(Way::Asked, &mut near_reads, &mut far_writes) => cut,
                cut = self.carry(Way::Answered, &mut far_reads, &mut near_writes) => cut,
            };
            if cut != Cut::Reset {
                return;
            }
        }
        self.resets.set(self.resets.get() + 1);
        for stream in [near, far] {
            let _ = stream.set_zero_linger();
        }
    }

    /// Carries bytes one way until there are no more or the connection is to end.
    async fn carry(&self, way: Way, from: &mut Half<'_>, to: &mut Half<'_>) -> Cut {
        let mut buffer = vec![0; 16 * 1024];
        let mut manner = self.manner.get();
        let mut rest = self.luck(manner);
        loop {
            let Ok(length @ 1..) = from.read(&mut buffer).await else { return Cut::Closed };
            if manner != self.manner.get() {
                manner = self.manner.get();
                rest = self.luck(manner);
            }
            let mut length = length;
            match manner {
                Manner::Reset { .. } => length = length.min(rest),
                Manner::Late { most } if way == Way::Answered => {
                    let late = most.mul_f64(self.random.borrow_mut().random_range(0.0..1.0));
                    sleep(late).await;
                }
                Manner::HalfAnswered if way == Way::Answered => {
                    // What nobody asked for is not half an answer: a connection that is only kept stays whole.
                    let _ = to.write_all(&buffer[..length.min(20)]).await;
                    self.changed.notified().await;
                    return Cut::Reset;
                }
                Manner::Silent => {
                    self.changed.notified().await;
                    return Cut::Reset;
                }
                _ => {}
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return Cut::Closed;
            }
            if let Manner::Reset { .. } = manner {
                rest -= length;
                if rest == 0 {
                    return Cut::Reset;
                }
            }
        }
    }

    /// After how many bytes a connection is reset.
    fn luck(&self, manner: Manner) -> usize {
        match manner {
            Manner::Reset { most_bytes } => self.random.borrow_mut().random_range(1..=most_bytes),
            _ => usize::MAX,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Closed,
    Reset,
}

/// One way of a connection that both ways share.
struct Half<'a>(&'a TcpStream);

fn split(stream: &TcpStream) -> (Half<'_>, Half<'_>) {
    (Half(stream), Half(stream))
}

impl Half<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.0.writable().await?;
            match self.0.try_write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

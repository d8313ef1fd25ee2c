//! WebSockets (RFC 6455): a thread for each, which reads, and writes what other threads queue.
//!
//! ```text
//!  stream ---text---> Talk::on_text            any thread
//!         <---text--- queue <--wake-- Outbox::send
//! ```

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::tls::Stream;

/// Messages that may wait for a slow reader. One that is further behind is cut off.
const MAX_QUEUED: usize = 256;
/// The largest message: a description with many tracks is some tens of kilobytes.
const MAX_MESSAGE: usize = 256 * 1024;
/// Messages per second on average, and at once.
const RATE: f64 = 50.0;
const BURST: f64 = 400.0;
/// A ping goes out this often; whoever is silent for three is gone.
const PING: Duration = Duration::from_secs(10);
const STREAM: Token = Token(0);
const WAKE: Token = Token(1);

/// The side of the program: what comes out of a WebSocket.
pub(crate) trait Talk: Send {
    /// The peer can be written to; called once, first.
    fn on_open(&mut self, outbox: Outbox);
    /// A text message.
    fn on_text(&mut self, text: &str);
    /// It is over; called once, last.
    fn on_closed(&mut self);
}

/// The way to a peer, from any thread. When all are gone, the WebSocket is closed.
#[derive(Clone)]
pub(crate) struct Outbox {
    queue: SyncSender<String>,
    waker: Arc<Waker>,
}

impl Outbox {
    /// Queues a message. Says whether there was room; where there is none, the peer does not read, and its end
    /// is near.
    pub(crate) fn send(&self, text: String) -> bool {
        let is_queued = self.queue.try_send(text).is_ok();
        let _ = self.waker.wake();
        is_queued
    }
}

/// Speaks on `stream`, behind the HTTP head, until either side is done. `early` are bytes that came with the head.
pub(crate) fn talk(stream: Stream, early: Vec<u8>, side: &mut dyn Talk) {
    if let Err(error) = converse(stream, early, side) {
        tracing::debug!(%error, "a WebSocket ended");
    }
    side.on_closed();
}

fn converse(stream: Stream, early: Vec<u8>, side: &mut dyn Talk) -> io::Result<()> {
    let mut poll = Poll::new()?;
    stream.tcp().set_nonblocking(true)?;
    let mut readiness = mio::net::TcpStream::from_std(stream.tcp().try_clone()?);
    poll.registry().register(&mut readiness, STREAM, Interest::READABLE | Interest::WRITABLE)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (queue, outgoing) = sync_channel(MAX_QUEUED);
    side.on_open(Outbox { queue, waker });

    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .max_write_buffer_size(4 * MAX_MESSAGE);
    let mut socket = WebSocket::from_partially_read(stream, early, Role::Server, Some(config));
    let mut events = Events::with_capacity(4);
    let mut budget = Budget::new();
    let (mut heard, mut pinged) = (Instant::now(), Instant::now());
    loop {
        let is_open = write(&mut socket, &outgoing)?;
        if !is_open {
            let _ = socket.close(None);
            let _ = socket.flush();
            return Ok(());
        }
        while let Some(message) = read(&mut socket)? {
            heard = Instant::now();
            budget.spend()?;
            match message {
                Message::Text(text) => side.on_text(&text),
                Message::Close(_) => return socket.flush().or(Ok(())),
                _ => {} // pongs; pings are answered by the library
            }
        }
        if pinged.elapsed() >= PING {
            pinged = Instant::now();
            if heard.elapsed() > 3 * PING {
                return Err(ErrorKind::TimedOut.into());
            }
            done(socket.write(Message::Ping(Default::default())))?;
        }
        done(socket.flush())?;
        match poll.poll(&mut events, Some(PING)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

/// Hands what is queued to the socket. Says whether there is still somebody who queues.
fn write(socket: &mut WebSocket<Stream>, outgoing: &Receiver<String>) -> io::Result<bool> {
    loop {
        match outgoing.try_recv() {
            Ok(text) => done(socket.write(Message::text(text)))?,
            Err(TryRecvError::Empty) => return Ok(true),
            Err(TryRecvError::Disconnected) => return Ok(false),
        }
    }
}

/// The next message; `None` when there is none now.
fn read(socket: &mut WebSocket<Stream>) -> io::Result<Option<Message>> {
    match socket.read() {
        Ok(message) => Ok(Some(message)),
        Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// What cannot be written now stays in the socket's buffer, which has a bound, and goes out with a later flush.
fn done(result: tungstenite::Result<()>) -> io::Result<()> {
    match result {
        Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        result => result.map_err(io::Error::other),
    }
}

/// How much a peer may say: a bucket that fills up with time.
struct Budget {
    left: f64,
    at: Instant,
}

impl Budget {
    fn new() -> Self {
        Budget { left: BURST, at: Instant::now() }
    }

    fn spend(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.left = (self.left + (now - self.at).as_secs_f64() * RATE).min(BURST) - 1.0;
        self.at = now;
        if self.left < 0.0 { Err(io::Error::other("too many messages")) } else { Ok(()) }
    }
}

//! The streams of a loop that owns them all: TCP and TLS to TURN servers, ICE over TCP from and to peers.
//!
//! The library says what to open, write and close, and is told what happens; framing is its own business. TLS is
//! ours. The contract is on [`StreamKey`].

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use sansrtc::{Endpoint, FirstFrame, IncomingStream, Key, Protocol, StreamInput, StreamKey, StreamOutput};
use socket2::{Domain, Socket, Type};

/// Tokens from here on are streams, and from `LISTENER` on listeners.
pub(crate) const STREAM: usize = 1 << 32;
const LISTENER: usize = 1 << 48;
/// Bytes that may wait for one stream; what comes on top is dropped by whole writes.
const MAX_PENDING: usize = 256 * 1024;
/// Streams that peers opened and that have not said whose they are.
const MAX_STRANGERS: usize = 256;
/// How long they may take to do so.
const PATIENCE: Duration = Duration::from_secs(5);
/// Reads of one stream before others have their turn.
const MAX_READS: usize = 16;

/// One stream.
struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    owner: Owner,
    is_connected: bool,
    pending: Vec<u8>,
}

enum Owner {
    /// A connection's.
    Known(Key, StreamKey),
    /// A peer opened it; by when it must have said whose it is.
    Stranger(Option<IncomingStream>, Instant),
}

/// All of them.
pub(crate) struct Streams {
    all: HashMap<usize, Stream>,
    by_key: HashMap<(Key, StreamKey), usize>,
    listeners: Vec<(TcpListener, SocketAddr)>,
    next: usize,
    tls: Arc<ClientConfig>,
    scratch: Vec<u8>,
}

impl Streams {
    /// Listens on these addresses, which must not be wildcards.
    pub(crate) fn bind(
        addresses: &[SocketAddr],
        tls: Arc<ClientConfig>,
        registry: &Registry,
    ) -> Result<Self, Box<dyn Error>> {
        let mut listeners = Vec::new();
        for (index, &address) in addresses.iter().enumerate() {
            let mut listener =
                TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
            registry.register(&mut listener, Token(LISTENER + index), Interest::READABLE)?;
            let local = listener.local_addr()?;
            listeners.push((listener, local));
        }
        let scratch = vec![0; 64 * 1024];
        Ok(Streams { all: HashMap::new(), by_key: HashMap::new(), listeners, next: STREAM, tls, scratch })
    }

    /// The listeners' addresses.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|(_, local)| *local)
    }

    // ----- what the library wants -----

    /// Does what a connection asks for.
    pub(crate) fn command(
        &mut self,
        endpoint: &mut Endpoint,
        registry: &Registry,
        key: Key,
        wish: StreamOutput,
    ) {
        match wish {
            StreamOutput::Open { key: stream, protocol, local, remote, server_name } => {
                match self.open(registry, (key, stream), protocol, local, remote, server_name) {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::debug!(%remote, %error, "not opened");
                        let closed = StreamInput::Closed { key: stream };
                        endpoint.handle_stream(Instant::now(), key, closed);
                    }
                }
            }
            StreamOutput::Write { key: stream, contents } => {
                if let Some(&id) = self.by_key.get(&(key, stream)) {
                    self.write(endpoint, id, &contents);
                }
            }
            StreamOutput::Close { key: stream } => {
                if let Some(id) = self.by_key.remove(&(key, stream))
                    && let Some(mut stream) = self.all.remove(&id)
                {
                    stream.finish();
                }
            }
            other => tracing::debug!(?other, "not done"),
        }
    }

    fn open(
        &mut self,
        registry: &Registry,
        key: (Key, StreamKey),
        protocol: Protocol,
        local: Option<IpAddr>,
        remote: SocketAddr,
        server_name: Option<String>,
    ) -> Result<(), Box<dyn Error>> {
        let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
        if let Some(ip) = local {
            socket.bind(&SocketAddr::new(ip, 0).into())?;
        }
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&remote.into()) {
            Err(error) if !is_under_way(&error) => return Err(error.into()),
            _ => {}
        }
        let tls = match protocol {
            Protocol::Tls => {
                let name = ServerName::try_from(server_name.unwrap_or_else(|| remote.ip().to_string()))?;
                Some(Box::new(ClientConnection::new(Arc::clone(&self.tls), name)?))
            }
            _ => None,
        };
        let socket = TcpStream::from_std(socket.into());
        let id = self.add(registry, socket, tls, Owner::Known(key.0, key.1))?;
        self.by_key.insert(key, id);
        Ok(())
    }

    fn add(
        &mut self,
        registry: &Registry,
        mut socket: TcpStream,
        tls: Option<Box<ClientConnection>>,
        owner: Owner,
    ) -> io::Result<usize> {
        let id = self.next;
        self.next += 1;
        registry.register(&mut socket, Token(id), Interest::READABLE | Interest::WRITABLE)?;
        let is_connected = matches!(owner, Owner::Stranger(..));
        self.all.insert(id, Stream { socket, tls, owner, is_connected, pending: Vec::new() });
        Ok(id)
    }

    fn write(&mut self, endpoint: &mut Endpoint, id: usize, bytes: &[u8]) {
        let Some(stream) = self.all.get_mut(&id) else { return };
        if stream.waiting() + bytes.len() <= MAX_PENDING {
            stream.push(bytes);
        }
        if stream.is_connected && stream.flush().is_err() {
            self.close(endpoint, id);
        }
    }

    // ----- what happens -----

    /// Takes what the poll has told.
    pub(crate) fn on_ready(&mut self, endpoint: &mut Endpoint, registry: &Registry, event: &Event) {
        let Token(id) = event.token();
        if id >= LISTENER {
            return self.accept(registry, id - LISTENER);
        }
        let Some(stream) = self.all.get_mut(&id) else { return };
        if !stream.is_connected {
            match stream.is_open() {
                Ok(false) => return,
                Ok(true) => {
                    stream.is_connected = true;
                    let local = stream.socket.local_addr();
                    if let (Owner::Known(key, stream), Ok(local)) = (&stream.owner, local) {
                        let opened = StreamInput::Opened { key: *stream, local };
                        endpoint.handle_stream(Instant::now(), *key, opened);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a stream was refused");
                    return self.close(endpoint, id);
                }
            }
        }
        let flushed = self.all.get_mut(&id).is_some_and(|stream| stream.flush().is_ok());
        if !flushed {
            return self.close(endpoint, id);
        }
        if event.is_readable() {
            self.read(endpoint, registry, id);
        }
    }

    fn accept(&mut self, registry: &Registry, index: usize) {
        while let Some((listener, local)) = self.listeners.get(index) {
            let (local, accepted) = (*local, listener.accept());
            let Ok((socket, remote)) = accepted else { break };
            let strangers = self.all.values().filter(|s| matches!(s.owner, Owner::Stranger(..))).count();
            // Beyond the bound the socket is dropped, which closes it.
            if strangers < MAX_STRANGERS {
                let _ = socket.set_nodelay(true);
                let stranger = IncomingStream::new(local, remote);
                let owner = Owner::Stranger(Some(stranger), Instant::now() + PATIENCE);
                let _ = self.add(registry, socket, None, owner);
            }
        }
    }

    fn read(&mut self, endpoint: &mut Endpoint, registry: &Registry, id: usize) {
        for _ in 0..MAX_READS {
            let Some(stream) = self.all.get_mut(&id) else { return };
            let read = match stream.read(&mut self.scratch) {
                Ok(0) => return self.close(endpoint, id),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::debug!(%error, "a stream failed");
                    return self.close(endpoint, id);
                }
            };
            if !self.take(endpoint, id, read) {
                return self.close(endpoint, id);
            }
        }
        // There may be more: the poll tells of it again.
        if let Some(stream) = self.all.get_mut(&id) {
            let _ =
                registry.reregister(&mut stream.socket, Token(id), Interest::READABLE | Interest::WRITABLE);
        }
    }

    /// Hands on what was read; `false` when the stream is nobody's.
    fn take(&mut self, endpoint: &mut Endpoint, id: usize, read: usize) -> bool {
        let (Some(stream), Some(bytes)) = (self.all.get_mut(&id), self.scratch.get(..read)) else {
            return false;
        };
        let now = Instant::now();
        match &mut stream.owner {
            Owner::Known(key, stream) => {
                let received = StreamInput::Received { key: *stream, contents: BytesMut::from(bytes) };
                endpoint.handle_stream(now, *key, received);
                true
            }
            Owner::Stranger(stranger, _) => {
                let Some(mut incoming) = stranger.take() else { return false };
                match incoming.push(bytes) {
                    FirstFrame::Incomplete => {
                        *stranger = Some(incoming);
                        true
                    }
                    FirstFrame::Check => match endpoint.handle_incoming(now, incoming) {
                        Some((key, name)) => {
                            stream.owner = Owner::Known(key, name);
                            self.by_key.insert((key, name), id);
                            true
                        }
                        None => false,
                    },
                    FirstFrame::Nonsense => false,
                }
            }
        }
    }

    /// A stream has ended; its connection is told.
    fn close(&mut self, endpoint: &mut Endpoint, id: usize) {
        let Some(stream) = self.all.remove(&id) else { return };
        if let Owner::Known(key, name) = stream.owner {
            self.by_key.remove(&(key, name));
            endpoint.handle_stream(Instant::now(), key, StreamInput::Closed { key: name });
        }
    }

    /// A connection is gone, and its streams with it.
    pub(crate) fn forget(&mut self, key: Key) {
        let of_key = |(other, _): &&(Key, StreamKey)| *other == key;
        let gone: Vec<(Key, StreamKey)> = self.by_key.keys().filter(of_key).copied().collect();
        for name in gone {
            if let Some(mut stream) = self.by_key.remove(&name).and_then(|id| self.all.remove(&id)) {
                stream.finish();
            }
        }
    }

    /// Closes strangers that took too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.all.retain(|_, stream| !matches!(stream.owner, Owner::Stranger(_, until) if until <= now));
    }

    /// When the next one has taken too long.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let until = |stream: &Stream| match stream.owner {
            Owner::Stranger(_, until) => Some(until),
            Owner::Known(..) => None,
        };
        self.all.values().filter_map(until).min()
    }
}

impl Stream {
    /// Whether the connection is made; an error when it was refused.
    fn is_open(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes bytes to be written, through TLS where there is one.
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            while !self.pending.is_empty() {
                match self.socket.write(&self.pending) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(count) => drop(self.pending.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        };
        // The handshake goes first; what waits follows it.
        loop {
            if !tls.is_handshaking() && !self.pending.is_empty() {
                let count = tls.writer().write(&self.pending)?;
                self.pending.drain(..count);
            }
            if !tls.wants_write() {
                return Ok(());
            }
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(scratch) };
        loop {
            match tls.reader().read(scratch) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let was_handshaking = tls.is_handshaking();
            tls.process_new_packets().map_err(io::Error::other)?;
            if was_handshaking || tls.wants_write() {
                self.flush()?;
                return self.read(scratch);
            }
        }
    }

    /// Says goodbye, as far as the socket takes it.
    fn finish(&mut self) {
        let _ = self.flush();
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }
}

fn is_under_way(error: &io::Error) -> bool {
    // EINPROGRESS has no kind of its own in every version.
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(115)
}

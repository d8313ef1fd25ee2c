//! A client's TCP stream: read in pieces, written without ever waiting.

use std::io::{self, Read as _, Write as _};
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use mio::net::TcpStream;
use sansrtc::turn::server::FiveTuple;

/// Bytes that wait for a slow reader. What comes on top is dropped, message by message, as a full queue on the way
/// would drop datagrams.
const MAX_WAITING: usize = 1 << 20;

/// One stream.
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    pub(crate) tuple: FiveTuple,
    pub(crate) since: Instant,
    waiting: BytesMut,
}

impl Stream {
    /// A stream that was just accepted.
    pub(crate) fn new(socket: TcpStream, tuple: FiveTuple, since: Instant) -> Self {
        // Small messages one by one: waiting for more to come would cost a round trip.
        let _ = socket.set_nodelay(true);
        Stream { socket, tuple, since, waiting: BytesMut::new() }
    }

    /// What arrived; `None` when there is nothing more for now. An empty piece is the end.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<BytesMut>> {
        match self.socket.read(scratch) {
            Ok(length) => Ok(Some(BytesMut::from(&scratch[..length]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read(scratch),
            Err(error) => Err(error),
        }
    }

    /// Writes a message, or keeps what does not fit; whole messages are dropped when too much waits.
    pub(crate) fn write(&mut self, message: &[u8]) -> io::Result<()> {
        if self.waiting.len() + message.len() <= MAX_WAITING {
            self.waiting.extend_from_slice(message);
        }
        self.flush()
    }

    /// Writes what waits, as far as it goes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.waiting.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

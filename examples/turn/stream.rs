//! A client's stream, plain or under TLS: read in pieces, written without ever waiting.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};
use sansrtc::turn::server::FiveTuple;

/// Bytes that wait for a slow reader. What comes on top is dropped, message by message, as a full queue on the way
/// would drop datagrams.
const MAX_WAITING: usize = 1 << 20;

/// What a stream has to give.
pub(crate) enum Piece {
    /// Bytes for the machine.
    Data(BytesMut),
    /// Something of TLS alone; there may be more.
    Other,
    /// Nothing more for now.
    Dry,
    /// Nothing more at all.
    End,
}

/// One stream.
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    pub(crate) tuple: FiveTuple,
    pub(crate) since: Instant,
    tls: Option<Box<ServerConnection>>,
    /// In clear.
    waiting: BytesMut,
}

impl Stream {
    /// A stream that was just accepted; under TLS with this configuration, if there is one.
    pub(crate) fn new(
        socket: TcpStream,
        tuple: FiveTuple,
        since: Instant,
        tls: Option<&Arc<ServerConfig>>,
    ) -> Result<Self, rustls::Error> {
        // Small messages one by one: waiting for more to come would cost a round trip.
        let _ = socket.set_nodelay(true);
        let tls = tls.map(|config| ServerConnection::new(Arc::clone(config)).map(Box::new)).transpose()?;
        Ok(Stream { socket, tuple, since, tls, waiting: BytesMut::new() })
    }

    /// What arrived.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Piece> {
        let read = match &mut self.tls {
            None => self.socket.read(scratch),
            Some(tls) => tls.read_tls(&mut self.socket),
        };
        match read {
            Ok(0) => Ok(Piece::End),
            Ok(length) if self.tls.is_none() => Ok(Piece::Data(BytesMut::from(&scratch[..length]))),
            Ok(_) => self.decrypt(scratch),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Piece::Dry),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Piece::Other),
            Err(error) => Err(error),
        }
    }

    /// Takes what TLS has made of the bytes so far: all of it, so that its buffer is empty again.
    fn decrypt(&mut self, scratch: &mut [u8]) -> io::Result<Piece> {
        let Some(tls) = &mut self.tls else { return Ok(Piece::Dry) };
        let state = tls.process_new_packets();
        let mut piece = BytesMut::new();
        let is_closed = loop {
            match tls.reader().read(scratch) {
                Ok(0) => break true,
                Ok(length) => piece.extend_from_slice(&scratch[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) => return Err(error),
            }
        };
        // A handshake goes on, or the client is told what is wrong with it.
        self.flush()?;
        state.map_err(io::Error::other)?;
        Ok(match piece.is_empty() {
            false => Piece::Data(piece),
            true if is_closed => Piece::End,
            true => Piece::Other,
        })
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
        loop {
            let written = match &mut self.tls {
                // Encrypted before, and not written yet.
                Some(tls) if tls.wants_write() => tls.write_tls(&mut self.socket).map(|n| (n, 0)),
                _ if self.waiting.is_empty() => return Ok(()),
                // Behind the handshake it takes nothing more than it has room for.
                Some(tls) => match tls.writer().write(&self.waiting) {
                    Ok(0) => return Ok(()),
                    result => result.map(|taken| (taken, taken)),
                },
                None => self.socket.write(&self.waiting).map(|n| (n, n)),
            };
            match written {
                Ok((0, _)) => return Err(ErrorKind::WriteZero.into()),
                Ok((_, taken)) => self.waiting.advance(taken),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that nothing more is written.
    pub(crate) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.flush();
        }
    }
}

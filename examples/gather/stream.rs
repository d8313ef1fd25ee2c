//! TCP and TLS streams to TURN servers, without ever waiting.

use std::error::Error;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use sansrtc::{Protocol, StreamInput, StreamKey};

/// Tokens of streams start here; those below are sockets'.
const FIRST_TOKEN: usize = 1 << 20;

/// Whose certificates are good.
pub(crate) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Those that the authorities in a file have signed.
    pub(crate) fn new(ca: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca {
            for certificate in CertificateDer::pem_file_iter(path)? {
                roots.add(certificate?)?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust(Arc::new(config)))
    }
}

/// One stream.
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<ClientConnection>,
    is_connected: bool,
    /// What is to be written behind the handshakes, in clear.
    waiting: BytesMut,
    received: BytesMut,
    /// The local address, until it was told.
    opened: Option<SocketAddr>,
}

impl Stream {
    /// Begins to connect.
    pub(crate) fn open(
        poll: &Poll,
        key: StreamKey,
        protocol: Protocol,
        remote: SocketAddr,
        name: Option<String>,
        trust: &Trust,
    ) -> Result<Self, Box<dyn Error>> {
        let mut tcp = TcpStream::connect(remote)?;
        let token = Token(FIRST_TOKEN + usize::try_from(key.0)?);
        poll.registry().register(&mut tcp, token, Interest::READABLE | Interest::WRITABLE)?;
        let name = name.unwrap_or_else(|| remote.ip().to_string());
        let tls = match protocol {
            Protocol::Tls => Some(ClientConnection::new(Arc::clone(&trust.0), ServerName::try_from(name)?)?),
            _ => None,
        };
        let (waiting, received) = (BytesMut::new(), BytesMut::new());
        Ok(Stream { tcp, tls, is_connected: false, waiting, received, opened: None })
    }

    /// Writes, now or later.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        self.flush()
    }

    /// Goes on with whatever can go on.
    pub(crate) fn advance(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        if !self.is_connected {
            if let Some(error) = self.tcp.take_error()? {
                return Err(error);
            }
            match self.tcp.peer_addr() {
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                result => result?,
            };
            self.is_connected = true;
            self.tcp.set_nodelay(true)?;
            self.opened = Some(self.tcp.local_addr()?);
        }
        self.flush()?;
        loop {
            let result = match &mut self.tls {
                None => self.tcp.read(scratch),
                Some(tls) => match tls.read_tls(&mut self.tcp) {
                    Ok(length) if length > 0 => {
                        tls.process_new_packets().map_err(io::Error::other)?;
                        match tls.reader().read(scratch) {
                            Ok(length) => self.received.extend_from_slice(&scratch[..length]),
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                            Err(error) => return Err(error),
                        }
                        self.flush()?;
                        continue;
                    }
                    result => result,
                },
            };
            match result {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.received.extend_from_slice(&scratch[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// What the connection is to be told.
    pub(crate) fn take_inputs(&mut self, key: StreamKey) -> Vec<StreamInput> {
        let mut inputs = Vec::new();
        if let Some(local) = self.opened.take() {
            inputs.push(StreamInput::Opened { key, local });
        }
        if !self.received.is_empty() {
            inputs.push(StreamInput::Received { key, contents: self.received.split() });
        }
        inputs
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.is_connected {
            return Ok(());
        }
        if let Some(tls) = &mut self.tls {
            let taken = tls.writer().write(&self.waiting)?;
            self.waiting.advance(taken);
            while tls.wants_write() {
                match tls.write_tls(&mut self.tcp) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    result => result.map(drop)?,
                }
            }
            return Ok(());
        }
        while !self.waiting.is_empty() {
            match self.tcp.write(&self.waiting) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                result => self.waiting.advance(result?),
            }
        }
        Ok(())
    }
}

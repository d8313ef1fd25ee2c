//! A TCP stream, plain or under TLS with a certificate made at the start.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What an accepted connection is read from and written to.
pub(crate) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    /// Takes an accepted connection; the handshake happens with the first read.
    pub(crate) fn new(tcp: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Self, rustls::Error> {
        Ok(match tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                Stream::Tls(Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(config))?, tcp)))
            }
        })
    }

    /// What lies below, for timeouts.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref(),
        }
    }

    /// Says that nothing more is written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Stream::Tls(tls) = self {
            tls.conn.send_close_notify();
            tls.flush()?;
        }
        self.tcp().shutdown(std::net::Shutdown::Write)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(buffer),
            Stream::Tls(tls) => tls.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// A certificate that nobody vouches for, for this machine under these addresses. Browsers warn once.
pub(crate) fn self_signed(ips: &[IpAddr]) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let names = ips.iter().map(IpAddr::to_string).chain(["localhost".to_owned()]);
    let made = rcgen::generate_simple_self_signed(names.collect::<Vec<_>>())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    // Named, so that another provider somewhere among the packages makes no difference.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(Arc::new(config))
}

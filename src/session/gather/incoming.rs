//! A stream that a peer opened to a listener, before it is known whose it is (RFC 6544 §7).
//!
//! ```text
//! accept() ──▶ IncomingStream ──push(bytes)──▶ the first frame is a STUN request: its user name says whose it is
//! ```

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::stun::{Class, Message, Method};

/// The longest first frame: a check with two user name fragments of 256 bytes has room.
const MAX_FIRST: usize = 1500;

/// A stream that was accepted by a listener of passive candidates, shared by any number of connections.
///
/// Push what is read until the first frame is whole; then hand it to [`Endpoint::handle_incoming`](crate::Endpoint::handle_incoming)
/// or [`Rtc::accept_stream`](crate::Rtc::accept_stream). Whoever connects and says nothing costs its socket: the
/// caller closes streams that take longer than some seconds, and keeps few of them.
#[derive(Debug)]
pub struct IncomingStream {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) bytes: BytesMut,
}

/// What the first bytes of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstFrame {
    /// Not enough yet.
    Incomplete,
    /// A connectivity check: whose it is can be told.
    Check,
    /// No connectivity check: close the stream.
    Nonsense,
}

impl IncomingStream {
    /// A stream that came to the listener at `local`, the address of a passive candidate, from `remote`.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        IncomingStream { local, remote, bytes: BytesMut::new() }
    }

    /// The listener's address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Who opened it.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Takes bytes as they were read. At most 64 KiB are kept; more of them before the stream is handed on are
    /// nonsense.
    pub fn push(&mut self, bytes: &[u8]) -> FirstFrame {
        /// Frames that followed the first one so closely that they came with it.
        const MAX_KEPT: usize = 64 * 1024;
        if self.bytes.len() + bytes.len() > MAX_KEPT {
            return FirstFrame::Nonsense;
        }
        self.bytes.extend_from_slice(bytes);
        match (self.first(), self.ufrag()) {
            (Ok(None), _) => FirstFrame::Incomplete,
            (Ok(Some(_)), Some(_)) => FirstFrame::Check,
            _ => FirstFrame::Nonsense,
        }
    }

    /// The receiver's fragment of the check's user name (RFC 8445 §7.2.2).
    pub fn ufrag(&self) -> Option<&str> {
        let message = Message::parse(self.first().ok()??).ok()?;
        let is_check = message.class() == Class::Request && message.method() == Method::BINDING;
        let username = std::str::from_utf8(message.username().filter(|_| is_check)?).ok()?;
        username.split_once(':').map(|(local, _)| local)
    }

    /// The first frame, without its length (RFC 4571 §2).
    fn first(&self) -> Result<Option<&[u8]>, ()> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        // RFC 4571 §2 allows empty frames, but nobody begins with one.
        if !(crate::stun::HEADER_LEN..=MAX_FIRST).contains(&length) {
            return Err(());
        }
        Ok(rest.get(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{Builder, TransactionId};

    fn check(username: &[u8]) -> Vec<u8> {
        let mut message = BytesMut::new();
        let mut builder = Builder::new(&mut message, Class::Request, Method::BINDING, TransactionId([1; 12]));
        builder.username(&[username]);
        builder.finish();
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        [&length[..], &message].concat()
    }

    fn stream() -> IncomingStream {
        IncomingStream::new(([192, 0, 2, 1], 443).into(), ([192, 0, 2, 9], 50_000).into())
    }

    #[test]
    fn the_first_frame_tells_whose_a_stream_is() {
        let mut stream = stream();
        let bytes = check(b"mine:yours");
        let (last, first) = bytes.split_last().unwrap();
        for byte in first {
            assert_eq!(stream.push(&[*byte]), FirstFrame::Incomplete);
        }
        assert_eq!((stream.push(&[*last]), stream.ufrag()), (FirstFrame::Check, Some("mine")));
        assert_eq!(stream.push(b"\x00\x01"), FirstFrame::Check, "what follows is for the connection");
    }

    #[test]
    fn what_is_no_check_is_told_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x00\x00",
            b"\xff\xff",
            &[&[0, 20], &[7; 20][..]].concat(),
            &check(b"nobody"),
        ] {
            assert_eq!(stream().push(bytes), FirstFrame::Nonsense, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut stream = stream();
        stream.push(&check(b"mine:yours"));
        assert_eq!(stream.push(&[0; 70_000]), FirstFrame::Nonsense);
        assert!(stream.bytes.len() < 200);
    }
}

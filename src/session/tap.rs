//! Decrypted packets for whoever debugs: a bounded queue that drops the newest when nobody reads it.

use std::time::Instant;

use bytes::Bytes;

use crate::wire::limited::LimitedQueue;

/// Which way a tapped packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the peer.
    Sent,
    /// From the peer.
    Received,
}

/// An SCTP packet as it was inside its DTLS record (RFC 8261).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TappedPacket {
    /// When it passed.
    pub at: Instant,
    /// Which way.
    pub direction: Direction,
    /// The packet, decrypted.
    pub contents: Bytes,
}

/// The queue; one of zero bytes records nothing and costs nothing.
#[derive(Debug)]
pub(crate) struct Tap(Option<LimitedQueue<TappedPacket>>);

impl Tap {
    pub(crate) fn new(bytes: usize) -> Self {
        Tap((bytes > 0).then(|| LimitedQueue::new(bytes)))
    }

    pub(crate) fn record(&mut self, at: Instant, direction: Direction, packet: &[u8]) {
        if let Some(queue) = &mut self.0
            && !packet.is_empty()
        {
            // A full queue keeps what it has: the beginning of a trace is worth more than its end.
            let contents = Bytes::copy_from_slice(packet);
            let _ = queue.push(packet.len(), TappedPacket { at, direction, contents });
        }
    }

    pub(crate) fn poll(&mut self) -> Option<TappedPacket> {
        self.0.as_mut()?.pop()
    }
}

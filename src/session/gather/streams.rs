//! ICE over TCP (RFC 6544): streams between peers, framed by RFC 4571.
//!
//! ```text
//! a check from an active candidate ──▶ Opening ──Opened──▶ Open ──Closed──▶ gone, and its pair with it
//! a stream that a peer opened ───────────────────────────▶ Open
//! ```
//!
//! A stream belongs to a pair of addresses as ICE knows them: an active candidate has port 9, whatever port its
//! streams leave from (RFC 6544 §4.5).

use std::net::SocketAddr;

use bytes::{BufMut as _, BytesMut};

use crate::packet::{Protocol, StreamKey, StreamOutput};
use crate::wire::Malformed;
use crate::wire::deframer::{Deframer, Framing, MAX_FRAME};

/// Streams to and from peers of one connection; more are not opened, and refused.
const MAX_STREAMS: usize = 32;
/// Times that a stream between two addresses is opened.
const MAX_OPENINGS: u8 = 3;
/// The port of active candidates (RFC 6544 §4.5).
const DISCARD: u16 = 9;

/// One stream between peers.
#[derive(Debug)]
struct Stream {
    key: StreamKey,
    local: SocketAddr,
    remote: SocketAddr,
    deframer: Deframer,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Being connected; the last check waits for it.
    Opening(Option<BytesMut>),
    Open,
}

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: Vec<Stream>,
    /// How often streams between two addresses were opened, for those that ended.
    openings: Vec<(SocketAddr, SocketAddr, u8)>,
}

/// What is to be done with a packet for a stream.
#[derive(Debug)]
pub(super) enum Ready {
    /// Write it to this stream, framed.
    Write(StreamKey),
    /// A stream is to be opened under the key that was given; the packet waits for it.
    Open,
    /// It was left for a stream that is being opened, or cannot leave.
    Nothing,
}

impl Streams {
    /// The open stream between two addresses.
    pub(super) fn open(&self, local: SocketAddr, remote: SocketAddr) -> Option<StreamKey> {
        let is_it = |stream: &&Stream| stream.local == local && stream.remote == remote;
        let stream = self.all.iter().find(is_it)?;
        matches!(stream.step, Step::Open).then_some(stream.key)
    }

    /// Says how `packet`, framed, gets from `local` to `remote`. `key` is for a new stream.
    pub(super) fn send(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        framed: &mut BytesMut,
        key: StreamKey,
    ) -> Ready {
        let found = self.all.iter_mut().find(|stream| stream.local == local && stream.remote == remote);
        if let Some(stream) = found {
            return match &mut stream.step {
                Step::Open => Ready::Write(stream.key),
                Step::Opening(waiting) => {
                    // Only the last check is of use: its answer is waited for longest.
                    *waiting = Some(framed.split());
                    Ready::Nothing
                }
            };
        }
        // Only active candidates open streams; what a passive one has to say to a stream that ended is lost.
        let was_opened =
            self.openings.iter().find(|(l, r, _)| (*l, *r) == (local, remote)).map_or(0, |o| o.2);
        if local.port() != DISCARD || self.all.len() >= MAX_STREAMS || was_opened >= MAX_OPENINGS {
            return Ready::Nothing;
        }
        self.all.push(Stream {
            key,
            local,
            remote,
            deframer: Deframer::new(Framing::LengthPrefixed, MAX_FRAME),
            step: Step::Opening(Some(framed.split())),
        });
        Ready::Open
    }

    /// Takes a stream that a peer opened. Whether there is room.
    pub(super) fn accept(&mut self, key: StreamKey, local: SocketAddr, remote: SocketAddr) -> bool {
        let is_known = self.all.iter().any(|stream| stream.local == local && stream.remote == remote);
        if is_known || self.all.len() >= MAX_STREAMS {
            return false;
        }
        let deframer = Deframer::new(Framing::LengthPrefixed, MAX_FRAME);
        self.all.push(Stream { key, local, remote, deframer, step: Step::Open });
        true
    }

    /// A stream is connected; what waited for it.
    pub(super) fn on_opened(&mut self, key: StreamKey) -> Option<BytesMut> {
        let stream = self.all.iter_mut().find(|stream| stream.key == key)?;
        match std::mem::replace(&mut stream.step, Step::Open) {
            Step::Opening(waiting) => waiting,
            Step::Open => None,
        }
    }

    /// Bytes of a stream arrived.
    pub(super) fn push(&mut self, key: StreamKey, bytes: BytesMut) {
        let found = self.all.iter_mut().find(|stream| stream.key == key);
        if let Some(stream) = found.filter(|stream| matches!(stream.step, Step::Open)) {
            stream.deframer.push(bytes);
        }
    }

    /// The next packet of a stream: local address, remote address, contents.
    pub(super) fn next_packet(
        &mut self,
        key: StreamKey,
    ) -> Result<Option<(SocketAddr, SocketAddr, BytesMut)>, Malformed> {
        let Some(stream) = self.all.iter_mut().find(|stream| stream.key == key) else { return Ok(None) };
        let packet = stream.deframer.next_packet()?;
        Ok(packet.map(|packet| (stream.local, stream.remote, packet)))
    }

    /// A stream is gone; the addresses that it was between.
    pub(super) fn remove(&mut self, key: StreamKey) -> Option<(SocketAddr, SocketAddr)> {
        let at = self.all.iter().position(|stream| stream.key == key)?;
        let Stream { local, remote, .. } = self.all.remove(at);
        if local.port() == DISCARD {
            let known = self.openings.iter_mut().find(|(l, r, _)| (*l, *r) == (local, remote));
            if let Some((_, _, count)) = known {
                *count = count.saturating_add(1);
            } else if self.openings.len() < 2 * MAX_STREAMS {
                self.openings.push((local, remote, 1));
            }
        }
        Some((local, remote))
    }

    /// The streams of a base, or all.
    pub(super) fn keys(&self, base: Option<SocketAddr>) -> Vec<StreamKey> {
        let of_base = |stream: &&Stream| base.is_none_or(|base| stream.local == base);
        self.all.iter().filter(of_base).map(|stream| stream.key).collect()
    }

    /// A restart gives streams that failed another chance.
    pub(super) fn forgive(&mut self) {
        self.openings = Vec::new();
    }
}

/// The bytes before a packet (RFC 4571 §2).
pub(super) const PREFIX: usize = 2;

/// Writes the length before a packet: `packet[start..]` begins with room for it. `false`: it is too long.
pub(super) fn frame(packet: &mut BytesMut, start: usize) -> bool {
    let length = packet.len().checked_sub(start + PREFIX).and_then(|length| u16::try_from(length).ok());
    let place = packet.get_mut(start..).and_then(|rest| rest.first_chunk_mut::<PREFIX>());
    match (length, place) {
        (Some(length), Some(place)) => {
            *place = length.to_be_bytes();
            true
        }
        _ => false,
    }
}

/// Appends a packet with its length before it. One that is too long is left out.
pub(super) fn append_framed(packet: &[u8], tail: &mut BytesMut) {
    if let Ok(length) = u16::try_from(packet.len()) {
        tail.put_u16(length);
        tail.extend_from_slice(packet);
    }
}

/// What asks the caller for a stream between peers.
pub(super) fn opening(key: StreamKey, local: SocketAddr, remote: SocketAddr) -> StreamOutput {
    StreamOutput::Open { key, protocol: Protocol::Tcp, local: Some(local.ip()), remote, server_name: None }
}

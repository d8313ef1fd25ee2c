//! RTP packets as the application sees them: those that arrived, and those to be sent.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::rtp::elements::Elements;
use crate::rtp::ext::audio::AudioLevel;
use crate::rtp::ext::timing::{AbsCaptureTime, AbsSendTime, PlayoutDelay};
use crate::rtp::ext::video::Orientation;
use crate::rtp::ext::{Ids, Kind};
use crate::rtp::extended::short_time;
use crate::rtp::header::{Header, Packet};
use crate::session::negotiate::TransceiverId;
use crate::sfu::Arrived;
use crate::types::codec::Codec;
use crate::types::ids::{Pt, Rid, Ssrc};

use super::line::is_filled_in;

/// Names one RTP stream of the peer within its connection. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiverId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// How a packet came to be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PacketOrigin {
    /// As it was sent first.
    Received,
    /// It was lost, and came as a retransmission (RFC 4588).
    Retransmitted,
    /// It was lost, and was put together from redundant data (RFC 2198, RFC 5109, FlexFEC).
    Recovered,
}

/// An RTP packet that arrived, decrypted. Its bytes are those of the datagram: nothing was copied.
///
/// A packet with an empty [`payload`](RtpPacket::payload) is padding, which senders use to probe: it takes a
/// sequence number as any other.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RtpPacket {
    /// The transceiver that it belongs to.
    pub transceiver: TransceiverId,
    /// The stream that it belongs to.
    pub receiver: ReceiverId,
    /// The stream's source.
    pub ssrc: Ssrc,
    /// The stream's name within its transceiver, in a simulcast.
    pub rid: Option<Rid>,
    /// The encoding of its payload.
    pub codec: Codec,
    /// The payload type, as agreed for packets that arrive.
    pub payload_type: Pt,
    /// The sequence number without wraps; the first of a stream lies above 65,536.
    pub sequence: u64,
    /// The media time without wraps, in units of the format's clock rate.
    pub timestamp: u64,
    /// The marker bit: in video the last packet of a frame.
    pub marker: bool,
    /// When it arrived: the `now` of its datagram.
    pub received: Instant,
    /// How it came to be here.
    pub origin: PacketOrigin,
    pub(super) header: Header,
    pub(super) payload: std::ops::Range<usize>,
    pub(super) contents: BytesMut,
    pub(super) ids: Arc<Ids>,
    /// Some of its elements go along when it is forwarded.
    pub(super) has_elements: bool,
}

impl RtpPacket {
    /// The payload, without padding.
    pub fn payload(&self) -> &[u8] {
        self.contents.get(self.payload.clone()).unwrap_or_default()
    }

    /// The whole packet: header, payload and padding.
    pub fn bytes(&self) -> &[u8] {
        &self.contents
    }

    /// Where the parts of the packet lie.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The contributing sources (RFC 3550 §5.1), at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = Ssrc> + '_ {
        // The packet was checked when it arrived.
        Packet::new(self.header, &self.contents).into_iter().flat_map(|packet| packet.csrcs())
    }

    /// The header extension elements as they stand (RFC 8285).
    pub fn elements(&self) -> Elements<'_> {
        let Some(block) = self.header.extension else { return Elements::default() };
        let bytes = self.contents.get(block.start..block.start + block.len).unwrap_or_default();
        Elements::new(block.profile, bytes)
    }

    /// The header extension elements whose ids mean something, with what they mean.
    pub fn extensions(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        self.elements().filter_map(|element| Some((self.ids.kind(element.id)?, element.data)))
    }

    /// The elements that go along when the packet is forwarded.
    pub(super) fn forwarded_elements(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        self.extensions().filter(|(kind, _)| {
            // What these say of a sender's layers or of its own delay is not true of another stream.
            !matches!(kind, Kind::VideoLayersAllocation | Kind::TransmissionOffset) && !is_filled_in(*kind)
        })
    }

    /// The data of the first element of this kind.
    pub fn extension(&self, kind: Kind) -> Option<&[u8]> {
        self.extensions().find_map(|(found, data)| (found == kind).then_some(data))
    }

    /// How loud the packet's audio is (RFC 6464).
    pub fn audio_level(&self) -> Option<AudioLevel> {
        AudioLevel::parse(self.extension(Kind::AudioLevel)?).ok()
    }

    /// Which way is up.
    pub fn orientation(&self) -> Option<Orientation> {
        Orientation::parse(self.extension(Kind::VideoOrientation)?).ok()
    }

    /// How long frames should wait to be shown.
    pub fn playout_delay(&self) -> Option<PlayoutDelay> {
        PlayoutDelay::parse(self.extension(Kind::PlayoutDelay)?).ok()
    }

    /// When the frame was captured.
    pub fn abs_capture_time(&self) -> Option<AbsCaptureTime> {
        AbsCaptureTime::parse(self.extension(Kind::AbsCaptureTime)?).ok()
    }

    /// When the packet left its sender.
    pub fn abs_send_time(&self) -> Option<AbsSendTime> {
        AbsSendTime::parse(self.extension(Kind::AbsSendTime)?).ok()
    }

    /// The dependency descriptor, to be read with the structure that the stream told last
    /// ([`Descriptor::parse`](crate::rtp::ext::dependency::Descriptor::parse)).
    pub fn dependency_descriptor(&self) -> Option<&[u8]> {
        self.extension(Kind::DependencyDescriptor)
    }

    /// The packet as a forwarder reads it ([`sfu::Source::read`](crate::sfu::Source::read)). `encoding` says which
    /// one of its sender it belongs to: the place of its [`rid`](Self::rid) in the sender's list, 0 being the lowest.
    pub fn arrived(&self, encoding: u8) -> Arrived<'_> {
        Arrived {
            encoding,
            sequence: self.sequence,
            timestamp: short_time(self.timestamp).0,
            marker: self.marker,
            payload: self.payload(),
            dependency: self.dependency_descriptor(),
            received: self.received,
        }
    }
}

/// An RTP packet to be sent. Its source, and what only the transport knows (MID, RID, transport-wide number, time
/// of sending), are filled in.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingPacket<'a> {
    /// The payload type: one that was agreed for sending ([`Format::send`](crate::session::negotiate::Format::send)).
    pub payload_type: Pt,
    /// The sequence number. Its lower 16 bits go on the wire; each may be used once. Start below 2^15, so that
    /// a receiver that misses the first packets counts the turns right (RFC 3711 §3.3.1).
    pub sequence: u64,
    /// The media time, in units of the format's clock rate.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// The payload.
    pub payload: &'a [u8],
    /// Contributing sources, at most 15.
    pub csrcs: &'a [Ssrc],
    /// Header extension elements. Those of a kind that was not agreed are left out, and so are those that are
    /// filled in.
    pub extensions: &'a [(Kind, &'a [u8])],
}

impl<'a> OutgoingPacket<'a> {
    /// A packet without marker and header extensions.
    pub fn new(payload_type: Pt, sequence: u64, timestamp: u32, payload: &'a [u8]) -> Self {
        OutgoingPacket {
            payload_type,
            sequence,
            timestamp,
            marker: false,
            payload,
            csrcs: &[],
            extensions: &[],
        }
    }
}

/// Why a packet or a frame is not sent. Nothing was taken then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendMediaError {
    /// There is no such transceiver, or nothing was agreed for it yet.
    #[error("no such transceiver, or nothing agreed for it")]
    UnknownTransceiver,
    /// It was agreed that this side does not send there.
    #[error("the transceiver does not send")]
    NotSending,
    /// The transceiver sends no stream of this name.
    #[error("the transceiver has no stream of this name")]
    UnknownRid,
    /// The payload type was not agreed for sending.
    #[error("a payload type that was not agreed")]
    UnknownFormat,
    /// The connection is not up, or closed: media does not wait for it.
    #[error("not connected")]
    NotConnected,
    /// The packet does not fit into a datagram, or the frame into packets.
    #[error("too large")]
    TooLarge,
    /// Parity was sent under this number meanwhile: with ULPFEC, packets must come in order.
    #[error("the sequence number lies before parity that was sent")]
    Overtaken,
    /// The stream is paused.
    #[error("the stream is paused")]
    Paused,
    /// Too much waits to be sent already.
    #[error("the queue is full")]
    WouldBlock,
}

//! What was agreed for one transceiver, in the form that packets are handled with.

use std::sync::Arc;

use crate::rtp::elements::ElementsWriter;
use crate::rtp::ext::{Ids, Kind};
use crate::session::negotiate::{AgreedMedia, Format};
use crate::types::ids::{Pt, Rid, Ssrc};

use super::protection::ProtectionFormats;
use super::queue::Class;
use super::sender::SendStream;

/// What a payload type stands for in one section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    Unknown,
    /// The format at this place.
    Media(u8),
    /// A retransmission of the format at this place.
    Rtx(u8),
}

/// One transceiver with an agreed section.
#[derive(Debug)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub(super) struct Line {
    /// A bit for each payload type that may be sent.
    sent: u128,
    pub(super) send: SendIds,
    pub(super) streams: Vec<SendStream>,
    /// Which ids mean what in this section.
    pub(super) ids: Arc<Ids>,
    pub(super) agreed: AgreedMedia,
    /// What payload types of packets that arrive stand for; any other is unknown.
    received: Box<[(Pt, Payload)]>,
    /// The payload types of redundancy.
    pub(super) formats: ProtectionFormats,
}

/// The ids of what the transport fills in.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SendIds {
    pub(super) mid: Option<u8>,
    pub(super) rid: Option<u8>,
    pub(super) abs_send_time: Option<u8>,
    pub(super) transport_sequence: Option<u8>,
}

impl SendIds {
    /// Writes places for the time of sending and the transport-wide number.
    pub(super) fn push_stamped(&self, w: &mut ElementsWriter<'_>) {
        self.abs_send_time.into_iter().for_each(|id| _ = w.push(id, &[0; 3]));
        self.transport_sequence.into_iter().for_each(|id| _ = w.push(id, &[0; 2]));
    }

    fn of(ids: &Ids) -> Self {
        SendIds {
            mid: ids.id(Kind::Mid),
            rid: ids.id(Kind::Rid),
            abs_send_time: ids.id(Kind::AbsSendTime),
            transport_sequence: ids.id(Kind::TransportSequence),
        }
    }
}

/// Whether the transport fills in extensions of this kind.
pub(super) fn is_filled_in(kind: Kind) -> bool {
    matches!(kind, Kind::Mid | Kind::Rid | Kind::RepairedRid | Kind::AbsSendTime | Kind::TransportSequence)
}

impl Line {
    pub(super) fn new(agreed: AgreedMedia, ids: Ids) -> Self {
        let mut received = Vec::new();
        let mut set = |pt: Pt, payload| match received.iter_mut().find(|(held, _)| *held == pt) {
            Some((_, held)) => *held = payload,
            None => received.push((pt, payload)),
        };
        for (at, format) in (0u8..=254).zip(agreed.formats.iter()) {
            set(format.receive, Payload::Media(at));
            if let Some((rtx, _)) = format.rtx {
                set(rtx, Payload::Rtx(at));
            }
        }
        let received = received.into_boxed_slice();
        // A payload type is below 128.
        let sent = agreed.formats.iter().fold(0, |sent, format| sent | 1u128 << format.send.value());
        let formats = ProtectionFormats::of(&agreed.formats, |kind| ids.id(kind));
        let send = SendIds::of(&ids);
        Line { formats, send, ids: Arc::new(ids), agreed, received, sent, streams: Vec::new() }
    }

    /// In which queue its packets wait.
    pub(super) fn class(&self) -> Class {
        Class::of(self.agreed.kind)
    }

    /// What a payload type of a packet that arrived stands for.
    pub(super) fn payload(&self, pt: Pt) -> Payload {
        // A dozen of three bytes each, most of them behind the one that is in use.
        self.received.iter().find(|(held, _)| *held == pt).map_or(Payload::Unknown, |(_, payload)| *payload)
    }

    pub(super) fn format(&self, at: u8) -> Option<&Format> {
        self.agreed.formats.get(usize::from(at))
    }

    /// Whether packets may be sent under `pt`.
    pub(super) fn sends_format(&self, pt: Pt) -> bool {
        self.sent >> pt.value() & 1 == 1
    }

    /// The format that is sent under `pt`.
    pub(super) fn format_sent(&self, pt: Pt) -> Option<&Format> {
        self.agreed.formats.iter().find(|format| format.send == pt)
    }

    /// The source of the stream at a place.
    pub(super) fn ssrc(&self, stream: usize) -> Ssrc {
        self.streams.get(stream).map_or(Ssrc(0), |stream| stream.ssrc)
    }

    /// Writes the elements that the transport fills in, those first whose data is known only when a packet leaves.
    pub(super) fn write_filled_in(&self, stream: usize, w: &mut ElementsWriter<'_>) {
        let SendIds { mid, rid, .. } = self.send;
        self.send.push_stamped(w);
        // Until the peer has reported on a stream, it may not know where the stream belongs (RFC 9143 §9.1).
        let Some(stream) = self.streams.get(stream).filter(|stream| !stream.is_known) else { return };
        if let (Some(id), Some(mid)) = (mid, &self.agreed.mid) {
            w.push(id, mid.as_str().as_bytes());
        }
        if let (Some(id), Some(rid)) = (rid, &stream.rid) {
            w.push(id, rid.as_str().as_bytes());
        }
    }

    /// The stream called `rid`; without a name the only one, or the first.
    pub(super) fn stream_index(&self, rid: Option<Rid>) -> Option<usize> {
        match rid {
            None => (!self.streams.is_empty()).then_some(0),
            Some(_) => self.streams.iter().position(|stream| stream.rid == rid),
        }
    }
}

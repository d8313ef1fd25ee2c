//! One RTP stream that is sent.

use super::protection::Protection;
use crate::payload;
use crate::rtp::extended::ExtendedSequence;
use crate::rtp::header::WrittenBlock;
use crate::rtp::stream::key_frames::{DEFAULT_INTERVAL, KeyFrameRequests, Repeat};
use crate::rtp::stream::send::{History, HistoryConfig, Reports, Rtx};
use crate::session::negotiate::{Encoding, Format};
use crate::types::codec::Codec;
use crate::types::ids::{Pt, Rid, Ssrc};

use super::send::Written;
use super::stats::Requests;

/// What is known of a stream of ours.
#[derive(Debug)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub(super) struct SendStream {
    pub(super) ssrc: Ssrc,
    /// Whether the peer has reported on the stream: it knows by then which section it belongs to.
    pub(super) is_known: bool,
    /// The application has paused it.
    pub(super) is_paused: bool,
    /// The format of the last packet.
    sent_as: Option<SentAs>,
    /// The header of the last packet that had no elements of its own.
    front: Option<Front>,
    /// The number of the next packet that is made here.
    pub(super) next_sequence: u64,
    pub(super) reports: Reports,
    /// What the peer may ask for again.
    pub(super) history: History,
    /// Redundancy that is sent along.
    pub(super) protection: Protection,
    pub(super) rid: Option<Rid>,
    /// The source of its retransmissions.
    pub(super) rtx: Option<Ssrc>,
    /// Whether it has reported on the source of retransmissions.
    pub(super) is_repair_known: bool,
    /// Writes what is sent again into a stream of its own.
    pub(super) repair: Option<Rtx>,
    /// The peer's requests for key frames.
    pub(super) key_frames: KeyFrameRequests,
    /// What the peer asked for.
    pub(super) requests: Requests,
    /// Packets sent again, and their bytes.
    pub(super) resent: (u64, u64),
    /// Cuts frames, for the encoding that was sent last; who sends packets needs none.
    pub(super) packetizer: Option<Box<(Codec, payload::Packetizer)>>,
    /// The highest number that was sent.
    pub(super) highest: Option<u64>,
    /// Bits per second that the peer allows this stream (RFC 5104 §4.2.1).
    pub(super) bitrate_limit: Option<u64>,
}

/// What matters of a format for each packet that is sent in it: formats are large, and packets come in runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentAs {
    pub(super) payload_type: Pt,
    pub(super) codec: Codec,
    pub(super) clock_rate: u32,
    pub(super) nack: bool,
    /// Retransmissions have a payload type.
    pub(super) rtx: bool,
}

/// What the header of a packet without elements of its own has behind its first twelve bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    pub(super) block: WrittenBlock,
    pub(super) written: Written,
    /// Whether the stream was known to the peer, which makes names superfluous.
    is_known: bool,
}

impl From<&Format> for SentAs {
    fn from(format: &Format) -> Self {
        SentAs {
            payload_type: format.send,
            codec: format.codec,
            clock_rate: format.clock_rate,
            nack: format.feedback.nack,
            rtx: format.rtx.is_some(),
        }
    }
}

impl SendStream {
    pub(super) fn new(encoding: &Encoding) -> Self {
        let Encoding { rid, ssrc, rtx, fec } = *encoding;
        // RFC 4588 §4: numbers start anywhere; a source is as random as they need to be. Below 2^15, so that a
        // receiver that misses the first ones counts the turns right (RFC 3711 §3.3.1).
        let first = |ssrc: Ssrc| ExtendedSequence::CYCLE + u64::from(ssrc.0 & 0x7fff);
        SendStream {
            rid,
            ssrc,
            rtx,
            is_known: false,
            is_repair_known: false,
            sent_as: None,
            front: None,
            reports: Reports::new(90_000),
            history: History::new(HistoryConfig::default()),
            repair: rtx.map(|rtx| Rtx::new(rtx, first(rtx))),
            is_paused: false,
            key_frames: KeyFrameRequests::new(DEFAULT_INTERVAL, Repeat::Never),
            requests: Requests::default(),
            resent: (0, 0),
            packetizer: None,
            next_sequence: first(ssrc),
            highest: None,
            protection: Protection::new(fec),
            bitrate_limit: None,
        }
    }

    /// The format among `formats` that packets are sent in under this payload type.
    pub(super) fn format(&mut self, formats: &[Format], payload_type: Pt) -> Option<SentAs> {
        if self.sent_as.is_none_or(|held| held.payload_type != payload_type) {
            self.sent_as = formats.iter().find(|format| format.send == payload_type).map(SentAs::from);
        }
        self.sent_as
    }

    /// What headers without elements of their own have, if that was written before.
    pub(super) fn front(&self) -> Option<&Front> {
        self.front.as_ref().filter(|front| front.is_known == self.is_known)
    }

    /// Such a header was written, and `written` says where in it the places are that are filled in later.
    pub(super) fn note_front(&mut self, header: &[u8], written: Written) {
        let is_known = self.is_known;
        self.front = WrittenBlock::of(header).map(|block| Front { block, written, is_known });
    }

    /// An agreement was made: payload types and ids may mean something else from now on.
    pub(super) fn on_agreed(&mut self) {
        (self.sent_as, self.front) = (None, None);
    }

    /// A packet of parity takes the number behind the last packet: the source and that number.
    pub(super) fn insert(&mut self) -> (Ssrc, u64) {
        let highest = self.highest.unwrap_or(0);
        self.protection.on_inserted(highest);
        let next = highest.saturating_add(1);
        self.highest = Some(next);
        (self.ssrc, next)
    }

    /// A packet is sent: with the start of a key frame nobody waits for one any more.
    pub(super) fn note_key_frame(&mut self, codec: Codec, payload: &[u8]) {
        if self.key_frames.next_timeout().is_some() && starts_key_frame(codec, payload) {
            self.key_frames.on_key_frame();
        }
    }
}

/// Whether a payload is the first of a frame that can be decoded without others.
pub(super) fn starts_key_frame(codec: Codec, payload: &[u8]) -> bool {
    let codec = payload::Codec::from_name(codec.name());
    let info = codec.and_then(|codec| codec.describe(payload).ok());
    info.is_some_and(|info| info.key_frame && info.starts_frame)
}

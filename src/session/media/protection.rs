//! Redundancy of what is sent: RED for audio, parity for video.
//!
//! ```text
//!  RED (RFC 2198):      each audio packet repeats the payloads before it
//!  FlexFEC (draft 03):  parity in a stream of its own
//!  ULPFEC (RFC 5109):   parity among the packets of the stream, all of which travel in RED; they are numbered anew
//! ```

use bytes::BytesMut;

use crate::buffer::Pool;
use crate::fec::{Protector, ProtectorConfig, Scheme};
use crate::rtp::elements::Form;
use crate::rtp::ext::Kind;
use crate::rtp::extended::{ExtendedSequence, short_sequence};
use crate::rtp::header::{EXTENSION_HEADER_LEN, FIXED_LEN, Fields, Rewrite};
use crate::rtp::stream::red::RedWriter;
use crate::session::negotiate::{Format, TransceiverId};
use crate::srtp::MAX_RTP_OVERHEAD;
use crate::types::codec::{Codec, MediaType};
use crate::types::ids::{Mid, Pt, Rid, Ssrc};
use crate::wire::serial::Serial32;

use super::Media;
use super::line::Line;
use super::packet::{OutgoingPacket, SendMediaError};
use super::queue::{Keep, Kept, Outgoing};
use super::send::Written;

/// How much redundancy is sent along with a stream, as far as it was agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediaProtection {
    /// How many payloads before its own each audio packet repeats (RFC 2198), at most 8; 0 for none.
    pub red: u8,
    /// Parity for video: FlexFEC where it was agreed upon, else ULPFEC. Packets are then shorter by what parity
    /// takes, 44 bytes and more.
    pub fec: Option<ProtectorConfig>,
}

/// What protects one stream of ours.
#[derive(Debug)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub(super) struct Protection {
    /// The first number of the application's that may still be sent: those before have been overtaken.
    floor: u64,
    /// Packets of parity that took numbers of the stream.
    inserted: u64,
    wanted: MediaProtection,
    parity: Option<Box<(Scheme, Protector)>>,
    /// The source of parity in a stream of its own.
    pub(super) fec: Option<Ssrc>,
    next_fec: u64,
    red: Option<RedWriter>,
}

/// What parity takes of a packet beside its payload: the head of its RTP packet, RED, and some elements.
const PARITY_HEAD: usize = 16;
/// What a MID takes beside its letters: the head of its element and padding.
const NAME_HEAD: usize = 2 + 3;

impl Protection {
    pub(super) fn new(fec: Option<Ssrc>) -> Self {
        let first = fec.map_or(0, |fec| u64::from(fec.0 & 0x7fff));
        Protection {
            wanted: MediaProtection::default(),
            fec,
            next_fec: ExtendedSequence::CYCLE + first,
            red: None,
            parity: None,
            inserted: 0,
            floor: 0,
        }
    }

    /// What the application wants from here on.
    pub(super) fn set(&mut self, wanted: MediaProtection) {
        if self.wanted != wanted {
            (self.wanted, self.red, self.parity) = (wanted, None, None);
        }
    }

    /// Whether nothing is added to packets.
    fn is_off(&self) -> bool {
        self.wanted == MediaProtection::default() && self.inserted == 0
    }

    /// The parity that is wanted and was agreed upon.
    fn scheme(&self, formats: &ProtectionFormats, kind: MediaType) -> Option<(Scheme, ProtectorConfig)> {
        let config = self.wanted.fec.filter(|_| kind == MediaType::Video)?;
        match (formats.flexfec, formats.ulpfec, formats.red) {
            (Some(_), _, _) if self.fec.is_some() => Some((Scheme::Flexfec, config)),
            (_, Some(_), Some(_)) => Some((Scheme::Ulpfec, config)),
            _ => None,
        }
    }

    /// Makes ready what protects packets of a section.
    fn prepare(&mut self, formats: &ProtectionFormats, kind: MediaType, ssrc: Ssrc) {
        if kind == MediaType::Audio && self.wanted.red > 0 && formats.red.is_some() {
            self.red.get_or_insert_with(|| RedWriter::new(self.wanted.red));
        }
        let Some((scheme, config)) = self.scheme(formats, kind) else { return };
        if self.parity.as_ref().is_none_or(|parity| parity.0 != scheme) {
            let protector = Protector::new(scheme, ssrc, config, &formats.blanked);
            self.parity = Some(Box::new((scheme, protector)));
        }
        if scheme == Scheme::Ulpfec {
            // Without repetition: RED is the wrap that says "this is media".
            self.red.get_or_insert_with(|| RedWriter::new(0));
        }
    }

    /// The source of parity, and the number of its next packet.
    fn next_of_parity(&mut self) -> (Ssrc, u64) {
        self.next_fec += 1;
        (self.fec.unwrap_or(Ssrc(0)), self.next_fec - 1)
    }

    /// A packet of parity takes the number behind `highest`; the application's go on behind that.
    pub(super) fn on_inserted(&mut self, highest: u64) {
        self.floor = highest.saturating_add(1) - self.inserted.min(highest);
        self.inserted += 1;
    }
}

/// The payload types of redundancy that were agreed for a section, and what its parity leaves out.
#[derive(Debug, Clone, Default)]
pub(super) struct ProtectionFormats {
    red: Option<Pt>,
    /// The clock rate of what RED holds, and the payload type inside, if one is named.
    red_clock_rate: u32,
    red_inside: Option<Pt>,
    ulpfec: Option<Pt>,
    flexfec: Option<Pt>,
    /// Ids of elements that change on the way.
    blanked: Vec<u8>,
}

impl ProtectionFormats {
    pub(super) fn of(formats: &[Format], id: impl Fn(Kind) -> Option<u8>) -> Self {
        let find = |codec: Codec| formats.iter().find(|format| format.codec == codec);
        let red = find(Codec::Red);
        // RFC 2198 §5: `111/111`.
        let inside = red.and_then(|red| red.remote_parameters.split('/').next()?.parse().ok());
        let blanked = [Kind::AbsSendTime, Kind::TransportSequence, Kind::TransmissionOffset];
        ProtectionFormats {
            red: red.map(|format| format.send),
            red_clock_rate: red.map_or(0, |format| format.clock_rate),
            red_inside: inside.and_then(Pt::new),
            ulpfec: find(Codec::Ulpfec).map(|format| format.send),
            flexfec: find(Codec::Flexfec).map(|format| format.send),
            blanked: blanked.into_iter().filter_map(id).collect(),
        }
    }

    /// Whether payloads of a format travel in RED: sound, or pictures.
    fn red_holds(&self, format: &Format) -> bool {
        let is_meant = !matches!(format.codec, Codec::ComfortNoise | Codec::TelephoneEvent);
        let is_inside = self.red_inside.is_none_or(|inside| inside == format.send);
        format.codec.is_media() && is_meant && is_inside && self.red_clock_rate == format.clock_rate
    }
}

impl Media {
    /// How much redundancy is sent along with the streams of a transceiver, or with that called `rid`.
    pub(crate) fn set_protection(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        protection: MediaProtection,
    ) -> Result<(), SendMediaError> {
        let line = self.lines.get_mut(transceiver.index()).and_then(Option::as_deref_mut);
        let line = line.ok_or(SendMediaError::UnknownTransceiver)?;
        let mut streams =
            line.streams.iter_mut().filter(|stream| rid.is_none() || stream.rid == rid).peekable();
        if streams.peek().is_none() {
            return Err(SendMediaError::UnknownRid);
        }
        streams.for_each(|stream| stream.protection.set(protection));
        Ok(())
    }

    /// Bytes that a packet of a stream must leave free for parity.
    pub(super) fn parity_overhead(&self, (at, stream): (usize, usize)) -> usize {
        let Some(line) = self.lines.get(at).and_then(Option::as_deref) else { return 0 };
        let scheme = line
            .streams
            .get(stream)
            .and_then(|stream| stream.protection.scheme(&line.formats, line.agreed.kind));
        let name = line.streams.get(stream).and_then(|stream| name_of_parity(line, stream.rid));
        let name = name.map_or(0, |(_, mid)| mid.as_str().len() + NAME_HEAD);
        scheme.map_or(0, |(scheme, _)| PARITY_HEAD + name + scheme.overhead())
    }

    /// Whether the number of a packet may still be used.
    pub(super) fn is_overtaken(&self, (at, stream): (usize, usize), sequence: u64) -> bool {
        let line = self.lines.get(at).and_then(Option::as_deref);
        let stream = line.and_then(|line| line.streams.get(stream));
        stream.is_some_and(|stream| sequence < stream.protection.floor)
    }

    /// Gives a packet that was written as `bytes`, with `payload_len` bytes of payload at its end, what protects
    /// it: another number, a wrap, a place in parity. The packet, its number and its payload type on the wire.
    pub(super) fn protect(
        &mut self,
        pool: &mut Pool,
        (at, stream): (usize, usize),
        packet: &OutgoingPacket<'_>,
        payload_len: usize,
        mut bytes: BytesMut,
    ) -> (BytesMut, u64, Pt) {
        let Some(line) = self.lines.get_mut(at).and_then(Option::as_deref_mut) else {
            return (bytes, packet.sequence, packet.payload_type);
        };
        let Line { agreed, formats, streams, .. } = line;
        let Some(stream) = streams.get_mut(stream).filter(|stream| !stream.protection.is_off()) else {
            return (bytes, packet.sequence, packet.payload_type);
        };
        let protection = &mut stream.protection;
        protection.prepare(formats, agreed.kind, stream.ssrc);
        let sequence = packet.sequence.saturating_add(protection.inserted);
        Rewrite { sequence: Some(short_sequence(sequence)), ..Rewrite::default() }.apply(&mut bytes);
        stream.highest = stream.highest.max(Some(sequence));
        // RFC 5109 §14.1: what is protected is the packet as it is without RED.
        if let Some((_, protector)) = protection.parity.as_deref_mut() {
            protector.on_sent(short_sequence(sequence), &bytes);
        }
        let format = agreed.formats.iter().find(|format| format.send == packet.payload_type);
        let red = formats.red.filter(|_| format.is_some_and(|format| formats.red_holds(format)));
        let (Some(red), Some(writer)) = (red, &mut protection.red) else {
            return (bytes, sequence, packet.payload_type);
        };
        let room = self.limits.datagram_size.saturating_sub(MAX_RTP_OVERHEAD);
        let overhead = self.keys.as_ref().map_or(0, |keys| keys.outbound.rtp_overhead());
        let (header, payload) = bytes.split_at(bytes.len() - payload_len.min(bytes.len()));
        let out = pool.tail(room + MAX_RTP_OVERHEAD);
        out.extend_from_slice(header);
        let left = room.saturating_sub(header.len());
        if !writer.emit(out, left, packet.payload_type, Serial32(packet.timestamp), payload) {
            out.clear();
            return (bytes, sequence, packet.payload_type);
        }
        let mut wrapped = with_room(out, overhead + EXTENSION_HEADER_LEN);
        Rewrite { payload_type: Some(red), ..Rewrite::default() }.apply(&mut wrapped);
        (wrapped, sequence, red)
    }

    /// Parity for the packets before may be ready: it follows them.
    pub(super) fn push_parity(&mut self, pool: &mut Pool, at: usize, stream: usize, timestamp: u32) {
        let line = self.lines.get(at).and_then(Option::as_deref);
        let protected = line.and_then(|line| line.streams.get(stream));
        if protected.is_none_or(|stream| stream.protection.parity.is_none()) {
            return;
        }
        let mut parity = std::mem::take(&mut self.control.scratch);
        while self.push_one_parity(pool, at, stream, timestamp, &mut parity).is_some() {
            parity.clear();
        }
        parity.clear();
        self.control.scratch = parity;
    }

    fn push_one_parity(
        &mut self,
        pool: &mut Pool,
        at: usize,
        stream: usize,
        timestamp: u32,
        parity: &mut BytesMut,
    ) -> Option<()> {
        let line = self.lines.get_mut(at)?.as_deref_mut()?;
        let class = line.class();
        let name = name_of_parity(line, line.streams.get(stream)?.rid);
        let Line { formats, send, streams, .. } = line;
        let stream = streams.get_mut(stream)?;
        let (scheme, protector) = stream.protection.parity.as_deref_mut()?;
        if !protector.poll_parity(parity) {
            return None;
        }
        let scheme = *scheme;
        let room = self.limits.datagram_size.saturating_sub(MAX_RTP_OVERHEAD);
        let name = name.filter(|_| scheme == Scheme::Flexfec);
        let name_len = name.map_or(0, |(_, mid)| mid.as_str().len() + NAME_HEAD);
        let len = FIXED_LEN + PARITY_HEAD + name_len + parity.len();
        if len > room || !self.queue.has_room(class, 1, len, self.limits.send_buffer) {
            return Some(());
        }
        let (source, sequence) = match scheme {
            Scheme::Flexfec => stream.protection.next_of_parity(),
            Scheme::Ulpfec => stream.insert(),
        };
        let payload_type = if scheme == Scheme::Flexfec { formats.flexfec } else { formats.red };
        let payload_type = payload_type?;
        let sequence_number = short_sequence(sequence);
        let timestamp = Serial32(timestamp);
        let fields =
            Fields { marker: false, payload_type, sequence: sequence_number, timestamp, ssrc: source };
        let out = pool.tail(len + MAX_RTP_OVERHEAD);
        fields.emit(out, &[], Form::OneByte, |w| {
            send.push_stamped(w);
            name.into_iter().for_each(|(id, mid)| _ = w.push(id, mid.as_str().as_bytes()));
        });
        let Written { abs_send_time, transport_sequence } = Written::in_front(send, out, 0);
        if scheme == Scheme::Ulpfec {
            // RFC 2198 §3: a last block, whose head is its type.
            out.extend_from_slice(&[formats.ulpfec.map_or(0, Pt::value)]);
        }
        out.extend_from_slice(parity);
        let overhead = self.keys.as_ref().map_or(0, |keys| keys.outbound.rtp_overhead());
        let bytes = with_room(out, overhead);
        let kept = Kept { ssrc: source, sequence, history: Keep::Nothing };
        self.queue.push(class, Outgoing { bytes, abs_send_time, transport_sequence, kept });
        Some(())
    }
}

/// By what parity of a layer finds its section. No `ssrc-group` tells of its source, as layers have none; which layer
/// it protects it says itself (draft 03 §4.2).
fn name_of_parity(line: &Line, rid: Option<Rid>) -> Option<(u8, Mid)> {
    rid.and_then(|_| line.send.mid.zip(line.agreed.mid))
}

/// Splits off what was written into `out`, with `room` bytes behind it for the tag: they belong to the packet.
pub(super) fn with_room(out: &mut BytesMut, room: usize) -> BytesMut {
    let end = out.len();
    out.resize(end + room, 0);
    let mut bytes = out.split();
    bytes.truncate(end);
    bytes
}

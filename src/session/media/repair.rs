//! Packets that were lost: asked for, sent again, put together from redundancy.
//!
//! ```text
//!  packet ──> its number ──> was it delivered before? ──no──> NACK state ──> the application
//!    ▲                                                          │
//!    ├── RTX (RFC 4588): the packet inside                      └──> control: what to ask for
//!    ├── RED (RFC 2198): the primary, and those before it that are missing
//!    └── parity (RFC 5109, FlexFEC): whatever becomes whole
//! ```

use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;

use crate::buffer::Pool;
use crate::fec::{MAX_PACKET, Recovery, Scheme};
use crate::rtp::ext::Kind;
use crate::rtp::header::{EXTENSION_HEADER_LEN, Header, Packet};
use crate::rtp::stream::receive::Found;
use crate::rtp::stream::red::{self, Red};
use crate::rtp::stream::rtx;
use crate::rtp::stream::send::Answer;
use crate::session::event::Event;
use crate::srtp::MAX_RTP_OVERHEAD;
use crate::types::codec::Codec;
use crate::types::ids::Ssrc;
use crate::wire::serial::Serial16;

use super::Media;
use super::line::Payload;
use super::packet::{PacketOrigin, RtpPacket};
use super::protection::with_room;
use super::queue::{Keep, Kept, Outgoing};

/// A packet of a stream, on its way to the application.
pub(super) struct Arrived {
    /// The place of the receiver.
    pub(super) at: usize,
    pub(super) sequence: u64,
    pub(super) header: Header,
    pub(super) contents: BytesMut,
    pub(super) origin: PacketOrigin,
}

impl Media {
    /// A whole packet of a media stream, however it came: it is delivered once.
    pub(super) fn on_media(&mut self, now: Instant, arrived: Arrived, events: &mut VecDeque<Event>) {
        let Arrived { at, sequence, header, .. } = arrived;
        let Some(receiver) = self.receivers.get_mut(at) else { return };
        let Some(line) = self.lines.get(usize::from(receiver.line)).and_then(Option::as_deref) else {
            return;
        };
        let Payload::Media(format) = line.payload(header.payload_type) else {
            self.dropped.unknown_format += 1;
            return;
        };
        let Some(format) = line.format(format) else { return };
        if !receiver.delivered.is_fresh(sequence) {
            self.dropped.duplicate += 1;
            return;
        }
        receiver.delivered.mark(sequence);
        if receiver.feedback.nack {
            match receiver.nacks.handle_packet(now, sequence) {
                Found::Newest(0) | Found::Unexpected => {}
                _ => self.control.wake(receiver.nacks.next_timeout()),
            }
        }
        match format.codec {
            // What parity gives back is what was protected, and that is media: nothing nests.
            codec if !codec.is_media() && arrived.origin == PacketOrigin::Recovered => {
                self.dropped.malformed += 1;
            }
            Codec::Red => self.on_redundant(now, arrived, events),
            Codec::Ulpfec => self.on_parity(now, arrived, Scheme::Ulpfec, events),
            codec if codec.is_media() => {
                receiver.feedback = format.feedback;
                receiver.codec = Some((codec, format.receive));
                match arrived.origin {
                    PacketOrigin::Retransmitted => receiver.retransmitted += 1,
                    PacketOrigin::Recovered => receiver.recovered += 1,
                    PacketOrigin::Received => {}
                }
                receiver.statistics.set_clock_rate(format.clock_rate);
                self.protect_arrived(now, &arrived, events);
                self.deliver_arrived(now, arrived, events);
            }
            _ => self.dropped.unknown_format += 1,
        }
    }

    /// RFC 2198: the primary payload, and those of packets before it that are missing.
    fn on_redundant(&mut self, now: Instant, mut arrived: Arrived, events: &mut VecDeque<Event>) {
        let Arrived { at, sequence, .. } = arrived;
        let Ok(carrier) = Packet::new(arrived.header, &arrived.contents) else { return };
        let Ok(red) = Red::parse(carrier.payload()) else {
            // Padding has no blocks, and any other payload without is malformed.
            if carrier.payload().is_empty() {
                self.deliver_arrived(now, arrived, events);
            } else {
                self.dropped.malformed += 1;
            }
            return;
        };
        for block in red.redundant().filter(|block| !block.payload.is_empty()) {
            let number = sequence.saturating_sub(block.distance.into());
            let is_missing = self.receivers.get(at).is_some_and(|held| held.is_missing(number));
            if is_missing && self.is_primary(at, block.payload_type) {
                let tail = self.recovered.tail(carrier.header().len() + block.payload.len());
                red::restore(tail, &carrier, &block);
                let contents = tail.split();
                let Ok(header) = Header::parse(&contents) else { continue };
                let origin = PacketOrigin::Recovered;
                self.on_media(now, Arrived { at, sequence: number, header, contents, origin }, events);
            }
        }
        let Ok(header) = red::strip(&mut arrived.contents) else { return };
        arrived.header = header;
        let payload_type = header.payload_type;
        if self.is_parity(at, payload_type) {
            self.on_parity(now, arrived, Scheme::Ulpfec, events);
        } else if self.is_primary(at, payload_type) {
            self.protect_arrived(now, &arrived, events);
            self.deliver_arrived(now, arrived, events);
        } else {
            self.dropped.unknown_format += 1;
        }
    }

    /// Whether packets of this type are media, and not redundancy themselves: nothing nests.
    fn is_primary(&self, at: usize, payload_type: crate::types::ids::Pt) -> bool {
        self.codec(at, payload_type).is_some_and(Codec::is_media)
    }

    fn is_parity(&self, at: usize, payload_type: crate::types::ids::Pt) -> bool {
        self.codec(at, payload_type) == Some(Codec::Ulpfec)
    }

    fn codec(&self, at: usize, payload_type: crate::types::ids::Pt) -> Option<Codec> {
        let line = self.lines.get(usize::from(self.receivers.get(at)?.line))?.as_deref()?;
        match line.payload(payload_type) {
            Payload::Media(format) => line.format(format).map(|format| format.codec),
            _ => None,
        }
    }

    /// A packet whose payload is parity for others of its own stream (RFC 5109 §14.1), which stands in RED.
    fn on_parity(&mut self, now: Instant, arrived: Arrived, scheme: Scheme, events: &mut VecDeque<Event>) {
        let Arrived { at, header, ref contents, .. } = arrived;
        if let Ok(packet) = Packet::new(header, contents) {
            self.recover(now, at, scheme, packet.payload(), events);
        }
        // It has taken a number of its stream, which must not look like a loss: it is handed out as padding.
        self.deliver_empty(now, arrived, events);
    }

    /// A packet of a FlexFEC stream: its payload says which stream it protects.
    pub(super) fn on_flexfec(&mut self, now: Instant, payload: &[u8], events: &mut VecDeque<Event>) {
        let protected =
            crate::fec::Parity::parse(Scheme::Flexfec, payload).ok().and_then(|parity| parity.ssrc);
        match protected.and_then(|ssrc| self.media_receiver(ssrc)) {
            Some(at) => self.recover(now, at, Scheme::Flexfec, payload, events),
            None => self.dropped.unknown_stream += 1,
        }
    }

    fn recover(
        &mut self,
        now: Instant,
        at: usize,
        scheme: Scheme,
        payload: &[u8],
        events: &mut VecDeque<Event>,
    ) {
        let Some(receiver) = self.receivers.get_mut(at) else { return };
        let Some(line) = self.lines.get(usize::from(receiver.line)).and_then(Option::as_deref) else {
            return;
        };
        let ssrc = receiver.ssrc;
        let recovery = receiver.recovery.get_or_insert_with(|| {
            // What changes on the way is not protected.
            let kinds = [Kind::AbsSendTime, Kind::TransportSequence, Kind::TransmissionOffset];
            let ids: Vec<u8> = kinds.into_iter().filter_map(|kind| line.ids.id(kind)).collect();
            Box::new(Recovery::new(scheme, ssrc, &ids))
        });
        if recovery.handle_parity(payload).is_err() {
            self.dropped.malformed += 1;
        }
        self.deliver_recovered(now, at, events);
    }

    /// Lets parity know of a packet.
    fn protect_arrived(&mut self, now: Instant, arrived: &Arrived, events: &mut VecDeque<Event>) {
        let receiver = self.receivers.get_mut(arrived.at);
        let Some(recovery) = receiver.and_then(|receiver| receiver.recovery.as_mut()) else { return };
        if arrived.origin != PacketOrigin::Recovered {
            recovery.handle_packet(arrived.header.sequence, &arrived.contents);
            self.deliver_recovered(now, arrived.at, events);
        }
    }

    /// Delivers what has become whole: at most as many packets as parities wait.
    fn deliver_recovered(&mut self, now: Instant, at: usize, events: &mut VecDeque<Event>) {
        loop {
            let Some(receiver) = self.receivers.get_mut(at) else { return };
            let Some(recovery) = &mut receiver.recovery else { return };
            let tail = self.recovered.tail(MAX_PACKET);
            let Some(number) = recovery.poll_recovered(tail) else { return };
            let contents = tail.split();
            let sequence = receiver.statistics.estimate(number);
            if let (Some(sequence), Ok(header)) = (sequence, Header::parse(&contents)) {
                let origin = PacketOrigin::Recovered;
                self.on_media(now, Arrived { at, sequence, header, contents, origin }, events);
            }
        }
    }

    /// RFC 4588 §4: the packet that a retransmission stream repeats.
    pub(super) fn on_retransmission(
        &mut self,
        now: Instant,
        at: u32,
        format: u8,
        mut contents: BytesMut,
        events: &mut VecDeque<Event>,
    ) {
        let Some(primary) = self.repaired_by(at) else {
            self.dropped.unknown_stream += 1;
            return;
        };
        let Some(receiver) = self.receivers.get(primary) else { return };
        let Some(line) = self.lines.get(usize::from(receiver.line)).and_then(Option::as_deref) else {
            return;
        };
        let Some(format) = line.format(format) else { return };
        let header = match rtx::restore(&mut contents, receiver.ssrc, format.receive) {
            Ok(Some(header)) => header,
            // Padding, by which the sender probes.
            Ok(None) => return,
            Err(_) => {
                self.dropped.malformed += 1;
                return;
            }
        };
        let Some(sequence) = receiver.statistics.estimate(header.sequence) else { return };
        let origin = PacketOrigin::Retransmitted;
        self.on_media(now, Arrived { at: primary, sequence, header, contents, origin }, events);
    }

    fn deliver_arrived(&mut self, now: Instant, arrived: Arrived, events: &mut VecDeque<Event>) {
        let Some(packet) = self.packet(now, arrived) else { return };
        if let Some(receiver) = self.receivers.get_mut(usize::try_from(packet.receiver.index).unwrap_or(0)) {
            receiver.note_key_frame(&packet);
        }
        self.deliver(packet, events);
    }

    fn deliver_empty(&mut self, now: Instant, arrived: Arrived, events: &mut VecDeque<Event>) {
        let Some(mut packet) = self.packet(now, arrived) else { return };
        packet.payload = packet.payload.end..packet.payload.end;
        self.deliver(packet, events);
    }

    fn packet(&self, now: Instant, arrived: Arrived) -> Option<RtpPacket> {
        let Arrived { at, sequence, header, contents, origin } = arrived;
        let receiver = self.receivers.get(at)?;
        let line = self.lines.get(usize::from(receiver.line))?.as_deref()?;
        let Payload::Media(format) = line.payload(header.payload_type) else { return None };
        let payload = Packet::new(header, &contents).ok()?.payload_range();
        let mut packet = RtpPacket {
            transceiver: line.agreed.transceiver,
            receiver: receiver.id,
            ssrc: receiver.ssrc,
            rid: receiver.rid,
            codec: line.format(format)?.codec,
            payload_type: header.payload_type,
            sequence,
            timestamp: receiver.time.estimate(header.timestamp),
            marker: header.marker,
            received: now,
            origin,
            header,
            payload,
            contents,
            ids: line.ids.clone(),
            has_elements: false,
        };
        let has_elements = packet.forwarded_elements().next().is_some();
        packet.has_elements = has_elements;
        Some(packet)
    }

    /// The next packet that the peer asked for again and may have, sealed: in its stream of retransmissions, or,
    /// where there is none, the very bytes that were sent.
    pub(super) fn pop_resend(&mut self, now: Instant, pool: &mut Pool) -> Option<BytesMut> {
        while let Some((ssrc, number)) = self.control.resend.pop() {
            let packet = self.resend(now, pool, ssrc, number);
            if let Some(packet) = &packet
                && let Some(stream) = self.own_stream(ssrc)
            {
                stream.resent.0 += 1;
                stream.resent.1 += packet.len() as u64;
            }
            if packet.is_some() {
                return packet;
            }
        }
        None
    }

    fn resend(&mut self, now: Instant, pool: &mut Pool, ssrc: Ssrc, number: Serial16) -> Option<BytesMut> {
        let rtt = self.rtt();
        let overhead =
            self.keys.as_ref().map_or(0, |keys| keys.outbound.rtp_overhead()) + EXTENSION_HEADER_LEN;
        let line = self.lines.get_mut(usize::try_from(self.own.find(ssrc)?).ok()?)?.as_deref_mut()?;
        let (ids, formats, mid) = (line.send, &line.agreed.formats, line.agreed.mid);
        let repaired = line.ids.id(Kind::RepairedRid);
        let stream = line.streams.iter_mut().find(|stream| stream.ssrc == ssrc)?;
        let Answer::Packet { bytes, .. } = stream.history.take(now, number, rtt) else { return None };
        let payload_type = Header::parse(bytes).ok()?.payload_type;
        let format = formats.iter().find(|format| format.send == payload_type)?;
        let (Some((_, rtx)), Some(repair)) = (format.rtx, &mut stream.repair) else {
            // RFC 3711 §3.3.1: the same packet under the same index is the same bytes.
            let out = pool.tail(bytes.len());
            out.extend_from_slice(bytes);
            return Some(out.split());
        };
        let original = Packet::parse(bytes).ok()?;
        let out = pool.tail(bytes.len() + rtx::OSN_LEN + EXTRA + MAX_RTP_OVERHEAD);
        let form = original.elements().form();
        // RFC 9143 §9.1, RFC 8852 §3.2: the originals name their stream no longer once the peer knows it, and then it
        // may not have seen this one, which is another source.
        let is_new = !stream.is_repair_known;
        let names = [
            mid.as_ref().zip(ids.mid).map(|(mid, id)| (id, mid.as_str())),
            stream.rid.as_ref().zip(repaired).map(|(rid, id)| (id, rid.as_str())),
        ];
        let sequence = repair.emit(out, &original, rtx, form, |w| {
            for (id, name) in names.into_iter().flatten().filter(|_| is_new) {
                w.push(id, name.as_bytes());
            }
            // The stream's own name would say that this is the stream.
            let is_name = |id: u8| [ids.mid, ids.rid, repaired].contains(&Some(id));
            for element in original.elements().filter(|element| !is_name(element.id)) {
                w.push(element.id, element.data);
            }
        });
        let bytes = with_room(out, overhead);
        let place = |kind: Option<u8>| place_of(&bytes, kind?);
        let (abs_send_time, transport_sequence) = (place(ids.abs_send_time), place(ids.transport_sequence));
        let kept = Kept { ssrc: repair.ssrc(), sequence, history: Keep::Nothing };
        self.seal(now, Outgoing { bytes, abs_send_time, transport_sequence, kept })
    }
}

/// What a retransmission may take beyond its original and the number: elements in another form, and a MID and a RID of
/// 32 bytes.
const EXTRA: usize = 64 + 2 * (32 + 2) + 4;

/// Where the data of the element `id` lies in a packet.
fn place_of(packet: &[u8], id: u8) -> Option<u16> {
    let parsed = Packet::parse(packet).ok()?;
    let offset = parsed.elements().find_map(|element| (element.id == id).then_some(element.offset))?;
    u16::try_from(parsed.header().extension?.start + offset).ok()
}

//! From the application's packet to the transmit.

use std::time::Instant;

use bytes::BytesMut;

use crate::buffer::Pool;
use crate::rtp::elements::Form;
use crate::rtp::ext::timing::AbsSendTime;
use crate::rtp::extended::short_sequence;
use crate::rtp::header::{EXTENSION_HEADER_LEN, FIXED_LEN, Fields};
use crate::session::negotiate::TransceiverId;
use crate::srtp::{MAX_RTCP_OVERHEAD, MAX_RTP_OVERHEAD};
use crate::types::ids::{Pt, Rid};
use crate::wire::serial::Serial32;

use super::Media;
use super::line::{Line, SendIds, is_filled_in};
use super::packet::{OutgoingPacket, SendMediaError};
use super::queue::{Class, Keep, Kept, Outgoing};

/// What the header extensions of a packet take at most, beside those of the application: a MID and a RID of 32
/// bytes, time and number, their heads, the block's own head and its padding.
pub(super) const FILLED_IN: usize = 2 * (32 + 2) + (3 + 2) + (2 + 2) + 4 + 3;

/// What a segmented run may take: the largest UDP payload over IPv4. Packets that are forwarded may be larger than
/// those that are made here.
const MAX_RUN: usize = 65_507;

/// How much longer than `datagram_size` a packet may be that the application hands over whole. It may come from a
/// peer, which counts its 1,200 bytes before sealing and with header extensions of its own: 80 bytes more still
/// fit every path that IPv6 runs over with an MTU of 1,328 or more.
const FORWARD_ALLOWANCE: usize = 80;

/// What leaves: media, or what is said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunKind {
    Rtp,
    Rtcp,
}

/// A run of sealed packets.
pub(crate) struct Run {
    pub(crate) kind: RunKind,
    pub(crate) contents: BytesMut,
    pub(crate) segment_size: Option<usize>,
}

impl Media {
    /// Takes a packet to be sent: it is written into memory of the pool and waits there.
    pub(crate) fn send_packet(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        packet: &OutgoingPacket<'_>,
    ) -> Result<(), SendMediaError> {
        let max = self.packet_room() + FORWARD_ALLOWANCE;
        let len = FIXED_LEN + 4 * packet.csrcs.len().min(15) + packet.payload.len();
        let extensions: usize = packet.extensions.iter().map(|(_, data)| data.len() + 2).sum();
        if len > max {
            return Err(SendMediaError::TooLarge);
        }
        let place = self.sending(transceiver, rid, packet.payload_type)?;
        if self.is_overtaken(place, packet.sequence) {
            return Err(SendMediaError::Overtaken);
        }
        // Parity over a packet is longer than the packet, and has to fit as well.
        let room = match self.parity_overhead(place) {
            0 => max,
            overhead => self.packet_room().saturating_sub(overhead),
        };
        let (at, stream) = place;
        let line = self.lines.get(at).and_then(Option::as_deref).ok_or(SendMediaError::UnknownTransceiver)?;
        let most = len + extensions + FILLED_IN;
        if !self.queue.has_room(line.class(), 1, most, self.limits.send_buffer) {
            return Err(SendMediaError::WouldBlock);
        }
        let out = pool.tail(most + MAX_RTP_OVERHEAD);
        let written = write_header(line, stream, packet, out);
        out.extend_from_slice(packet.payload);
        if out.len() > room {
            out.clear();
            return Err(SendMediaError::TooLarge);
        }
        let bytes = self.close(out, packet.csrcs.len());
        self.enqueue(now, pool, place, packet, packet.payload.len(), bytes, written);
        Ok(())
    }

    /// What an RTP packet that is made here may take before it is sealed.
    pub(super) fn packet_room(&self) -> usize {
        self.limits.datagram_size.saturating_sub(MAX_RTP_OVERHEAD)
    }

    /// Whether a stream may be sent in with this payload type: the places of its line, and of it within.
    pub(super) fn sending(
        &self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        payload_type: Pt,
    ) -> Result<(usize, usize), SendMediaError> {
        if self.keys.is_none() {
            return Err(SendMediaError::NotConnected);
        }
        let at = transceiver.index();
        let line = self.lines.get(at).and_then(Option::as_deref).ok_or(SendMediaError::UnknownTransceiver)?;
        if !line.agreed.direction.sends() {
            return Err(SendMediaError::NotSending);
        }
        let stream = line.stream_index(rid).ok_or(SendMediaError::UnknownRid)?;
        if line.streams.get(stream).is_some_and(|stream| stream.is_paused) {
            return Err(SendMediaError::Paused);
        }
        if !line.sends_format(payload_type) {
            return Err(SendMediaError::UnknownFormat);
        }
        Ok((at, stream))
    }

    /// Splits a written packet off. The tag's place behind it belongs to it, and so does that of the block which
    /// Cryptex may add (RFC 9335 §5.1).
    pub(super) fn close(&self, out: &mut BytesMut, csrcs: usize) -> BytesMut {
        let overhead = self.keys.as_ref().map_or(0, |keys| keys.outbound.rtp_overhead());
        let end = out.len();
        let block = if csrcs == 0 { 0 } else { EXTENSION_HEADER_LEN };
        out.resize(end + overhead + block, 0);
        let mut bytes = out.split();
        bytes.truncate(end);
        bytes
    }

    /// Puts a written packet into the queue, with what protects it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn enqueue(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        place: (usize, usize),
        packet: &OutgoingPacket<'_>,
        payload_len: usize,
        bytes: BytesMut,
        written: Written,
    ) {
        let (at, stream) = place;
        let Some(line) = self.lines.get_mut(at).and_then(Option::as_deref_mut) else { return };
        let Some(stream) = line.streams.get_mut(stream) else { return };
        let Some(format) = stream.format(&line.agreed.formats, packet.payload_type) else { return };
        if stream.reports.packets() == 0 {
            self.control.on_stream(now);
        }
        let payload = bytes.get(bytes.len() - payload_len.min(bytes.len())..).unwrap_or_default();
        stream.note_key_frame(format.codec, payload);
        stream.next_sequence = stream.next_sequence.max(packet.sequence + 1);
        stream.reports.set_clock_rate(format.clock_rate);
        stream.reports.on_sent(now, Serial32(packet.timestamp), payload_len);
        let (bytes, sequence, payload_type) = self.protect(pool, place, packet, payload_len, bytes);
        let Some(line) = self.lines.get_mut(at).and_then(Option::as_deref_mut) else { return };
        let Some(stream) = line.streams.get(place.1) else { return };
        // RFC 4588 §8.6: retransmission is bound to the payload type that is on the wire.
        let rtx = if payload_type == format.payload_type {
            format.rtx
        } else {
            line.format_sent(payload_type).is_some_and(|format| format.rtx.is_some())
        };
        let history = match (format.nack, rtx && stream.repair.is_some()) {
            (false, _) => Keep::Nothing,
            (true, true) => Keep::Clear,
            (true, false) => Keep::Sealed,
        };
        let kept = Kept { ssrc: stream.ssrc, sequence, history };
        let Written { abs_send_time, transport_sequence } = written;
        let class = line.class();
        self.queue.push(class, Outgoing { bytes, abs_send_time, transport_sequence, kept });
        self.push_parity(pool, place.0, place.1, packet.timestamp);
        self.control.pacer.set_queued(self.queue.bytes());
    }

    /// Whether anything waits to leave.
    pub(crate) fn has_output(&self, now: Instant) -> bool {
        let waits = self.has_paced();
        let audio = self.queue.has(Class::Audio);
        self.control.has_output(now) || audio || (waits && self.control.pacer.may_send(now))
    }

    /// Whether something waits for the pacer.
    pub(super) fn has_paced(&self) -> bool {
        self.queue.has(Class::Video) || !self.control.resend.is_empty()
    }

    /// The next sealed RTCP packet, or run of RTP packets of equal size.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        max_segments: usize,
    ) -> Option<Run> {
        self.keys.as_ref()?;
        if self.control.has_output(now)
            && let Some(run) = self.poll_rtcp(now, pool)
        {
            return Some(run);
        }
        // Sound does not wait, neither for pictures nor for the pacer, but it counts.
        if let Some(run) = self.pop_run(now, Class::Audio, max_segments) {
            return Some(run);
        }
        if !self.control.resend.is_empty()
            && self.control.pacer.may_send(now)
            && let Some(contents) = self.pop_resend(now, pool)
        {
            self.control.pacer.on_sent(now, contents.len());
            return Some(Run { kind: RunKind::Rtp, contents, segment_size: None });
        }
        self.pop_run(now, Class::Video, max_segments)
    }

    /// The next packets of a class that may leave now, as far as they lie side by side and are of one size.
    fn pop_run(&mut self, now: Instant, class: Class, max_segments: usize) -> Option<Run> {
        let mut contents = self.pop_paced(now, class)?;
        let segment = contents.len();
        let mut last = segment;
        for _ in 1..max_segments {
            if last < segment || !self.goes_on(class, &contents, segment) {
                break;
            }
            let Some(packet) = self.pop_paced(now, class) else { break };
            last = packet.len();
            contents.unsplit(packet);
        }
        let segment_size = (contents.len() > segment).then_some(segment);
        Some(Run { kind: RunKind::Rtp, contents, segment_size })
    }

    /// The next packet of a class, if it may leave now.
    #[inline]
    fn pop_paced(&mut self, now: Instant, class: Class) -> Option<BytesMut> {
        if class != Class::Audio && !self.control.pacer.may_send(now) {
            return None;
        }
        let packet = self.pop_sealed(now, class)?;
        self.control.pacer.on_sent(now, packet.len());
        Some(packet)
    }

    /// Whether the next packet lies right behind `run`, and is no longer than a segment of it.
    fn goes_on(&self, class: Class, run: &BytesMut, segment: usize) -> bool {
        let Some(keys) = &self.keys else { return false };
        let sealed = self.queue.next_len(class).map(|len| len + keys.outbound.rtp_overhead());
        let is_behind = self.queue.next_start(class) == Some(run.as_ptr().wrapping_add(run.len()));
        let fits = |len: usize| len <= segment && run.len() + len <= MAX_RUN;
        is_behind && run.len() == run.capacity() && sealed.is_some_and(fits)
    }

    /// The next packet of a class, stamped and sealed. One that cannot be sealed is dropped: its number was used
    /// before.
    fn pop_sealed(&mut self, now: Instant, class: Class) -> Option<BytesMut> {
        loop {
            let packet = self.queue.pop(class)?;
            self.control.pacer.set_queued(self.queue.bytes());
            let sealed = self.seal(now, packet);
            if sealed.is_some() {
                return sealed;
            }
            tracing::debug!("an RTP packet was dropped: its sequence number was used before");
        }
    }

    /// Stamps a packet and seals it where it lies; it is remembered for those who ask for it again.
    pub(super) fn seal(&mut self, now: Instant, mut packet: Outgoing) -> Option<BytesMut> {
        let sent = AbsSendTime::new(self.clock.unix_at(now));
        let is_numbered = packet.stamp(sent, self.control.sent.next_sequence());
        let Kept { ssrc, sequence, history } = packet.kept;
        if history == Keep::Clear
            && let Some(stream) = self.own_stream(ssrc)
        {
            stream.history.push(now, sequence, &packet.bytes);
        }
        let outbound = &mut self.keys.as_mut()?.outbound;
        outbound.protect_rtp(&mut packet.bytes, 0).ok()?;
        if history == Keep::Sealed
            && let Some(stream) = self.own_stream(ssrc)
        {
            stream.history.push(now, sequence, &packet.bytes);
        }
        if is_numbered || self.control.uses.ccfb {
            let number = short_sequence(sequence);
            self.control.sent.on_sent(now, ssrc, number, packet.bytes.len());
        }
        Some(packet.bytes)
    }

    fn poll_rtcp(&mut self, now: Instant, pool: &mut Pool) -> Option<Run> {
        let room = self.limits.datagram_size.saturating_sub(MAX_RTCP_OVERHEAD);
        let out = pool.tail(self.limits.datagram_size);
        self.write_rtcp(now, out, room);
        if out.is_empty() {
            return None;
        }
        let outbound = &mut self.keys.as_mut()?.outbound;
        outbound.protect_rtcp(out, 0).ok()?;
        Some(Run { kind: RunKind::Rtcp, contents: out.split(), segment_size: None })
    }
}

/// Where in a written packet the places are that are filled in when it leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) abs_send_time: Option<u16>,
    pub(super) transport_sequence: Option<u16>,
}

impl Written {
    /// The places in a header with `csrcs` contributing sources, whose first elements those are that are filled in.
    pub(super) fn in_front(ids: &SendIds, header: &[u8], csrcs: usize) -> Written {
        let block = FIXED_LEN + 4 * csrcs;
        let profile = header.get(block..).and_then(|block| block.first_chunk::<2>());
        let form = profile.and_then(|profile| Form::of_profile(u16::from_be_bytes(*profile)));
        let head = if form == Some(Form::TwoByte) { 2 } else { 1 };
        let mut next = block + EXTENSION_HEADER_LEN;
        let mut place = |id: Option<u8>, len: usize| {
            let at = next + head;
            next = if id.is_some() { at + len } else { next };
            id.and_then(|_| u16::try_from(at).ok())
        };
        let abs_send_time = place(ids.abs_send_time, 3);
        Written { abs_send_time, transport_sequence: place(ids.transport_sequence, 2) }
    }
}

/// Writes the header of a packet into `out`, which is empty and has room for it.
pub(super) fn write_header(
    line: &Line,
    stream: usize,
    packet: &OutgoingPacket<'_>,
    out: &mut BytesMut,
) -> Written {
    let fields = Fields {
        marker: packet.marker,
        payload_type: packet.payload_type,
        sequence: short_sequence(packet.sequence),
        timestamp: Serial32(packet.timestamp),
        ssrc: line.ssrc(stream),
    };
    let csrcs = packet.csrcs.get(..packet.csrcs.len().min(15)).unwrap_or_default();
    fields.emit(out, csrcs, Form::OneByte, |w| {
        line.write_filled_in(stream, w);
        for (kind, data) in packet.extensions.iter().filter(|(kind, _)| !is_filled_in(*kind)) {
            if let Some(id) = line.ids.id(*kind) {
                w.push(id, data);
            }
        }
    });
    Written::in_front(&line.send, out, csrcs.len())
}

//! From an encoded frame to packets in the queue.

use std::time::Instant;

use crate::buffer::Pool;
use crate::payload::{Packetizer, Payloads};
use crate::rtp::header::{FIXED_LEN, Rewrite};
use crate::session::negotiate::TransceiverId;
use crate::srtp::MAX_RTP_OVERHEAD;
use crate::types::ids::Rid;

use super::Media;
use super::frames::{FrameToSend, payload_codec};
use super::packet::{OutgoingPacket, SendMediaError};
use super::send::{FILLED_IN, write_header};

impl Media {
    /// Cuts a frame into packets, which wait to leave. All of them are taken, or none.
    pub(crate) fn send_frame(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        frame: &FrameToSend<'_>,
    ) -> Result<(), SendMediaError> {
        let place = self.sending(transceiver, rid, frame.payload_type)?;
        let extensions: usize = frame.extensions.iter().map(|(_, data)| data.len() + 2).sum();
        let head = FIXED_LEN + FILLED_IN + extensions;
        let room = self
            .packet_room()
            .saturating_sub(self.parity_overhead(place))
            .checked_sub(head)
            .ok_or(SendMediaError::TooLarge)?;
        // A format may add some bytes to each payload, and ends some early.
        let packets = 2 + 2 * frame.data.len() / room.max(1);
        let (at, stream) = place;
        let line = self.lines.get_mut(at).and_then(Option::as_deref_mut);
        let line = line.ok_or(SendMediaError::UnknownTransceiver)?;
        let most = frame.data.len() + packets * head;
        if !self.queue.has_room(line.class(), packets, most, self.limits.send_buffer) {
            return Err(SendMediaError::WouldBlock);
        }
        let format = line.format_sent(frame.payload_type).ok_or(SendMediaError::UnknownFormat)?;
        let codec = format.codec;
        let machine = payload_codec(codec).ok_or(SendMediaError::UnknownFormat)?;
        let stream = line.streams.get_mut(stream).ok_or(SendMediaError::UnknownRid)?;
        // RFC 7741 §4.2: pictures are numbered from anywhere; a source is as random as that needs to be.
        let first_picture = u16::try_from(stream.ssrc.0 >> 16 & 0x7fff).unwrap_or(0);
        let kept = stream.packetizer.take().filter(|kept| kept.0 == codec);
        let mut kept = kept.unwrap_or_else(|| Box::new((codec, Packetizer::new(machine, first_picture))));
        let payloads = kept.1.start(frame.data, room, frame.info);
        stream.packetizer = Some(kept);
        let payloads = payloads.map_err(|_| SendMediaError::TooLarge)?;
        self.send_payloads(now, pool, place, frame, payloads, machine.is_video());
        Ok(())
    }

    fn send_payloads(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        place: (usize, usize),
        frame: &FrameToSend<'_>,
        mut payloads: Payloads<'_>,
        is_video: bool,
    ) {
        let (at, stream) = place;
        loop {
            let Some(line) = self.lines.get(at).and_then(Option::as_deref) else { return };
            let Some(sequence) = line.streams.get(stream).map(|stream| stream.next_sequence) else { return };
            let packet = OutgoingPacket {
                extensions: frame.extensions,
                ..OutgoingPacket::new(frame.payload_type, sequence, frame.timestamp, &[])
            };
            let out = pool.tail(self.limits.datagram_size + MAX_RTP_OVERHEAD);
            let written = write_header(line, stream, &packet, out);
            let head = out.len();
            let Some(is_last) = payloads.next_payload(out) else {
                out.clear();
                return;
            };
            // RFC 7741 §4.1 and the like: the marker is on the last packet of a picture; sound has none.
            Rewrite { marker: Some(is_last && is_video), ..Rewrite::default() }.apply(out);
            let len = out.len() - head;
            let bytes = self.close(out, 0);
            self.enqueue(now, pool, place, &packet, len, bytes, written);
        }
    }
}

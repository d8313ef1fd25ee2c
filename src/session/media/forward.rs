//! From a packet that arrived at one connection to the transmit of another: the way of a forwarder.
//!
//! ```text
//!  RtpPacket of the sender's connection, decrypted once
//!     │  header: written anew, extension elements under the viewer's ids
//!     │  payload: copied, this once, into the outgoing buffer; numbers in it rewritten there
//!     ▼
//!  Queue of the viewer's connection ── stamped and sealed where it lies ──> Transmit
//! ```

use std::time::Instant;

use bytes::BytesMut;

use crate::buffer::Pool;
use crate::rtp::elements::{ElementsWriter, Form};
use crate::rtp::ext::Kind;
use crate::rtp::extended::short_sequence;
use crate::rtp::header::Fields;
use crate::session::negotiate::TransceiverId;
use crate::sfu::Rewrite;
use crate::srtp::MAX_RTP_OVERHEAD;
use crate::types::ids::{Pt, Rid, Ssrc};
use crate::wire::serial::Serial32;

use super::Media;
use super::line::Line;
use super::packet::{OutgoingPacket, RtpPacket, SendMediaError};
use super::send::{FILLED_IN, Written};

/// Contributing sources of one packet at most (RFC 3550 §5.1).
const MAX_CSRCS: usize = 15;

impl Media {
    /// Takes a packet of another connection to be sent here. See [`Media::send_packet`].
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn forward(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        payload_type: Pt,
        packet: &RtpPacket,
        rewrite: &Rewrite<'_>,
    ) -> Result<(), SendMediaError> {
        let payload = packet.payload();
        let header = packet.header();
        let block = header.extension.map_or(0, |block| block.len);
        let dependency = rewrite.dependency.map_or(0, <[u8]>::len);
        // Elements may need heads of two bytes instead of one, for at least one byte of data each.
        let most = header.len() + block / 2 + dependency + FILLED_IN + payload.len();
        let place = self.sending(transceiver, rid, payload_type)?;
        if self.is_overtaken(place, rewrite.sequence) {
            return Err(SendMediaError::Overtaken);
        }
        let (at, stream) = place;
        let line = self
            .lines
            .get_mut(at)
            .and_then(Option::as_deref_mut)
            .ok_or(SendMediaError::UnknownTransceiver)?;
        if !self.queue.has_room(line.class(), 1, most, self.limits.send_buffer) {
            return Err(SendMediaError::WouldBlock);
        }
        let out = pool.tail(most + MAX_RTP_OVERHEAD);
        let (written, count) = write_header(line, stream, payload_type, packet, rewrite, out);
        let start = out.len();
        out.extend_from_slice(payload);
        rewrite.numbers.apply(out.get_mut(start..).unwrap_or_default());
        let bytes = self.close(out, count);
        let sent = OutgoingPacket::new(payload_type, rewrite.sequence, rewrite.timestamp, &[]);
        self.enqueue(now, pool, place, &sent, payload.len(), bytes, written);
        Ok(())
    }
}

/// Writes the header of a packet into `out`, which is empty. Where places are to be filled in, and how many
/// contributing sources there are.
fn write_header(
    line: &mut Line,
    stream: usize,
    payload_type: Pt,
    packet: &RtpPacket,
    rewrite: &Rewrite<'_>,
    out: &mut BytesMut,
) -> (Written, usize) {
    let fields = Fields {
        marker: rewrite.marker,
        payload_type,
        sequence: short_sequence(rewrite.sequence),
        timestamp: Serial32(rewrite.timestamp),
        ssrc: line.ssrc(stream),
    };
    let is_plain = packet.header().csrc_len() == 0 && !packet.has_elements;
    if is_plain && let Some(front) = line.streams.get(stream).and_then(|stream| stream.front()) {
        fields.emit_with(out, &front.block);
        return (front.written, 0);
    }
    let mut csrcs = [Ssrc(0); MAX_CSRCS];
    let count = copy_csrcs(packet, &mut csrcs);
    fields.emit(out, csrcs.get(..count).unwrap_or_default(), Form::OneByte, |w| {
        line.write_filled_in(stream, w);
        write_elements(line, packet, rewrite, w);
    });
    let written = Written::in_front(&line.send, out, count);
    if is_plain && let Some(stream) = line.streams.get_mut(stream) {
        stream.note_front(out, written);
    }
    (written, count)
}

/// The elements of the packet that mean something to the viewer, under the viewer's ids.
fn write_elements(line: &Line, packet: &RtpPacket, rewrite: &Rewrite<'_>, w: &mut ElementsWriter<'_>) {
    for (kind, data) in packet.forwarded_elements() {
        let data = match kind {
            Kind::DependencyDescriptor => rewrite.dependency.unwrap_or(data),
            _ => data,
        };
        if let Some(id) = line.ids.id(kind) {
            w.push(id, data);
        }
    }
}

fn copy_csrcs(packet: &RtpPacket, csrcs: &mut [Ssrc; MAX_CSRCS]) -> usize {
    packet.csrcs().zip(csrcs).map(|(csrc, place)| *place = csrc).count()
}

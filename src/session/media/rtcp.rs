//! RTCP of one connection: what arrives is handed to the streams, what is due is put together (RFC 3550 §6,
//! RFC 4585, RFC 5506).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::rtp::rtcp::feedback::PictureLoss;
use crate::rtp::rtcp::report::{Blocks, ReceiverReport};
use crate::rtp::rtcp::source::{CNAME, Description};
use crate::rtp::rtcp::{Compound, Packet};
use crate::session::event::Event;
use crate::types::ids::{Rid, Ssrc};

use super::Media;

/// PLI and FIR for one stream within this time are one event (R53).
const KEY_FRAME_PAUSE: Duration = Duration::from_millis(300);

impl Media {
    /// A compound packet, decrypted.
    pub(super) fn on_rtcp(&mut self, now: Instant, compound: &[u8], events: &mut VecDeque<Event>) {
        for packet in Compound::new(compound) {
            match packet {
                Ok(packet) => self.on_rtcp_packet(now, packet, events),
                Err(_) => self.dropped.malformed += 1,
            }
        }
    }

    fn on_rtcp_packet(&mut self, now: Instant, packet: Packet<'_>, events: &mut VecDeque<Event>) {
        match packet {
            Packet::SenderReport(report) => self.on_blocks(report.blocks),
            Packet::ReceiverReport(report) => self.on_blocks(report.blocks),
            Packet::PictureLoss(request) => self.on_key_frame_request(now, request.media, events),
            Packet::FullIntra(request) => {
                for (ssrc, _) in request.requests() {
                    self.on_key_frame_request(now, ssrc, events);
                }
            }
            _ => {}
        }
    }

    fn on_blocks(&mut self, blocks: Blocks<'_>) {
        for block in blocks.iter() {
            if let Some(stream) = self.own_stream(block.ssrc) {
                stream.is_known = true;
            }
        }
    }

    fn on_key_frame_request(&mut self, now: Instant, ssrc: Ssrc, events: &mut VecDeque<Event>) {
        let Some(line) = self.own.find(ssrc) else { return };
        let Some(line) = self.line_mut(line) else { return };
        let transceiver = line.agreed.transceiver;
        let Some(stream) = line.streams.iter_mut().find(|stream| stream.ssrc == ssrc) else { return };
        let is_fresh = |told: Instant| now.saturating_duration_since(told) < KEY_FRAME_PAUSE;
        if !stream.key_frame_told.is_some_and(is_fresh) {
            stream.key_frame_told = Some(now);
            events.push_back(Event::KeyFrameRequested { transceiver, rid: stream.rid });
        }
    }

    /// Asks for a key frame of the streams of a transceiver, or of that called `rid`.
    pub(crate) fn request_key_frame(&mut self, now: Instant, line: usize, rid: Option<Rid>) {
        let is_fresh = |asked: Instant| now.saturating_duration_since(asked) < KEY_FRAME_PAUSE;
        for (_, receiver) in &mut self.receivers {
            let is_meant = usize::from(receiver.line) == line && (rid.is_none() || receiver.rid == rid);
            if is_meant && receiver.is_media() && !receiver.key_frame_asked.is_some_and(is_fresh) {
                receiver.key_frame_asked = Some(now);
                self.picture_losses.push(receiver.ssrc);
            }
        }
    }

    /// Whether there is anything to say.
    pub(super) fn has_rtcp(&self) -> bool {
        !self.picture_losses.is_empty()
    }

    /// Appends a compound packet of at most `room` bytes, in the clear.
    pub(super) fn write_rtcp(&mut self, out: &mut BytesMut, room: usize) {
        let start = out.len();
        let sender = self.own_ssrc;
        // RFC 3550 §6.1: a compound packet starts with a report and has a description.
        ReceiverReport::emit(out, room, sender, &[]);
        Description::emit(out, room - (out.len() - start), sender, &[(CNAME, self.cname.as_bytes())]);
        while let Some(media) = self.picture_losses.last().copied() {
            if !(PictureLoss { sender, media }).emit(out, room - (out.len() - start)) {
                break;
            }
            self.picture_losses.pop();
        }
    }
}

//! From a datagram to the event of its packet.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;

use crate::packet::Ecn;
use crate::rtp::ext::timing::TransportSequence;
use crate::rtp::header::{Header, Packet};
use crate::session::event::Event;
use crate::session::negotiate::MediaLevel;
use crate::srtp::Refused;
use crate::time::earliest;
use crate::types::codec::{Codec, MediaType};
use crate::types::ids::Ssrc;
use crate::wire::serial::Serial16;

use super::frames::{self, Assembled, Assembler, Owner};
use super::line::Payload;
use super::packet::{PacketOrigin, ReceiverId, RtpPacket};
use super::receiver::{Receiver, Role};
use super::repair::Arrived;
use super::router::{Marks, known_rid};
use super::{MAX_EVENTS, MAX_RECEIVERS, MAX_WAITING, Media};

/// So many streams have places of their own; beyond, places are made as a vector makes them.
const FEW: usize = 8;

impl Media {
    /// An RTP packet from an address that ICE knows.
    pub(crate) fn handle_rtp(
        &mut self,
        now: Instant,
        mut contents: BytesMut,
        ecn: Ecn,
        events: &mut VecDeque<Event>,
    ) {
        let Some(keys) = &mut self.keys else {
            self.dropped.no_keys += 1;
            return;
        };
        let header = match keys.inbound.unprotect_rtp(&mut contents) {
            Ok(opened) => opened.header,
            Err(refused) => return self.on_refused(refused),
        };
        let Ok(packet) = Packet::new(header, &contents) else {
            self.dropped.malformed += 1;
            return;
        };
        let payload = packet.payload_range();
        let marks = Marks::read(packet.elements(), &self.ids);
        let transport_sequence =
            marks.transport_sequence.and_then(|data| TransportSequence::parse(data).ok());
        let Some(at) = self.route(now, &header, &marks, events) else { return };
        self.note_arrival(now, &header, transport_sequence, ecn);
        self.on_packet(now, at, header, payload, contents, events);
    }

    /// What the transport is told of: every packet of a stream that belongs somewhere.
    fn note_arrival(
        &mut self,
        now: Instant,
        header: &Header,
        transport_sequence: Option<TransportSequence>,
        ecn: Ecn,
    ) {
        let control = &mut self.control;
        if let Some(number) = transport_sequence.filter(|_| control.uses.transport_cc) {
            control.arrivals.handle_packet(now, Serial16(number.number));
        }
        if control.uses.ccfb {
            control.congestion.handle_packet(now, header.ssrc, header.sequence, ecn);
        }
        control.wake_for_arrivals();
    }

    /// An RTCP packet from an address that ICE knows.
    pub(crate) fn handle_rtcp(&mut self, now: Instant, mut contents: BytesMut, events: &mut VecDeque<Event>) {
        let Some(keys) = &mut self.keys else {
            self.dropped.no_keys += 1;
            return;
        };
        match keys.inbound.unprotect_rtcp(&mut contents) {
            Ok(()) => self.on_rtcp(now, &contents, events),
            Err(refused) => self.on_refused(refused),
        }
    }

    fn on_refused(&mut self, refused: Refused) {
        match refused {
            Refused::Unauthentic => self.dropped.unauthentic += 1,
            Refused::Replayed => self.dropped.replayed += 1,
            Refused::TooManyStreams => self.dropped.too_many_streams += 1,
            Refused::Malformed => self.dropped.malformed += 1,
        }
    }

    /// The stream that a packet belongs to; a new one when it is the first of its source.
    fn route(
        &mut self,
        now: Instant,
        header: &Header,
        marks: &Marks<'_>,
        events: &mut VecDeque<Event>,
    ) -> Option<u32> {
        if let Some(at) = self.known.find(header.ssrc) {
            let line = usize::try_from(at).ok().and_then(|at| self.receivers.get(at)).map(|held| held.line);
            // RFC 9143 §9.2: a MID moves the source to its section.
            let moved = marks.mid.and_then(|mid| self.router.line_of_mid(mid)).filter(|to| Some(*to) != line);
            if moved.is_none() {
                return Some(at);
            }
            self.end_receiver(usize::try_from(at).ok()?, events);
        }
        let Ok(line) = self.router.line(marks, header.ssrc, header.payload_type) else {
            self.dropped.unknown_stream += 1;
            return None;
        };
        self.start_receiver(now, header, marks, line, events)
    }

    fn start_receiver(
        &mut self,
        now: Instant,
        header: &Header,
        marks: &Marks<'_>,
        at: u16,
        events: &mut VecDeque<Event>,
    ) -> Option<u32> {
        let line = self.lines.get(usize::from(at))?.as_deref()?;
        if !line.agreed.direction.receives() {
            self.dropped.not_receiving += 1;
            return None;
        }
        let role = match line.payload(header.payload_type) {
            Payload::Media(format) if line.format(format).is_some_and(|f| f.codec == Codec::Flexfec) => {
                Role::Repair { of: None }
            }
            Payload::Media(_) => Role::Media,
            Payload::Rtx(_) => Role::Repair { of: None },
            Payload::Unknown => {
                self.dropped.unknown_format += 1;
                return None;
            }
        };
        if self.receivers.len() >= MAX_RECEIVERS {
            self.dropped.too_many_streams += 1;
            return None;
        }
        // An application that does not poll is not told of ever more streams.
        if events.len() >= MAX_EVENTS {
            self.dropped.not_polled += 1;
            return None;
        }
        let remote = &line.agreed.remote;
        let rid = match role {
            Role::Media => known_rid(marks.rid, &remote.rids),
            // RFC 8852 §3.2: a repair stream names the stream that it repairs.
            Role::Repair { .. } => known_rid(marks.repaired_rid.or(marks.rid), &remote.rids),
        };
        let transceiver = line.agreed.transceiver;
        // Few streams are the rule: their places are added one by one, since each takes more than half a kilobyte.
        if self.receivers.len() == self.receivers.capacity() && self.receivers.len() < FEW {
            self.receivers.reserve_exact(1);
        }
        let entry = self.receivers.vacant_entry();
        let index = u32::try_from(entry.key()).ok()?;
        self.generation = self.generation.wrapping_add(1);
        let receiver = ReceiverId { index, generation: self.generation };
        entry.insert(Receiver::new(receiver, header.ssrc, at, rid, role, now));
        self.control.on_stream(now);
        self.known.insert(header.ssrc, index);
        if role == Role::Media {
            self.control.watch(now);
            events.push_back(Event::StreamStarted { receiver, transceiver, rid, ssrc: header.ssrc });
        }
        Some(index)
    }

    /// Ends a stream; those that repair it look for another.
    pub(super) fn end_receiver(&mut self, at: usize, events: &mut VecDeque<Event>) {
        let Some(receiver) = self.receivers.try_remove(at) else { return };
        self.control.congestion.forget(receiver.ssrc);
        self.known.remove(receiver.ssrc);
        let index = u32::try_from(at).ok();
        for (_, other) in &mut self.receivers {
            if matches!(other.role, Role::Repair { of } if of == index) {
                other.role = Role::Repair { of: None };
            }
        }
        if receiver.is_media() {
            events.push_back(Event::StreamEnded { receiver: receiver.id, ssrc: receiver.ssrc });
        }
    }

    fn on_packet(
        &mut self,
        now: Instant,
        at: u32,
        header: Header,
        payload: std::ops::Range<usize>,
        contents: BytesMut,
        events: &mut VecDeque<Event>,
    ) {
        let Ok(place) = usize::try_from(at) else { return };
        let Some(receiver) = self.receivers.get_mut(place) else { return };
        let Some(line) = self.lines.get(usize::from(receiver.line)).and_then(Option::as_deref) else {
            return;
        };
        let Some(sequence) = receiver.on_packet(now, &header, payload.len()).sequence() else {
            self.dropped.stray += 1;
            return;
        };
        if !line.agreed.direction.receives() {
            self.dropped.not_receiving += 1;
            return;
        }
        if receiver.is_paused && receiver.heard == now && events.len() < MAX_EVENTS {
            receiver.is_paused = false;
            events.push_back(Event::StreamResumed { receiver: receiver.id, ssrc: receiver.ssrc });
            self.control.watch(now);
        }
        match line.payload(header.payload_type) {
            Payload::Media(format) if line.format(format).is_some_and(|f| f.codec == Codec::Flexfec) => {
                let payload = contents.get(payload).unwrap_or_default();
                self.on_flexfec(now, payload, events);
            }
            Payload::Media(_) => {
                let origin = PacketOrigin::Received;
                self.on_media(now, Arrived { at: place, sequence, header, contents, origin }, events);
            }
            Payload::Rtx(format) => self.on_retransmission(now, at, format, contents, events),
            Payload::Unknown => self.dropped.unknown_format += 1,
        }
    }

    /// The stream that the repair stream at `at` repairs: signalled (`ssrc-group:FID`), or named by rid, or the only
    /// one of its section (RFC 4588 §5.3).
    pub(super) fn repaired_by(&mut self, at: u32) -> Option<usize> {
        let at = usize::try_from(at).ok()?;
        let repair = self.receivers.get(at)?;
        if let Role::Repair { of: Some(of) } = repair.role {
            return usize::try_from(of).ok();
        }
        let line = self.lines.get(usize::from(repair.line))?.as_deref()?;
        let groups = &line.agreed.remote.retransmissions;
        let signalled = groups.iter().find(|(_, rtx)| *rtx == repair.ssrc).map(|(ssrc, _)| *ssrc);
        let of = match signalled {
            Some(ssrc) => self.media_receiver(ssrc),
            None => {
                let fits = |held: &Receiver| {
                    held.is_media()
                        && held.line == repair.line
                        && (repair.rid.is_none() || held.rid == repair.rid)
                };
                let mut fitting = self.receivers.iter().filter(|(_, held)| fits(held)).map(|(at, _)| at);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        }?;
        if let Some(repair) = self.receivers.get_mut(at) {
            repair.role = Role::Repair { of: u32::try_from(of).ok() };
        }
        Some(of)
    }

    pub(super) fn media_receiver(&self, ssrc: Ssrc) -> Option<usize> {
        let is_it = |receiver: &Receiver| receiver.ssrc == ssrc && receiver.is_media();
        self.receivers.iter().find(|(_, receiver)| is_it(receiver)).map(|(at, _)| at)
    }

    /// Hands a packet to the application, or to the assembly of its frame.
    pub(super) fn deliver(&mut self, packet: RtpPacket, events: &mut VecDeque<Event>) {
        let line = self.lines.get(packet.transceiver.index()).and_then(Option::as_deref);
        if line.is_some_and(|line| line.agreed.level == MediaLevel::Frames) {
            return self.assemble(packet, events);
        }
        // An application that has stopped to poll loses the newest.
        if self.waiting >= MAX_WAITING {
            self.dropped.not_polled += 1;
            return;
        }
        self.waiting += 1;
        events.push_back(Event::Packet(packet));
    }

    fn assemble(&mut self, packet: RtpPacket, events: &mut VecDeque<Event>) {
        let now = packet.received;
        let at = usize::try_from(packet.receiver.index).unwrap_or(usize::MAX);
        let Some(receiver) = self.receivers.get_mut(at) else { return };
        let nack = receiver.feedback.nack;
        let mut frames =
            receiver.frames.take().unwrap_or_else(|| Box::new(Assembler::new(frames::patience(nack))));
        self.with_assembler(now, at, &mut frames, events, |frames, owner, out| {
            frames.handle_packet(now, owner, packet, out);
        });
        if let Some(receiver) = self.receivers.get_mut(at) {
            receiver.frames = Some(frames);
        }
    }

    /// Lets an assembly work, and sees to what comes of it.
    fn with_assembler(
        &mut self,
        now: Instant,
        at: usize,
        frames: &mut Assembler,
        events: &mut VecDeque<Event>,
        work: impl FnOnce(&mut Assembler, Owner, &mut Assembled<'_>),
    ) {
        let Some(receiver) = self.receivers.get_mut(at) else { return };
        let Some(line) = self.lines.get(usize::from(receiver.line)).and_then(Option::as_deref) else {
            return;
        };
        let transceiver = line.agreed.transceiver;
        let owner = Owner { transceiver, receiver: receiver.id, rid: receiver.rid };
        let (waiting, dropped) = (&mut self.waiting_bytes, &mut self.dropped.not_polled);
        let mut out = Assembled { events, waiting, dropped, is_lost: false };
        work(frames, owner, &mut out);
        if out.is_lost && line.agreed.kind == MediaType::Video && receiver.key_frames.next_timeout().is_none()
        {
            receiver.key_frames.request(now);
            self.control.wake(receiver.key_frames.next_timeout());
        }
        self.frames_due = earliest([self.frames_due, frames.next_timeout()]);
    }

    /// Gives up what assemblies have waited for long enough.
    pub(super) fn run_assemblers(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        if self.frames_due.is_none_or(|due| due > now) {
            return;
        }
        self.frames_due = None;
        for at in 0..self.receivers.capacity() {
            let frames = self.receivers.get_mut(at).and_then(|receiver| receiver.frames.take());
            let Some(mut frames) = frames else { continue };
            self.with_assembler(now, at, &mut frames, events, |frames, owner, out| {
                frames.run(now, owner, out)
            });
            if let Some(receiver) = self.receivers.get_mut(at) {
                receiver.frames = Some(frames);
            }
        }
    }
}

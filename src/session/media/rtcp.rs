//! RTCP of one connection: what arrives is handed to the streams (RFC 3550 §6, RFC 4585, RFC 5104, RFC 3611).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::ntp::{NtpTime, round_trip};
use crate::rtp::rtcp::feedback::{BitrateLimit, MaxBitrate, Nack, Remb};
use crate::rtp::rtcp::report::{Blocks, Extended, ExtendedBlock, SenderReport};
use crate::rtp::rtcp::source::Bye;
use crate::rtp::rtcp::{Compound, Packet};
use crate::session::event::Event;
use crate::types::ids::{Rid, Ssrc};

use super::stats::Told;
use super::{MAX_EVENTS, Media};

impl Media {
    /// A compound packet, decrypted.
    pub(super) fn on_rtcp(&mut self, now: Instant, compound: &[u8], events: &mut VecDeque<Event>) {
        self.control.on_received(compound.len());
        for packet in Compound::new(compound) {
            match packet {
                Ok(packet) => self.on_rtcp_packet(now, packet, events),
                Err(_) => self.dropped.malformed += 1,
            }
        }
    }

    fn on_rtcp_packet(&mut self, now: Instant, packet: Packet<'_>, events: &mut VecDeque<Event>) {
        match packet {
            Packet::SenderReport(report) => self.on_sender_report(now, &report, events),
            Packet::ReceiverReport(report) => self.on_blocks(now, report.blocks),
            Packet::Extended(report) => self.on_extended_report(now, &report),
            Packet::PictureLoss(request) => self.on_key_frame_request(now, request.media, None, events),
            Packet::FullIntra(request) => {
                for (ssrc, number) in request.requests() {
                    self.on_key_frame_request(now, ssrc, Some(number), events);
                }
            }
            Packet::Nack(nack) => self.on_nack(&nack),
            Packet::MaxBitrate(limits) => self.on_max_bitrate(now, &limits, events),
            Packet::Remb(remb) => self.on_remb(&remb, events),
            // Whoever estimates what the path can carry will look at each; their count is kept meanwhile.
            Packet::TransportWide(told) => _ = self.control.sent.handle_transport_wide(&told).count(),
            Packet::Congestion(told) => _ = self.control.sent.handle_congestion(&told).count(),
            Packet::Bye(bye) => self.on_bye(&bye, events),
            _ => {}
        }
    }

    fn on_sender_report(&mut self, now: Instant, report: &SenderReport<'_>, events: &mut VecDeque<Event>) {
        self.on_blocks(now, report.blocks);
        let at = self.known.find(report.sender).and_then(|at| usize::try_from(at).ok());
        let Some(receiver) = at.and_then(|at| self.receivers.get_mut(at)) else { return };
        receiver.statistics.on_sender_report(now, report.info.ntp);
        receiver.told = Some(Told { info: report.info, at: now });
        if receiver.is_media() {
            let timestamp = receiver.time.estimate(crate::wire::serial::Serial32(report.info.rtp));
            let (receiver, ntp) = (receiver.id, report.info.ntp.to_unix());
            let event = Event::SenderReport { receiver, unix_time: ntp, timestamp };
            self.tell(event, events);
        }
    }

    fn on_blocks(&mut self, now: Instant, blocks: Blocks<'_>) {
        let ntp = self.ntp(now);
        for block in blocks.iter() {
            let Some(stream) = self.own_stream(block.ssrc) else {
                self.on_repair_known(block.ssrc);
                continue;
            };
            stream.is_known = true;
            if let Some(rtt) = stream.reports.on_report_block(now, ntp, &block) {
                self.control.round_trip.on_measured(rtt);
            }
        }
    }

    /// The peer has reported on a source of retransmissions.
    fn on_repair_known(&mut self, ssrc: Ssrc) {
        let line = self.own.find(ssrc).and_then(|line| self.line_mut(line));
        let streams = line.into_iter().flat_map(|line| &mut line.streams);
        streams.filter(|stream| stream.rtx == Some(ssrc)).for_each(|stream| stream.is_repair_known = true);
    }

    /// RFC 3611 §4.4, §4.5: receivers tell their time, and are told how long ago that was.
    fn on_extended_report(&mut self, now: Instant, report: &Extended<'_>) {
        let ntp = self.ntp(now);
        for block in report.blocks() {
            match block {
                ExtendedBlock::ReceiverTime(time) => {
                    self.control.receiver_times.on_receiver_time(now, report.sender, time);
                }
                ExtendedBlock::Delays(delays) => {
                    for delay in delays.iter().filter(|delay| delay.ssrc == self.own_ssrc) {
                        let rtt = round_trip(ntp, delay.last_rr, delay.delay);
                        rtt.into_iter().for_each(|rtt| self.control.round_trip.on_measured(rtt));
                    }
                }
                ExtendedBlock::Unknown { .. } => {}
            }
        }
    }

    /// RFC 4585 §6.3.1, RFC 5104 §4.3.1. A full intra request has a number, and counts once.
    fn on_key_frame_request(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        number: Option<u8>,
        events: &mut VecDeque<Event>,
    ) {
        let Some(stream) = self.own_stream(ssrc) else { return };
        let is_paused = stream.is_paused;
        match number {
            None => {
                stream.requests.pli += 1;
                stream.key_frames.request(now);
            }
            Some(number) => {
                stream.requests.fir += 1;
                stream.key_frames.on_full_intra_request(now, number);
            }
        }
        if is_paused {
            // It goes on with a key frame anyway.
            stream.key_frames.on_key_frame();
        }
        self.tell_key_frames(now, events);
    }

    /// Tells the application of the requests that are let through now (R53: a hundred are one).
    pub(super) fn tell_key_frames(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        for line in self.lines.iter_mut().flatten() {
            let transceiver = line.agreed.transceiver;
            for stream in &mut line.streams {
                // One that is not told because nobody polls will be made again.
                if stream.key_frames.take_due(now) && events.len() < MAX_EVENTS {
                    events.push_back(Event::KeyFrameRequested { transceiver, rid: stream.rid });
                }
            }
        }
        self.find_next_request();
    }

    pub(super) fn find_next_request(&mut self) {
        let streams = self.lines.iter().flatten().flat_map(|line| &line.streams);
        self.control.next_request = streams.filter_map(|stream| stream.key_frames.next_timeout()).min();
    }

    /// RFC 4585 §6.2.1: what is asked for is looked up when it can leave.
    fn on_nack(&mut self, nack: &Nack<'_>) {
        if let Some(stream) = self.own_stream(nack.media) {
            stream.requests.nack += 1;
            nack.lost().for_each(|number| self.control.resend.push(nack.media, number));
        }
    }

    /// RFC 5104 §4.2.1: a limit for single streams.
    fn on_max_bitrate(&mut self, now: Instant, limits: &MaxBitrate<'_>, events: &mut VecDeque<Event>) {
        for limit in limits.limits() {
            let Some(line) = self.own.find(limit.ssrc) else { continue };
            let Some(line) = self.line_mut(line) else { continue };
            let transceiver = line.agreed.transceiver;
            let Some(stream) = line.streams.iter_mut().find(|stream| stream.ssrc == limit.ssrc) else {
                continue;
            };
            let is_new = stream.bitrate_limit.replace(limit.bitrate) != Some(limit.bitrate);
            let (rid, owner) = (stream.rid, limits.sender);
            self.control.acknowledge(now, limit.ssrc, BitrateLimit { ssrc: owner, ..limit });
            if is_new {
                let bitrate = limit.bitrate;
                self.tell(Event::BitrateLimit { stream: Some((transceiver, rid)), bitrate }, events);
            }
        }
    }

    /// A limit for all streams that it names, which is all that there are.
    fn on_remb(&mut self, remb: &Remb<'_>, events: &mut VecDeque<Event>) {
        if !self.control.uses.remb || self.control.remb == Some(remb.bitrate) {
            return;
        }
        self.control.remb = Some(remb.bitrate);
        self.set_ceilings();
        self.tell(Event::BitrateLimit { stream: None, bitrate: remb.bitrate }, events);
    }

    /// The application's limit, in bits per second.
    pub(crate) fn set_ceiling(&mut self, ceiling: Option<u64>) {
        self.control.ceiling = ceiling;
        self.set_ceilings();
    }

    /// What is sent stays below what the application has said, and what the peer has.
    pub(super) fn set_ceilings(&mut self) {
        let limits = [self.control.ceiling, self.control.remb];
        // A peer that says nothing may be sent is not believed: its own feedback would starve it for good.
        let ceiling = limits.into_iter().flatten().min().map(|ceiling| ceiling.max(MIN_CEILING));
        self.control.pacer.set_ceiling(ceiling);
    }

    /// Tells the application something that it can do without, should it not poll: then nothing must grow.
    fn tell(&mut self, event: Event, events: &mut VecDeque<Event>) {
        if events.len() < MAX_EVENTS {
            events.push_back(event);
        } else {
            self.dropped.not_polled += 1;
        }
    }

    fn on_bye(&mut self, bye: &Bye<'_>, events: &mut VecDeque<Event>) {
        for ssrc in bye.sources() {
            if let Some(at) = self.known.find(ssrc).and_then(|at| usize::try_from(at).ok()) {
                self.end_receiver(at, events);
            }
        }
    }

    /// Asks for a key frame of the streams of a transceiver, or of that called `rid`.
    pub(crate) fn request_key_frame(&mut self, now: Instant, line: usize, rid: Option<Rid>) {
        for (_, receiver) in &mut self.receivers {
            let is_meant = usize::from(receiver.line) == line && (rid.is_none() || receiver.rid == rid);
            if is_meant && receiver.is_media() {
                receiver.key_frames.request(now);
                self.control.wake(receiver.key_frames.next_timeout());
            }
        }
    }

    /// The wall clock at `now`, as RTCP has it.
    pub(super) fn ntp(&self, now: Instant) -> NtpTime {
        NtpTime::from_unix(self.clock.unix_at(now))
    }

    /// The round trip to the peer, when it was measured.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.control.round_trip.smoothed()
    }
}

/// The lowest ceiling that a peer can set, in bits per second: an audio stream.
const MIN_CEILING: u64 = 30_000;

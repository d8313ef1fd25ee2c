//! What RTCP has to say, and when (RFC 3550 §6.3, RFC 4585 §3.5, RFC 5506).
//!
//! ```text
//!  report due ──> SR or RR, further SRs, SDES, XR ──┐
//!                                                    ├──> one compound packet that fits a datagram, or several
//!  feedback due ──> PLI/FIR, NACK, TWCC, RFC 8888 ──┘
//! ```
//!
//! Feedback goes along with a report, or by itself as long as its share of the bandwidth lasts; with an empty
//! report in front where the peer did not agree to packets of reduced size.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::rng::Rng;
use crate::rtp::rtcp::feedback::{BitrateLimit, FullIntra, MaxBitrate, Nack, PictureLoss};
use crate::rtp::rtcp::report::{Delay, Extended, MAX_BLOCKS, ReceiverReport, ReportBlock, SenderReport};
use crate::rtp::rtcp::source::{Bye, CNAME, Description};
use crate::rtp::stream::pacer::Pacer;
use crate::rtp::stream::receive::{Arrivals, Congestion};
use crate::rtp::stream::report_timing::{ReportTiming, ReportTimingConfig};
use crate::rtp::stream::round_trip::{ReceiverTimes, RoundTrip};
use crate::rtp::stream::send::Transport;
use crate::session::event::Event;
use crate::time::earliest;
use crate::types::ids::Ssrc;
use crate::wire::serial::Serial16;

use super::Media;
use super::pause::PAUSED_AFTER;
use super::sender::SendStream;

/// Requests for packets that wait for their turn; more than a second of a fast stream. The newest are dropped.
const MAX_RESEND: usize = 1024;
/// Goodbyes that wait at most: one packet full. A peer that misses one sees the stream end by its silence.
const MAX_GOODBYES: usize = 31;
/// Limits that wait to be acknowledged at most. A peer that misses an answer repeats itself (RFC 5104 §4.2.1).
const MAX_NOTICES: usize = 64;
/// What a description takes at most, beside the canonical name.
const DESCRIPTION_LEN: usize = 16;

/// Which feedback the sections in use have agreed upon.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Uses {
    pub(super) transport_cc: bool,
    pub(super) ccfb: bool,
    pub(super) remb: bool,
    pub(super) reduced_size: bool,
    pub(super) video: bool,
}

/// Packets that the peer asked for.
#[derive(Debug, Default)]
pub(super) struct Resend {
    wanted: VecDeque<(Ssrc, Serial16)>,
}

impl Resend {
    pub(super) fn push(&mut self, ssrc: Ssrc, number: Serial16) {
        if self.wanted.len() < MAX_RESEND {
            self.wanted.push_back((ssrc, number));
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Ssrc, Serial16)> {
        self.wanted.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.wanted = VecDeque::new();
    }
}

/// The state of RTCP and of the transport that it reports on.
#[derive(Debug)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub(super) struct Control {
    /// `None` until a packet came or left: before there is nothing to report.
    timing: Option<ReportTiming>,
    /// How far the report that is going out has come: senders, receivers.
    report: Option<(usize, usize)>,
    /// Not after the time at which the first feedback is due.
    feedback: Option<Instant>,
    /// When the peer's next request for a key frame is let through.
    pub(super) next_request: Option<Instant>,
    /// Not after the time at which a stream may be found silent.
    pub(super) silence: Option<Instant>,
    /// Streams of ours that have ended.
    goodbyes: Vec<Ssrc>,
    pub(super) resend: Resend,
    pub(super) pacer: Pacer,
    /// What was sent, for those who will estimate what the path can carry.
    pub(super) sent: Transport,
    pub(super) uses: Uses,
    rng: Rng,
    pub(super) round_trip: RoundTrip,
    pub(super) receiver_times: ReceiverTimes,
    pub(super) arrivals: Arrivals,
    pub(super) congestion: Congestion,
    /// Where parity is put together.
    pub(super) scratch: BytesMut,
    /// Bits per second that the application allows.
    pub(super) ceiling: Option<u64>,
    /// Bits per second that the peer allows.
    pub(super) remb: Option<u64>,
    /// Limits of the peer that are not acknowledged yet, and from when on that may be done.
    notices: Vec<(Ssrc, BitrateLimit)>,
    notice_due: Option<Instant>,
}

impl Control {
    pub(super) fn new(rng: Rng) -> Self {
        Control {
            rng,
            timing: None,
            uses: Uses::default(),
            round_trip: RoundTrip::new(),
            receiver_times: ReceiverTimes::new(),
            arrivals: Arrivals::new(),
            congestion: Congestion::new(),
            sent: Transport::new(),
            resend: Resend::default(),
            scratch: BytesMut::new(),
            pacer: Pacer::new(),
            ceiling: None,
            remb: None,
            feedback: None,
            silence: None,
            notices: Vec::new(),
            notice_due: None,
            next_request: None,
            goodbyes: Vec::new(),
            report: None,
        }
    }

    /// Streams of ours end (RFC 3550 §6.6). What was never sent needs no goodbye.
    pub(super) fn say_goodbye(&mut self, streams: &[SendStream]) {
        let sent = streams.iter().filter(|stream| stream.reports.packets() > 0);
        self.goodbyes.extend(sent.map(|stream| stream.ssrc).take(MAX_GOODBYES - self.goodbyes.len()));
    }

    /// A stream has started, here or there: the first report comes soon.
    pub(super) fn on_stream(&mut self, now: Instant) {
        let Control { rng, timing, .. } = self;
        match timing {
            Some(timing) => timing.hasten(now, rng),
            None => self.timing = Some(ReportTiming::new(now, Self::pace(self.uses), rng)),
        }
    }

    fn pace(uses: Uses) -> ReportTimingConfig {
        // RFC 4585 §3.4: the interval is ours to choose; audio alone needs few reports.
        let interval = Duration::from_secs(if uses.video { 1 } else { 5 });
        ReportTimingConfig { interval, ..ReportTimingConfig::default() }
    }

    pub(super) fn on_received(&mut self, size: usize) {
        self.timing.iter_mut().for_each(|timing| timing.on_received(size));
    }

    /// Feedback is due at `at`.
    pub(super) fn wake(&mut self, at: Option<Instant>) {
        self.feedback = earliest([self.feedback, at]);
    }

    /// A packet came over the transport.
    pub(super) fn wake_for_arrivals(&mut self) {
        self.wake(earliest([self.arrivals.next_timeout(), self.congestion.next_timeout()]));
    }

    /// Whether a report is due, or half of one has left.
    fn has_report(&self, now: Instant) -> bool {
        self.report.is_some() || self.timing.as_ref().is_some_and(|timing| timing.is_report_due(now))
    }

    /// Whether feedback is due that may leave now.
    fn has_feedback(&self, now: Instant) -> bool {
        let is_due = self.feedback.is_some_and(|at| at <= now);
        is_due && self.timing.as_ref().is_none_or(|timing| timing.may_send_early(now))
    }

    pub(super) fn has_output(&self, now: Instant) -> bool {
        self.has_report(now) || self.has_feedback(now) || !self.goodbyes.is_empty()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let report = self.timing.as_ref().map(ReportTiming::next_report);
        let early = self.timing.as_ref().map(ReportTiming::next_early);
        let feedback = self.feedback.map(|at| early.map_or(at, |early| at.max(early)));
        earliest([report, feedback, self.next_request, self.silence])
    }

    /// A stream of the peer is there, or there again: should it fall silent, that is told.
    pub(super) fn watch(&mut self, now: Instant) {
        self.silence = earliest([self.silence, Some(now + PAUSED_AFTER)]);
    }

    /// The peer has limited a stream of ours: it is told that this was heard (RFC 5104 §4.2.2), once for all limits
    /// that come until then.
    pub(super) fn acknowledge(&mut self, now: Instant, stream: Ssrc, limit: BitrateLimit) {
        let notices = &mut self.notices;
        if let Some(notice) = notices.iter_mut().find(|(held, _)| *held == stream) {
            notice.1 = limit;
        } else if notices.len() < MAX_NOTICES {
            notices.push((stream, limit));
        } else {
            return;
        }
        self.notice_due.get_or_insert(now);
        self.wake(self.notice_due);
    }
}

impl Media {
    /// Time has passed: what is missing may be given up, and requests may be told.
    pub(crate) fn handle_timeout(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        if self.control.next_request.is_some_and(|at| at <= now) {
            self.tell_key_frames(now, events);
        }
        self.find_silent(now, events);
        self.run_assemblers(now, events);
        if self.control.feedback.is_some_and(|at| at <= now) {
            self.receivers.iter_mut().for_each(|(_, receiver)| _ = receiver.nacks.handle_timeout(now));
            self.find_feedback();
        }
    }

    /// Looks for the earliest feedback anew.
    fn find_feedback(&mut self) {
        let asks = self.receivers.iter().filter(|(_, receiver)| receiver.is_media());
        let asks = asks.flat_map(|(_, r)| [r.nacks.next_timeout(), r.key_frames.next_timeout()]);
        let Control { arrivals, congestion, .. } = &self.control;
        let told = [arrivals.next_timeout(), congestion.next_timeout(), self.control.notice_due];
        self.control.feedback = earliest(asks.chain(told));
    }

    /// Appends a compound packet of at most `room` bytes, in the clear. Nothing is appended when there is nothing
    /// to say.
    pub(super) fn write_rtcp(&mut self, now: Instant, out: &mut BytesMut, room: usize) {
        let end = out.len() + room;
        let start = out.len();
        let is_report = self.control.has_report(now);
        if is_report {
            self.write_report(now, out, end);
        } else if !self.control.uses.reduced_size {
            // RFC 4585 §3.1: a compound packet starts with a report and has a description.
            ReceiverReport::emit(out, room, self.rtcp_sender(), &[]);
            self.write_description(out, end);
        }
        let head = out.len();
        self.write_requests(now, out, end);
        self.write_notices(out, end);
        self.write_nacks(now, out, end);
        self.write_arrivals(now, out, end);
        self.write_goodbyes(out, end);
        self.find_feedback();
        if !is_report && out.len() == head {
            // What was due has settled itself.
            out.truncate(start);
            return;
        }
        let size = out.len() - start;
        let Control { timing, rng, report, .. } = &mut self.control;
        if let Some(timing) = timing {
            match is_report {
                true if report.is_none() => timing.on_report_sent(now, size, rng),
                _ => timing.on_early_sent(now, size),
            }
        }
    }

    /// Who speaks in RTCP: the first stream of ours that was sent, or a source that sends nothing.
    fn rtcp_sender(&self) -> Ssrc {
        let streams = self.lines.iter().flatten().flat_map(|line| &line.streams);
        let mut sent = streams.filter(|stream| stream.reports.packets() > 0);
        sent.next().map_or(self.own_ssrc, |stream| stream.ssrc)
    }

    /// RFC 3550 §6.1: reports first, then who we are. What does not fit is for the next compound packet.
    fn write_report(&mut self, now: Instant, out: &mut BytesMut, end: usize) {
        let (mut senders, mut receivers) = self.control.report.unwrap_or((0, 0));
        let end_of_reports = end - (DESCRIPTION_LEN + self.cname.len()).min(end);
        let ntp = self.ntp(now);
        let mut blocks = [None; MAX_BLOCKS];
        let first = out.len();
        loop {
            let left = end_of_reports.saturating_sub(out.len());
            let streams = self.lines.iter().flatten().flat_map(|line| &line.streams);
            let infos =
                streams.filter_map(|stream| Some((stream.ssrc, stream.reports.sender_info(now, ntp)?)));
            let sender = infos.clone().nth(senders);
            let head = if sender.is_some() { 28 } else { 8 };
            let Some(fitting) = left.checked_sub(head).map(|left| (left / 24).min(MAX_BLOCKS)) else { break };
            let count = self.take_blocks(now, &mut receivers, blocks.get_mut(..fitting).unwrap_or_default());
            let mut told = [EMPTY_BLOCK; MAX_BLOCKS];
            told.iter_mut().zip(blocks.iter().flatten()).for_each(|(place, block)| *place = *block);
            let told = told.get(..count).unwrap_or_default();
            match sender {
                Some((ssrc, info)) => {
                    SenderReport::emit(out, left, ssrc, &info, told);
                    senders += 1;
                }
                None if count > 0 || out.len() == first => {
                    ReceiverReport::emit(out, left, self.rtcp_sender(), told);
                }
                None => break,
            }
            blocks = [None; MAX_BLOCKS];
        }
        let streams = self.lines.iter().flatten().flat_map(|line| &line.streams);
        let all_senders = streams.filter(|stream| stream.reports.packets() > 0).count();
        let is_whole = senders >= all_senders && receivers >= self.receivers.capacity();
        self.control.report = (!is_whole).then_some((senders, receivers));
        self.write_description(out, end);
        self.write_extended_report(now, out, end, all_senders == 0);
    }

    /// Fills `places` with the blocks of the next streams from the place `from` on; says how many.
    fn take_blocks(&mut self, now: Instant, from: &mut usize, places: &mut [Option<ReportBlock>]) -> usize {
        let mut count = 0;
        while count < places.len() && *from < self.receivers.capacity() {
            let receiver = self.receivers.get_mut(*from);
            *from += 1;
            let block = receiver.and_then(|receiver| receiver.statistics.take_report(now, receiver.ssrc));
            if let (Some(block), Some(place)) = (block, places.get_mut(count)) {
                *place = Some(block);
                count += 1;
            }
        }
        count
    }

    /// RFC 3550 §6.5.1.
    fn write_description(&self, out: &mut BytesMut, end: usize) {
        let left = end.saturating_sub(out.len());
        Description::emit(out, left, self.rtcp_sender(), &[(CNAME, self.cname.as_bytes())]);
    }

    /// RFC 3611 §4.4, §4.5: a side that sends nothing tells its time, to learn the round trip; others' are answered.
    fn write_extended_report(&mut self, now: Instant, out: &mut BytesMut, end: usize, is_receiver: bool) {
        let left = end.saturating_sub(out.len());
        let time = is_receiver.then(|| self.ntp(now));
        if (time.is_none() && self.control.receiver_times.is_empty()) || left < 24 + 12 * 8 {
            return;
        }
        let mut delays = [Delay { ssrc: Ssrc(0), last_rr: 0, delay: 0 }; 8];
        let mut count = 0;
        for (place, delay) in delays.iter_mut().zip(self.control.receiver_times.take_delays(now)) {
            *place = delay;
            count += 1;
        }
        // The time is that of the source that the reports of a mere receiver come from.
        let sender = if is_receiver { self.own_ssrc } else { self.rtcp_sender() };
        Extended::emit(out, left, sender, time, delays.get(..count).unwrap_or_default());
    }

    /// PLI, or FIR where only that was agreed (RFC 4585 §6.3.1, RFC 5104 §4.3.1).
    fn write_requests(&mut self, now: Instant, out: &mut BytesMut, end: usize) {
        let sender = self.rtcp_sender();
        for (_, receiver) in &mut self.receivers {
            // The longer one of the two.
            if end.saturating_sub(out.len()) < 20 {
                break;
            }
            if !receiver.is_media() || !receiver.key_frames.take_due(now) {
                continue;
            }
            let left = end.saturating_sub(out.len());
            let feedback = receiver.feedback;
            if feedback.pli || !feedback.fir {
                receiver.requests.pli += 1;
                PictureLoss { sender, media: receiver.ssrc }.emit(out, left);
            } else {
                receiver.requests.fir += 1;
                receiver.full_intra_number = receiver.full_intra_number.wrapping_add(1);
                FullIntra::emit(out, left, sender, &[(receiver.ssrc, receiver.full_intra_number)]);
            }
        }
    }

    /// RFC 5104 §4.2.2: with one receiver, the bounding set is what it has asked for.
    fn write_notices(&mut self, out: &mut BytesMut, end: usize) {
        let Control { notices, notice_due, .. } = &mut self.control;
        while let Some((stream, limit)) = notices.last() {
            if !MaxBitrate::emit_notice(out, end.saturating_sub(out.len()), *stream, limit) {
                return;
            }
            notices.pop();
        }
        *notice_due = None;
    }

    /// RFC 4585 §6.2.1.
    fn write_nacks(&mut self, now: Instant, out: &mut BytesMut, end: usize) {
        let (sender, rtt) = (self.rtcp_sender(), self.rtt());
        for (_, receiver) in &mut self.receivers {
            if receiver.feedback.nack {
                let left = end.saturating_sub(out.len());
                let asked = Nack::emit(out, left, sender, receiver.ssrc, receiver.nacks.due(now));
                receiver.nacks.on_asked(now, asked, rtt);
                receiver.requests.nack += u64::from(asked > 0);
            }
        }
    }

    /// RFC 3550 §6.6: streams of ours that have ended.
    fn write_goodbyes(&mut self, out: &mut BytesMut, end: usize) {
        let goodbyes = &mut self.control.goodbyes;
        if !goodbyes.is_empty()
            && let Some(count) = Bye::emit(out, end.saturating_sub(out.len()), goodbyes, "")
        {
            goodbyes.drain(..count);
        }
    }

    fn write_arrivals(&mut self, now: Instant, out: &mut BytesMut, end: usize) {
        let (sender, ntp) = (self.rtcp_sender(), self.ntp(now));
        let Control { arrivals, congestion, .. } = &mut self.control;
        if arrivals.is_due(now) {
            let media = self.receivers.iter().next().map_or(Ssrc(0), |(_, receiver)| receiver.ssrc);
            arrivals.emit(now, out, end.saturating_sub(out.len()), sender, media);
        }
        if congestion.is_due(now) {
            congestion.emit(now, ntp, out, end.saturating_sub(out.len()), sender);
        }
    }
}

pub(super) const EMPTY_BLOCK: ReportBlock = ReportBlock {
    ssrc: Ssrc(0),
    fraction_lost: 0,
    lost: 0,
    highest_sequence: 0,
    jitter: 0,
    last_sr: 0,
    delay_since_last_sr: 0,
};

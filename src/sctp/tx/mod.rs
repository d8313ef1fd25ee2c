//! The sending half: from messages to DATA and I-DATA chunks, and sending again what got lost
//! (RFC 9260 §6, §7; RFC 3758; RFC 8260; loss detection after RFC 8985).
//!
//! ```text
//! send -> Queues (whose turn?) -> window, pacer -> chunk -> Outstanding --SACK--> gone
//!                                                    ^          |
//!                                                    `-- lost --'
//! ```

mod ack;
mod congestion;
mod emit;
mod outstanding;
mod pacer;
mod policy;
mod queue;
mod rtt;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::time::{Timer, earliest};
use crate::types::ids::StreamId;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

use super::chunk::data::{DataChunk, DataFormat};
use super::config::Config;
use super::types::{Event, Reliability, SendError, SendOptions};
use congestion::{Acked, Controller};
use outstanding::{Arrival, Item, ItemState, Outstanding, Taken};
use pacer::{Pacer, Rate};
use policy::Policies;
use queue::{Piece, Queued, Queues};
use rtt::{RtoBounds, Rtt};

/// A fragment smaller than this is not worth its header when the message would fit better into the next packet.
const MIN_FRAGMENT: usize = 128;
/// RFC 8985 §7.2: a lone packet may wait this long for its SACK at the peer.
const PEER_ACK_DELAY: Duration = Duration::from_millis(200);
/// What a message costs in the send buffer beside its bytes.
const MESSAGE_OVERHEAD: usize = 64;
/// What a receiver may hold of a chunk beside its bytes: a window is not filled closer than that.
const PEER_CHUNK_OVERHEAD: usize = 96;
/// Chunks between the cumulative TSN and the next one: gap blocks count in 16 bits (RFC 9260 §3.3.4).
const MAX_OUTSTANDING: usize = 60_000;
/// DCEP messages that wait are bounded apart from user messages.
const MAX_CONTROL_BYTES: usize = 1024 * 1024;

/// What was agreed in the handshake.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agreed {
    /// Our first TSN.
    pub(super) initial_tsn: Serial32,
    /// The peer's window at the start.
    pub(super) peer_window: u32,
    pub(super) format: DataFormat,
    /// Whether the peer understands FORWARD-TSN (RFC 3758 §3.3.1).
    pub(super) partial_reliability: bool,
}

/// What the peer tells in a SACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SackOutcome {
    /// Older than what is known, or of TSNs never sent: ignored.
    Ignored,
    /// Nothing new was acknowledged.
    Unchanged,
    /// Something was.
    Progress,
}

/// All timers of the sending half.
#[derive(Debug, Default)]
struct Timers {
    /// RFC 9260 §6.3.2: T3-rtx.
    t3_rtx: Timer,
    /// RFC 8985 §6.3: a chunk that may only be late.
    reordering: Timer,
    /// RFC 8985 §7.2: the tail may be lost.
    probe: Timer,
    /// The pacer opens again.
    pacing: Timer,
    /// A message's lifetime ends.
    lifetime: Timer,
}

/// A window that was lost from (RFC 9260 §7.2.4: fast recovery), and whether it really was: kept until the next one, since
/// the news that a chunk had only been late comes a round trip after it was sent again.
#[derive(Debug)]
struct Recovery {
    /// It ends when this TSN is acknowledged.
    exit: Serial32,
    is_over: bool,
    /// Whether the window may grow meanwhile: after a time-out it begins again from the bottom.
    may_grow: bool,
    /// Chunks that were taken for lost and not yet seen to have arrived all the same.
    lost: u32,
    /// Those of them that were sent again: a report of a duplicate shows that it was for nothing.
    resent: Vec<Serial32>,
    /// Whether `resent` knows all of them.
    is_watched: bool,
}

/// The sending half of an association.
#[derive(Debug)]
pub(super) struct Sender {
    queues: Queues,
    outstanding: Outstanding,
    policies: Policies,
    congestion: Box<dyn Controller>,
    pacer: Pacer,
    rtt: Rtt,
    latest_rtt: Duration,
    timers: Timers,
    events: VecDeque<Event>,
    agreed: Option<Agreed>,
    recovery: Option<Recovery>,
    /// The peer's window less what is on its way to it.
    peer_window: usize,
    /// The reordering window in quarters of the shortest round trip (RFC 8985 §6.2 step 4).
    reordering_quarters: u32,
    /// Everything up to here was in flight when the current round trip began.
    round_end: Serial32,
    /// One packet may leave although the window is full: a probe.
    may_probe: bool,
    /// The tail was probed, and nothing was acknowledged since.
    has_probed: bool,
    /// The only chunk on its way probes a closed window (RFC 9260 §6.1 A).
    is_window_probe: bool,
    /// RFC 3758 §3.5: FORWARD-TSN is due.
    forward_due: bool,
    /// How far the last FORWARD-TSN went, and when.
    forwarded: Option<(Serial32, Instant)>,
    /// Time-outs in a row without any SACK.
    silent_timeouts: u32,
    queued_bytes: usize,
    queued_messages: usize,
    control_bytes: usize,
    /// Streams that were told that the buffer is full.
    blocked: Vec<StreamId>,
    /// Payload bytes of the largest chunk that fits a packet alone.
    max_payload: usize,
    send_buffer: usize,
    max_streams: usize,
    pub(super) stats: TxStats,
}

/// Counters of the sending half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TxStats {
    pub(super) chunks_sent: u64,
    pub(super) chunks_resent: u64,
    pub(super) timeouts: u64,
    pub(super) losses_undone: u64,
    pub(super) messages_abandoned: u64,
}

impl Sender {
    /// Gives back memory that is not in use.
    pub(super) fn slim(&mut self) {
        self.queues.slim();
        self.outstanding.slim();
        self.events.shrink_to_fit();
        self.blocked.shrink_to_fit();
    }

    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let bounds = RtoBounds { initial: config.rto_initial, min: config.rto_min, max: config.rto_max };
        Sender {
            queues: Queues::default(),
            outstanding: Outstanding::new(Serial32(0)),
            policies: Policies::default(),
            congestion: congestion::controller(config.congestion, config.mtu),
            pacer: Pacer::new(now),
            rtt: Rtt::new(bounds),
            latest_rtt: Duration::ZERO,
            timers: Timers::default(),
            events: VecDeque::new(),
            agreed: None,
            recovery: None,
            peer_window: 0,
            reordering_quarters: 1,
            round_end: Serial32(0),
            may_probe: false,
            has_probed: false,
            is_window_probe: false,
            forward_due: false,
            forwarded: None,
            silent_timeouts: 0,
            queued_bytes: 0,
            queued_messages: 0,
            control_bytes: 0,
            blocked: Vec::new(),
            max_payload: max_payload(config.mtu, DataFormat::Plain),
            send_buffer: config.send_buffer,
            max_streams: config.max_active_streams,
            stats: TxStats::default(),
        }
    }

    /// The handshake is far enough to send: what was queued before leaves now. After a restart, what had a TSN is lost.
    pub(super) fn start(&mut self, agreed: Agreed, mtu: usize) {
        if self.agreed.is_some() {
            self.lose_history();
        }
        self.outstanding = Outstanding::new(agreed.initial_tsn);
        // Half of the window for what is incomplete leaves half for what is whole and waits for its reader.
        self.queues.set_begun_limit(agreed.peer_window as usize / 2);
        self.round_end = agreed.initial_tsn.previous();
        self.peer_window = agreed.peer_window as usize;
        self.agreed = Some(agreed);
        self.recovery = None;
        self.is_window_probe = false;
        self.forward_due = false;
        self.forwarded = None;
        self.timers = Timers::default();
        self.set_mtu(mtu);
        self.arm_lifetime();
    }

    /// The peer started anew: what had a TSN is lost.
    fn lose_history(&mut self) {
        for index in self.policies.begun() {
            let policy = self.policies.remove(index);
            self.events.extend(policy.and_then(|p| p.abandoned()));
        }
        for (message, removed) in self.queues.on_restart() {
            self.forget_queued(&message, removed);
        }
    }

    /// A message, or what was left of one, was taken out of a queue together with `removed` entries.
    fn forget_queued(&mut self, message: &Queued, removed: usize) {
        if message.is_control {
            self.control_bytes -= message.data.len();
            return;
        }
        self.queued_bytes -= message.data.len();
        self.queued_messages -= removed;
    }

    /// The largest SCTP packet changed.
    pub(super) fn set_mtu(&mut self, mtu: usize) {
        let format = self.agreed.map_or(DataFormat::Plain, |a| a.format);
        self.max_payload = max_payload(mtu, format);
        self.congestion.set_packet_size(mtu);
    }

    /// A round-trip time that someone else measured: ICE, or a heartbeat.
    pub(super) fn seed_rtt(&mut self, rtt: Duration) {
        self.rtt.seed(rtt);
        self.latest_rtt = rtt;
    }

    /// A round-trip time from a heartbeat.
    pub(super) fn on_rtt(&mut self, rtt: Duration) {
        self.rtt.on_sample(rtt);
        self.rtt.on_progress();
    }

    /// Accepts a message.
    pub(super) fn send(
        &mut self,
        now: Instant,
        stream: StreamId,
        ppid: u32,
        data: Bytes,
        options: SendOptions,
    ) -> Result<(), SendError> {
        let len = data.len();
        let cost = self.cost();
        let outbound = self.queues.open(stream, self.max_streams).ok_or(SendError::Closed)?;
        if outbound.is_held {
            return Err(SendError::Resetting);
        }
        // A message larger than the buffer is accepted when nothing else is there: it could never be sent otherwise.
        if cost > 0 && cost + len > self.send_buffer {
            if !std::mem::replace(&mut outbound.is_blocked, true) {
                self.blocked.push(stream);
            }
            return Err(SendError::WouldBlock);
        }
        let policy = match (options.reliability, options.notify) {
            (Reliability::Reliable, None) => None,
            _ => Some(self.policies.insert(now, stream, outbound.next_number(), options)),
        };
        let is_unordered = !options.ordered;
        self.queued_bytes += len;
        self.queued_messages += 1;
        let message = Queued { data, ppid, is_unordered, policy, begun: None, is_control: false };
        self.queues.push(stream, message);
        if matches!(options.reliability, Reliability::MaxLifetime(_)) {
            self.arm_lifetime();
        }
        Ok(())
    }

    /// Accepts a message of the channel protocol: reliable, ordered, and not counted against the send buffer.
    /// False when too many wait already.
    pub(super) fn send_control(&mut self, stream: StreamId, ppid: u32, data: Bytes) -> bool {
        if self.control_bytes + data.len() > MAX_CONTROL_BYTES {
            return false;
        }
        if self.queues.open(stream, self.max_streams).is_none() {
            return false;
        }
        self.control_bytes += data.len();
        let message = Queued { data, ppid, is_unordered: false, policy: None, begun: None, is_control: true };
        self.queues.push(stream, message);
        true
    }

    pub(super) fn set_priority(&mut self, stream: StreamId, weight: u16) {
        self.queues.set_weight(stream, weight, self.max_streams);
    }

    pub(super) fn set_buffered_amount_low_threshold(&mut self, stream: StreamId, bytes: usize) {
        if let Some(outbound) = self.queues.open(stream, self.max_streams) {
            outbound.low_threshold = bytes;
        }
    }

    /// User bytes of a stream that were accepted and not yet sent once.
    pub(super) fn buffered_amount(&self, stream: StreamId) -> usize {
        self.queues.stream(stream).map_or(0, |o| o.buffered)
    }

    /// User bytes that were accepted and are neither acknowledged nor given up.
    pub(super) fn buffered(&self) -> usize {
        self.queued_bytes + self.outstanding.unacked_bytes()
    }

    /// The same with what the messages cost beside their bytes: many small ones must not take many times the bound.
    fn cost(&self) -> usize {
        self.buffered() + MESSAGE_OVERHEAD * (self.queued_messages + self.outstanding.len())
    }

    /// Whether everything that was accepted has arrived or was given up.
    pub(super) fn is_drained(&self) -> bool {
        self.queues.is_empty() && self.outstanding.is_empty()
    }

    /// True only when there is nothing to emit, and no timer that emitting would see to.
    pub(super) fn is_silent(&self) -> bool {
        self.agreed.is_none() || (self.is_drained() && !self.forward_due && !self.timers.pacing.is_armed())
    }

    /// Takes no more messages on `stream`, because it will be reset. False when the stream is not in use.
    pub(super) fn hold_stream(&mut self, stream: StreamId) {
        if let Some(outbound) = self.queues.open(stream, self.max_streams) {
            outbound.is_held = true;
        }
    }

    /// Whether everything accepted on `stream` has arrived or was given up.
    pub(super) fn is_stream_drained(&self, stream: StreamId) -> bool {
        self.queues.stream(stream).is_none_or(|o| o.is_drained())
    }

    /// Streams that hold state.
    #[cfg(test)]
    pub(super) fn stream_count(&self) -> usize {
        self.queues.stream_count()
    }

    /// Whether `stream` was used since it began.
    pub(super) fn has_stream(&self, stream: StreamId) -> bool {
        self.queues.stream(stream).is_some()
    }

    /// RFC 6525 §5.2.3: our side of `stream` starts anew.
    pub(super) fn on_stream_reset(&mut self, stream: StreamId) {
        self.queues.restart(stream);
    }

    /// The last TSN that was given to a chunk.
    pub(super) fn last_tsn(&self) -> Serial32 {
        self.outstanding.next_tsn().previous()
    }

    /// The last TSN up to which the peer has everything.
    #[cfg(test)]
    pub(super) fn cumulative(&self) -> Serial32 {
        self.outstanding.cumulative()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() && self.events.capacity() > 64 {
            self.events = VecDeque::new();
        }
        event
    }

    pub(super) fn smoothed_rtt(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    pub(super) fn rto(&self) -> Duration {
        self.rtt.rto()
    }

    /// Time-outs in a row while the peer was silent (RFC 9260 §8.1). One that answers probes of its closed window
    /// lives (§6.1 A).
    pub(super) fn timeouts_in_a_row(&self) -> u32 {
        self.silent_timeouts
    }

    pub(super) fn congestion_window(&self) -> usize {
        self.congestion.window()
    }

    pub(super) fn flight_bytes(&self) -> usize {
        self.outstanding.flight_bytes()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let Timers { t3_rtx, reordering, probe, pacing, lifetime } = &self.timers;
        earliest([t3_rtx, reordering, probe, pacing, lifetime].map(Timer::deadline))
    }
}

fn max_payload(mtu: usize, format: DataFormat) -> usize {
    const COMMON_HEADER: usize = 12;
    let room = mtu.saturating_sub(COMMON_HEADER) / 4 * 4;
    room.saturating_sub(format.header_len()).max(4)
}

#[cfg(test)]
mod tests;

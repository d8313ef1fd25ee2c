//! Data channels over SCTP streams (RFC 8831, RFC 8832): which stream is whose, who may send what, and how a
//! channel ends.
//!
//! ```text
//!            role known,                 ACK arrives
//!            OPEN queued                 (or negotiated)
//! Waiting ----------------> Opening --------------------> Open
//!    |                         |                            |
//!    | close                   | close, or the peer resets  |
//!    v                         v                            v
//!  (gone)                   Closing: both directions of the stream are reset, then the id is free
//! ```

mod types;

pub use types::{
    ChannelConfig, ChannelId, ChannelInfo, ChannelState, MessageKind, Notice, OpenError, SendError,
};

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::event::Event;
use crate::dcep;
use crate::sctp::{self, Association, Delivery, MessageId, SendOptions};
use crate::types::ids::StreamId;
use crate::types::setup::DtlsRole;

/// Payload protocol identifiers (RFC 8831 §8).
mod ppid {
    pub(super) const DCEP: u32 = 50;
    pub(super) const STRING: u32 = 51;
    pub(super) const BINARY: u32 = 53;
    pub(super) const STRING_EMPTY: u32 = 56;
    pub(super) const BINARY_EMPTY: u32 = 57;
}

#[derive(Debug)]
enum State {
    /// The stream id is not known yet, because the DTLS role is not. What was sent so far waits here.
    Waiting {
        queued: VecDeque<Queued>,
    },
    /// OPEN is on its way. RFC 8832 §6: until the ACK, messages are sent in order.
    Opening {
        stream: StreamId,
    },
    Open {
        stream: StreamId,
    },
    /// Our side of the stream is being reset, or the peer's, or both.
    Closing {
        stream: StreamId,
        outgoing: Direction,
        incoming: Direction,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Live,
    Reset,
}

#[derive(Debug)]
struct Queued {
    kind: MessageKind,
    data: Bytes,
    notice: Notice,
    message: MessageId,
}

#[derive(Debug)]
struct Channel {
    config: ChannelConfig,
    state: State,
    /// Whether [`Event::ChannelOpen`] was given out.
    is_announced: bool,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    channel: Option<Channel>,
}

/// All channels of a connection.
#[derive(Debug)]
pub(crate) struct Channels {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_stream: BTreeMap<StreamId, u32>,
    /// The stream of the last message, so that a busy channel costs no look-up.
    last: Option<(StreamId, u32)>,
    live: usize,
    max_channels: usize,
    /// Bytes held by channels that wait for their stream.
    waiting_bytes: usize,
    max_waiting_bytes: usize,
    role: Option<DtlsRole>,
    is_connected: bool,
    /// Numbers of messages, whichever channel they go to.
    next_message: MessageId,
    /// DCEP messages and data that made no sense.
    pub(crate) dropped: u64,
}

impl Channels {
    /// Gives back memory that is not in use.
    pub(crate) fn slim(&mut self) {
        self.slots.shrink_to_fit();
        self.free.shrink_to_fit();
    }

    pub(crate) fn new(max_channels: usize, max_waiting_bytes: usize) -> Self {
        Channels {
            slots: Vec::new(),
            free: Vec::new(),
            by_stream: BTreeMap::new(),
            last: None,
            live: 0,
            max_channels,
            waiting_bytes: 0,
            max_waiting_bytes,
            role: None,
            is_connected: false,
            next_message: MessageId(0),
            dropped: 0,
        }
    }

    /// Makes a channel. It opens by itself when the connection is up.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        config: ChannelConfig,
        association: &mut Association,
        events: &mut VecDeque<Event>,
    ) -> Result<ChannelId, OpenError> {
        self.check(&config, association)?;
        let id = self.insert(config, State::Waiting { queued: VecDeque::new() });
        self.start(now, id, association, events);
        Ok(id)
    }

    fn check(&self, config: &ChannelConfig, association: &Association) -> Result<(), OpenError> {
        if self.live >= self.max_channels {
            return Err(OpenError::TooMany(self.max_channels));
        }
        if config.label.len() > usize::from(u16::MAX) || config.protocol.len() > usize::from(u16::MAX) {
            return Err(OpenError::TooLong);
        }
        if config.priority == 0 {
            return Err(OpenError::BadPriority);
        }
        match config.negotiated {
            Some(StreamId(u16::MAX)) => Err(OpenError::BadStream),
            Some(stream) if self.is_taken(stream, association) => Err(OpenError::InUse(stream)),
            _ => Ok(()),
        }
    }

    fn is_taken(&self, stream: StreamId, association: &Association) -> bool {
        self.by_stream.contains_key(&stream) || association.is_resetting(stream)
    }

    /// RFC 8832 §6: with the DTLS role settled, the client opens even streams and the server odd ones.
    pub(crate) fn on_role(
        &mut self,
        now: Instant,
        role: DtlsRole,
        association: &mut Association,
        events: &mut VecDeque<Event>,
    ) {
        self.role = Some(role);
        for id in self.ids() {
            self.start(now, id, association, events);
        }
    }

    /// The association is up: channels that were started may be used.
    pub(crate) fn on_connected(&mut self, events: &mut VecDeque<Event>) {
        self.is_connected = true;
        for id in self.ids() {
            self.announce(id, events);
        }
    }

    /// Gives a waiting channel its stream, queues OPEN on it, and then what the application sent meanwhile.
    fn start(
        &mut self,
        now: Instant,
        id: ChannelId,
        association: &mut Association,
        events: &mut VecDeque<Event>,
    ) {
        let stream = match self.channel(id) {
            Some(Channel { state: State::Waiting { .. }, config, .. }) => match config.negotiated {
                Some(stream) => Some(stream),
                None => self.free_stream(association),
            },
            _ => return,
        };
        let Some(stream) = stream else { return };
        let Some(channel) = self.channel_mut(id) else { return };
        let next = match channel.config.negotiated {
            Some(_) => State::Open { stream },
            None if association.send_control(now, stream, ppid::DCEP, open_message(&channel.config)) => {
                State::Opening { stream }
            }
            // A megabyte of labels waits to be sent already.
            None => return self.remove(id, events),
        };
        let config = channel.config.clone();
        let State::Waiting { queued } = std::mem::replace(&mut channel.state, next) else { return };
        configure(association, stream, &config);
        self.by_stream.insert(stream, id.index);
        for message in queued {
            self.waiting_bytes -= message.data.len();
            let options = options(&config, Ordering::Kept, message.notice, message.message);
            if send_on(association, now, stream, message.kind, message.data, options).is_err() {
                // Only a smaller send buffer than the one that bounded the queue gets here.
                events.push_back(Event::MessageAbandoned { channel: id, message: message.message });
            }
        }
        self.announce(id, events);
    }

    /// The lowest free stream of our parity; `None` before the role is known, or when none is free.
    fn free_stream(&self, association: &Association) -> Option<StreamId> {
        let first = match self.role? {
            DtlsRole::Client => 0,
            DtlsRole::Server => 1,
        };
        (first..association.max_streams()).step_by(2).map(StreamId).find(|&s| !self.is_taken(s, association))
    }

    fn announce(&mut self, id: ChannelId, events: &mut VecDeque<Event>) {
        let is_connected = self.is_connected;
        let Some(channel) = self.channel_mut(id) else { return };
        let usable = matches!(channel.state, State::Opening { .. } | State::Open { .. });
        if is_connected && usable && !channel.is_announced {
            channel.is_announced = true;
            events.push_back(Event::ChannelOpen(id));
        }
    }

    /// Sends a message, or keeps it until the channel has its stream.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        id: ChannelId,
        kind: MessageKind,
        data: Bytes,
        notice: Notice,
        association: &mut Association,
    ) -> Result<MessageId, SendError> {
        let message = self.next_message;
        let room = self.max_waiting_bytes - self.waiting_bytes;
        let channel = self.channel_mut(id).ok_or(SendError::UnknownChannel)?;
        match &mut channel.state {
            State::Waiting { queued } => {
                if data.len() > room {
                    return Err(SendError::WouldBlock);
                }
                let len = data.len();
                queued.push_back(Queued { kind, data, notice, message });
                self.waiting_bytes += len;
            }
            // RFC 8832 §6: in order until the ACK, so that no message overtakes the OPEN.
            State::Opening { stream } => {
                let options = options(&channel.config, Ordering::Kept, notice, message);
                send_on(association, now, *stream, kind, data, options)?;
            }
            State::Open { stream } => {
                let options = options(&channel.config, Ordering::AsConfigured, notice, message);
                send_on(association, now, *stream, kind, data, options)?;
            }
            State::Closing { .. } => return Err(SendError::Closing),
        }
        self.next_message = MessageId(message.0 + 1);
        Ok(message)
    }

    /// Closes a channel: what was accepted is delivered or given up, then the stream is reset (RFC 8831 §6.7).
    pub(crate) fn close(
        &mut self,
        now: Instant,
        id: ChannelId,
        association: &mut Association,
        events: &mut VecDeque<Event>,
    ) {
        let Some(channel) = self.channel_mut(id) else { return };
        match channel.state {
            State::Waiting { .. } => self.remove(id, events),
            State::Opening { stream } | State::Open { stream } => {
                channel.state =
                    State::Closing { stream, outgoing: Direction::Live, incoming: Direction::Live };
                association.reset_stream(now, stream);
            }
            State::Closing { .. } => {}
        }
    }

    /// A message arrived on `stream`: what the application is told of it, which may be nothing.
    #[inline]
    pub(crate) fn on_message(
        &mut self,
        now: Instant,
        stream: StreamId,
        ppid: u32,
        data: Bytes,
        association: &mut Association,
        events: &mut VecDeque<Event>,
    ) -> Option<Event> {
        // RFC 8831 §6.6: an empty message is one byte under an identifier of its own.
        let (kind, data) = match ppid {
            ppid::BINARY => (MessageKind::Binary, data),
            ppid::STRING => (MessageKind::Text, data),
            ppid::BINARY_EMPTY => (MessageKind::Binary, Bytes::new()),
            ppid::STRING_EMPTY => (MessageKind::Text, Bytes::new()),
            ppid::DCEP => {
                self.on_control(now, stream, &data, association, events);
                return None;
            }
            _ => {
                self.drop_input("message with an unknown payload protocol identifier");
                return None;
            }
        };
        let Some(channel) = self.by_stream(stream) else {
            self.drop_input("message for a stream without a channel");
            return None;
        };
        Some(Event::Message { channel, kind, data })
    }

    /// A piece of a message arrived on `stream`.
    pub(crate) fn on_piece(
        &mut self,
        stream: StreamId,
        ppid: u32,
        data: Bytes,
        is_last: bool,
        events: &mut VecDeque<Event>,
    ) {
        let kind = match ppid {
            ppid::STRING | ppid::STRING_EMPTY => MessageKind::Text,
            _ => MessageKind::Binary,
        };
        let data = if matches!(ppid, ppid::STRING_EMPTY | ppid::BINARY_EMPTY) { Bytes::new() } else { data };
        match self.by_stream(stream) {
            Some(channel) => events.push_back(Event::Piece { channel, kind, data, is_last }),
            None => self.drop_input("piece for a stream without a channel"),
        }
    }

    fn on_control(
        &mut self,
        now: Instant,
        stream: StreamId,
        data: &[u8],
        association: &mut Association,
        events: &mut VecDeque<Event>,
    ) {
        match dcep::Message::parse(data) {
            Ok(dcep::Message::Open(open)) => self.on_open(now, stream, &open, association, events),
            Ok(dcep::Message::Ack) => self.on_ack(stream),
            Err(_) if self.by_stream.contains_key(&stream) => self.drop_input("malformed DCEP message"),
            Err(_) => self.refuse(now, stream, association, "malformed DCEP message"),
        }
    }

    /// RFC 8832 §6: the peer opens a channel.
    fn on_open(
        &mut self,
        now: Instant,
        stream: StreamId,
        open: &dcep::Open<'_>,
        association: &mut Association,
        events: &mut VecDeque<Event>,
    ) {
        // A second OPEN, or one for a negotiated channel: the channel that is there goes on.
        if self.by_stream.contains_key(&stream) {
            return self.drop_input("OPEN on a stream in use");
        }
        let own_parity = match self.role {
            Some(DtlsRole::Client) => stream.0.is_multiple_of(2),
            _ => !stream.0.is_multiple_of(2),
        };
        if own_parity {
            return self.refuse(now, stream, association, "OPEN on a stream of our parity");
        }
        if self.live >= self.max_channels {
            return self.refuse(now, stream, association, "OPEN beyond max_channels");
        }
        let (Ok(label), Ok(protocol)) = (std::str::from_utf8(open.label), std::str::from_utf8(open.protocol))
        else {
            return self.refuse(now, stream, association, "OPEN whose label or protocol is not UTF-8");
        };
        let config = ChannelConfig {
            label: label.to_owned(),
            protocol: protocol.to_owned(),
            ordered: open.ordered,
            reliability: open.reliability,
            priority: open.priority.max(1),
            negotiated: None,
            delivery: Delivery::Whole,
        };
        configure(association, stream, &config);
        association.send_control(now, stream, ppid::DCEP, Bytes::from_static(&dcep::ACK));
        let id = self.insert(config, State::Open { stream });
        self.by_stream.insert(stream, id.index);
        self.announce(id, events);
    }

    fn on_ack(&mut self, stream: StreamId) {
        match self.by_stream(stream).and_then(|id| self.channel_mut(id)) {
            Some(channel @ Channel { state: State::Opening { .. }, .. }) => {
                channel.state = State::Open { stream };
            }
            _ => self.drop_input("ACK for nothing"),
        }
    }

    /// RFC 8831 §6.7: the peer reset its side of a stream, so we reset ours.
    pub(crate) fn on_incoming_reset(
        &mut self,
        now: Instant,
        stream: StreamId,
        association: &mut Association,
        events: &mut VecDeque<Event>,
    ) {
        let Some(id) = self.by_stream(stream) else { return };
        let Some(channel) = self.channel_mut(id) else { return };
        match &mut channel.state {
            State::Opening { .. } | State::Open { .. } => {
                channel.state =
                    State::Closing { stream, outgoing: Direction::Live, incoming: Direction::Reset };
                association.reset_stream(now, stream);
            }
            State::Closing { incoming, .. } => *incoming = Direction::Reset,
            State::Waiting { .. } => {}
        }
        self.finish(id, events);
    }

    /// The peer confirmed that our side of a stream is reset.
    pub(crate) fn on_outgoing_reset(&mut self, stream: StreamId, events: &mut VecDeque<Event>) {
        let Some(id) = self.by_stream(stream) else { return };
        if let Some(Channel { state: State::Closing { outgoing, .. }, .. }) = self.channel_mut(id) {
            *outgoing = Direction::Reset;
        }
        self.finish(id, events);
    }

    fn finish(&mut self, id: ChannelId, events: &mut VecDeque<Event>) {
        if let Some(Channel {
            state: State::Closing { outgoing: Direction::Reset, incoming: Direction::Reset, .. },
            ..
        }) = self.channel(id)
        {
            self.remove(id, events);
        }
    }

    /// RFC 9260 §5.2.4.1: the peer started anew, and with it every stream: channels that had one are gone.
    pub(crate) fn on_restart(&mut self, events: &mut VecDeque<Event>) {
        for id in self.ids() {
            if self.stream(id).is_some() {
                self.remove(id, events);
            }
        }
    }

    /// The connection is over: what waits is abandoned, and every channel closes.
    pub(crate) fn on_closed(&mut self, events: &mut VecDeque<Event>) {
        self.is_connected = false;
        for id in self.ids() {
            self.remove(id, events);
        }
    }

    /// Refuses what the peer opened by resetting our side of its stream; the peer then resets its own.
    fn refuse(
        &mut self,
        now: Instant,
        stream: StreamId,
        association: &mut Association,
        reason: &'static str,
    ) {
        self.drop_input(reason);
        association.reset_stream(now, stream);
    }

    fn drop_input(&mut self, reason: &'static str) {
        self.dropped += 1;
        tracing::debug!(reason, "data channel input dropped");
    }

    /// What is known of a channel.
    pub(crate) fn info(&self, id: ChannelId) -> Option<ChannelInfo> {
        let channel = self.channel(id)?;
        let state = match channel.state {
            State::Closing { .. } => ChannelState::Closing,
            _ if channel.is_announced => ChannelState::Open,
            _ => ChannelState::Connecting,
        };
        Some(ChannelInfo { config: channel.config.clone(), stream: channel.stream(), state })
    }

    /// The stream of a channel.
    pub(crate) fn stream(&self, id: ChannelId) -> Option<StreamId> {
        self.channel(id)?.stream()
    }

    /// Bytes that wait in a channel without a stream.
    pub(crate) fn waiting_amount(&self, id: ChannelId) -> usize {
        match self.channel(id) {
            Some(Channel { state: State::Waiting { queued }, .. }) => {
                queued.iter().map(|q| q.data.len()).sum()
            }
            _ => 0,
        }
    }

    /// Says how messages arrive on a channel from now on.
    pub(crate) fn set_delivery(&mut self, id: ChannelId, delivery: Delivery, association: &mut Association) {
        let Some(channel) = self.channel_mut(id) else { return };
        channel.config.delivery = delivery;
        if let Some(stream) = channel.stream() {
            association.set_delivery(stream, delivery);
        }
    }

    /// The channel on `stream`.
    #[inline]
    pub(crate) fn by_stream(&mut self, stream: StreamId) -> Option<ChannelId> {
        let index = match self.last {
            Some((last, index)) if last == stream => index,
            _ => {
                let index = *self.by_stream.get(&stream)?;
                self.last = Some((stream, index));
                index
            }
        };
        let generation = self.slots.get(index as usize)?.generation;
        Some(ChannelId { index, generation })
    }

    /// Number of channels, whatever their state.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The ids of all channels.
    pub(crate) fn ids(&self) -> Vec<ChannelId> {
        let ids = self.slots.iter().zip(0u32..).filter(|(slot, _)| slot.channel.is_some());
        ids.map(|(slot, index)| ChannelId { index, generation: slot.generation }).collect()
    }

    fn insert(&mut self, config: ChannelConfig, state: State) -> ChannelId {
        let channel = Some(Channel { config, state, is_announced: false });
        self.live += 1;
        match self.free.pop() {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                slot.channel = channel;
                ChannelId { index, generation: slot.generation }
            }
            None => {
                let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                self.slots.push(Slot { generation: 0, channel });
                ChannelId { index, generation: 0 }
            }
        }
    }

    fn remove(&mut self, id: ChannelId, events: &mut VecDeque<Event>) {
        let Some(slot) = self.slots.get_mut(id.index as usize) else { return };
        let Some(channel) = slot.channel.take() else { return };
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.live -= 1;
        self.last = None;
        if let Some(stream) = channel.stream() {
            self.by_stream.remove(&stream);
        }
        if let State::Waiting { queued } = channel.state {
            for message in queued {
                self.waiting_bytes -= message.data.len();
                if message.notice == Notice::Fate {
                    events.push_back(Event::MessageAbandoned { channel: id, message: message.message });
                }
            }
        }
        events.push_back(Event::ChannelClosed(id));
    }

    fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.slots.get(id.index as usize).filter(|s| s.generation == id.generation)?.channel.as_ref()
    }

    fn channel_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.slots.get_mut(id.index as usize).filter(|s| s.generation == id.generation)?.channel.as_mut()
    }
}

impl Channel {
    fn stream(&self) -> Option<StreamId> {
        match self.state {
            State::Waiting { .. } => None,
            State::Opening { stream } | State::Open { stream } | State::Closing { stream, .. } => {
                Some(stream)
            }
        }
    }
}

/// Whether a message keeps its place although its channel is unordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ordering {
    Kept,
    AsConfigured,
}

fn options(config: &ChannelConfig, ordering: Ordering, notice: Notice, message: MessageId) -> SendOptions {
    SendOptions {
        ordered: config.ordered || ordering == Ordering::Kept,
        reliability: config.reliability,
        notify: (notice == Notice::Fate).then_some(message),
    }
}

fn send_on(
    association: &mut Association,
    now: Instant,
    stream: StreamId,
    kind: MessageKind,
    data: Bytes,
    options: SendOptions,
) -> Result<(), SendError> {
    // RFC 8831 §6.6: SCTP cannot carry an empty message, so one byte stands for it.
    let (ppid, data) = match (kind, data.is_empty()) {
        (MessageKind::Text, false) => (ppid::STRING, data),
        (MessageKind::Binary, false) => (ppid::BINARY, data),
        (MessageKind::Text, true) => (ppid::STRING_EMPTY, Bytes::from_static(&[0])),
        (MessageKind::Binary, true) => (ppid::BINARY_EMPTY, Bytes::from_static(&[0])),
    };
    association.send(now, stream, ppid, data, options).map_err(|error| match error {
        sctp::SendError::WouldBlock => SendError::WouldBlock,
        sctp::SendError::TooLarge(max) => SendError::TooLarge(max),
        sctp::SendError::Resetting => SendError::Closing,
        sctp::SendError::Closed => SendError::UnknownChannel,
    })
}

fn configure(association: &mut Association, stream: StreamId, config: &ChannelConfig) {
    association.set_priority(stream, config.priority);
    association.set_delivery(stream, config.delivery);
}

fn open_message(config: &ChannelConfig) -> Bytes {
    let mut out = BytesMut::with_capacity(12 + config.label.len() + config.protocol.len());
    dcep::Open {
        ordered: config.ordered,
        reliability: config.reliability,
        priority: config.priority,
        label: config.label.as_bytes(),
        protocol: config.protocol.as_bytes(),
    }
    .emit(&mut out);
    out.freeze()
}

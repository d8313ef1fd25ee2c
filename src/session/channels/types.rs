//! What an application says and hears of data channels.

use crate::sctp::{Delivery, Reliability};
use crate::types::ids::StreamId;

/// Names a data channel of one [`Rtc`](crate::Rtc). An id is never reused, so one kept too long names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Text or binary (RFC 8831 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text; the sender vouches for the encoding.
    Text,
    /// Any bytes.
    Binary,
}

/// How a data channel behaves. Both ends know all of it but the delivery (RFC 8832 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfig {
    /// A name for the application; need not be unique. At most 65,535 bytes.
    pub label: String,
    /// The subprotocol, registered or not. At most 65,535 bytes.
    pub protocol: String,
    /// Whether messages arrive in the order they were sent.
    pub ordered: bool,
    /// How long a lost message is sent again.
    pub reliability: Reliability,
    /// The share of the line against other channels (RFC 8831 §6.4): 128 very low, 256 low (the default),
    /// 512 medium, 1024 high. A channel of 512 gets twice what one of 256 gets.
    pub priority: u16,
    /// A stream id that both ends agreed on elsewhere: no message in the band opens the channel. 0 to 65,534.
    pub negotiated: Option<StreamId>,
    /// Whether messages arrive whole or in pieces at this end.
    pub delivery: Delivery,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        ChannelConfig {
            label: String::new(),
            protocol: String::new(),
            ordered: true,
            reliability: Reliability::Reliable,
            priority: 256,
            negotiated: None,
            delivery: Delivery::Whole,
        }
    }
}

impl ChannelConfig {
    /// An ordered, reliable channel of this label.
    pub fn labelled(label: impl Into<String>) -> Self {
        ChannelConfig { label: label.into(), ..ChannelConfig::default() }
    }
}

/// What is known of a channel.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// How the channel behaves.
    pub config: ChannelConfig,
    /// The SCTP stream; `None` until the DTLS role, and with it the parity of ids, is settled.
    pub stream: Option<StreamId>,
    /// Whether the channel can be used, and if not, why.
    pub state: ChannelState,
}

/// The life of a channel, in the words of the W3C's `RTCDataChannelState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelState {
    /// The connection is not up yet. Messages are accepted, and leave as soon as they may.
    Connecting,
    /// Messages flow.
    Open,
    /// Closed by one end; what was accepted is still delivered. No new messages are accepted.
    Closing,
}

/// Why a channel cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The connection is closed: make a new one.
    #[error("the connection is closed")]
    Closed,
    /// As many channels as the configuration allows exist already: close one, or raise `max_channels`.
    #[error("all {0} channels are in use: close one, or raise max_channels")]
    TooMany(usize),
    /// The negotiated stream id is in use, or still being reset.
    #[error("stream {0} is in use by another channel, or still being reset")]
    InUse(StreamId),
    /// The negotiated stream id is 65,535, which RFC 8831 §6.4 excludes.
    #[error("stream 65535 does not exist: ids end at 65534")]
    BadStream,
    /// The label or the protocol is longer than 65,535 bytes.
    #[error("label and protocol are limited to 65,535 bytes each")]
    TooLong,
    /// The priority is 0; RFC 8831 §6.4 starts at 1.
    #[error("priority 0 is not defined: use 128, 256, 512 or 1024")]
    BadPriority,
}

/// Why a message cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The id names no channel: it was closed, or belongs to another connection.
    #[error("no such channel: it was closed, or belongs to another connection")]
    UnknownChannel,
    /// The channel is closing and accepts nothing more.
    #[error("the channel is closing")]
    Closing,
    /// The peer accepts messages up to this many bytes (`a=max-message-size`).
    #[error("the message is too large: the peer accepts up to {0} bytes")]
    TooLarge(usize),
    /// The send buffer is full. Nothing was taken; wait for [`Event::BufferedAmountLow`](crate::Event::BufferedAmountLow).
    #[error("the send buffer is full: wait for BufferedAmountLow")]
    WouldBlock,
}

/// Whether a message's fate is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Notice {
    /// No event.
    #[default]
    None,
    /// [`Event::MessageDelivered`](crate::Event::MessageDelivered) or
    /// [`Event::MessageAbandoned`](crate::Event::MessageAbandoned) follows.
    Fate,
}

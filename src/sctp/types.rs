//! The values that the association and its user exchange.

use bytes::Bytes;

use crate::types::ids::StreamId;
pub use crate::types::reliability::Reliability;
use crate::wire::serial::Serial32;

/// A transmission sequence number (RFC 9260 §1.6).
pub type Tsn = Serial32;

/// Names a message in the notices about its fate. The sender chooses it; the association only hands it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u64);

/// Whether a stream's messages are handed out whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// One [`Event::Message`] per message, one contiguous slice of memory.
    #[default]
    Whole,
    /// [`Event::Piece`]s as they arrive in order: nothing waits for the end of the message, and the message may
    /// be larger than the receive window.
    Pieces,
}

/// How one message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendOptions {
    /// Whether it keeps its place among the other ordered messages of its stream.
    pub ordered: bool,
    /// How long it is sent again when it gets lost.
    pub reliability: Reliability,
    /// Under which name [`Event::Delivered`] or [`Event::Abandoned`] tells its fate; `None`: no notice.
    pub notify: Option<MessageId>,
}

impl Default for SendOptions {
    fn default() -> Self {
        SendOptions { ordered: true, reliability: Reliability::Reliable, notify: None }
    }
}

/// Why a message was not accepted. Nothing of it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The send buffer is full: wait for [`Event::BufferedAmountLow`].
    #[error("the send buffer is full")]
    WouldBlock,
    /// The message is longer than the peer accepts: so many bytes.
    #[error("the peer accepts messages of up to {0} bytes")]
    TooLarge(usize),
    /// The stream is being reset.
    #[error("the stream is being reset")]
    Resetting,
    /// The association is shutting down or over, or the peer has no such stream.
    #[error("the association is closed, or the stream does not exist")]
    Closed,
}

/// What happened in the association. Pulled with [`Association::poll_event`](super::Association::poll_event).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete: data flows both ways.
    Connected,
    /// A whole message. It left the receive window when this event was pulled.
    Message {
        /// The stream that it came on.
        stream: StreamId,
        /// What the payload is (RFC 8831 §8).
        ppid: u32,
        /// The message; at least one byte.
        data: Bytes,
    },
    /// The next part of a message on a stream with [`Delivery::Pieces`].
    Piece {
        /// The stream that it came on.
        stream: StreamId,
        /// What the payload is (RFC 8831 §8); the same for all pieces of a message.
        ppid: u32,
        /// The next bytes. Empty only as the end of a message that the peer gave up.
        data: Bytes,
        /// Whether the message ends here.
        is_last: bool,
    },
    /// The peer reset its outgoing side of the stream (RFC 6525 §4.1): all that it sent before was handed out.
    IncomingReset(StreamId),
    /// The peer confirmed the reset of our outgoing side: the stream starts anew.
    OutgoingReset(StreamId),
    /// The peer holds the message.
    Delivered {
        /// The stream that it was sent on.
        stream: StreamId,
        /// The name given in [`SendOptions::notify`].
        message: MessageId,
    },
    /// The message was given up: its limit was reached, or the association ended.
    Abandoned {
        /// The stream that it was sent on.
        stream: StreamId,
        /// The name given in [`SendOptions::notify`].
        message: MessageId,
    },
    /// The stream's unsent bytes fell to its threshold, or below.
    BufferedAmountLow(StreamId),
    /// The peer started anew (RFC 9260 §5.2.4.1): both sides' streams begin at zero, and all that was not
    /// delivered is lost.
    Restarted,
}

/// Why the association ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Association::abort`](super::Association::abort) was called.
    Aborted,
    /// Both sides agreed to end it (RFC 9260 §9.2).
    Shutdown,
    /// The peer sent ABORT; the text is its first error cause in words.
    PeerAborted(String),
    /// The peer broke the protocol, and ABORT was sent to it with these words.
    ProtocolViolation(&'static str),
    /// The peer did not answer the handshake (RFC 9260 §16: Max.Init.Retransmits).
    HandshakeTimeout,
    /// The peer acknowledged nothing for too long (RFC 9260 §8.1: Association.Max.Retrans).
    Unreachable,
}

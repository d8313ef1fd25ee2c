//! What a connection tells the application.

use std::time::Duration;

use bytes::Bytes;

use super::channels::{ChannelId, MessageKind};
use super::gather::{GatheringState, IceServerFailure};
use super::media::{LostFrame, MediaFrame, ReceiverId, RtpPacket};
use super::negotiate::TransceiverId;
use super::transport::PathInfo;
use crate::sctp::MessageId;
use crate::types::candidate::Candidate;
use crate::types::ids::{Rid, Ssrc};
use crate::{dtls, sctp};

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The connection as a whole changed its state.
    State(ConnectionState),
    /// Data flows over this pair of addresses from now on.
    Path(PathInfo),
    /// A local candidate was found that the caller did not add itself: a reflexive or relayed one, or a name that
    /// hides an address. Signal it, if the description that lists it has left already.
    LocalCandidate(Box<Candidate>),
    /// A local candidate is gone: its allocation was lost, or its NAT has changed its mind. The peer finds that out
    /// by itself.
    LocalCandidateGone(Box<Candidate>),
    /// Gathering began, or is done.
    GatheringState(GatheringState),
    /// A server did not yield what it was asked for; others may.
    IceServerFailed(Box<IceServerFailure>),
    /// A channel may be used: the peer opened it, or one of ours is ready. Ask
    /// [`Rtc::channel`](crate::Rtc::channel) for its label and the rest.
    ChannelOpen(ChannelId),
    /// A message arrived.
    Message {
        /// On this channel.
        channel: ChannelId,
        /// Text or binary.
        kind: MessageKind,
        /// The whole message: a slice of the datagram that brought it where possible. Text is not checked for UTF-8.
        data: Bytes,
    },
    /// A part of a message arrived, on a channel that asked for delivery in pieces.
    Piece {
        /// On this channel.
        channel: ChannelId,
        /// Text or binary.
        kind: MessageKind,
        /// This part, behind the parts before it.
        data: Bytes,
        /// Whether the message ends here.
        is_last: bool,
    },
    /// The peer acknowledged all of a message that was sent with a notice asked for.
    MessageDelivered {
        /// On this channel.
        channel: ChannelId,
        /// The number that [`Rtc::send`](crate::Rtc::send) returned.
        message: MessageId,
    },
    /// A message that was sent with a notice asked for was given up, as its channel's reliability allows, or
    /// because the channel or the connection ended.
    MessageAbandoned {
        /// On this channel.
        channel: ChannelId,
        /// The number that [`Rtc::send`](crate::Rtc::send) returned.
        message: MessageId,
    },
    /// What a channel has buffered fell to its low threshold.
    BufferedAmountLow(ChannelId),
    /// A channel has ended; its id names nothing any more.
    ChannelClosed(ChannelId),
    /// Something changed that only an offer can tell the peer: a transceiver, or an ICE restart.
    NegotiationNeeded,
    /// A transceiver is new, or an exchange of descriptions changed it, or took its section away: ask
    /// [`Rtc::transceiver`](crate::Rtc::transceiver).
    Transceiver(TransceiverId),
    /// The first packet of a stream of the peer arrived.
    StreamStarted {
        /// The stream.
        receiver: ReceiverId,
        /// The transceiver that it belongs to.
        transceiver: TransceiverId,
        /// Its name within its transceiver, in a simulcast.
        rid: Option<Rid>,
        /// Its source.
        ssrc: Ssrc,
    },
    /// A stream of the peer has ended: it said so, or its section is gone.
    StreamEnded {
        /// The stream; its id names nothing any more.
        receiver: ReceiverId,
        /// Its source.
        ssrc: Ssrc,
    },
    /// No packet of a stream of the peer has come for [`PAUSED_AFTER`](crate::PAUSED_AFTER): the peer has paused it,
    /// as senders of a simulcast do with layers, or the path fails. The stream is there still.
    StreamPaused {
        /// The stream.
        receiver: ReceiverId,
        /// Its source.
        ssrc: Ssrc,
    },
    /// A packet of a stream came that was said to be paused. Of video, a key frame may be needed.
    StreamResumed {
        /// The stream.
        receiver: ReceiverId,
        /// Its source.
        ssrc: Ssrc,
    },
    /// An RTP packet arrived, for a transceiver at the level of packets.
    Packet(RtpPacket),
    /// A whole frame arrived, for a transceiver at the level of frames. Those of one stream come in order.
    Frame(MediaFrame),
    /// A frame was given up, for a transceiver at the level of frames. Of video, a key frame is asked for.
    FrameLost(LostFrame),
    /// The peer said what its wall clock and the media time of a stream were at the same moment: streams of one
    /// sender are played in step by it (RFC 3550 §6.4.1).
    SenderReport {
        /// The stream.
        receiver: ReceiverId,
        /// The peer's wall clock, as time since 1970.
        unix_time: Duration,
        /// The media time without wraps, as in [`RtpPacket::timestamp`](crate::RtpPacket::timestamp).
        timestamp: u64,
    },
    /// The peer wants no more than so much (RFC 5104 §4.2.1, REMB). What is sent in all is held below a limit for
    /// all; to send less is up to the application.
    BitrateLimit {
        /// The stream that is limited, by transceiver and name; `None` for all together.
        stream: Option<(TransceiverId, Option<Rid>)>,
        /// Bits per second.
        bitrate: u64,
    },
    /// The peer wants a key frame (RFC 4585 §6.3.1, RFC 5104 §4.3.1). Requests that repeat each other are told once.
    KeyFrameRequested {
        /// Of this transceiver.
        transceiver: TransceiverId,
        /// Of the stream of this name, in a simulcast.
        rid: Option<Rid>,
    },
    /// One line of an NSS key log, without its line end. Only with [`RtcConfig::key_log`](crate::RtcConfig::key_log).
    KeyLog(String),
    /// The connection is over. Nothing follows but [`Output::Timeout`](crate::Output::Timeout) with `None`.
    Closed(CloseReason),
}

/// The state of a connection, in the words of the W3C's `RTCPeerConnectionState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// No remote description yet.
    New,
    /// ICE checks or the DTLS handshake are under way.
    Connecting,
    /// ICE has a path and DTLS is done.
    Connected,
    /// The path does not answer; it may again.
    Disconnected,
    /// No path works any more, and none is being looked for. [`Rtc::restart_ice`](crate::Rtc::restart_ice) and a new
    /// exchange of descriptions lead out of it; without one the connection closes after
    /// [`RtcConfig::restart_patience`](crate::RtcConfig::restart_patience).
    Failed,
    /// Over: see [`Event::Closed`].
    Closed,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Rtc::close`](crate::Rtc::close) was called.
    #[error("closed by the application")]
    Local,
    /// The peer said goodbye: a DTLS close_notify, or an SCTP shutdown or abort.
    #[error("closed by the peer")]
    Remote,
    /// No pair of addresses worked within the configured patience (RFC 8863), or consent to send was lost for
    /// that long (RFC 7675).
    #[error("no working path to the peer")]
    IceFailed,
    /// The DTLS handshake was not finished within the configured patience.
    #[error("the DTLS handshake timed out")]
    DtlsTimeout,
    /// The peer's certificate does not match any signalled fingerprint (RFC 8122 §6.2).
    #[error("the peer's certificate does not match its signalled fingerprint")]
    FingerprintMismatch,
    /// The DTLS handshake failed, for the reason in the text.
    #[error("DTLS failed: {0}")]
    Dtls(String),
    /// The SCTP association was aborted or gave up.
    #[error("SCTP failed: {0}")]
    Sctp(String),
}

impl From<dtls::CloseReason> for CloseReason {
    fn from(reason: dtls::CloseReason) -> Self {
        match reason {
            dtls::CloseReason::Local => CloseReason::Local,
            dtls::CloseReason::CloseNotify => CloseReason::Remote,
            dtls::CloseReason::HandshakeTimeout => CloseReason::DtlsTimeout,
            dtls::CloseReason::FingerprintMismatch => CloseReason::FingerprintMismatch,
            other => CloseReason::Dtls(other.to_string()),
        }
    }
}

impl From<sctp::CloseReason> for CloseReason {
    fn from(reason: sctp::CloseReason) -> Self {
        match reason {
            sctp::CloseReason::Aborted => CloseReason::Local,
            sctp::CloseReason::Shutdown => CloseReason::Remote,
            // RFC 9260 §3.3.10.12: what a peer that is closed by its user says, as browsers do.
            sctp::CloseReason::PeerAborted(text) if text.is_empty() || text.starts_with("user-initiated") => {
                CloseReason::Remote
            }
            other => CloseReason::Sctp(format!("{other:?}")),
        }
    }
}

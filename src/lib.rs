#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod buffer;
mod config;
pub mod crypto;
pub mod dcep;
pub mod dtls;
mod endpoint;
mod event;
pub mod fec;
pub mod ice;
pub mod mdns;
pub mod packet;
pub mod payload;
pub mod rng;
mod rtc;
pub mod rtp;
pub mod sctp;
pub mod sdp;
pub mod session;
pub mod sfu;
pub mod srtp;
mod stats;
pub mod stun;
pub mod time;
pub mod turn;
pub mod types;
pub mod wire;

pub use config::{ConfigError, RtcConfig};
pub use endpoint::{Endpoint, EndpointOutput, Key, Routed, RtcMut};
pub use event::{Input, Output};
pub use packet::{Contents, Datagram, Ecn, Protocol, StreamInput, StreamKey, StreamOutput, Transmit};
pub use rtc::{LocalParameters, NewError, Rtc};
pub use sctp::{Delivery, MessageId, Reliability};
pub use sdp::{Answer, Offer};
pub use session::channels::{
    ChannelConfig, ChannelId, ChannelInfo, ChannelState, MessageKind, Notice, OpenError, SendError,
};
pub use session::event::{CloseReason, ConnectionState, Event};
pub use session::gather::{
    CandidatePolicy, FirstFrame, GatheringState, IceServer, IceServerError, IceServerFailure,
    IceTransportPolicy, IncomingStream, MdnsConfig, NatMapping, ParseUrlError, ServerKind, ServerUrl,
};
pub use session::media::{
    DroppedMedia, FrameToSend, InboundRtp, LostFrame, MediaFrame, MediaProtection, MediaStats, OutboundRtp,
    OutgoingPacket, PAUSED_AFTER, PacketOrigin, ReceiverId, ReceiverInfo, RtpPacket, SendMediaError,
    TransceiverConfig, TransceiverError, TransceiverInfo,
};
pub use session::negotiate::{
    Applied, Incoming, MediaConfig, MediaLevel, NegotiationError, RemoteCandidate, SignalingState,
    TransceiverId,
};
pub use session::tap::{Direction, TappedPacket};
pub use session::transport::{DroppedDatagrams, PathInfo};
pub use stats::RtcStats;
pub use time::Clock;
pub use types::candidate::Candidate;
pub use types::codec::{Codec, MediaType};
pub use types::direction::Direction as MediaDirection;
pub use types::ids::{Mid, Pt, Rid, Ssrc, StreamId};

/// The README's code is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

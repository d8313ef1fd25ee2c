//! Figures of streams, with the names of the W3C's "Identifiers for WebRTC's Statistics API" in the style of this
//! language, pulled at will.

use std::time::{Duration, Instant};

use crate::rtp::rtcp::report::SenderInfo;
use crate::session::negotiate::TransceiverId;
use crate::types::codec::{Codec, MediaType};
use crate::types::ids::{Mid, Pt, Rid, Ssrc};

use super::packet::ReceiverId;
use super::{DroppedMedia, Media};

/// Figures of audio and video at one moment. All counts are since the start of the stream.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct MediaStats {
    /// The streams of the peer (`inbound-rtp`, with `remote-outbound-rtp`).
    pub inbound: Vec<InboundRtp>,
    /// The streams that are sent (`outbound-rtp`, with `remote-inbound-rtp`).
    pub outbound: Vec<OutboundRtp>,
    /// Packets that were dropped, by reason.
    pub dropped: DroppedMedia,
    /// The round trip that RTCP measured, smoothed.
    pub round_trip_time: Option<Duration>,
    /// Bits per second that are sent at the most: the lower of the application's ceiling and the peer's.
    pub bitrate_ceiling: Option<u64>,
    /// Bytes of RTP that wait to be sent.
    pub send_queue: usize,
}

/// A stream of the peer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct InboundRtp {
    /// Its id here.
    pub receiver: ReceiverId,
    /// The transceiver that it belongs to.
    pub transceiver: TransceiverId,
    /// What it carries.
    pub kind: MediaType,
    /// The name of its section.
    pub mid: Option<Mid>,
    /// Its name in a simulcast.
    pub rid: Option<Rid>,
    /// Its source.
    pub ssrc: Ssrc,
    /// The encoding that came last, with its payload type.
    pub codec: Option<(Codec, Pt)>,
    /// Packets that came by themselves, duplicates included.
    pub packets_received: u64,
    /// Bytes of their payloads.
    pub bytes_received: u64,
    /// Packets expected less packets that came (RFC 3550 §6.4.1).
    pub packets_lost: i64,
    /// The inter-arrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// When a packet came last.
    pub last_packet_received: Instant,
    /// Packets that came again in a stream of retransmissions, and were missing.
    pub retransmitted_packets_received: u64,
    /// Packets that were put together from redundancy.
    pub fec_packets_recovered: u64,
    /// Requests for packets that were sent (RFC 4585 §6.2.1).
    pub nack_count: u64,
    /// Requests for key frames that were sent as PLI (RFC 4585 §6.3.1).
    pub pli_count: u64,
    /// Requests for key frames that were sent as FIR (RFC 5104 §4.3.1).
    pub fir_count: u64,
    /// What the peer says of the stream in its last report.
    pub remote: Option<RemoteOutbound>,
}

/// What a sender says of its stream (`remote-outbound-rtp`).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RemoteOutbound {
    /// Packets sent.
    pub packets_sent: u32,
    /// Bytes of their payloads.
    pub bytes_sent: u32,
    /// The sender's wall clock when it said so, as time since 1970.
    pub remote_timestamp: Duration,
    /// When the report came.
    pub received: Instant,
}

/// A stream that is sent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutboundRtp {
    /// The transceiver that it belongs to.
    pub transceiver: TransceiverId,
    /// What it carries.
    pub kind: MediaType,
    /// The name of its section.
    pub mid: Option<Mid>,
    /// Its name in a simulcast.
    pub rid: Option<Rid>,
    /// Its source.
    pub ssrc: Ssrc,
    /// The source of its retransmissions.
    pub rtx_ssrc: Option<Ssrc>,
    /// Whether packets are taken: the application has not paused it.
    pub active: bool,
    /// Packets taken to be sent.
    pub packets_sent: u64,
    /// Bytes of their payloads.
    pub bytes_sent: u64,
    /// Packets sent again because they were asked for.
    pub retransmitted_packets_sent: u64,
    /// Bytes of them.
    pub retransmitted_bytes_sent: u64,
    /// Requests for packets that came.
    pub nack_count: u64,
    /// Requests for key frames that came as PLI.
    pub pli_count: u64,
    /// Requests for key frames that came as FIR.
    pub fir_count: u64,
    /// What the peer says of the stream in its last report.
    pub remote: Option<RemoteInbound>,
}

/// What a receiver says of a stream (`remote-inbound-rtp`).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RemoteInbound {
    /// Packets lost since the start, by the peer's count.
    pub packets_lost: i32,
    /// The share of packets lost between its last two reports, 0 to 1.
    pub fraction_lost: f64,
    /// Inter-arrival jitter.
    pub jitter: Duration,
    /// The round trip that its last report gave.
    pub round_trip_time: Option<Duration>,
    /// The sum of all round trips that were measured.
    pub total_round_trip_time: Duration,
    /// How many that were.
    pub round_trip_time_measurements: u64,
}

/// Requests, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Requests {
    pub(super) nack: u64,
    pub(super) pli: u64,
    pub(super) fir: u64,
}

/// The last report of a sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) info: SenderInfo,
    pub(super) at: Instant,
}

impl Media {
    /// Figures of all streams.
    pub(crate) fn stats(&self) -> MediaStats {
        MediaStats {
            inbound: self.inbound().collect(),
            outbound: self.outbound().collect(),
            dropped: self.dropped,
            round_trip_time: self.rtt(),
            bitrate_ceiling: self.control.pacer.ceiling(),
            send_queue: self.queue.bytes(),
        }
    }

    fn inbound(&self) -> impl Iterator<Item = InboundRtp> + '_ {
        self.receivers.iter().filter(|(_, receiver)| receiver.is_media()).filter_map(|(_, receiver)| {
            let media = &self.lines.get(usize::from(receiver.line))?.as_ref()?.agreed;
            let remote = receiver.told.map(|Told { info, at }| RemoteOutbound {
                packets_sent: info.packets,
                bytes_sent: info.octets,
                remote_timestamp: info.ntp.to_unix(),
                received: at,
            });
            Some(InboundRtp {
                receiver: receiver.id,
                transceiver: media.transceiver,
                kind: media.kind,
                mid: media.mid,
                rid: receiver.rid,
                ssrc: receiver.ssrc,
                codec: receiver.codec,
                packets_received: receiver.statistics.packets(),
                bytes_received: receiver.statistics.bytes(),
                packets_lost: receiver.statistics.lost().into(),
                jitter: receiver.statistics.jitter(),
                last_packet_received: receiver.last_packet,
                retransmitted_packets_received: receiver.retransmitted,
                fec_packets_recovered: receiver.recovered,
                nack_count: receiver.requests.nack,
                pli_count: receiver.requests.pli,
                fir_count: receiver.requests.fir,
                remote,
            })
        })
    }

    fn outbound(&self) -> impl Iterator<Item = OutboundRtp> + '_ {
        self.lines.iter().flatten().flat_map(|line| {
            let media = &line.agreed;
            line.streams.iter().map(move |stream| OutboundRtp {
                transceiver: media.transceiver,
                kind: media.kind,
                mid: media.mid,
                rid: stream.rid,
                ssrc: stream.ssrc,
                rtx_ssrc: stream.rtx,
                active: !stream.is_paused,
                packets_sent: stream.reports.packets(),
                bytes_sent: stream.reports.octets(),
                retransmitted_packets_sent: stream.resent.0,
                retransmitted_bytes_sent: stream.resent.1,
                nack_count: stream.requests.nack,
                pli_count: stream.requests.pli,
                fir_count: stream.requests.fir,
                remote: stream.reports.remote().map(|told| RemoteInbound {
                    packets_lost: told.lost,
                    fraction_lost: f64::from(told.fraction_lost) / 256.0,
                    jitter: told.jitter,
                    round_trip_time: stream.reports.round_trip().latest(),
                    total_round_trip_time: stream.reports.round_trip().total(),
                    round_trip_time_measurements: stream.reports.round_trip().measurements(),
                }),
            })
        })
    }
}

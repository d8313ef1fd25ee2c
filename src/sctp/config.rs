//! What can be set about an association.

use std::time::Duration;

/// How the congestion window moves (RFC 9260 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// The rules of RFC 9260 §7.2: halve on loss, one packet more per round trip.
    NewReno,
    /// RFC 9438: grows by the time since the last loss, better on long and fast paths.
    #[default]
    Cubic,
}

/// The parameters of an [`Association`](super::Association).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The largest message accepted from the peer, in bytes (RFC 8841 §6.1, `a=max-message-size`). A larger one
    /// ends the association. Default 256 KiB.
    pub max_message_size: usize,
    /// The largest message the peer accepts, in bytes, until
    /// [`set_remote_max_message_size`](super::Association::set_remote_max_message_size) says otherwise.
    /// 0 is no limit. Default 65,536 (RFC 8841 §6.1).
    pub remote_max_message_size: usize,
    /// What is kept of received data until the user takes it, in bytes: all memory that it takes is counted, that of
    /// waiting fragments as well. It is advertised to the peer, so at least twice `max_message_size`. Fragments that
    /// close a gap may take a sixteenth more. A peer that begins more messages than fit ends the association, since
    /// none of them could ever be finished. Default 1 MiB.
    pub receive_window: usize,
    /// What [`send`](super::Association::send) accepts before it says `WouldBlock`, in bytes not yet
    /// acknowledged, all streams together. Default 16 MiB.
    pub send_buffer: usize,
    /// The largest packet, SCTP common header included, in bytes. Default 1,163: what is left of a UDP payload
    /// of 1,200 bytes under a DTLS 1.2 AES-GCM record.
    pub mtu: usize,
    /// Our SCTP port (RFC 8841 §5.1, `a=sctp-port`). Default 5000.
    pub local_port: u16,
    /// The peer's SCTP port, until [`set_remote_port`](super::Association::set_remote_port). Default 5000.
    pub remote_port: u16,
    /// Outgoing streams asked for, and incoming streams accepted (RFC 9260 §3.3.2). Default 65,535
    /// (RFC 8831 §6.2). No memory is taken for a stream before its use.
    pub max_streams: u16,
    /// Streams that may hold state at a time in one direction; what comes on further streams is refused by
    /// ending the association. Default 4,096.
    pub max_active_streams: usize,
    /// Lower bound of the retransmission time-out. Default 200 ms; RFC 9260 §16 says 1 s, which costs a second
    /// per lost tail on paths of a few milliseconds.
    pub rto_min: Duration,
    /// The retransmission time-out before the path was measured. Default 1 s (RFC 9260 §16).
    pub rto_initial: Duration,
    /// Upper bound of the retransmission time-out. Default 10 s; RFC 9260 §16 says 60 s, which would leave a
    /// transfer idle for up to a minute after the path comes back.
    pub rto_max: Duration,
    /// How often INIT and COOKIE-ECHO are sent again (RFC 9260 §16, Max.Init.Retransmits). Default 60: about a
    /// minute, since the pauses between them grow to one second only.
    pub max_init_retransmits: u32,
    /// How many time-outs in a row end the association (RFC 9260 §8.1). `None`, the default: never, since ICE
    /// consent (RFC 7675) decides whether the peer is there.
    pub max_retransmits: Option<u32>,
    /// Time between heartbeats on an idle association (RFC 9260 §8.3). `None`, the default: none, since ICE
    /// keeps the path alive and measures it.
    pub heartbeat_interval: Option<Duration>,
    /// How long a cookie is accepted (RFC 9260 §16, Valid.Cookie.Life). Default 60 s.
    pub cookie_lifetime: Duration,
    /// How long an acknowledgement may wait for more data (RFC 9260 §6.2). At most 500 ms; default 20 ms, since
    /// a peer with a time-out of its own near 200 ms must not run into it.
    pub ack_delay: Duration,
    /// Whether messages may be interleaved, if the peer can (RFC 8260). Default true.
    pub interleaving: bool,
    /// Whether packets go without a checksum, if the peer agrees (RFC 9653): the DTLS record protects them.
    /// Default true.
    pub zero_checksum: bool,
    /// The congestion controller.
    pub congestion: Congestion,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_message_size: 256 * 1024,
            remote_max_message_size: 65_536,
            receive_window: 1024 * 1024,
            send_buffer: 16 * 1024 * 1024,
            mtu: 1200 - 13 - 8 - 16,
            local_port: 5000,
            remote_port: 5000,
            max_streams: 65_535,
            max_active_streams: 4096,
            rto_min: Duration::from_millis(200),
            rto_initial: Duration::from_secs(1),
            rto_max: Duration::from_secs(10),
            max_init_retransmits: 60,
            max_retransmits: None,
            heartbeat_interval: None,
            cookie_lifetime: Duration::from_secs(60),
            ack_delay: Duration::from_millis(20),
            interleaving: true,
            zero_checksum: true,
            congestion: Congestion::default(),
        }
    }
}

/// Which field of a [`Config`] makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sctp::Config: {0}")]
pub struct InvalidConfig(pub &'static str);

impl Config {
    /// The smallest packet size accepted: what a 576-byte IPv4 path leaves under UDP, TURN and DTLS.
    pub const MIN_MTU: usize = 400;

    /// Checks the fields against each other.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let rules = [
            (self.mtu >= Self::MIN_MTU, "mtu is below 400 bytes"),
            (self.mtu <= 65_535, "mtu is above 65,535 bytes"),
            (self.max_message_size > 0, "max_message_size is 0"),
            // RFC 9260 §3.3.2: a window below 1,500 bytes is refused by peers.
            (self.receive_window >= 4096, "receive_window is below 4,096 bytes"),
            (self.receive_window <= 1 << 30, "receive_window is above 1 GiB"),
            (
                self.max_message_size <= self.receive_window / 2,
                "max_message_size is above half of receive_window",
            ),
            (self.send_buffer > 0, "send_buffer is 0"),
            (self.max_streams > 0, "max_streams is 0"),
            (self.max_active_streams > 0, "max_active_streams is 0"),
            (!self.rto_min.is_zero(), "rto_min is 0"),
            (self.rto_min <= self.rto_initial, "rto_min is above rto_initial"),
            (self.rto_initial <= self.rto_max, "rto_initial is above rto_max"),
            (!self.cookie_lifetime.is_zero(), "cookie_lifetime is 0"),
            // RFC 9260 §6.2: an acknowledgement must not wait longer.
            (self.ack_delay <= Duration::from_millis(500), "ack_delay is above 500 ms"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, reason)) => Err(InvalidConfig(reason)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_window_that_cannot_hold_a_message_is_refused() {
        let config = Config { receive_window: 300 * 1024, ..Config::default() };
        assert!(config.validate().is_err());
    }
}

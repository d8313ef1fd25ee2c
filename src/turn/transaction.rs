//! Requests that wait for their answers (RFC 8489 §6.2).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::channel::ChannelNumber;
use crate::stun::{Method, TransactionId};
use crate::time::{Backoff, Timer};

/// RFC 8489 §6.2.1, Rc: times that a request is sent over UDP.
const SENDINGS: u32 = 7;
/// Times that an allocation's end is told to the server: nobody waits for the answer.
const FAREWELLS: u32 = 3;
/// RFC 8489 §6.2.1, Rm: intervals to wait after the last one.
const LAST_WAIT: u32 = 16;
/// RFC 8489 §6.2.2, Ti: how long an answer may take over a stream.
const STREAM_WAIT: Duration = Duration::from_millis(39_500);
/// Times that one request is sent again because its nonce was stale: a server that hands out stale ones for
/// ever is left.
pub(super) const MAX_STALE: u32 = 3;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// A relayed address.
    Allocate,
    /// More time.
    Refresh,
    /// The end; `then_allocate` when what ends is a leftover in the way of a new one.
    Delete { then_allocate: bool },
    /// That these may send.
    Permit(Vec<IpAddr>),
    /// A channel to a peer.
    Bind(ChannelNumber, SocketAddr),
}

impl Request {
    pub(super) fn method(&self) -> Method {
        match self {
            Request::Allocate => Method::ALLOCATE,
            Request::Refresh | Request::Delete { .. } => Method::REFRESH,
            Request::Permit(_) => Method::CREATE_PERMISSION,
            Request::Bind(..) => Method::CHANNEL_BIND,
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    pub(super) request: Request,
    /// The message, resent as it was.
    pub(super) message: BytesMut,
    pub(super) started: Instant,
    /// It carries credentials, so its answer must too.
    pub(super) signed: bool,
    /// Times that this request was refused for its nonce.
    pub(super) stale: u32,
    /// An answer came that nobody vouches for.
    pub(super) forged: bool,
    pub(super) timer: Timer,
    backoff: Backoff,
    rto: Duration,
    left: u32,
}

impl Transaction {
    /// A request that leaves now. `rto` is `None` over a stream, which loses nothing.
    pub(super) fn new(
        now: Instant,
        id: TransactionId,
        request: Request,
        message: BytesMut,
        rto: Option<Duration>,
    ) -> Self {
        let sendings = if matches!(request, Request::Delete { .. }) { FAREWELLS } else { SENDINGS };
        let mut transaction = Transaction {
            id,
            request,
            message,
            started: now,
            signed: false,
            stale: 0,
            forged: false,
            timer: Timer::new(),
            backoff: Backoff::new(rto.unwrap_or(STREAM_WAIT), Duration::from_secs(60)),
            rto: rto.unwrap_or(STREAM_WAIT),
            left: sendings,
        };
        match rto {
            Some(_) => transaction.on_sent(now),
            None => {
                transaction.left = 0;
                transaction.timer.arm(now + STREAM_WAIT);
            }
        }
        transaction
    }

    /// Its timer fired: whether it is sent again; if not, it has failed.
    pub(super) fn on_silence(&mut self, now: Instant) -> bool {
        let again = self.left > 0;
        if again {
            self.on_sent(now);
        }
        again
    }

    fn on_sent(&mut self, now: Instant) {
        self.left -= 1;
        let farewell = matches!(self.request, Request::Delete { .. });
        // RFC 8489 §6.2.1: doubling intervals, and Rm times the first one after the last sending.
        let wait = match self.left {
            0 if !farewell => self.rto * LAST_WAIT,
            _ => self.backoff.step(),
        };
        self.timer.arm(now + wait);
    }
}

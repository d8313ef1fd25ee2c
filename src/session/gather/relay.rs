//! Relayed candidates (RFC 8656): TURN clients, one per server and base, or one per server over a stream.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;

use super::config::IceServer;
use crate::ice::LocalId;
use crate::packet::{Protocol, StreamKey};
use crate::rng::Rng;
use crate::turn::{Client, Config, Families};

/// Clients of one connection; more are left out.
pub(super) const MAX_RELAYS: usize = 16;

/// Names a client of one connection; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelayId(pub(super) u32);

/// One TURN client and what came of it.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    pub(super) server: usize,
    /// The address of the server among those of its configuration.
    pub(super) address: usize,
    pub(super) client: Client,
    /// The local base, over UDP.
    pub(super) base: Option<SocketAddr>,
    pub(super) stream: Option<StreamKey>,
    pub(super) step: Step,
    /// Candidates that came of it.
    pub(super) candidates: Vec<LocalId>,
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// For its turn.
    Waiting,
    /// Asked, and waited for until then.
    Asking(Instant),
    /// It has an allocation, or had one.
    Settled,
    /// It will never have one again.
    Ended,
}

/// The client of a server for a base, or over a stream.
pub(super) fn client(server: &IceServer, at: usize, base: Option<SocketAddr>, rng: Rng) -> Option<Client> {
    let address = match base {
        Some(base) => server.address_for(base)?,
        None => *server.addresses.get(at)?,
    };
    let config = Config {
        server: address,
        // The peer may have the other IP version only.
        families: Families::Both,
        // What is in the way may be the allocation of another connection on the same socket.
        reclaim: false,
        ..server.turn_config(server.credentials.as_ref()?)
    };
    let local = base.unwrap_or_else(|| match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    });
    Client::new(config, local, rng).ok()
}

impl Relay {
    /// Whether gathering waits for it.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.step, Step::Waiting | Step::Asking(_))
    }

    /// Whether it relays from `address`.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.client.relayed().is_some_and(|relayed| [relayed.v4, relayed.v6].contains(&Some(address)))
    }

    /// Whether a datagram from `source` to `base` comes from its server.
    pub(super) fn is_server(&self, source: SocketAddr, base: SocketAddr) -> bool {
        self.base == Some(base) && self.client.protocol() == Protocol::Udp && self.client.server() == source
    }

    /// Lets a remote address through. One that has the wrong IP version, or one too many, is left out.
    pub(super) fn permit(&mut self, now: Instant, ip: IpAddr) {
        if self.step != Step::Ended && self.client.permit(now, ip).is_err() {
            tracing::debug!(%ip, "not permitted on the relay");
        }
    }

    /// Puts what the relay needs around a packet: `packet[start..]` begins with room for it.
    pub(super) fn wrap(&mut self, peer: SocketAddr, packet: &mut BytesMut, start: usize) -> bool {
        self.client.wrap(peer, packet, start).is_ok()
    }
}

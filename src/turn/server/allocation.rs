//! One client's relayed addresses, with who may send to them (RFC 8656 §6).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::policy::Bucket;
use crate::stun::TransactionId;
use crate::turn::channel::ChannelNumber;
use crate::turn::config::Family;
use crate::wire::limited::LimitedMap;

/// RFC 8656 §9.
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// RFC 8656 §12.
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) username: String,
    /// The request that made it: a repeated one gets the same answer (RFC 8656 §7.2).
    pub(super) transaction: TransactionId,
    pub(super) relays: Vec<SocketAddr>,
    pub(super) expiry: Instant,
    pub(super) bucket: Bucket,
    permissions: LimitedMap<IpAddr, Instant>,
    channels: LimitedMap<ChannelNumber, (SocketAddr, Instant)>,
    by_peer: BTreeMap<SocketAddr, ChannelNumber>,
}

/// Why a channel is not bound.
pub(super) enum BindError {
    /// The channel or the peer is bound otherwise.
    Conflict,
    /// No more fit.
    Full,
}

impl Allocation {
    pub(super) fn new(
        username: String,
        transaction: TransactionId,
        expiry: Instant,
        bucket: Bucket,
        max_permissions: usize,
        max_channels: usize,
    ) -> Self {
        Allocation {
            username,
            transaction,
            relays: Vec::new(),
            expiry,
            bucket,
            permissions: LimitedMap::new(max_permissions),
            channels: LimitedMap::new(max_channels),
            by_peer: BTreeMap::new(),
        }
    }

    /// The relayed address of an IP version.
    pub(super) fn relay(&self, family: Family) -> Option<SocketAddr> {
        self.relays.iter().copied().find(|relay| Family::of(relay.ip()) == family)
    }

    /// Whether so many more permissions fit.
    pub(super) fn has_room(&mut self, now: Instant, peers: &[IpAddr], limit: usize) -> bool {
        self.permissions.retain(|_, expiry| *expiry > now);
        let new = peers.iter().filter(|peer| self.permissions.get(peer).is_none()).count();
        self.permissions.len() + new <= limit
    }

    pub(super) fn permit(&mut self, now: Instant, peer: IpAddr) -> bool {
        self.permissions.insert(peer, now + PERMISSION_LIFETIME).is_ok()
    }

    pub(super) fn is_permitted(&self, now: Instant, peer: IpAddr) -> bool {
        self.permissions.get(&peer).is_some_and(|expiry| *expiry > now)
    }

    /// RFC 8656 §12.2: neither the channel nor the peer may be bound otherwise.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        number: ChannelNumber,
        peer: SocketAddr,
    ) -> Result<(), BindError> {
        self.channels.retain(|_, (_, expiry)| *expiry > now);
        let channels = &self.channels;
        self.by_peer.retain(|_, number| channels.get(number).is_some());
        let number_is_free = self.channels.get(&number).is_none_or(|(bound, _)| *bound == peer);
        let peer_is_free = self.by_peer.get(&peer).is_none_or(|bound| *bound == number);
        if !number_is_free || !peer_is_free {
            return Err(BindError::Conflict);
        }
        let bound = self.channels.insert(number, (peer, now + CHANNEL_LIFETIME));
        bound.map_err(|_| BindError::Full)?;
        self.by_peer.insert(peer, number);
        Ok(())
    }

    pub(super) fn peer_of(&self, now: Instant, number: ChannelNumber) -> Option<SocketAddr> {
        self.channels.get(&number).filter(|(_, expiry)| *expiry > now).map(|(peer, _)| *peer)
    }

    pub(super) fn channel_to(&self, now: Instant, peer: SocketAddr) -> Option<ChannelNumber> {
        let number = *self.by_peer.get(&peer)?;
        self.peer_of(now, number).map(|_| number)
    }
}

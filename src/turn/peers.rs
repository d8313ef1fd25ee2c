//! Who may send through the relay, and the channels (RFC 8656 §9, §12).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::channel::ChannelNumber;
use crate::time::{Timer, earliest};
use crate::wire::limited::LimitedMap;

/// RFC 8656 §9: what a permission lives for.
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// RFC 8656 §12: what a channel lives for.
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// How long before its end it is asked for again.
const AHEAD: Duration = Duration::from_secs(60);
/// Addresses in one CreatePermission.
const BATCH: usize = 16;

/// Something that the server keeps for a while, as the client sees it.
#[derive(Debug, Default)]
struct Lease {
    /// When it is to be asked for; not armed while it is being asked for, or given up.
    ask: Timer,
    /// When it ends; armed while the server keeps it.
    expiry: Timer,
    in_flight: bool,
}

impl Lease {
    fn wanted(now: Instant) -> Self {
        let mut lease = Lease::default();
        lease.ask.arm(now);
        lease
    }

    /// Whether to ask now.
    fn is_due(&self, now: Instant) -> bool {
        !self.in_flight && self.ask.deadline().is_some_and(|at| at <= now)
    }

    fn on_asked(&mut self) {
        self.ask.cancel();
        self.in_flight = true;
    }

    fn on_granted(&mut self, asked: Instant, now: Instant, lifetime: Duration) {
        self.in_flight = false;
        self.expiry.arm(asked + lifetime);
        // Not at once again, even when the answer came late.
        self.ask.arm((asked + (lifetime - AHEAD)).max(now + AHEAD / 2));
    }

    fn next(&self, may_ask: bool) -> Option<Instant> {
        earliest([self.ask.deadline().filter(|_| may_ask), self.expiry.deadline()])
    }
}

#[derive(Debug, Default)]
struct Permission {
    lease: Lease,
    /// It was refused together with others: ask for it alone.
    alone: bool,
}

#[derive(Debug)]
struct Channel {
    peer: SocketAddr,
    lease: Lease,
    /// It was bound before in this allocation.
    was_bound: bool,
}

/// Both tables of one client.
#[derive(Debug)]
pub(super) struct Peers {
    permissions: LimitedMap<IpAddr, Permission>,
    /// By channel number. A number is never given to another peer within an allocation, so the five minutes of
    /// RFC 8656 §12 are kept.
    channels: Vec<Channel>,
    by_peer: BTreeMap<SocketAddr, ChannelNumber>,
    max_channels: usize,
}

impl Peers {
    pub(super) fn new(max_peers: usize, max_channels: usize) -> Self {
        Peers {
            permissions: LimitedMap::new(max_peers),
            channels: Vec::new(),
            by_peer: BTreeMap::new(),
            max_channels,
        }
    }

    /// Wants a permission; whether there is room for it.
    pub(super) fn permit(&mut self, now: Instant, peer: IpAddr) -> bool {
        if let Some(permission) = self.permissions.get_mut(&peer) {
            let lease = &mut permission.lease;
            if !lease.in_flight && !lease.expiry.is_armed() {
                lease.ask.arm_if_idle(now);
            }
            return true;
        }
        let permission = Permission { lease: Lease::wanted(now), alone: false };
        self.permissions.insert(peer, permission).is_ok()
    }

    /// Stops asking for a permission; the server forgets it in time.
    pub(super) fn forget(&mut self, peer: IpAddr) {
        self.permissions.remove(&peer);
        for channel in self.channels.iter_mut().filter(|channel| channel.peer.ip() == peer) {
            channel.lease.ask.cancel();
        }
    }

    /// Wants a channel; whether there is room for it.
    pub(super) fn bind(&mut self, now: Instant, peer: SocketAddr) -> bool {
        if let Some(number) = self.by_peer.get(&peer) {
            let lease = self.channels.get_mut(number.index()).map(|channel| &mut channel.lease);
            if let Some(lease) = lease.filter(|lease| !lease.in_flight && !lease.expiry.is_armed()) {
                lease.ask.arm_if_idle(now);
            }
            return true;
        }
        let number = ChannelNumber::from_index(self.channels.len());
        let Some(number) = number.filter(|_| self.channels.len() < self.max_channels) else { return false };
        self.channels.push(Channel { peer, lease: Lease::wanted(now), was_bound: false });
        self.by_peer.insert(peer, number);
        true
    }

    /// Takes the permissions to ask for in one request.
    pub(super) fn take_due_permissions(&mut self, now: Instant) -> Vec<IpAddr> {
        let due = |permission: &Permission| permission.lease.is_due(now);
        let mut batch: Vec<IpAddr> = Vec::new();
        for (ip, permission) in self.permissions.iter().filter(|(_, permission)| due(permission)) {
            match permission.alone {
                true if batch.is_empty() => {
                    batch.push(*ip);
                    break;
                }
                true => {}
                false if batch.len() < BATCH => batch.push(*ip),
                false => break,
            }
        }
        for ip in &batch {
            if let Some(permission) = self.permissions.get_mut(ip) {
                permission.lease.on_asked();
            }
        }
        batch
    }

    /// Takes a channel to ask for.
    pub(super) fn take_due_channel(&mut self, now: Instant) -> Option<(ChannelNumber, SocketAddr)> {
        let index = self.channels.iter().position(|channel| channel.lease.is_due(now))?;
        let channel = &mut self.channels[index];
        channel.lease.on_asked();
        Some((ChannelNumber::from_index(index)?, channel.peer))
    }

    /// A permission was granted to whom it was asked for; whether it is news.
    pub(super) fn on_permitted(&mut self, asked: Instant, now: Instant, peer: IpAddr) -> bool {
        let Some(permission) = self.permissions.get_mut(&peer) else { return false };
        let news = !permission.lease.expiry.is_armed();
        permission.lease.on_granted(asked, now, PERMISSION_LIFETIME);
        permission.alone = false;
        news
    }

    /// A permission was refused; whether that is final.
    pub(super) fn on_refused(&mut self, now: Instant, peer: IpAddr, with_others: bool) -> bool {
        let Some(permission) = self.permissions.get_mut(&peer) else { return false };
        permission.lease.in_flight = false;
        if with_others {
            permission.alone = true;
            permission.lease.ask.arm(now);
        }
        !with_others
    }

    /// A channel is bound; whether it is news.
    pub(super) fn on_bound(&mut self, asked: Instant, now: Instant, number: ChannelNumber) -> bool {
        let Some(channel) = self.channels.get_mut(number.index()) else { return false };
        let news = !channel.lease.expiry.is_armed();
        channel.lease.on_granted(asked, now, CHANNEL_LIFETIME);
        channel.was_bound = true;
        news
    }

    /// A channel was refused; whether the server had agreed to it before.
    pub(super) fn on_unbound(&mut self, number: ChannelNumber) -> bool {
        let Some(channel) = self.channels.get_mut(number.index()) else { return false };
        channel.lease.in_flight = false;
        channel.was_bound
    }

    /// The allocation is gone: all is to be asked for again in the next one, with new channel numbers.
    pub(super) fn on_lost(&mut self, now: Instant) {
        for permission in self.permissions.values_mut() {
            *permission = Permission { lease: Lease::wanted(now), alone: permission.alone };
        }
        for channel in &mut self.channels {
            channel.lease = Lease::wanted(now);
            channel.was_bound = false;
        }
    }

    /// Drops who cannot be reached from the relayed addresses; says who that was.
    pub(super) fn keep_only(&mut self, reachable: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
        let mut dropped = Vec::new();
        self.permissions.retain(|ip, _| {
            let keep = reachable(*ip);
            if !keep {
                dropped.push(*ip);
            }
            keep
        });
        for channel in self.channels.iter_mut().filter(|channel| !reachable(channel.peer.ip())) {
            channel.lease = Lease::default();
        }
        dropped
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.permissions.retain(|_, _| false);
        self.channels = Vec::new();
        self.by_peer = BTreeMap::new();
    }

    /// Whether the server lets `peer` through, as far as is known here.
    pub(super) fn is_permitted(&self, peer: IpAddr) -> bool {
        self.permissions.get(&peer).is_some_and(|permission| permission.lease.expiry.is_armed())
    }

    /// The channel that data to `peer` goes through, once it is bound.
    pub(super) fn channel_to(&self, peer: SocketAddr) -> Option<ChannelNumber> {
        let number = *self.by_peer.get(&peer)?;
        self.channels.get(number.index())?.lease.expiry.is_armed().then_some(number)
    }

    /// The peer behind a channel; from when it was asked for on (RFC 8656 §12).
    pub(super) fn peer_of(&self, number: ChannelNumber) -> Option<SocketAddr> {
        let channel = self.channels.get(number.index())?;
        (channel.lease.expiry.is_armed() || channel.lease.in_flight).then_some(channel.peer)
    }

    /// Ends what nobody prolonged.
    pub(super) fn expire(&mut self, now: Instant) {
        let channels = self.channels.iter_mut().map(|channel| &mut channel.lease);
        let permissions = self.permissions.values_mut().map(|permission| &mut permission.lease);
        for lease in permissions.chain(channels) {
            lease.expiry.expire(now);
        }
    }

    /// When something ends, or is to be asked for when there is room for a request.
    pub(super) fn next(&self, may_ask: bool) -> Option<Instant> {
        let permissions = self.permissions.iter().map(|(_, permission)| permission.lease.next(may_ask));
        earliest(permissions.chain(self.channels.iter().map(|channel| channel.lease.next(may_ask))))
    }
}

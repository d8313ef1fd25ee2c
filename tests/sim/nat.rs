//! Network address translators, in the words of RFC 4787.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Names a NAT of a [`Network`](super::Network).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatId(pub(super) usize);

/// What a mapping or a filter depends on (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// The inner address alone.
    EndpointIndependent,
    /// The inner address and the outer IP address.
    AddressDependent,
    /// The inner address and the outer address with its port.
    AddressAndPortDependent,
}

impl Behaviour {
    /// The part of `remote` that matters.
    fn key(self, remote: SocketAddr) -> Option<(IpAddr, u16)> {
        match self {
            Behaviour::EndpointIndependent => None,
            Behaviour::AddressDependent => Some((remote.ip(), 0)),
            Behaviour::AddressAndPortDependent => Some((remote.ip(), remote.port())),
        }
    }
}

/// What a NAT does.
#[derive(Debug, Clone)]
pub struct Nat {
    /// Its outer address.
    pub public: IpAddr,
    /// When an inner address gets another outer port.
    pub mapping: Behaviour,
    /// From whom datagrams are let in.
    pub filtering: Behaviour,
    /// Whether two inner hosts can talk over their outer addresses (RFC 4787 §6).
    pub hairpin: bool,
    /// Whether nothing passes but TCP to port 443, as in offices.
    pub only_tcp_443: bool,
    /// How long a mapping lives without outbound traffic (RFC 4787 §4.3 asks for two minutes at the least).
    pub lifetime: Duration,
}

impl Nat {
    /// The kind that most homes have: endpoint-independent mapping, filtering by address and port.
    pub fn port_restricted(public: IpAddr) -> Nat {
        Nat {
            public,
            mapping: Behaviour::EndpointIndependent,
            filtering: Behaviour::AddressAndPortDependent,
            hairpin: false,
            only_tcp_443: false,
            lifetime: Duration::from_secs(120),
        }
    }

    /// The friendliest kind: mapping and filtering are endpoint-independent, and hairpins work.
    pub fn full_cone(public: IpAddr) -> Nat {
        Nat { filtering: Behaviour::EndpointIndependent, hairpin: true, ..Nat::port_restricted(public) }
    }

    /// Endpoint-independent mapping, filtering by address alone.
    pub fn address_restricted(public: IpAddr) -> Nat {
        Nat { filtering: Behaviour::AddressDependent, ..Nat::port_restricted(public) }
    }

    /// A firewall that lets nothing pass but TCP to port 443.
    pub fn only_tcp_443(public: IpAddr) -> Nat {
        Nat { only_tcp_443: true, ..Nat::port_restricted(public) }
    }

    /// The unfriendliest kind: another port for every destination.
    pub fn symmetric(public: IpAddr) -> Nat {
        Nat { mapping: Behaviour::AddressAndPortDependent, ..Nat::port_restricted(public) }
    }
}

/// A NAT and its mappings.
#[derive(Debug)]
pub(super) struct NatState {
    pub nat: Nat,
    /// Outbound: the inner address and what of the destination matters, to the outer port.
    ports: BTreeMap<(SocketAddr, Option<(IpAddr, u16)>), u16>,
    /// Inbound: the outer port to its mapping.
    mappings: BTreeMap<u16, Mapping>,
    next_port: u16,
}

#[derive(Debug)]
struct Mapping {
    inner: SocketAddr,
    key: Option<(IpAddr, u16)>,
    contacted: BTreeSet<(IpAddr, u16)>,
    used: Duration,
}

impl NatState {
    pub fn new(nat: Nat) -> Self {
        NatState { nat, ports: BTreeMap::new(), mappings: BTreeMap::new(), next_port: 40_000 }
    }

    /// Forgets all mappings, as after a reboot: the next ones have other ports.
    pub fn rebind(&mut self) {
        self.ports.clear();
        self.mappings.clear();
        self.next_port = self.next_port.wrapping_add(1000).max(20_000);
    }

    /// The source that a datagram from `inner` to `remote` has outside; makes the mapping when there is none.
    pub fn outbound(&mut self, now: Duration, inner: SocketAddr, remote: SocketAddr) -> SocketAddr {
        let key = self.nat.mapping.key(remote);
        if let Some(&port) = self.ports.get(&(inner, key))
            && now.saturating_sub(self.mappings[&port].used) > self.nat.lifetime
        {
            self.ports.remove(&(inner, key));
            self.mappings.remove(&port);
        }
        let port = match self.ports.get(&(inner, key)) {
            Some(&port) => port,
            None => {
                let port = self.free_port();
                self.ports.insert((inner, key), port);
                let mapping = Mapping { inner, key, contacted: BTreeSet::new(), used: now };
                self.mappings.insert(port, mapping);
                port
            }
        };
        if let Some(mapping) = self.mappings.get_mut(&port) {
            mapping.used = now;
            mapping.contacted.insert((remote.ip(), remote.port()));
        }
        SocketAddr::new(self.nat.public, port)
    }

    /// The inner address that a datagram from `remote` to the outer `port` goes to; `None`: it is kept out.
    pub fn inbound(&mut self, now: Duration, port: u16, remote: SocketAddr) -> Option<SocketAddr> {
        let mapping = self.mappings.get(&port)?;
        if now.saturating_sub(mapping.used) > self.nat.lifetime {
            let mapping = self.mappings.remove(&port)?;
            self.ports.remove(&(mapping.inner, mapping.key));
            return None;
        }
        let let_in = match self.nat.filtering {
            Behaviour::EndpointIndependent => true,
            Behaviour::AddressDependent => mapping.contacted.iter().any(|&(ip, _)| ip == remote.ip()),
            Behaviour::AddressAndPortDependent => mapping.contacted.contains(&(remote.ip(), remote.port())),
        };
        let_in.then_some(mapping.inner)
    }

    fn free_port(&mut self) -> u16 {
        while self.mappings.contains_key(&self.next_port) {
            self.next_port = self.next_port.wrapping_add(1).max(1024);
        }
        let port = self.next_port;
        self.next_port = self.next_port.wrapping_add(1).max(1024);
        port
    }
}

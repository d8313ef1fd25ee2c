//! Names in place of addresses (draft-ietf-mmusic-mdns-ice-candidates): those of the peer are resolved, own ones
//! given out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::config::MdnsConfig;
use crate::ice::LocalId;
use crate::mdns::{Config, Event, Mdns, Name};
use crate::rng::Rng;
use crate::types::candidate::{Candidate, CandidateAddress};

/// Candidates whose names are being resolved; more are left out.
const MAX_WAITING: usize = 64;

/// The machine, and who waits for it.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) mdns: Mdns,
    waiting: Vec<(Name, Candidate)>,
    resolved: VecDeque<Candidate>,
    own: Vec<(LocalId, Name)>,
    hide_local: bool,
}

impl Names {
    /// `None` when neither is wanted.
    pub(super) fn new(setup: &MdnsConfig, rng: Rng) -> Option<Self> {
        let wanted = !setup.sockets.is_empty() || setup.hide_local;
        wanted.then(|| Names {
            mdns: Mdns::new(Config::new(setup.sockets.clone()), rng),
            waiting: Vec::new(),
            resolved: VecDeque::new(),
            own: Vec::new(),
            hide_local: setup.hide_local,
        })
    }

    /// Asks for the name of a candidate of the peer. Others are ignored (draft §3.2.1).
    pub(super) fn resolve(&mut self, now: Instant, candidate: &Candidate) {
        let CandidateAddress::Name { host, .. } = candidate.address() else { return };
        let Ok(name) = Name::new(host) else { return };
        if self.waiting.len() < MAX_WAITING && self.mdns.resolve(now, &name) {
            self.waiting.push((name, candidate.clone()));
        }
    }

    /// The next candidate of the peer whose name was resolved.
    pub(super) fn poll_resolved(&mut self) -> Option<Candidate> {
        while let Some(event) = self.mdns.poll_event() {
            let (Event::Resolved(name, _) | Event::Unresolved(name)) = &event;
            let (of_name, others) =
                std::mem::take(&mut self.waiting).into_iter().partition(|(n, _)| n == name);
            self.waiting = others;
            if let Event::Resolved(_, ip) = event {
                let of_name: Vec<(Name, Candidate)> = of_name;
                self.resolved.extend(of_name.into_iter().filter_map(|(_, candidate)| placed(candidate, ip)));
            }
        }
        self.resolved.pop_front()
    }

    /// What was asked for belongs to credentials that are no longer the peer's.
    pub(super) fn on_restart(&mut self) {
        for (name, _) in std::mem::take(&mut self.waiting) {
            self.mdns.cancel(&name);
        }
    }

    /// A host candidate is there: it may get a name. Whether it did.
    pub(super) fn hide(&mut self, now: Instant, id: LocalId, base: SocketAddr) -> bool {
        if !self.hide_local || base.ip().is_loopback() {
            return false;
        }
        let Some(name) = self.mdns.register(now, base.ip()) else { return false };
        self.own.push((id, name));
        true
    }

    /// A host candidate is gone, and its name with the last one at its address.
    pub(super) fn unhide(&mut self, now: Instant, id: LocalId) {
        let Some(at) = self.own.iter().position(|(other, _)| *other == id) else { return };
        let (_, name) = self.own.remove(at);
        if !self.own.iter().any(|(_, other)| *other == name) {
            self.mdns.withdraw(now, &name);
        }
    }

    /// The name of a host candidate.
    pub(super) fn name_of(&self, id: LocalId) -> Option<&str> {
        self.own.iter().find(|(other, _)| *other == id).map(|(_, name)| name.as_str())
    }

    /// Whether own host candidates are hidden.
    pub(super) fn hides(&self) -> bool {
        self.hide_local
    }

    /// Whether datagrams from the multicast sockets matter.
    pub(super) fn listens(&self) -> bool {
        !self.waiting.is_empty() || !self.own.is_empty()
    }
}

/// A candidate at the address that its name has.
fn placed(candidate: Candidate, ip: IpAddr) -> Option<Candidate> {
    match candidate.address() {
        CandidateAddress::Name { port, .. } => {
            let address = SocketAddr::new(ip, *port);
            Some(candidate.with_address(address))
        }
        CandidateAddress::Ip(_) => None,
    }
}

//! What probes, TURN clients and names have found out, made into candidates and told.

use std::net::SocketAddr;

use super::event::{IceServerError, IceServerFailure};
use super::names::Names;
use super::reflexive::Found;
use super::relay::{self, MAX_RELAYS, Relay, RelayId, Step};
use super::{Fact, Gatherer, IceTransportPolicy, Source};
use crate::packet::{Protocol, StreamKey, StreamOutput};
use crate::turn;
use crate::types::candidate::Candidate;

impl Gatherer {
    pub(super) fn add_relay(&mut self, server: usize, address: usize, base: Option<SocketAddr>) {
        if self.relays.len() >= MAX_RELAYS {
            tracing::debug!(server, "too many relays: left out");
            return;
        }
        let rng = self.rng.fork();
        let Some(mut client) = relay::client(&self.setup.servers[server], address, base, rng) else { return };
        client.set_transaction_tag(self.tag);
        let id = RelayId(self.next_relay);
        self.next_relay += 1;
        let mut relay = Relay {
            id,
            server,
            address,
            client,
            base,
            stream: None,
            step: Step::Waiting,
            candidates: Vec::new(),
        };
        for ip in &self.remotes {
            relay.permit(self.now, *ip);
        }
        self.relays.push(relay);
    }

    /// Takes what the machines found out.
    pub(super) fn settle(&mut self) {
        while let Some(found) = self.probes.poll_found() {
            self.on_found(found);
        }
        for at in 0..self.relays.len() {
            while let Some(event) = self.relays[at].client.poll_event() {
                self.on_turn(at, event);
            }
        }
        self.replace_unreachable();
        while let Some(candidate) = self.names.as_mut().and_then(Names::poll_resolved) {
            self.facts.push_back(Fact::Remote(candidate));
        }
        self.update_state();
    }

    fn on_found(&mut self, found: Found) {
        match found {
            Found::Mapped(at, mapped) => {
                let Some(probe) = self.probes.probe_mut(at) else { return };
                let (base, server) = (probe.base, probe.server);
                let former = probe.candidate.take();
                self.facts.extend(former.map(Fact::Gone));
                self.offer_reflexive(Source::Probe(at), server, base, mapped);
            }
            Found::Failed(at, reason) => {
                let Some(probe) = self.probes.probe_mut(at) else { return };
                let (base, server) = (probe.base, probe.server);
                let former = probe.candidate.take();
                self.facts.extend(former.map(Fact::Gone));
                self.fail(server, Some(base), reason);
            }
        }
    }

    /// RFC 8445 §5.1.3: an address that is the base's own is redundant; the same one from another server is found
    /// to be so by ICE.
    fn offer_reflexive(&mut self, source: Source, server: usize, base: SocketAddr, mapped: SocketAddr) {
        let is_own = mapped == base || self.setup.transport_policy == IceTransportPolicy::Relay;
        let Some(address) = self.setup.servers[server].address_for(base).filter(|_| !is_own) else { return };
        match Candidate::server_reflexive(mapped, base, address.ip()) {
            Ok(candidate) => self.facts.push_back(Fact::Candidate(source, candidate)),
            Err(error) => tracing::debug!(%mapped, %error, "a server tells of an address that is none"),
        }
    }

    fn on_turn(&mut self, at: usize, event: turn::Event) {
        let relay = &mut self.relays[at];
        match event {
            turn::Event::OpenStream { protocol, server, server_name } => {
                let key = StreamKey(self.next_stream);
                self.next_stream += 1;
                if let Some(former) = relay.stream.replace(key) {
                    self.commands.push_back(StreamOutput::Close { key: former });
                }
                let open = StreamOutput::Open { key, protocol, local: None, remote: server, server_name };
                self.commands.push_back(open);
            }
            turn::Event::CloseStream => {
                if let Some(key) = relay.stream.take() {
                    self.commands.push_back(StreamOutput::Close { key });
                }
            }
            turn::Event::Allocated { relayed, .. } => self.on_allocated(at, relayed),
            turn::Event::Lost(reason) => {
                tracing::debug!(?reason, server = relay.server, "allocation lost");
                let gone = std::mem::take(&mut relay.candidates);
                self.facts.extend(gone.into_iter().map(Fact::Gone));
            }
            turn::Event::Failed(reason) => {
                relay.step = Step::Ended;
                let (server, local) = (relay.server, relay.base.or(Some(relay.client.local())));
                let is_last =
                    relay.base.is_some() || relay.address + 1 >= self.setup.servers[server].addresses.len();
                let local = local.filter(|local| !local.ip().is_unspecified());
                let gone = std::mem::take(&mut relay.candidates);
                if let Some(key) = relay.stream.take() {
                    self.commands.push_back(StreamOutput::Close { key });
                }
                self.facts.extend(gone.into_iter().map(Fact::Gone));
                // While there is another address to try, the server has not failed.
                if is_last {
                    self.fail(server, local, reason.into());
                }
            }
            turn::Event::NotPermitted { peer, code } => {
                tracing::debug!(%peer, code, "the relay refuses a peer")
            }
            turn::Event::NotBound { peer, code } => {
                tracing::debug!(%peer, code, "the relay refuses a channel")
            }
            _ => {}
        }
    }

    fn on_allocated(&mut self, at: usize, relayed: turn::Relayed) {
        let relay = &mut self.relays[at];
        relay.step = Step::Settled;
        let (id, server, base) = (relay.id, relay.server, relay.base);
        let (address, local) = (relay.client.server(), relay.client.local());
        let gone = std::mem::take(&mut relay.candidates);
        self.facts.extend(gone.into_iter().map(Fact::Gone));
        if let Some(base) = base {
            self.facts.push_back(Fact::ServerPath(address, base));
        }
        let mapped = relayed.mapped.unwrap_or(local);
        for relayed in [relayed.v4, relayed.v6].into_iter().flatten() {
            // A server that claims an address of this host, or of another server, would take its traffic.
            let is_taken = self.bases.iter().any(|(_, base)| *base == relayed)
                || self.relays.iter().any(|other| other.id != id && other.has(relayed));
            let candidate = Candidate::relayed(relayed, mapped, address.ip());
            match candidate {
                Ok(candidate) if !is_taken => {
                    // RFC 8445 §5.1.2.2: of relays, those over UDP go first.
                    let candidate = match self.setup.servers[server].url.protocol() {
                        Protocol::Udp => candidate.with_type_preference(2),
                        Protocol::Tcp => candidate.with_type_preference(1),
                        _ => candidate.with_type_preference(0),
                    };
                    self.facts.push_back(Fact::Candidate(Source::Relay(id), candidate));
                }
                _ => tracing::debug!(%relayed, "a relayed address that cannot be one"),
            }
        }
        // RFC 8656 §7.3: the answer tells the reflexive address as well.
        if let (Some(base), Some(mapped)) = (base, relayed.mapped) {
            self.offer_reflexive(Source::Mapping, server, base, mapped);
        }
    }

    /// A stream server that cannot be reached at one address is tried at the next.
    fn replace_unreachable(&mut self) {
        let ended = |relay: &Relay| relay.step == Step::Ended;
        for at in (0..self.relays.len()).rev() {
            let relay = &self.relays[at];
            if !ended(relay) {
                continue;
            }
            let (server, address, base) = (relay.server, relay.address + 1, relay.base);
            self.relays.remove(at);
            if base.is_none() && address < self.setup.servers[server].addresses.len() && !self.closed {
                self.add_relay(server, address, None);
                self.kick(self.now);
            }
        }
    }

    pub(super) fn fail(&mut self, server: usize, local: Option<SocketAddr>, reason: IceServerError) {
        let Some(url) = self.setup.servers.get(server).map(|server| server.url.to_string()) else { return };
        tracing::debug!(%url, %reason, "ICE server failed");
        self.facts.push_back(Fact::Failed(IceServerFailure { server, url, local, reason }));
    }
}

//! The server's side of connectivity checks (RFC 8445 §7.3): who is answered, and what is learned.

use std::net::SocketAddr;
use std::time::Instant;

use super::agent::Agent;
use super::candidates::default_priority;
use super::config::CONCLUSION;
use super::encode::{Body, Outgoing};
use super::facts::Fact;
use super::generation::{Generation, GenerationId};
use super::pair::{End, Pair, PairFoundation, PairId, PairState};
use super::{ConnectionState, DropReason, Handled};
use crate::packet::Protocol;
use crate::stun::message::UnknownAttributes;
use crate::stun::{Class, ErrorCode, Message, Method, TransactionId};
use crate::types::candidate::CandidateKind;
use crate::types::setup::IceRole;

/// A request that proved to come from the peer.
#[derive(Clone, Copy)]
struct Request {
    generation: GenerationId,
    transaction: TransactionId,
    source: SocketAddr,
    local: SocketAddr,
    protocol: Protocol,
}

impl Agent {
    /// Takes a STUN packet that came from `source` and was received at `local`. Packets of other kinds, and STUN
    /// that is not authentic, have no effect and are not answered.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        protocol: Protocol,
        packet: &[u8],
    ) -> Handled {
        let now = self.advance(now);
        let handled = self.dispatch(now, source, local, protocol, packet);
        if handled == Handled::Consumed {
            self.handle_timeout(now);
        }
        if let Handled::Dropped(reason) = handled {
            tracing::trace!(%source, ?reason, "STUN dropped");
            use DropReason::*;
            let counter = match reason {
                Unprotected | UnknownUser | NotAuthentic => &mut self.stats.dropped_unauthentic,
                UnknownTransaction | WrongAddress => &mut self.stats.dropped_responses,
                _ => &mut self.stats.dropped_unusable,
            };
            *counter += 1;
        }
        handled
    }

    fn dispatch(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        protocol: Protocol,
        packet: &[u8],
    ) -> Handled {
        if self.is_inert() {
            return Handled::Dropped(DropReason::Inert);
        }
        let Ok(message) = Message::parse(packet) else {
            return Handled::Dropped(DropReason::Malformed);
        };
        if message.method() != Method::BINDING {
            return Handled::Dropped(DropReason::NotForIce);
        }
        if !self.is_local(local, protocol) {
            return Handled::Dropped(DropReason::UnknownLocalAddress);
        }
        match message.class() {
            Class::Request => self.handle_request(now, source, local, protocol, &message),
            Class::Success | Class::Error => self.handle_response(now, source, local, protocol, &message),
            // RFC 8445 §11: a keepalive, with no effect but on the NATs it passed.
            Class::Indication => Handled::Dropped(DropReason::NotForIce),
        }
    }

    fn handle_request(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        protocol: Protocol,
        message: &Message<'_>,
    ) -> Handled {
        // RFC 8489 §9.1.3 allows to answer such a request with 400; who cannot prove anything gets nothing here.
        let Some(username) = message.username().filter(|_| message.has_integrity()) else {
            return Handled::Dropped(DropReason::Unprotected);
        };
        let generations = [Some(&self.current), self.previous.as_deref()].into_iter().flatten();
        let addressed = |g: &&Generation| g.state != ConnectionState::Failed && g.is_addressed(username);
        let Some(generation) = generations.into_iter().find(addressed) else {
            return Handled::Dropped(DropReason::UnknownUser);
        };
        if message.verify_integrity(&generation.local.key).is_err() {
            return Handled::Dropped(DropReason::NotAuthentic);
        }
        let generation = generation.id;
        self.on_embedded(message, None);
        let request = Request { generation, transaction: message.transaction(), source, local, protocol };
        // RFC 8489 §6.3.1.
        let unknown = message.unknown_required();
        if !unknown.is_empty() {
            self.refuse(request, ErrorCode::UNKNOWN_ATTRIBUTE, unknown);
        } else if generation == self.current.id {
            self.accept(now, request, message);
        } else {
            // The former generation is kept for its data path only.
            self.answer(request);
            self.on_heard(now, request);
        }
        Handled::Consumed
    }

    /// An authentic request to the present generation (RFC 8445 §7.3.1).
    fn accept(&mut self, now: Instant, request: Request, message: &Message<'_>) {
        if !self.settle_roles(now, message) {
            self.refuse(request, ErrorCode::ROLE_CONFLICT, UnknownAttributes::default());
            return;
        }
        self.answer(request);
        let Some(id) = self.pair_of(now, request, message.priority()) else { return };
        self.on_heard(now, request);
        self.doubt_selected(now, id);
        if let Some(nomination) = self.nomination_in(message) {
            self.on_use_candidate(now, id, nomination);
        }
        self.trigger(now, id);
        self.probe_better(now, id);
        self.reconsider(now);
    }

    /// Resolves a role conflict (RFC 8445 §7.3.1.1). `false`: the request is to be refused.
    fn settle_roles(&mut self, now: Instant, message: &Message<'_>) -> bool {
        let (theirs, we_lead) = match self.role {
            IceRole::Controlling => (message.ice_controlling(), true),
            IceRole::Controlled => (message.ice_controlled(), false),
        };
        let Some(theirs) = theirs else { return true };
        let ours_is_larger = self.tie_breaker >= theirs;
        // The larger one leads. Whoever would have to switch more often than it sends checks stays and refuses.
        let keep = ours_is_larger == we_lead;
        !keep && self.switch_role(now)
    }

    /// The pair that the request came over; a new one when its source is new (RFC 8445 §7.3.1.3, §7.3.1.4).
    fn pair_of(&mut self, now: Instant, request: Request, priority: Option<u32>) -> Option<PairId> {
        let checklist = &self.current.checklist;
        if let Some(pair) = checklist.find(request.local, request.source, request.protocol) {
            return Some(pair.id);
        }
        let local = self.local_side(request.local, request.protocol)?.end;
        let id = self.new_pair_id();
        let remote = End {
            address: request.source,
            kind: CandidateKind::PeerReflexive,
            priority: priority.unwrap_or_else(default_priority),
        };
        let mut pair = Pair::new(id, local, remote, request.protocol, PairFoundation::unique(id), now);
        if let Some(known) = self.signalled(request.source, request.protocol) {
            pair.remote = End { address: request.source, ..known };
        }
        if self.current.selected.is_some() {
            self.timers.conclusion.arm_if_idle(now + CONCLUSION);
        }
        self.insert(pair).then_some(id)
    }

    /// What an authentic request tells of its pair.
    fn on_heard(&mut self, now: Instant, request: Request) {
        let Some(generation) = self.generation_mut(request.generation) else { return };
        let found = generation.checklist.find(request.local, request.source, request.protocol);
        let Some(pair) = found.map(|pair| pair.id).and_then(|id| generation.checklist.pair_mut(id)) else {
            return;
        };
        pair.last_heard = now;
        pair.stats.requests_received = pair.stats.requests_received.wrapping_add(1);
        pair.stats.responses_sent = pair.stats.responses_sent.wrapping_add(1);
        let (id, first) = (pair.id, !pair.asked);
        pair.asked = true;
        if first {
            let Request { source, local, protocol, .. } = request;
            self.facts.push(Fact::Authenticated { source, local, protocol });
        }
        // A lite agent sends no checks: that the peer still does is its consent.
        if self.config.lite {
            self.renew_consent(now, request.generation, id);
        }
    }

    /// The controlling end nominates the pair (RFC 8445 §7.3.1.5, §8.2), by this number.
    fn on_use_candidate(&mut self, now: Instant, id: PairId, nomination: u32) {
        if self.role == IceRole::Controlling {
            return;
        }
        self.nomination = self.nomination.max(nomination);
        let Some(pair) = self.current.checklist.pair_mut(id) else { return };
        pair.nomination = pair.nomination.max(nomination);
        if self.config.lite && !pair.is_valid() {
            pair.state = PairState::Succeeded;
            let path = pair.path();
            self.facts.push(Fact::PairValid(path));
            self.on_nominated(now, id);
        } else if pair.is_valid() {
            self.on_nominated(now, id);
        } else {
            pair.nominated_when_valid = true;
        }
    }

    fn answer(&mut self, request: Request) {
        self.respond(request, Body::Success);
    }

    fn refuse(&mut self, request: Request, error: ErrorCode<'static>, unknown: UnknownAttributes) {
        self.respond(request, Body::Refusal { error, unknown });
    }

    fn respond(&mut self, request: Request, body: Body) {
        self.send(Outgoing {
            generation: request.generation,
            transaction: request.transaction,
            local: request.local,
            remote: request.source,
            protocol: request.protocol,
            body,
        });
    }
}

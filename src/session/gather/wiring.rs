//! How gathering sits in a session: candidates both ways, and streams.

use std::time::Instant;

use super::incoming::IncomingStream;
use super::{Fact, Gatherer, GatheringState, Setup, Source};
use crate::ice::{
    Agent, LocalCandidateError, LocalId, RemoteCandidate, RemoteCandidateError, SourceState, UnknownCandidate,
};
use crate::packet::{Protocol, StreamInput, StreamKey};
use crate::session::event::Event;
use crate::session::{Life, Session};
use crate::types::candidate::{Candidate, CandidateKind};

impl Session {
    /// Takes what gathering needs to know, when there is anything to gather.
    pub(crate) fn set_up_gathering(&mut self, setup: Setup) {
        if setup.is_needed() {
            self.make_gatherer(setup);
            self.settle();
        }
    }

    fn make_gatherer(&mut self, setup: Setup) -> &mut Gatherer {
        let ice = &mut self.transport.ice;
        let (tag, pacing, rng) = (ice.transaction_tag(), ice.pacing(), ice.fork_rng());
        let gatherer = Gatherer::new(self.now, setup, tag, pacing, rng);
        self.transport.gather.insert(Box::new(gatherer))
    }

    /// Takes a local candidate of the caller.
    pub(crate) fn add_local_candidate(
        &mut self,
        candidate: Candidate,
    ) -> Result<LocalId, LocalCandidateError> {
        if self.transport.gather.is_none() && Gatherer::is_stream(&candidate) {
            self.make_gatherer(Setup::default());
        }
        let now = self.now;
        let ice = &mut self.transport.ice;
        let Some(gather) = &mut self.transport.gather else {
            return self.command(|now, transport| transport.ice.add_local_candidate(now, candidate));
        };
        let candidate = gather.prepare(candidate).ok_or(LocalCandidateError::Filtered)?;
        let id = match gather.is_used(&candidate) {
            true => ice.add_local_candidate(now, candidate.clone())?,
            false => ice.add_local_socket(now, candidate.clone())?,
        };
        gather.on_local(now, id, &candidate);
        self.command(|_, _| ());
        Ok(id)
    }

    /// Removes a local candidate, and what was found from its base.
    pub(crate) fn remove_local_candidate(&mut self, id: LocalId) -> Result<(), UnknownCandidate> {
        let now = self.now;
        if let Some(gather) = &mut self.transport.gather {
            for found in reflexive_of(&self.transport.ice, id) {
                gather.on_reflexive_gone(found);
            }
            gather.on_local_removed(now, id);
            self.settle();
        }
        self.command(|now, transport| transport.ice.remove_local_candidate(now, id))
    }

    /// The caller has no more local candidates.
    pub(crate) fn end_of_local_candidates(&mut self) {
        if let Some(gather) = &mut self.transport.gather {
            gather.on_end_of_local();
            self.settle();
        }
    }

    /// How far gathering has come; without anything to gather it is done before it begins.
    pub(crate) fn gathering_state(&self) -> GatheringState {
        self.transport.gather.as_ref().map_or(GatheringState::Complete, |gather| gather.state())
    }

    /// The local candidates as the peer is told of them.
    pub(crate) fn signalled_candidates(&self) -> impl Iterator<Item = Candidate> {
        let gather = self.transport.gather.as_deref();
        self.transport.ice.local_candidates().map(move |(id, candidate)| match gather {
            Some(gather) => gather.signalled(id, candidate),
            None => candidate.clone(),
        })
    }

    /// Takes a candidate of the peer, without settling.
    pub(crate) fn take_remote_candidate(
        &mut self,
        candidate: &Candidate,
    ) -> Result<RemoteCandidate, RemoteCandidateError> {
        self.calm = None;
        let taken = self.transport.ice.add_remote_candidate(self.now, candidate)?;
        if let Some(gather) = &mut self.transport.gather
            && taken != RemoteCandidate::Ignored
        {
            gather.on_remote(self.now, candidate);
        }
        Ok(taken)
    }

    /// Both ends start anew.
    pub(crate) fn restart_ice(&mut self) {
        if let Some(gather) = &mut self.transport.gather {
            gather.on_restart();
        }
        self.command(|now, transport| {
            transport.ice.restart(now);
        });
    }

    // ----- streams -----

    /// Takes what happened on a stream.
    pub(crate) fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        if self.life != Life::Live {
            return;
        }
        self.advance(now);
        if let Some(gather) = &mut self.transport.gather {
            gather.handle_stream(self.now, input);
        }
        self.handle_received();
        self.run_timers();
        self.settle();
    }

    /// Takes a stream that a peer opened. One whose first check is not authentic is not taken.
    pub(crate) fn accept_stream(&mut self, stream: IncomingStream) -> Option<StreamKey> {
        let (local, remote) = (stream.local(), stream.remote());
        let is_ours = stream.ufrag().is_some_and(|ufrag| self.transport.ice.ufrags().any(|own| own == ufrag));
        if self.life != Life::Live || !is_ours {
            return None;
        }
        let now = self.now;
        let key = self.transport.gather.as_mut()?.accept(now, stream)?;
        self.handle_received();
        let known = self.transport.ice.accepts_from(remote, local, Protocol::Tcp);
        if known == SourceState::Unknown {
            self.transport.gather.as_mut()?.forget_stream(key);
        }
        self.command(|_, _| ());
        (known != SourceState::Unknown).then_some(key)
    }

    /// Datagrams that came over streams, one by one.
    fn handle_received(&mut self) {
        while let Some(datagram) = self.transport.gather.as_mut().and_then(|gather| gather.poll_received()) {
            self.handle_datagram_inside(datagram);
        }
    }

    // ----- facts -----

    /// Takes what gathering found out.
    pub(crate) fn settle_gathering(&mut self) {
        let mut news = false;
        while let Some(fact) = self.transport.gather.as_mut().and_then(|gather| gather.poll_fact()) {
            news = true;
            self.on_gathered(fact);
        }
        if news {
            // What candidates made due leaves now.
            self.transport.ice.handle_timeout(self.now);
        }
    }

    fn on_gathered(&mut self, fact: Fact) {
        let now = self.now;
        match fact {
            Fact::Candidate(source, candidate) => self.on_found_candidate(source, candidate),
            Fact::Hidden(id) => {
                let ice = &self.transport.ice;
                let signalled = ice.local_candidate(id).map(|candidate| self.signalled(id, candidate));
                self.events.extend(signalled.map(Box::new).map(Event::LocalCandidate));
            }
            Fact::Gone(id) => {
                let ice = &mut self.transport.ice;
                if let Some(candidate) = ice.local_candidate(id).cloned() {
                    let signalled = self.signalled(id, &candidate);
                    self.events.push_back(Event::LocalCandidateGone(Box::new(signalled)));
                    let _ = self.transport.ice.remove_local_candidate(now, id);
                }
            }
            Fact::Remote(candidate) => {
                if let Err(error) = self.take_remote_candidate(&candidate) {
                    tracing::debug!(%error, "a resolved candidate was left out");
                }
            }
            Fact::StreamLost(local, remote) => self.transport.ice.on_stream_lost(now, local, remote),
            Fact::ServerPath(server, base) => self.note_path(server, base, Protocol::Udp),
            Fact::State(state) => self.events.push_back(Event::GatheringState(state)),
            Fact::Failed(failure) => self.events.push_back(Event::IceServerFailed(Box::new(failure))),
        }
    }

    fn on_found_candidate(&mut self, source: Source, candidate: Candidate) {
        let Some(gather) = &mut self.transport.gather else { return };
        let Some(candidate) = gather.prepare(candidate) else { return };
        // RFC 8445 §5.1.3: what is there already is redundant.
        match self.transport.ice.add_local_candidate(self.now, candidate) {
            Ok(id) => {
                gather.on_added(source, id);
                let signalled =
                    self.transport.ice.local_candidate(id).map(|found| gather.signalled(id, found));
                self.events.extend(signalled.map(Box::new).map(Event::LocalCandidate));
            }
            Err(error) => tracing::debug!(%error, "a gathered candidate was left out"),
        }
    }

    fn signalled(&self, id: LocalId, candidate: &Candidate) -> Candidate {
        match &self.transport.gather {
            Some(gather) => gather.signalled(id, candidate),
            None => candidate.clone(),
        }
    }
}

/// The reflexive candidates that have the base of the host candidate `id`.
fn reflexive_of(ice: &Agent, id: LocalId) -> Vec<LocalId> {
    let host = ice.local_candidate(id).filter(|candidate| candidate.kind() == CandidateKind::Host);
    let Some(base) = host.and_then(Candidate::base) else { return Vec::new() };
    let is_of_base = |(other, candidate): &(LocalId, &Candidate)| {
        *other != id && candidate.base() == Some(base) && candidate.kind() != CandidateKind::Host
    };
    ice.local_candidates().filter(is_of_base).map(|(other, _)| other).collect()
}

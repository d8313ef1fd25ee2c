//! Where data goes, and whether the peer still wants it (RFC 7675, RFC 8445 §12).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::checklist::same;
use super::config::{
    DISCONNECTED_AFTER, DOUBTED_AFTER, LAST_CONSENT, LAST_CONSENT_RTO, MAX_CONSENT_RTO, MIN_RTO,
};
use super::generation::GenerationId;
use super::pair::{Pair, PairId};
use super::{ConnectionState, Path};
use crate::packet::Protocol;
use crate::time::Timer;

/// How often consent is asked for at least, while data flows.
const BUSY_CONSENT: Duration = Duration::from_secs(1);

/// Consent to send on the path in use.
#[derive(Debug, Default)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub(super) struct Consent {
    /// Data was sent since consent was renewed.
    has_traffic: bool,
    /// The next check.
    pub(super) next: Timer,
    /// The pair that it is for.
    pub(super) of: Option<(GenerationId, PairId)>,
    /// Checks sent since the last answer.
    unanswered: u32,
    /// When the last one was.
    asked: Option<Instant>,
    /// When the peer last checked another pair, as one does that has lost this one, and which; until a later check
    /// is answered.
    hinted: Option<(Instant, PairId)>,
    /// The end of consent, unless it is renewed.
    pub(super) expiry: Timer,
}

impl Pair {
    pub(super) fn path(&self) -> Path {
        Path {
            pair: self.id,
            local: self.local.address,
            remote: self.remote.address,
            protocol: self.protocol,
            local_kind: self.local.kind,
            remote_kind: self.remote.kind,
            rtt: self.rtt.mean(),
        }
    }
}

impl Agent {
    /// Chooses the path anew, and what follows from it: consent and state.
    pub(super) fn reconsider(&mut self, now: Instant) {
        if self.is_inert() {
            return;
        }
        let chosen = self.choose();
        let changed = chosen != self.consent.of;
        self.path = chosen.and_then(|(g, id)| Some(self.generation(g)?.checklist.pair(id)?.path()));
        if changed {
            let traffic = std::mem::take(&mut self.traffic);
            let former = self.consent.of.and_then(|(g, id)| self.generation_mut(g)?.checklist.pair_mut(id));
            if let Some(former) = former {
                former.stats.add(&traffic);
            }
            self.consent = Consent { of: chosen, ..Consent::default() };
            self.facts.path_changed(self.path);
            if let Some((generation, id)) = chosen {
                self.begin_consent(now, generation, id);
            }
        }
        self.update_state();
    }

    /// RFC 8445 §12.1: the selected pair; during a restart the former one, until a new one is selected; before
    /// any was selected, the best valid one.
    fn choose(&self) -> Option<(GenerationId, PairId)> {
        let selected = self.current.selected.map(|id| (self.current.id, id));
        let usable = |g: &super::generation::Generation| g.usable_pair().map(|id| (g.id, id));
        let former =
            || self.previous.as_deref().filter(|g| g.state != ConnectionState::Failed).and_then(usable);
        selected.or_else(former).or_else(|| usable(&self.current))
    }

    fn update_state(&mut self) {
        let of_current = self.consent.of.is_some_and(|(generation, _)| generation == self.current.id);
        let silent = of_current && self.consent.unanswered > DISCONNECTED_AFTER;
        let state = match () {
            () if silent => ConnectionState::Disconnected,
            () if self.current.selected.is_some() => ConnectionState::Completed,
            () if self.current.usable_pair().is_some() => ConnectionState::Connected,
            () if self.current.remote.is_some() => ConnectionState::Checking,
            () => ConnectionState::New,
        };
        if matches!(state, ConnectionState::Connected | ConnectionState::Completed) {
            self.timers.patience.cancel();
        }
        self.enter(state);
    }

    // ----- consent -----

    /// Consent for a new path counts from when its pair was last answered.
    fn begin_consent(&mut self, now: Instant, generation: GenerationId, id: PairId) {
        let Some(pair) = self.generation(generation).and_then(|g| g.checklist.pair(id)) else { return };
        let granted = pair.last_response.unwrap_or(pair.last_heard).min(now);
        // Two lite agents cannot ask each other.
        if self.config.lite && self.is_remote_lite() {
            return;
        }
        self.consent.expiry.arm(granted + self.config.consent_timeout);
        if !self.config.lite {
            let next = granted + self.consent_interval();
            self.consent.next.arm(next.max(now));
        }
    }

    /// RFC 7675 §5.1: 0.8 to 1.2 times the basic period.
    fn consent_interval(&mut self) -> Duration {
        let basic = self.config.consent_interval;
        let spread = u64::try_from((basic * 2 / 5).as_micros()).unwrap_or(0);
        basic * 4 / 5 + Duration::from_micros(self.rng.below(spread))
    }

    /// Asks for consent.
    ///
    /// RFC 7675 §5.1 has checks 4 to 6 s apart. When one is not answered in time the following ones leave at the
    /// pace of connectivity checks (half a second, then a second): on a lossy path six checks in 30 s would too
    /// often all be lost. Towards the end they leave faster still: what pauses for nearly as long as consent lasts
    /// has only seconds left to be heard in, and may lose some of these too.
    pub(super) fn check_consent(&mut self, now: Instant) {
        let Some((generation, id)) = self.consent.of else { return };
        let Some(pair) = self.generation(generation).and_then(|g| g.checklist.pair(id)) else { return };
        // An answer that the network held back for seconds must not stretch the pace to its own length: consent
        // would run out before the third check.
        let rto = pair.rtt.timeout().unwrap_or(MIN_RTO).clamp(MIN_RTO, MAX_CONSENT_RTO);
        let longest = rto.max(Duration::from_secs(1));
        let wait = if self.consent.unanswered == 0 { rto } else { (rto * 2).min(longest) };
        let end = self.consent.expiry.deadline();
        let is_last = end.is_some_and(|end| end.saturating_duration_since(now) <= LAST_CONSENT);
        let wait = if is_last && self.consent.unanswered > 0 { wait.min(LAST_CONSENT_RTO) } else { wait };
        self.consent.unanswered += 1;
        self.consent.next.arm(now + wait);
        self.consent.asked = Some(now);
        self.send_check(now, generation, id, false);
        if self.consent.unanswered == DOUBTED_AFTER {
            self.warm_backup(now);
            // What is to be gone over to has to have answered of late.
            let other = self.consent.hinted.and_then(|(_, id)| self.current.checklist.pair(id));
            if let Some(id) = other.filter(|pair| pair.is_valid()).map(|pair| pair.id) {
                self.send_check(now, self.current.id, id, false);
            }
        }
        let was = self.current.state;
        self.update_state();
        if self.config.moves
            && was != self.current.state
            && self.current.state == ConnectionState::Disconnected
        {
            // Whatever else there is may work where the selected pair does not.
            self.revive(now, None);
        }
        self.consider_nomination(now);
    }

    /// Whether consent checks of the path are not answered at the moment. The last one may still be.
    pub(super) fn is_doubted(&self) -> bool {
        let most = if self.consent.hinted.is_some() { 1 } else { DOUBTED_AFTER };
        self.config.moves
            && self.consent.unanswered > most
            && self.consent.of.is_some_and(|(generation, _)| generation == self.current.id)
    }

    /// The peer checks another pair than the selected one: it may have lost that one, which a consent check tells.
    ///
    /// The other pair is checked only when that one is not answered: two ends that answered each other's checks
    /// with checks would never stop.
    pub(super) fn doubt_selected(&mut self, now: Instant, checked: PairId) {
        let selected = self.current.selected.and_then(|id| self.current.checklist.pair(id));
        if selected.is_none_or(|pair| pair.id == checked) || !self.config.moves || self.config.lite {
            return;
        }
        self.consent.hinted = Some((now, checked));
        let asked = self.consent.asked.is_some_and(|at| now.saturating_duration_since(at) < MIN_RTO / 2);
        if self.consent.unanswered == 0 && !asked {
            self.consent.next.arm_no_later_than(now);
        }
    }

    /// The stream of a pair has ended.
    pub fn on_stream_lost(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) {
        let now = self.advance(now);
        if self.is_inert() {
            return;
        }
        let is_it = |pair: &Pair| {
            pair.protocol == Protocol::Tcp
                && same(pair.local.address, local)
                && same(pair.remote.address, remote)
        };
        if let Some(previous) = &mut self.previous {
            previous.retain_pairs(|pair| !is_it(pair));
        }
        let Some(id) = self.current.checklist.iter().find(|pair| is_it(pair)).map(|pair| pair.id) else {
            return;
        };
        let was_selected = self.current.selected == Some(id);
        self.current.retain_pairs(|pair| pair.id != id);
        // What was in use is worth another stream; what never worked is not.
        let remote = was_selected.then(|| self.signalled_remote(remote, Protocol::Tcp)).flatten();
        self.on_pairs_lost(now, remote);
    }

    /// An authentic answer came over a pair; for a lite agent, a request.
    pub(super) fn renew_consent(&mut self, now: Instant, generation: GenerationId, id: PairId) {
        if self.consent.of != Some((generation, id)) {
            return;
        }
        self.consent.unanswered = 0;
        let asked = self.consent.asked;
        self.consent.hinted = self.consent.hinted.filter(|(at, _)| asked.is_none_or(|asked| asked < *at));
        self.consent.expiry.arm(now + self.config.consent_timeout);
        if !self.config.lite {
            let interval = self.consent_interval();
            let has_traffic = std::mem::take(&mut self.consent.has_traffic);
            self.consent.next.arm(now + if has_traffic { interval.min(BUSY_CONSENT) } else { interval });
        }
    }

    /// Data was sent over the path.
    ///
    /// RFC 7675 §5.1 has checks 4 to 6 s apart, so that of the 30 s that consent lasts up to 6 are over when a path
    /// fails. While data flows a check more does not matter, so consent is asked for every second: a pause of 25 s
    /// is outlived then.
    pub fn on_traffic(&mut self, now: Instant) {
        if !self.consent.has_traffic {
            self.consent.has_traffic = true;
            if self.consent.next.is_armed() && self.consent.unanswered == 0 {
                self.consent.next.arm_no_later_than(now + BUSY_CONSENT);
            }
        }
    }

    /// Whether data was sent since the last consent check.
    pub(crate) fn has_traffic(&self) -> bool {
        self.consent.has_traffic
    }

    /// Consent ran out or was revoked: nothing is sent over the pair any more, in this generation
    /// (RFC 7675 §5.1).
    pub(super) fn on_consent_lost(&mut self, now: Instant) {
        let Some((generation, id)) = std::mem::take(&mut self.consent).of else { return };
        tracing::debug!("consent lost");
        if generation != self.current.id {
            self.previous = None;
            self.path = None;
            self.facts.path_changed(None);
            self.reconsider(now);
            return;
        }
        let was_selected = self.current.selected == Some(id);
        self.current.fail(id);
        // What did not answer either for so long is no way out.
        let timeout = self.config.consent_timeout;
        let silent = |pair: &Pair| {
            let heard = pair.last_response.unwrap_or(pair.last_heard);
            pair.is_valid() && now.saturating_duration_since(heard) >= timeout
        };
        let dead: Vec<PairId> =
            self.current.checklist.iter().filter(|pair| silent(pair)).map(|pair| pair.id).collect();
        dead.into_iter().for_each(|id| self.current.fail(id));
        if was_selected && !self.config.moves || self.current.usable_pair().is_none() {
            self.fail();
        } else {
            self.reconsider(now);
            self.consider_nomination(now);
        }
    }
}

//! Offer and answer (RFC 3264, JSEP: RFC 8829 and RFC 9429) for the one transport of a connection.
//!
//! ```text
//!                 create_offer                      accept_offer (offer in, answer out)
//!      +--------+ -------------> +------------------+    +-----+
//!      | Stable |                | HaveLocalOffer   |    |     v
//!      +--------+ <------------- +------------------+   +--------+
//!                 accept_answer                         | Stable |
//!                 rollback                              +--------+
//! ```
//!
//! The machine knows nothing of ICE or DTLS: the session gives it the [facts](TransportFacts) of the local side and
//! carries out what was [agreed](Applied). A call that fails changes nothing. `have-remote-offer` is no state of
//! rest here, since an offer is taken and answered in one call.
//!
//! Glare is the application's to resolve, as in "perfect negotiation": the polite side calls
//! [`rollback`](Negotiator::rollback) and accepts the other's offer, the impolite one ignores that offer.

mod codecs;
mod error;
mod init;
mod media;
mod sections;
mod sources;
#[cfg(test)]
mod tests;
mod transport;
mod trickle;

pub use codecs::{Capability, Format};
pub use error::{NegotiationError, TrickleError, UnknownTransceiver};
pub use media::{
    AgreedExtension, AgreedMedia, Encoding, Incoming, Label, MAX_SSRCS, MAX_TRANSCEIVERS, MediaConfig,
    MediaLevel, RemoteMedia, Sender, TransceiverId,
};
pub use transport::{Applied, RemoteData, RemoteTransport, SCTP_PORT, TransportFacts};
pub use trickle::{Ignored, RemoteCandidate, Trickled};

use std::sync::Arc;

use crate::rng::Rng;
use crate::sdp::{
    Answer, Description, Group, MAX_SECTIONS, MediaKind, MediaSection, Offer, Origin, Sctp, Transport,
};
use crate::types::codec::MediaType;
use crate::types::credentials::Credentials;
use crate::types::direction::Direction;
use crate::types::fingerprint::Fingerprint;
use crate::types::ids::{Mid, Rid};
use crate::types::setup::{DtlsRole, IceRole, Setup};

use codecs::Numbers;
use init::Init;
use media::{ExtensionIds, LocalMedia, Transceiver};
use sections::{Layout, Section, check_continuity, fresh_mid, is_data};
use sources::Sources;
use transport::{Told, Written, answerer_role, has_ice_option, ice_role, offerer_role, setup_of};

/// Where an exchange of descriptions stands (RFC 8829 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalingState {
    /// No exchange is under way.
    Stable,
    /// An offer of ours is out.
    HaveLocalOffer,
}

/// What an offer is to ask for, beyond what was agreed upon before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfferOptions {
    /// Whether there are to be data channels. Once agreed upon they stay, whatever this says.
    pub data: bool,
}

/// What is known of a transceiver here.
#[derive(Debug, Clone, Copy)]
pub struct TransceiverView<'a> {
    /// What it carries.
    pub kind: MediaType,
    /// What the application wants it to do.
    pub wanted: Direction,
    /// What it sends.
    pub sender: &'a Sender,
    /// How what it receives is handed out.
    pub level: MediaLevel,
    /// The name of its section, once agreed upon.
    pub mid: Option<Mid>,
    /// Whether it has ended for good.
    pub is_stopped: bool,
}

/// The offer/answer machine of one connection. `Clone` lets a caller try a step and keep the former state.
#[derive(Debug, Clone)]
pub struct Negotiator {
    session_id: u64,
    /// Grows with every description written, as RFC 8829 §5.2.2 has it.
    version: u64,
    sources: Sources,
    /// Shared by the copies that steps are tried on.
    media: Arc<MediaConfig>,
    transceivers: Vec<Transceiver>,
    agreed: Agreement,
    pending: Option<Pending>,
}

/// What the last completed exchange has left.
#[derive(Debug, Clone, Default)]
struct Agreement {
    sections: Vec<Section>,
    transport: Option<Agreed>,
    init: Init,
}

/// The transport that was agreed upon.
#[derive(Debug, Clone)]
struct Agreed {
    local_ufrag: String,
    remote: Credentials,
    fingerprints: Vec<Fingerprint>,
    dtls_role: DtlsRole,
    ice_role: IceRole,
    /// Both sides have the ICE option `sped`. Settled with the first exchange.
    sped: bool,
    /// The tagged section of the bundle (RFC 9143 §2), in which candidates stand.
    tag: usize,
    /// The section from which the peer's transport was read: the tagged one, nearly always.
    source: usize,
}

/// An offer of ours that waits for its answer.
#[derive(Debug, Clone)]
struct Pending {
    sections: Vec<Section>,
    local_ufrag: String,
    ice_lite: bool,
    tag: usize,
    /// It has the ICE option `sped`.
    sped: bool,
    /// The INIT chunk that it carries.
    init: Option<Vec<u8>>,
}

/// Which side of an exchange is the local one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Offerer,
    Answerer { preferred_role: DtlsRole },
}

/// The local side of an exchange.
#[derive(Debug, Clone, Copy)]
struct Local<'a> {
    side: Side,
    ufrag: &'a str,
    ice_lite: bool,
    sped: bool,
}

impl Negotiator {
    /// A machine in the stable state, without any section.
    pub fn new(rng: &mut Rng) -> Self {
        // RFC 8829 §5.2.1: 64 bits, of which the first is zero.
        Negotiator {
            session_id: rng.u64() >> 1,
            version: 0,
            sources: Sources::new(rng.u64()),
            media: Arc::default(),
            transceivers: Vec::new(),
            agreed: Agreement::default(),
            pending: None,
        }
    }

    /// The same machine with media: by default every section of audio and video is turned down. Formats and header
    /// extensions whose text could not stand in a description are left out.
    #[must_use]
    pub fn with_media(self, media: MediaConfig) -> Self {
        Negotiator { media: Arc::new(media.printable()), ..self }
    }

    /// The media that the local side speaks.
    pub fn media_config(&self) -> &MediaConfig {
        &self.media
    }

    /// Adds a way for media, to be offered next, or matched with the next section of this kind that the peer
    /// offers. `receive_rids` are the layers asked for in an offer, when it receives.
    pub fn add_transceiver(
        &mut self,
        kind: MediaType,
        direction: Direction,
        sender: Sender,
        receive_rids: Vec<Rid>,
    ) -> TransceiverId {
        self.transceivers.push(Transceiver {
            kind,
            direction,
            sender,
            level: self.media.level,
            receive_rids,
            section: None,
            is_stopped: false,
        });
        TransceiverId(self.transceivers.len() - 1)
    }

    /// What the transceiver is to do; counts from the next exchange on.
    pub fn set_direction(
        &mut self,
        id: TransceiverId,
        direction: Direction,
    ) -> Result<(), UnknownTransceiver> {
        self.transceiver_mut(id)?.direction = direction;
        Ok(())
    }

    /// What the transceiver is to send; counts from the next exchange on.
    pub fn set_sender(&mut self, id: TransceiverId, sender: Sender) -> Result<(), UnknownTransceiver> {
        self.transceiver_mut(id)?.sender = sender;
        Ok(())
    }

    /// Ends the transceiver for good; the next exchange turns its section down (RFC 8829 §4.2.1).
    pub fn stop_transceiver(&mut self, id: TransceiverId) -> Result<(), UnknownTransceiver> {
        self.transceiver_mut(id)?.is_stopped = true;
        Ok(())
    }

    /// How what it receives is handed out; counts from the next exchange on, as far as this machine is concerned.
    pub fn set_level(&mut self, id: TransceiverId, level: MediaLevel) -> Result<(), UnknownTransceiver> {
        self.transceiver_mut(id)?.level = level;
        Ok(())
    }

    /// Fresh sources for what a transceiver sends: one stream, or one for each of `rids`, all with the same
    /// canonical name, and a retransmission source each.
    pub fn draw_sender(&mut self, rids: &[Rid]) -> Sender {
        self.sources.sender(rids)
    }

    /// All transceivers, stopped ones included, in the order in which they were made.
    pub fn transceivers(&self) -> impl Iterator<Item = TransceiverId> + use<> {
        (0..self.transceivers.len()).map(TransceiverId)
    }

    /// What is wanted of a transceiver, and where it is.
    pub fn transceiver(&self, id: TransceiverId) -> Option<TransceiverView<'_>> {
        let transceiver = self.transceivers.get(id.0)?;
        let section = transceiver.section.and_then(|at| self.agreed.sections.get(at));
        let section = section.filter(|section| section.transceiver() == Some(id));
        Some(TransceiverView {
            kind: transceiver.kind,
            wanted: transceiver.direction,
            sender: &transceiver.sender,
            level: transceiver.level,
            mid: section.and_then(|section| section.mid),
            is_stopped: transceiver.is_stopped,
        })
    }

    fn transceiver_mut(&mut self, id: TransceiverId) -> Result<&mut Transceiver, UnknownTransceiver> {
        self.transceivers
            .get_mut(id.0)
            .filter(|transceiver| !transceiver.is_stopped)
            .ok_or(UnknownTransceiver)
    }

    /// Whether an offer of ours would say something new: transceivers were added, turned or stopped, or data
    /// channels are `wanted` and not there.
    pub fn needs_offer(&self, data_wanted: bool) -> bool {
        let has_data = self.agreed.sections.iter().any(|section| section.is_active && section.is_data());
        let is_new = |(i, transceiver): (usize, &Transceiver)| match transceiver.section {
            None => !transceiver.is_stopped,
            Some(at) => {
                let section =
                    self.agreed.sections.get(at).filter(|s| s.transceiver() == Some(TransceiverId(i)));
                // One whose section is gone has nothing more to say.
                section.and_then(|section| section.media.as_ref()).is_some_and(|said| {
                    let is_same = said.wanted == transceiver.direction && said.sender == transceiver.sender;
                    transceiver.is_stopped || !is_same
                })
            }
        };
        (data_wanted && !has_data) || self.transceivers.iter().enumerate().any(is_new)
    }

    /// Where the exchange stands.
    pub fn state(&self) -> SignalingState {
        if self.pending.is_some() { SignalingState::HaveLocalOffer } else { SignalingState::Stable }
    }

    /// The section that local candidates belong to, to be signalled with them: its index and its name. `None`
    /// before any description.
    pub fn candidate_section(&self) -> Option<(usize, Option<Mid>)> {
        let (tag, sections) = match (&self.pending, &self.agreed.transport) {
            (Some(pending), _) => (pending.tag, &pending.sections),
            (None, Some(transport)) => (transport.tag, &self.agreed.sections),
            (None, None) => return None,
        };
        Some((tag, sections.get(tag)?.mid))
    }

    /// Whether accepting `offer` restarts ICE, so that fresh local credentials are needed for its answer
    /// (RFC 8839 §4.4.1.1.1).
    pub fn restarts_ice(&self, offer: &Offer) -> bool {
        let Some(agreed) = &self.agreed.transport else { return false };
        let description = offer.description();
        let Ok(layout) = Layout::read(&description) else { return false };
        let (bundle, _) = layout.bundle(&description, &acceptable(&self.fits(&description)));
        Told::read(&description, &bundle)
            .is_ok_and(|told| told.is_some_and(|t| t.credentials != agreed.remote))
    }

    /// Writes an offer: all that was agreed upon before, and what `options` adds (RFC 8829 §5.2). Credentials in
    /// `facts` that are not those of before ask for an ICE restart.
    pub fn create_offer(
        &mut self,
        facts: &TransportFacts<'_>,
        options: OfferOptions,
    ) -> Result<Offer, NegotiationError> {
        if self.pending.is_some() {
            return Err(NegotiationError::OfferPending);
        }
        let mut sections = self.agreed.sections.clone();
        self.offer_media(&mut sections);
        if options.data && !sections.iter().any(|section| section.is_active && section.is_data()) {
            add(&mut sections, Section::data);
        }
        for i in 0..sections.len() {
            if sections[i].is_active && sections[i].mid.is_none() {
                sections[i].mid = Some(fresh_mid(&sections));
            }
        }
        let mut bundle: Vec<usize> = (0..sections.len()).filter(|i| sections[*i].is_active).collect();
        let tag_before = self.agreed.transport.as_ref().map(|transport| transport.tag);
        // RFC 9143 §7.5: the tagged section stays it as long as it is there.
        if let Some(at) = bundle.iter().position(|i| Some(*i) == tag_before) {
            bundle[..=at].rotate_right(1);
        }
        let Some(&tag) = bundle.first() else { return Err(NegotiationError::NothingToOffer) };

        // RFC 8842 §5.2, RFC 8829 §5.2.2: every offer leaves the choice.
        // draft-hancke-webrtc-sped: the same in all later descriptions.
        let sped = self.agreed.transport.as_ref().map_or(facts.sped, |transport| transport.sped);
        let ice_options = if sped { "trickle ice2 renomination sped" } else { "trickle ice2 renomination" };
        let init = self.agreed.init.to_offer(facts.sctp_init);
        let written = Written::new(facts, Setup::ActPass, init);
        let offer = Offer::from_model(&Description {
            // RFC 8829 §5.2.1
            transport: Transport { ice_options: Some(ice_options), ..Transport::default() },
            ..self.description(facts, &written, &sections, &bundle_names(&sections, &bundle), tag)
        })?;
        self.version += 1;
        let (local_ufrag, ice_lite) = (facts.credentials.ufrag.clone(), facts.ice_lite);
        let init = init.map(<[u8]>::to_vec);
        self.pending = Some(Pending { sections, local_ufrag, ice_lite, tag, sped, init });
        Ok(offer)
    }

    /// Takes an offer of the peer and writes the answer (RFC 8829 §5.3). What is not supported is turned down in
    /// its place, not refused as a whole.
    pub fn accept_offer(
        &mut self,
        offer: &Offer,
        facts: &TransportFacts<'_>,
    ) -> Result<(Answer, Applied), NegotiationError> {
        if self.pending.is_some() {
            return Err(NegotiationError::OfferPending);
        }
        let offer = offer.description();
        let layout = Layout::read(&offer)?;
        let (expected, found) = (self.agreed.sections.len(), offer.media.len());
        if found < expected {
            return Err(NegotiationError::SectionCount { expected, found });
        }
        check_continuity(&self.agreed.sections, &offer, &layout)?;
        let fits = self.fits(&offer);
        let (bundle, is_bundled) = layout.bundle(&offer, &acceptable(&fits));
        let transport = match Told::read(&offer, &bundle)? {
            Some(told) => {
                let side = Side::Answerer { preferred_role: facts.preferred_role };
                let ufrag = &facts.credentials.ufrag;
                let local = Local { side, ufrag, ice_lite: facts.ice_lite, sped: facts.sped };
                Some(self.agree(told, bundle[0], local)?)
            }
            None => None,
        };
        let mut sections = taken_over(&offer, &layout, &bundle);
        let (transceivers, sources) = self.answer_media(&offer, fits, &mut sections);
        let (role, tag) = match &transport {
            Some((agreed, ..)) => (agreed.dtls_role, agreed.tag),
            None => (facts.preferred_role, 0),
        };
        let init = self.agreed.init.agree(facts.sctp_init, &offer, &bundle)?;
        let sped = transport.as_ref().is_some_and(|(agreed, ..)| agreed.sped);
        let ice_options = common_ice_options(&offer, &bundle, sped);
        let written = Written::new(facts, setup_of(role), init.local());
        let names = if is_bundled { bundle_names(&sections, &bundle) } else { String::new() };
        let answer = Answer::from_model(&Description {
            extmap_allow_mixed: offer.extmap_allow_mixed,
            // RFC 8829 §5.3.1: options that the offer has.
            transport: Transport { ice_options: ice_options.as_deref(), ..Transport::default() },
            ..self.description(facts, &written, &sections, &names, tag)
        })?;
        self.version += 1;
        (self.transceivers, self.sources) = (transceivers, sources);
        self.agreed.init = init;
        Ok((answer, self.complete(&offer, &bundle, sections, transport)))
    }

    /// Takes the answer to the offer that is out (RFC 8829 §5.11).
    pub fn accept_answer(&mut self, answer: &Answer) -> Result<Applied, NegotiationError> {
        let Some(pending) = &self.pending else { return Err(NegotiationError::NoOffer) };
        let answer = answer.description();
        let layout = Layout::read(&answer)?;
        let (expected, found) = (pending.sections.len(), answer.media.len());
        if found != expected {
            return Err(NegotiationError::SectionCount { expected, found });
        }
        check_continuity(&pending.sections, &answer, &layout)?;
        let accepted: Vec<bool> = answer.media.iter().map(|section| section.port != 0).collect();
        if let Some(section) = (0..found).find(|i| accepted[*i] && !pending.sections[*i].is_active) {
            return Err(NegotiationError::NotOffered { section });
        }
        let (bundle, _) = layout.bundle(&answer, &accepted);
        let mut is_alone = accepted.clone();
        bundle.iter().for_each(|i| is_alone[*i] = false);
        if let Some(section) = is_alone.iter().position(|is_alone| *is_alone) {
            return Err(NegotiationError::NotBundled { section });
        }
        let transport = match Told::read(&answer, &bundle)? {
            Some(told) => {
                let Pending { local_ufrag: ufrag, ice_lite, sped, .. } = pending;
                let local = Local { side: Side::Offerer, ufrag, ice_lite: *ice_lite, sped: *sped };
                Some(self.agree(told, bundle[0], local)?)
            }
            None => None,
        };
        let init = self.agreed.init.agree(pending.init.as_deref(), &answer, &bundle)?;
        let mut sections = pending.sections.clone();
        for (i, (section, accepted)) in sections.iter_mut().zip(accepted).enumerate() {
            section.is_active &= accepted;
            if let Some(media) = section.media.as_mut().filter(|_| section.is_active) {
                let answered = media.answered(&answer.media[i]);
                *media = answered.ok_or(NegotiationError::NoCommonFormat { section: i })?;
            }
        }
        // RFC 8829 §5.10: a section that the peer turns down ends its transceiver.
        for media in sections.iter().filter(|section| !section.is_active).filter_map(|s| s.media.as_ref()) {
            self.transceivers[media.transceiver.0].is_stopped = true;
        }
        self.pending = None;
        self.agreed.init = init;
        Ok(self.complete(&answer, &bundle, sections, transport))
    }

    /// Takes back the offer that is out (RFC 8829 §4.1.10.2): what was agreed upon before holds, the credentials
    /// of before included.
    pub fn rollback(&mut self) -> Result<(), NegotiationError> {
        self.pending.take().map(|_| ()).ok_or(NegotiationError::NoOffer)
    }

    /// As what each of the offered sections could be taken, were it alone.
    fn fits(&self, offer: &Description<'_>) -> Vec<Fit> {
        // There is one SCTP association, for the section that has it, or else the first that asks.
        let is_offered = |i: &usize| offer.media.get(*i).is_some_and(|s| !s.is_rejected() && is_data(s));
        let established =
            self.agreed.sections.iter().position(|s| s.is_active && s.is_data()).filter(is_offered);
        let data = established.or_else(|| (0..offer.media.len()).find(is_offered));
        let fit = |(i, section): (usize, &MediaSection<'_>)| {
            if Some(i) == data {
                return Fit::Data;
            }
            let Some(kind) = MediaType::from_name(section.kind.name()) else { return Fit::No };
            let owner = self.agreed.sections.get(i).and_then(Section::transceiver);
            let is_stopped = owner.is_some_and(|id| self.transceivers[id.0].is_stopped);
            // RFC 8829 §5.3.1, policy require: RTP and RTCP share a port, or there is no section.
            // A peer that has sections come and go for ever is turned down some day.
            let is_full = owner.is_none() && self.transceivers.len() + i >= MAX_TRANSCEIVERS;
            if section.is_rejected() || is_stopped || is_full || !section.is_rtp() || !section.rtp.rtcp_mux {
                return Fit::No;
            }
            let formats = codecs::answer(section, self.media.capabilities(kind));
            if formats.is_empty() { Fit::No } else { Fit::Media(kind, formats) }
        };
        offer.media.iter().enumerate().map(fit).collect()
    }

    /// Brings the sections of transceivers up to date for an offer, and adds those that are not there yet.
    fn offer_media(&self, sections: &mut Vec<Section>) {
        let (mut numbers, mut ids) = (Numbers::default(), ExtensionIds::default());
        for section in sections.iter_mut() {
            let Some(id) = section.transceiver() else { continue };
            let transceiver = &self.transceivers[id.0];
            section.is_active = !transceiver.is_stopped;
            if let Some(media) = section.media.as_mut() {
                *media = media.offered_again(transceiver);
                numbers.hold(&media.formats);
                media.extensions.iter().for_each(|extension| _ = ids.hold(extension.id, &extension.uri));
            }
        }
        for (i, transceiver) in self.transceivers.iter().enumerate() {
            let has_room = sections.len() < MAX_SECTIONS || sections.iter().any(|section| !section.is_active);
            if transceiver.section.is_some() || transceiver.is_stopped || !has_room {
                continue;
            }
            let media = LocalMedia::offer(TransceiverId(i), transceiver, &self.media, &mut numbers, &mut ids);
            if !media.formats.is_empty() {
                add(sections, |mid| Section::media(mid, media));
            }
        }
    }

    /// Finds or makes the transceivers of the sections that are taken (RFC 8829 §5.10), and says what is said in
    /// them. Returns all transceivers, to be kept when the exchange is complete.
    fn answer_media(
        &self,
        offer: &Description<'_>,
        fits: Vec<Fit>,
        sections: &mut [Section],
    ) -> (Vec<Transceiver>, Sources) {
        let (mut transceivers, mut sources) = (self.transceivers.clone(), self.sources);
        let mut ids = ExtensionIds::default();
        for (i, (fit, section)) in fits.into_iter().zip(sections.iter_mut()).enumerate() {
            let (Fit::Media(kind, formats), true) = (fit, section.is_active) else { continue };
            let owner = self.agreed.sections.get(i).and_then(Section::transceiver).map(|id| id.0);
            let is_free = |t: &Transceiver| t.kind == kind && t.section.is_none() && !t.is_stopped;
            let id = owner.or_else(|| transceivers.iter().position(is_free)).unwrap_or_else(|| {
                transceivers.push(Transceiver {
                    kind,
                    direction: match self.media.incoming {
                        Incoming::Receive => Direction::RecvOnly,
                        Incoming::SendAndReceive => Direction::SendRecv,
                        Incoming::Hold => Direction::Inactive,
                    },
                    // What it may come to send one day has its sources from the start.
                    sender: sources.sender(&[]),
                    level: self.media.level,
                    receive_rids: Vec::new(),
                    section: None,
                    is_stopped: false,
                });
                transceivers.len() - 1
            });
            transceivers[id].section = Some(i);
            let (id, transceiver) = (TransceiverId(id), &transceivers[id]);
            let media = LocalMedia::answer(id, transceiver, &offer.media[i], formats, &self.media, &mut ids);
            section.media = Some(media);
        }
        (transceivers, sources)
    }

    /// Draws from both sides what holds from now on.
    fn agree(
        &self,
        told: Told,
        tag: usize,
        local: Local<'_>,
    ) -> Result<(Agreed, RemoteTransport, bool), NegotiationError> {
        let before = self.agreed.transport.as_ref();
        let ice_restart = match before {
            Some(before) => before.check(&told, local)?,
            None => false,
        };
        let established = before.map(|before| before.dtls_role);
        let dtls_role = match local.side {
            Side::Offerer => offerer_role(told.setup, established, told.source)?,
            Side::Answerer { preferred_role } => {
                answerer_role(told.setup, established, preferred_role, told.source)?
            }
        };
        let ice_role = before.map_or_else(
            || ice_role(local.side == Side::Offerer, local.ice_lite, told.ice_lite),
            |before| before.ice_role,
        );
        let sped = before.map_or(local.sped && told.sped, |before| before.sped);
        let agreed = Agreed {
            sped,
            local_ufrag: local.ufrag.to_owned(),
            remote: told.credentials.clone(),
            fingerprints: told.fingerprints.clone(),
            dtls_role,
            ice_role,
            tag,
            source: told.source,
        };
        let remote = RemoteTransport {
            credentials: told.credentials,
            fingerprints: told.fingerprints,
            candidates: told.candidates,
            end_of_candidates: told.end_of_candidates,
            ice_lite: told.ice_lite,
            sped,
            renomination: told.renomination,
            dtls_role,
            ice_role,
        };
        Ok((agreed, remote, ice_restart))
    }

    /// The exchange is complete: nothing can fail from here on.
    fn complete(
        &mut self,
        remote: &Description<'_>,
        bundle: &[usize],
        sections: Vec<Section>,
        transport: Option<(Agreed, RemoteTransport, bool)>,
    ) -> Applied {
        let data = bundle.iter().map(|i| &remote.media[*i]).find(|section| is_data(section));
        let init = self.agreed.init.remote().map(<[u8]>::to_vec);
        let data = data.map(|section| RemoteData { init, ..RemoteData::read(section) });
        let mut media = Vec::new();
        for (i, (section, remote)) in sections.iter().zip(&remote.media).enumerate() {
            if let Some(id) = section.transceiver() {
                self.transceivers[id.0].section = Some(i);
                let level = self.transceivers[id.0].level;
                let said = section.media.as_ref().filter(|_| section.is_active);
                media.extend(said.map(|media| media.agreed(i, section.mid, remote, level)));
            }
        }
        // RFC 8829 §5.10: whose section is gone is stopped.
        for (i, transceiver) in self.transceivers.iter_mut().enumerate() {
            let has_section = |at| sections.get(at).and_then(Section::transceiver) == Some(TransceiverId(i));
            transceiver.is_stopped |= transceiver.section.is_some_and(|at| !has_section(at));
        }
        self.agreed.sections = sections;
        let said = self.agreed.sections.iter_mut().filter_map(|section| section.media.as_mut());
        said.for_each(LocalMedia::settle);
        match transport {
            Some((agreed, transport, ice_restart)) => {
                self.agreed.transport = Some(agreed);
                Applied { transport: Some(transport), ice_restart, data, media }
            }
            None => Applied { transport: None, ice_restart: false, data, media },
        }
    }

    /// A description of the local side, whose bundle is named by `names` and led by the section `tag`.
    fn description<'a>(
        &self,
        facts: &TransportFacts<'a>,
        written: &'a Written<'a>,
        sections: &'a [Section],
        names: &'a str,
        tag: usize,
    ) -> Description<'a> {
        let sections = sections.iter().enumerate();
        Description {
            origin: Origin { session_id: self.session_id, version: self.version, ..Origin::default() },
            name: "-",
            timing: "0 0",
            groups: if names.is_empty() { Vec::new() } else { vec![Group::new("BUNDLE", names)] },
            ice_lite: facts.ice_lite,
            extmap_allow_mixed: true,
            media: sections.map(|(i, section)| section.write(facts, written, i == tag)).collect(),
            ..Description::default()
        }
    }
}

impl Agreed {
    /// Checks that the transport goes on, or that both sides start ICE anew; says which (RFC 8839 §4.4.1.1.1).
    fn check(&self, told: &Told, local: Local<'_>) -> Result<bool, NegotiationError> {
        if !told.fingerprints.iter().any(|fingerprint| self.fingerprints.contains(fingerprint)) {
            return Err(NegotiationError::FingerprintChanged);
        }
        let (by_us, by_peer) = (self.local_ufrag != local.ufrag, self.remote != told.credentials);
        match (local.side, by_us, by_peer) {
            (Side::Answerer { .. }, false, true) => Err(NegotiationError::CredentialsNotFresh),
            (Side::Answerer { .. }, true, false) | (Side::Offerer, false, true) => {
                Err(NegotiationError::RestartInAnswer)
            }
            _ => Ok(by_us || by_peer),
        }
    }
}

impl Section {
    /// The section as it stands in a description of ours.
    fn write<'a>(
        &'a self,
        facts: &TransportFacts<'a>,
        written: &'a Written<'a>,
        tagged: bool,
    ) -> MediaSection<'a> {
        let mut section = MediaSection {
            kind: MediaKind::from_name(&self.kind),
            protocol: &self.protocol,
            formats: &self.formats,
            mid: self.mid.as_ref().map(Mid::as_str),
            ..MediaSection::default()
        };
        if !self.is_active {
            // RFC 3264 §6: port zero, and nothing else counts.
            section.connection = Some("IN IP4 0.0.0.0");
            section.direction = (!self.is_data()).then_some(Direction::Inactive);
            return section;
        }
        written.fill(&mut section, tagged);
        if let Some(media) = &self.media {
            media.fill(&mut section);
            return section;
        }
        section.sctp = Sctp {
            port: Some(SCTP_PORT),
            max_message_size: Some(facts.max_message_size),
            map: None,
            init: written.sctp_init.as_deref(),
        };
        if section.is_legacy_sctp() {
            // The form of RFC 8841's drafts: the port is the format, and the map says what it carries.
            section.formats = "5000";
            section.sctp.port = None;
            section.sctp.map = Some("5000 webrtc-datachannel 1024");
        }
        section
    }
}

/// Puts a new section where one was turned down, or behind the others (RFC 8829 §5.2.2).
fn add(sections: &mut Vec<Section>, make: impl FnOnce(Mid) -> Section) {
    let section = make(fresh_mid(sections));
    match sections.iter_mut().find(|section| !section.is_active) {
        Some(slot) => *slot = section,
        None => sections.push(section),
    }
}

/// As what an offered section can be taken.
#[derive(Debug)]
enum Fit {
    No,
    Data,
    Media(MediaType, Vec<Format>),
}

fn acceptable(fits: &[Fit]) -> Vec<bool> {
    fits.iter().map(|fit| !matches!(fit, Fit::No)).collect()
}

/// The sections of an offer, of which those in `bundle` are accepted.
fn taken_over(offer: &Description<'_>, layout: &Layout, bundle: &[usize]) -> Vec<Section> {
    let mut is_active = vec![false; offer.media.len()];
    bundle.iter().for_each(|i| is_active[*i] = true);
    let sections = offer.media.iter().zip(&layout.mids).zip(is_active);
    sections.map(|((section, mid), is_active)| Section::of(section, *mid, is_active)).collect()
}

/// The names of the sections in `bundle`, for `a=group:BUNDLE`.
fn bundle_names(sections: &[Section], bundle: &[usize]) -> String {
    let names = bundle.iter().filter_map(|i| sections[*i].mid.as_ref()).map(Mid::as_str);
    names.collect::<Vec<_>>().join(" ")
}

/// The ICE options of ours that the offer has too; `sped` as it was agreed upon.
fn common_ice_options(offer: &Description<'_>, bundle: &[usize], sped: bool) -> Option<String> {
    let is_common = |option: &&str| match *option {
        "sped" => sped,
        option => has_ice_option(offer, bundle, option),
    };
    let options: Vec<_> = ["trickle", "ice2", "renomination", "sped"].into_iter().filter(is_common).collect();
    (!options.is_empty()).then(|| options.join(" "))
}

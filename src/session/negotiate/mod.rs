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
//! | file | what | RFC |
//! |---|---|---|
//! | here | the states, and the way of an exchange | 8829 §3.2, 3264 |
//! | `transceivers` | what the application wants of media | 8829 §4.2.1 |
//! | `fit` | as what an offered section can be taken | 8829 §5.3.1 |
//! | `codecs` | formats in common | 3264 §6.1, 9429 §5 |
//! | `media`, `local_media` | what is said about media, and agreed upon | 8829 §5.2.1, §5.10 |
//! | `sections` | order, names and bundle of the sections | 9143, 5888 |
//! | `transport`, `agreed` | what the peer says of its transport, and what both make of it | 8839, 8842 |
//! | `init` | SCTP's INIT chunks | draft-hancke-tsvwg-snap |
//! | `draft` | descriptions of ours, put together | 8829 §5.2.1 |
//! | `trickle` | candidates that come later | 8838, 8840 |
//! | `sources` | SSRCs and other names of what is sent | 3550 §8.1, 7022 |
//!
//! The machine knows nothing of ICE or DTLS: the session gives it the [facts](TransportFacts) of the local side and
//! carries out what was [agreed](Applied). A call that fails changes nothing. `have-remote-offer` is no state of
//! rest here, since an offer is taken and answered in one call.
//!
//! Glare is the application's to resolve, as in "perfect negotiation": the polite side calls
//! [`rollback`](Negotiator::rollback) and accepts the other's offer, the impolite one ignores that offer.

mod agreed;
mod codecs;
mod draft;
mod error;
mod fit;
mod init;
mod local_media;
mod media;
mod sections;
mod sources;
#[cfg(test)]
mod tests;
mod transceivers;
mod transport;
mod trickle;

pub use codecs::{Capability, Format};
pub use error::{NegotiationError, TrickleError, UnknownTransceiver};
pub use media::{
    AgreedExtension, AgreedMedia, Encoding, Incoming, Label, MAX_SSRCS, MediaConfig, MediaLevel, RemoteMedia,
    Sender,
};
pub use transceivers::{MAX_TRANSCEIVERS, TransceiverId, TransceiverView};
pub use transport::{Applied, RemoteData, RemoteTransport, SCTP_PORT, TransportFacts};
pub use trickle::{Ignored, RemoteCandidate, Trickled};

use crate::rng::Rng;
use crate::sdp::{Answer, Description, Offer, Origin};
use crate::types::codec::MediaType;
use crate::types::direction::Direction;
use crate::types::ids::{Mid, Rid};
use crate::types::setup::Setup;

use agreed::{Agreed, Local, Settled, Side, setup_of};
use draft::{Draft, Written, bundle_names, common_ice_options, ice_options};
use fit::{acceptable, fits};
use init::Init;
use local_media::LocalMedia;
use sections::{Layout, Section, add, check_continuity, is_data, name_all, offered_bundle, taken_over};
use transceivers::{Transceiver, Transceivers};
use transport::Told;

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

/// The offer/answer machine of one connection. `Clone` lets a caller try a step and keep the former state.
#[derive(Debug, Clone)]
pub struct Negotiator {
    /// Its version grows with every description written, as RFC 8829 §5.2.2 has it.
    origin: Origin<'static>,
    transceivers: Transceivers,
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

impl Agreement {
    fn has_data(&self) -> bool {
        self.sections.iter().any(|section| section.is_active && section.is_data())
    }
}

impl Negotiator {
    /// A machine in the stable state, without any section.
    pub fn new(rng: &mut Rng) -> Self {
        // RFC 8829 §5.2.1: 64 bits, of which the first is zero.
        let session_id = rng.u64() >> 1;
        Negotiator {
            origin: Origin { session_id, version: 0, ..Origin::default() },
            transceivers: Transceivers::new(rng.u64()),
            agreed: Agreement::default(),
            pending: None,
        }
    }

    /// The same machine with media: by default every section of audio and video is turned down. Formats and header
    /// extensions whose text could not stand in a description are left out.
    #[must_use]
    pub fn with_media(self, media: MediaConfig) -> Self {
        Negotiator { transceivers: self.transceivers.with_config(media), ..self }
    }

    /// The media that the local side speaks.
    pub fn media_config(&self) -> &MediaConfig {
        self.transceivers.config()
    }

    // ---- transceivers ---------------------------------------------------------------------------------------

    /// Adds a way for media, to be offered next, or matched with the next section of this kind that the peer
    /// offers. `receive_rids` are the layers asked for in an offer, when it receives.
    pub fn add_transceiver(
        &mut self,
        kind: MediaType,
        direction: Direction,
        sender: Sender,
        receive_rids: Vec<Rid>,
    ) -> TransceiverId {
        let level = self.media_config().level;
        self.transceivers.add(Transceiver::new(kind, direction, sender, level, receive_rids))
    }

    /// What the transceiver is to do; counts from the next exchange on.
    pub fn set_direction(
        &mut self,
        id: TransceiverId,
        direction: Direction,
    ) -> Result<(), UnknownTransceiver> {
        self.transceivers.live_mut(id)?.direction = direction;
        Ok(())
    }

    /// What the transceiver is to send; counts from the next exchange on.
    pub fn set_sender(&mut self, id: TransceiverId, sender: Sender) -> Result<(), UnknownTransceiver> {
        self.transceivers.live_mut(id)?.sender = sender;
        Ok(())
    }

    /// Ends the transceiver for good; the next exchange turns its section down (RFC 8829 §4.2.1).
    pub fn stop_transceiver(&mut self, id: TransceiverId) -> Result<(), UnknownTransceiver> {
        self.transceivers.live_mut(id)?.is_stopped = true;
        Ok(())
    }

    /// How what it receives is handed out; counts from the next exchange on, as far as this machine is concerned.
    pub fn set_level(&mut self, id: TransceiverId, level: MediaLevel) -> Result<(), UnknownTransceiver> {
        self.transceivers.live_mut(id)?.level = level;
        Ok(())
    }

    /// Fresh sources for what a transceiver sends: one stream, or one for each of `rids`, all with the same
    /// canonical name, and a retransmission source each.
    pub fn draw_sender(&mut self, rids: &[Rid]) -> Sender {
        self.transceivers.draw_sender(rids)
    }

    /// All transceivers, stopped ones included, in the order in which they were made.
    pub fn transceivers(&self) -> impl Iterator<Item = TransceiverId> + use<> {
        self.transceivers.ids()
    }

    /// What is wanted of a transceiver, and where it is.
    pub fn transceiver(&self, id: TransceiverId) -> Option<TransceiverView<'_>> {
        self.transceivers.view(id, &self.agreed.sections)
    }

    /// Whether an offer of ours would say something new: transceivers were added, turned or stopped, or data
    /// channels are `wanted` and not there.
    pub fn needs_offer(&self, data_wanted: bool) -> bool {
        (data_wanted && !self.agreed.has_data()) || self.transceivers.have_news(&self.agreed.sections)
    }

    // ---- exchanges ------------------------------------------------------------------------------------------

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
        let fits = fits(&description, &self.agreed.sections, &self.transceivers);
        let (bundle, _) = layout.bundle(&description, &acceptable(&fits));
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
        let before = self.agreed.transport.as_ref();
        let mut sections = self.agreed.sections.clone();
        self.transceivers.offer(&mut sections);
        if options.data && !sections.iter().any(|section| section.is_active && section.is_data()) {
            add(&mut sections, Section::data);
        }
        name_all(&mut sections);
        let bundle = offered_bundle(&sections, before.map(|transport| transport.tag));
        let Some(&tag) = bundle.first() else { return Err(NegotiationError::NothingToOffer) };
        // draft-hancke-webrtc-sped: the same in all later descriptions.
        let sped = before.map_or(facts.sped, |transport| transport.sped);
        let init = self.agreed.init.to_offer(facts.sctp_init);
        let draft = Draft {
            origin: self.origin,
            ice_options: ice_options(sped),
            extmap_allow_mixed: true,
            // RFC 8842 §5.2, RFC 8829 §5.2.2: every offer leaves the choice.
            transport: Written::new(facts, Setup::ActPass, init),
            sections: &sections,
            bundle: bundle_names(&sections, &bundle),
            tag,
        };
        let offer = Offer::from_model(&draft.description())?;
        self.origin.version += 1;
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
        let fits = fits(&offer, &self.agreed.sections, &self.transceivers);
        let (bundle, is_bundled) = layout.bundle(&offer, &acceptable(&fits));
        let side = Side::Answerer { preferred_role: facts.preferred_role };
        let ufrag = &facts.credentials.ufrag;
        let local = Local { side, ufrag, ice_lite: facts.ice_lite, sped: facts.sped };
        let transport = self.settle(&offer, &bundle, local)?;
        let mut sections = taken_over(&offer, &layout, &bundle);
        let mut transceivers = self.transceivers.clone();
        transceivers.answer(&offer, fits, &self.agreed.sections, &mut sections);
        let init = self.agreed.init.agree(facts.sctp_init, &offer, &bundle)?;
        let agreed = transport.as_ref().map(|settled| &settled.agreed);
        let role = agreed.map_or(facts.preferred_role, |agreed| agreed.dtls_role);
        let draft = Draft {
            origin: self.origin,
            // RFC 8829 §5.3.1: options that the offer has.
            ice_options: common_ice_options(&offer, &bundle, agreed.is_some_and(|agreed| agreed.sped)),
            extmap_allow_mixed: offer.extmap_allow_mixed,
            transport: Written::new(facts, setup_of(role), init.local()),
            sections: &sections,
            bundle: if is_bundled { bundle_names(&sections, &bundle) } else { String::new() },
            tag: agreed.map_or(0, |agreed| agreed.tag),
        };
        let answer = Answer::from_model(&draft.description())?;
        self.origin.version += 1;
        self.transceivers = transceivers;
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
        let (accepted, bundle) = layout.answered(&answer, &pending.sections)?;
        let Pending { local_ufrag: ufrag, ice_lite, sped, .. } = pending;
        let local = Local { side: Side::Offerer, ufrag, ice_lite: *ice_lite, sped: *sped };
        let transport = self.settle(&answer, &bundle, local)?;
        let init = self.agreed.init.agree(pending.init.as_deref(), &answer, &bundle)?;
        let mut sections = pending.sections.clone();
        for (i, (section, accepted)) in sections.iter_mut().zip(accepted).enumerate() {
            section.is_active &= accepted;
            if let Some(media) = section.media.as_mut().filter(|_| section.is_active) {
                let answered = media.answered(&answer.media[i]);
                *media = answered.ok_or(NegotiationError::NoCommonFormat { section: i })?;
            }
        }
        self.transceivers.on_turned_down(&sections);
        self.pending = None;
        self.agreed.init = init;
        Ok(self.complete(&answer, &bundle, sections, transport))
    }

    /// Takes back the offer that is out (RFC 8829 §4.1.10.2): what was agreed upon before holds, the credentials
    /// of before included.
    pub fn rollback(&mut self) -> Result<(), NegotiationError> {
        self.pending.take().map(|_| ()).ok_or(NegotiationError::NoOffer)
    }

    /// What the peer's description and the local side make of the transport; `None` when no section is left that
    /// would use one.
    fn settle(
        &self,
        remote: &Description<'_>,
        bundle: &[usize],
        local: Local<'_>,
    ) -> Result<Option<Settled>, NegotiationError> {
        let Some(told) = Told::read(remote, bundle)? else { return Ok(None) };
        Agreed::draw(self.agreed.transport.as_ref(), told, bundle[0], local).map(Some)
    }

    /// The exchange is complete: nothing can fail from here on.
    fn complete(
        &mut self,
        remote: &Description<'_>,
        bundle: &[usize],
        sections: Vec<Section>,
        transport: Option<Settled>,
    ) -> Applied {
        let data = bundle.iter().map(|i| &remote.media[*i]).find(|section| is_data(section));
        let init = self.agreed.init.remote().map(<[u8]>::to_vec);
        let data = data.map(|section| RemoteData { init, ..RemoteData::read(section) });
        let media = self.transceivers.on_agreed(&sections, remote);
        self.agreed.sections = sections;
        let said = self.agreed.sections.iter_mut().filter_map(|section| section.media.as_mut());
        said.for_each(LocalMedia::settle);
        match transport {
            Some(Settled { agreed, remote, ice_restart }) => {
                self.agreed.transport = Some(agreed);
                Applied { transport: Some(remote), ice_restart, data, media }
            }
            None => Applied { transport: None, ice_restart: false, data, media },
        }
    }
}

//! Transceivers: what the application wants of media, and which section each has (RFC 8829 §3.4.1, §4.2.1).
//!
//! An exchange reads them to write sections, and tells them at its end which sections they have. They never go: one
//! that is stopped keeps its place, so that an id means the same for good.

use std::sync::Arc;

use crate::sdp::{Description, MAX_SECTIONS, MediaSection};
use crate::session::negotiate::codecs::{self, Format, Numbers};
use crate::session::negotiate::error::UnknownTransceiver;
use crate::session::negotiate::fit::Fit;
use crate::session::negotiate::local_media::{ExtensionIds, LocalMedia};
use crate::session::negotiate::media::{AgreedMedia, Incoming, MediaConfig, MediaLevel, Sender};
use crate::session::negotiate::sections::{Section, add};
use crate::session::negotiate::sources::Sources;
use crate::types::codec::MediaType;
use crate::types::direction::Direction;
use crate::types::ids::{Mid, Rid};

/// The most transceivers that one connection has, stopped ones included.
pub const MAX_TRANSCEIVERS: usize = 4096;

/// Names a transceiver of one connection, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransceiverId(pub(super) usize);

impl TransceiverId {
    /// Its place among the transceivers of its connection, in the order in which they were made.
    pub(crate) fn index(self) -> usize {
        self.0
    }
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

/// A way for media, made by the application or by an offer of the peer.
#[derive(Debug, Clone)]
pub(super) struct Transceiver {
    pub(super) kind: MediaType,
    /// What the application wants.
    pub(super) direction: Direction,
    pub(super) sender: Sender,
    pub(super) level: MediaLevel,
    /// The layers that are asked for in an offer of ours, when it receives.
    pub(super) receive_rids: Vec<Rid>,
    /// Its section, once agreed upon.
    section: Option<usize>,
    pub(super) is_stopped: bool,
}

impl Transceiver {
    pub(super) fn new(
        kind: MediaType,
        direction: Direction,
        sender: Sender,
        level: MediaLevel,
        receive_rids: Vec<Rid>,
    ) -> Self {
        Transceiver { kind, direction, sender, level, receive_rids, section: None, is_stopped: false }
    }
}

/// All transceivers of a connection, in the order in which they were made, and the media that they may carry.
///
/// `Clone` lets an exchange be tried. Offers of the peer add to them up to [`MAX_TRANSCEIVERS`].
#[derive(Debug, Clone)]
pub(super) struct Transceivers {
    /// Shared by the copies that steps are tried on.
    config: Arc<MediaConfig>,
    all: Vec<Transceiver>,
    sources: Sources,
}

impl Transceivers {
    /// None yet, of a connection without media. Sources are drawn from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Transceivers { config: Arc::default(), all: Vec::new(), sources: Sources::new(seed) }
    }

    pub(super) fn with_config(self, config: MediaConfig) -> Self {
        Transceivers { config: Arc::new(config.printable()), ..self }
    }

    pub(super) fn config(&self) -> &MediaConfig {
        &self.config
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = TransceiverId> + use<> {
        (0..self.all.len()).map(TransceiverId)
    }

    /// Fresh sources for what a transceiver sends: one stream, or one for each of `rids`.
    pub(super) fn draw_sender(&mut self, rids: &[Rid]) -> Sender {
        self.sources.sender(rids)
    }

    pub(super) fn add(&mut self, transceiver: Transceiver) -> TransceiverId {
        self.all.push(transceiver);
        TransceiverId(self.all.len() - 1)
    }

    /// One that can still be changed.
    pub(super) fn live_mut(&mut self, id: TransceiverId) -> Result<&mut Transceiver, UnknownTransceiver> {
        let transceiver = self.all.get_mut(id.0).filter(|transceiver| !transceiver.is_stopped);
        transceiver.ok_or(UnknownTransceiver)
    }

    pub(super) fn is_stopped(&self, id: TransceiverId) -> bool {
        self.all[id.0].is_stopped
    }

    /// What is wanted of a transceiver, and where among the agreed `sections` it is.
    pub(super) fn view(&self, id: TransceiverId, sections: &[Section]) -> Option<TransceiverView<'_>> {
        let transceiver = self.all.get(id.0)?;
        let section = transceiver.section.and_then(|at| sections.get(at));
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

    /// Whether one was added, turned or stopped since the `sections` were agreed upon.
    pub(super) fn have_news(&self, sections: &[Section]) -> bool {
        self.ids().zip(&self.all).any(|(id, transceiver)| match transceiver.section {
            None => !transceiver.is_stopped,
            Some(at) => {
                let section = sections.get(at).filter(|section| section.transceiver() == Some(id));
                // One whose section is gone has nothing more to say.
                section.and_then(|section| section.media.as_ref()).is_some_and(|said| {
                    let is_same = said.wanted == transceiver.direction && said.sender == transceiver.sender;
                    transceiver.is_stopped || !is_same
                })
            }
        })
    }

    /// The formats of an offered section that are spoken here; empty when it cannot be taken.
    pub(super) fn common_formats(&self, kind: MediaType, section: &MediaSection<'_>) -> Vec<Format> {
        codecs::answer(section, self.config.capabilities(kind))
    }

    // ---- in an exchange -------------------------------------------------------------------------------------

    /// Brings the sections of transceivers up to date for an offer, and adds those that are not there yet.
    pub(super) fn offer(&self, sections: &mut Vec<Section>) {
        let (mut numbers, mut ids) = (Numbers::default(), ExtensionIds::default());
        for section in sections.iter_mut() {
            let Some(id) = section.transceiver() else { continue };
            let transceiver = &self.all[id.0];
            section.is_active = !transceiver.is_stopped;
            if let Some(media) = section.media.as_mut() {
                *media = media.offered_again(transceiver);
                numbers.hold(&media.formats);
                media.extensions.iter().for_each(|extension| _ = ids.hold(extension.id, &extension.uri));
            }
        }
        for (id, transceiver) in self.ids().zip(&self.all) {
            let has_room = sections.len() < MAX_SECTIONS || sections.iter().any(|section| !section.is_active);
            if transceiver.section.is_some() || transceiver.is_stopped || !has_room {
                continue;
            }
            let media = LocalMedia::offer(id, transceiver, &self.config, &mut numbers, &mut ids);
            if !media.formats.is_empty() {
                add(sections, |mid| Section::media(mid, media));
            }
        }
    }

    /// Finds or makes the transceivers of the sections that are taken (RFC 8829 §5.10), and says what is said in
    /// them. `before` are the sections that were agreed upon before.
    pub(super) fn answer(
        &mut self,
        offer: &Description<'_>,
        fits: Vec<Fit>,
        before: &[Section],
        sections: &mut [Section],
    ) {
        let mut ids = ExtensionIds::default();
        for (i, (fit, section)) in fits.into_iter().zip(sections.iter_mut()).enumerate() {
            let (Fit::Media(kind, formats), true) = (fit, section.is_active) else { continue };
            let owner = before.get(i).and_then(Section::transceiver);
            let id = owner.or_else(|| self.waiting(kind)).unwrap_or_else(|| self.add_incoming(kind));
            let transceiver = &mut self.all[id.0];
            transceiver.section = Some(i);
            let media = LocalMedia::answer(id, transceiver, &offer.media[i], formats, &self.config, &mut ids);
            section.media = Some(media);
        }
    }

    /// The first that has no section yet.
    fn waiting(&self, kind: MediaType) -> Option<TransceiverId> {
        let is_free = |t: &Transceiver| t.kind == kind && t.section.is_none() && !t.is_stopped;
        self.all.iter().position(is_free).map(TransceiverId)
    }

    /// One for media that the peer offers and no transceiver waits for.
    fn add_incoming(&mut self, kind: MediaType) -> TransceiverId {
        let direction = match self.config.incoming {
            Incoming::Receive => Direction::RecvOnly,
            Incoming::SendAndReceive => Direction::SendRecv,
            Incoming::Hold => Direction::Inactive,
        };
        // What it may come to send one day has its sources from the start.
        let sender = self.sources.sender(&[]);
        self.add(Transceiver::new(kind, direction, sender, self.config.level, Vec::new()))
    }

    /// RFC 8829 §5.10: a section that the peer turns down ends its transceiver.
    pub(super) fn on_turned_down(&mut self, sections: &[Section]) {
        for media in sections.iter().filter(|section| !section.is_active).filter_map(|s| s.media.as_ref()) {
            self.all[media.transceiver.0].is_stopped = true;
        }
    }

    /// The exchange is complete: each has the section that was agreed upon, or has ended. Returns what the session
    /// is told of them; `remote` is the peer's description.
    pub(super) fn on_agreed(&mut self, sections: &[Section], remote: &Description<'_>) -> Vec<AgreedMedia> {
        let mut agreed = Vec::new();
        for (i, (section, remote)) in sections.iter().zip(&remote.media).enumerate() {
            if let Some(id) = section.transceiver() {
                let transceiver = &mut self.all[id.0];
                transceiver.section = Some(i);
                let said = section.media.as_ref();
                agreed.extend(said.map(|media| media.agreed(i, section.mid, remote, transceiver.level)));
            }
        }
        // RFC 8829 §5.10: whose section is gone is stopped.
        for (i, transceiver) in self.all.iter_mut().enumerate() {
            let has_section = |at| sections.get(at).and_then(Section::transceiver) == Some(TransceiverId(i));
            transceiver.is_stopped |= transceiver.section.is_some_and(|at| !has_section(at));
        }
        agreed
    }
}

//! Media of one connection: RTP and RTCP between the transport and the application.
//!
//! ```text
//!  datagram ── open (SRTP) ── router ──> Receiver ──> Event::Packet
//!                        └ RTCP ──> streams, events
//!
//!  send_packet ── written once ──> Queue ── stamped and sealed where it lies ──> Transmit
//! ```
//!
//! What was agreed for a transceiver is a `line::Line`. A stream of the peer is made by its first authentic
//! packet that belongs to a line; a stream that is sent, by the agreement.
//!
//! | bound | of |
//! |---|---|
//! | [`MAX_RECEIVERS`] | streams of the peer, all together |
//! | [`MAX_UNSIGNALLED`](crate::srtp::MAX_UNSIGNALLED) | streams that were not signalled |
//! | [`MAX_WAITING`] | packets that the application has not polled; the newest are dropped |
//! | `queue::MAX_PACKETS`, `media_send_buffer` | packets that wait to be sent |

mod control;
mod forward;
mod frames;
mod line;
mod packet;
mod pause;
mod protection;
mod queue;
mod receive;
mod receiver;
mod repair;
mod router;
mod rtcp;
mod send;
mod send_frame;
mod sender;
mod stats;
#[cfg(test)]
mod tests;
mod transceiver;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;
use slab::Slab;

use crate::buffer::Pool;
use crate::crypto::Backend;
use crate::dtls::SrtpKeys;
use crate::rng::Rng;
use crate::rtp::ext::{Ids, Kind};
use crate::session::event::Event;
use crate::session::negotiate::{AgreedMedia, MediaConfig, MediaLevel, TransceiverId};
use crate::srtp::keys::MasterKey;
use crate::srtp::{Cryptex, Inbound, Outbound};
use crate::time::Clock;
use crate::types::ids::Ssrc;

pub use frames::{FrameToSend, LostFrame, MediaFrame};
pub use packet::{OutgoingPacket, PacketOrigin, ReceiverId, RtpPacket, SendMediaError};
pub use pause::PAUSED_AFTER;
pub use protection::MediaProtection;
pub(crate) use send::RunKind;
pub use stats::{InboundRtp, MediaStats, OutboundRtp};
pub use transceiver::{ReceiverInfo, TransceiverConfig, TransceiverError, TransceiverInfo};

use control::{Control, Uses};
use line::Line;
use queue::Queue;
use receiver::Receiver;
use router::{Router, Sources};
use sender::SendStream;

/// Streams of the peer at once.
pub const MAX_RECEIVERS: usize = 1024;
/// Packets that wait for the application to poll them.
pub const MAX_WAITING: usize = 1024;
/// Events that wait before those that can be done without are dropped.
const MAX_EVENTS: usize = 4096;
/// Signalled sources that are taken note of, over all sections.
const MAX_SIGNALLED: usize = 1024;

/// RTP and RTCP packets that were dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DroppedMedia {
    /// They came before the keys, or the peer agreed to no SRTP profile.
    pub no_keys: u64,
    /// The tag is false: forged, or damaged on the way.
    pub unauthentic: u64,
    /// Seen before, or too old to tell.
    pub replayed: u64,
    /// No RTP or RTCP packet.
    pub malformed: u64,
    /// One stream too many.
    pub too_many_streams: u64,
    /// Of no section: its MID or its source is unknown, and its payload type belongs to none or to several.
    pub unknown_stream: u64,
    /// Of a payload type that was not agreed.
    pub unknown_format: u64,
    /// Far from all others of its stream; the next one tells whether the stream started anew.
    pub stray: u64,
    /// Delivered before, another way: a retransmission that was not needed, or came too late.
    pub duplicate: u64,
    /// Of a section that does not receive now.
    pub not_receiving: u64,
    /// The application did not poll.
    pub not_polled: u64,
}

/// What media needs of the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MediaLimits {
    pub(crate) datagram_size: usize,
    pub(crate) send_buffer: usize,
    pub(crate) backend: &'static dyn Backend,
}

/// The two SRTP contexts.
#[derive(Debug)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
struct Keys {
    outbound: Outbound,
    inbound: Inbound,
}

/// RTP and RTCP of one connection.
#[derive(Debug)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub(crate) struct Media {
    /// By the index of the transceiver.
    lines: Vec<Option<Box<Line>>>,
    /// Not after the time at which an assembly gives up what it waits for.
    frames_due: Option<Instant>,
    limits: MediaLimits,
    clock: Clock,
    queue: Queue,
    control: Control,
    keys: Option<Keys>,
    /// The line of each source of ours.
    own: Sources,
    /// What extension ids mean, over all sections.
    ids: Ids,
    /// The URIs of header extensions that the application brought: [`Kind::Other`] counts them.
    own_extensions: Vec<Cow<'static, str>>,
    router: Router,
    receivers: Slab<Receiver>,
    generation: u32,
    /// The place among the receivers of each source that packets came from.
    known: Sources,
    /// Where packets lie that were put together from redundancy; nothing before the first.
    recovered: Pool,
    /// Packets among the events.
    waiting: usize,
    /// Bytes of the frames among the events, with what each takes beside its data.
    waiting_bytes: usize,
    /// The source of RTCP while nothing is sent.
    own_ssrc: Ssrc,
    cname: String,
    pub(crate) dropped: DroppedMedia,
}

impl Media {
    pub(crate) fn new(limits: MediaLimits, clock: Clock, config: &MediaConfig, mut rng: Rng) -> Self {
        Media {
            limits,
            clock,
            keys: None,
            lines: Vec::new(),
            ids: Ids::new(),
            own_extensions: own_extensions(config).cloned().collect(),
            router: Router::default(),
            receivers: Slab::new(),
            generation: 0,
            known: Sources::default(),
            own: Sources::default(),
            queue: Queue::default(),
            recovered: Pool::new(),
            waiting: 0,
            waiting_bytes: 0,
            frames_due: None,
            own_ssrc: Ssrc(rng.u32()),
            control: Control::new(rng),
            cname: String::new(),
            dropped: DroppedMedia::default(),
        }
    }

    /// DTLS is done.
    pub(crate) fn set_keys(&mut self, keys: &SrtpKeys) {
        if self.keys.is_some() {
            return;
        }
        let SrtpKeys { profile, local, remote } = keys;
        let (backend, cryptex) = (self.limits.backend, self.cryptex());
        let contexts = || {
            let local = MasterKey::new(*profile, local.key.as_bytes(), local.salt.as_bytes())?;
            let remote = MasterKey::new(*profile, remote.key.as_bytes(), remote.salt.as_bytes())?;
            let outbound = local.outbound(backend, *profile, cryptex)?;
            Ok::<_, crate::crypto::InvalidKey>(Keys {
                inbound: remote.inbound(backend, *profile, cryptex)?,
                outbound,
            })
        };
        // The lengths are those of the profile, which the backends know: this does not fail.
        self.keys = contexts().ok();
        self.announce();
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Signalled sources do not count against the bound of unknown ones.
    fn announce(&mut self) {
        if let Some(keys) = &mut self.keys {
            self.router.signalled.iter().for_each(|(ssrc, _)| keys.inbound.announce(ssrc));
        }
    }

    /// An exchange of descriptions is complete: `agreed` holds all sections of audio and video that are in use.
    pub(crate) fn apply(&mut self, agreed: Vec<AgreedMedia>, events: &mut VecDeque<Event>) {
        let mut lines: Vec<Option<Box<Line>>> = Vec::new();
        lines.resize_with(self.lines.len(), || None);
        std::mem::swap(&mut lines, &mut self.lines);
        self.own = Sources::default();
        for media in agreed {
            let at = media.transceiver.index();
            if self.lines.len() <= at {
                self.lines.resize_with(at + 1, || None);
                lines.resize_with(at + 1, || None);
            }
            let before = lines.get_mut(at).and_then(Option::take);
            let line = self.line_of(media, before, events);
            if let Some(place) = self.lines.get_mut(at) {
                *place = Some(line);
            }
        }
        // What is left has lost its section.
        for line in lines.into_iter().flatten() {
            events.push_back(Event::Transceiver(line.agreed.transceiver));
            self.control.say_goodbye(&line.streams);
        }
        self.route_anew();
        self.end_orphans(events);
        self.note_uses();
        self.announce();
        let cryptex = self.cryptex();
        if let Some(keys) = &mut self.keys {
            keys.inbound.set_cryptex(cryptex);
            keys.outbound.set_cryptex(cryptex);
        }
    }

    /// The line of an agreement; streams that go on keep what they know.
    fn line_of(
        &mut self,
        media: AgreedMedia,
        before: Option<Box<Line>>,
        events: &mut VecDeque<Event>,
    ) -> Box<Line> {
        if before.as_ref().is_none_or(|before| before.agreed != media) {
            events.push_back(Event::Transceiver(media.transceiver));
        }
        let mut ids = Ids::new();
        for extension in media.extensions.iter() {
            if let Some(kind) = self.kind_of(&extension.uri) {
                ids.insert(extension.id, kind);
            }
        }
        let mut line = Box::new(Line::new(media, ids));
        let mut old = before.map(|before| before.streams).unwrap_or_default();
        // A vector that grows would make room for four at once.
        line.streams.reserve_exact(line.agreed.sender.encodings.len());
        for encoding in &line.agreed.sender.encodings {
            let known = old.iter().position(|stream| stream.ssrc == encoding.ssrc);
            let is_known = known.map(|at| old.swap_remove(at));
            let mut stream = is_known.unwrap_or_else(|| SendStream::new(encoding));
            stream.on_agreed();
            line.streams.push(stream);
        }
        self.control.say_goodbye(&old);
        self.cname.clear();
        self.cname.push_str(line.agreed.sender.cname.as_str());
        line
    }

    /// What a URI stands for.
    fn kind_of(&self, uri: &str) -> Option<Kind> {
        Kind::from_uri(uri).or_else(|| {
            let at = self.own_extensions.iter().position(|own| own == uri)?;
            u16::try_from(at).ok().map(Kind::Other)
        })
    }

    /// RFC 9335 §4: everything that is sent over the transport, or nothing.
    fn cryptex(&self) -> Cryptex {
        let mut lines = self.lines.iter().flatten().peekable();
        if lines.peek().is_some() && lines.all(|line| line.agreed.cryptex) {
            Cryptex::On
        } else {
            Cryptex::Off
        }
    }

    /// Fills the tables of the router from the lines.
    fn route_anew(&mut self) {
        self.router = Router::default();
        self.ids = Ids::new();
        for (at, line) in (0u16..).zip(&self.lines) {
            let Some(line) = line else { continue };
            let media = &line.agreed;
            line.ids.iter().for_each(|(id, kind)| _ = self.ids.insert(id, kind));
            if let Some(mid) = media.mid {
                self.router.add_mid(mid, at);
            }
            for format in media.formats.iter() {
                let pts = [Some(format.receive), format.rtx.map(|(receive, _)| receive)];
                pts.into_iter().flatten().for_each(|pt| self.router.add_payload_type(pt, at));
            }
            for ssrc in &media.remote.ssrcs {
                if self.router.signalled.len() < MAX_SIGNALLED {
                    self.router.signalled.insert(*ssrc, at.into());
                }
            }
            for stream in &line.streams {
                self.own.insert(stream.ssrc, at.into());
                let others = [stream.rtx, stream.protection.fec];
                others.into_iter().flatten().for_each(|ssrc| self.own.insert(ssrc, at.into()));
            }
        }
    }

    /// Ends the streams whose line is gone.
    fn end_orphans(&mut self, events: &mut VecDeque<Event>) {
        let lines = &self.lines;
        let has_line = |receiver: &Receiver| matches!(lines.get(usize::from(receiver.line)), Some(Some(_)));
        let gone: Vec<usize> =
            self.receivers.iter().filter(|(_, receiver)| !has_line(receiver)).map(|(at, _)| at).collect();
        for at in gone {
            // The signalling has taken the stream away, so its place among those that SRTP knows is free.
            let ssrc = self.receivers.get(at).map(|receiver| receiver.ssrc);
            if let (Some(keys), Some(ssrc)) = (&mut self.keys, ssrc) {
                keys.inbound.forget(ssrc);
            }
            self.end_receiver(at, events);
        }
    }

    /// Which feedback is spoken: what any section in use has agreed upon.
    fn note_uses(&mut self) {
        let mut uses = Uses { reduced_size: true, ..Uses::default() };
        for line in self.lines.iter().flatten() {
            let media = &line.agreed;
            uses.reduced_size &= media.rtcp_reduced_size;
            uses.video |= media.kind == crate::types::codec::MediaType::Video;
            for format in media.formats.iter() {
                uses.transport_cc |= format.feedback.transport_cc;
                uses.ccfb |= format.feedback.ccfb;
                uses.remb |= format.feedback.remb;
            }
        }
        self.control.uses = uses;
    }

    fn line_mut(&mut self, at: u32) -> Option<&mut Line> {
        self.lines.get_mut(usize::try_from(at).ok()?)?.as_deref_mut()
    }

    /// What was agreed for a transceiver.
    pub(crate) fn agreed(&self, transceiver: TransceiverId) -> Option<&AgreedMedia> {
        self.lines.get(transceiver.index())?.as_ref().map(|line| &line.agreed)
    }

    fn own_stream(&mut self, ssrc: Ssrc) -> Option<&mut SendStream> {
        let line = self.own.find(ssrc)?;
        self.line_mut(line)?.streams.iter_mut().find(|stream| stream.ssrc == ssrc)
    }

    /// An event was polled: packets and frames do not wait any more.
    pub(crate) fn on_polled(&mut self, event: &Event) {
        match event {
            Event::Packet(_) => self.waiting = self.waiting.saturating_sub(1),
            Event::Frame(frame) => self.waiting_bytes = self.waiting_bytes.saturating_sub(frame.weight()),
            _ => {}
        }
    }

    /// How what a transceiver receives is handed out, from the next packet on.
    pub(crate) fn set_level(&mut self, transceiver: TransceiverId, level: MediaLevel) {
        let Some(Some(line)) = self.lines.get_mut(transceiver.index()) else { return };
        line.agreed.level = level;
        for (_, receiver) in &mut self.receivers {
            if usize::from(receiver.line) == transceiver.index() {
                receiver.frames = None;
            }
        }
    }

    /// The streams of the peer, as far as packets of them have arrived.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = ReceiverInfo> + '_ {
        self.receivers.iter().filter(|(_, receiver)| receiver.is_media()).filter_map(|(_, receiver)| {
            let line = self.lines.get(usize::from(receiver.line))?.as_ref()?;
            Some(ReceiverInfo {
                id: receiver.id,
                transceiver: line.agreed.transceiver,
                ssrc: receiver.ssrc,
                rid: receiver.rid,
                is_paused: receiver.is_paused,
            })
        })
    }

    /// When time alone will change something.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.keys.as_ref()?;
        // What waits for the pacer leaves when that lets it; with room for it, it has left already.
        let paced = if self.has_paced() { self.control.pacer.next_send() } else { None };
        crate::time::earliest([self.control.next_timeout(), paced, self.frames_due])
    }

    /// The connection ends: what waits is dropped, and the peer is told that our streams are over.
    pub(crate) fn finish(&mut self) {
        self.queue.clear();
        self.control.resend.clear();
        for line in self.lines.iter().flatten() {
            self.control.say_goodbye(&line.streams);
        }
    }

    /// Gives back memory that only busy times need.
    pub(crate) fn slim(&mut self, now: Instant) {
        for line in self.lines.iter_mut().flatten() {
            line.streams.iter_mut().for_each(|stream| stream.history.slim(now));
        }
        self.control.sent.slim(now);
        self.control.arrivals.slim(now);
        self.control.scratch = BytesMut::new();
        self.recovered.shrink();
        self.queue.slim();
    }

    /// The connection is over.
    pub(crate) fn shut(&mut self) {
        self.keys = None;
        self.queue.clear();
        self.control.resend.clear();
    }
}

/// The URIs of the configuration that this crate does not know.
fn own_extensions(config: &MediaConfig) -> impl Iterator<Item = &Cow<'static, str>> {
    let all = config.audio_extensions.iter().chain(&config.video_extensions);
    all.filter(|uri| Kind::from_uri(uri).is_none())
}

/// What header extensions of this URI are called in packets.
pub(crate) fn extension_kind(config: &MediaConfig, uri: &str) -> Option<Kind> {
    Kind::from_uri(uri).or_else(|| {
        let at = own_extensions(config).position(|own| own == uri)?;
        u16::try_from(at).ok().map(Kind::Other)
    })
}

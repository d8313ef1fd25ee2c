//! What the local side says of RTP in a section: offered, answered, and what is left of it (RFC 8829 §5.2.1, §5.3.1).
//!
//! ```text
//! transceiver --offer--> LocalMedia --fill--> lines of the section
//!                            |
//!                            +--answered(their section)--> what both can --agreed--> AgreedMedia
//! their section --answer--> LocalMedia --fill, agreed--> likewise
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sdp::{
    Attribute, Extension, FormatParameters, MAX_RIDS, MediaSection, Msid, Parameters, RidDirection, RidLine,
    Rtp, RtpMap, Simulcast, SimulcastStreams, SsrcGroup, SsrcLine,
};
use crate::session::negotiate::codecs::{self, Format, Numbers};
use crate::session::negotiate::media::{
    AgreedExtension, AgreedMedia, Encoding, MediaConfig, MediaLevel, RemoteMedia, Sender, rids,
};
use crate::session::negotiate::transceivers::{Transceiver, TransceiverId};
use crate::types::codec::{Codec, MediaType};
use crate::types::direction::Direction;
use crate::types::ids::{Mid, Pt, Rid};

/// What the local side says in a section: agreed upon, or offered.
#[derive(Debug, Clone)]
pub(super) struct LocalMedia {
    pub(super) transceiver: TransceiverId,
    pub(super) kind: MediaType,
    pub(super) direction: Direction,
    /// What the application wanted when this was said.
    pub(super) wanted: Direction,
    /// Shared with what the session was told, as is the next.
    pub(super) formats: Arc<[Format]>,
    pub(super) extensions: Arc<[AgreedExtension]>,
    pub(super) sender: Sender,
    pub(super) send_rids: Vec<Rid>,
    pub(super) receive_rids: Vec<Rid>,
    pub(super) rtcp_reduced_size: bool,
    pub(super) mixed_extensions: bool,
    pub(super) cryptex: bool,
    has_simulcast: bool,
    text: Text,
}

/// Words of a section that are put together from numbers.
#[derive(Debug, Clone, Default)]
struct Text {
    formats: String,
    parameters: Vec<(Pt, String)>,
    msid: String,
    group: Option<String>,
    parity_group: Option<String>,
    send: String,
    receive: String,
}

/// Ids of header extensions over all sections: in a bundle one id means one extension (RFC 9143 §9.2 needs the
/// MID's before it is known which section a packet belongs to).
#[derive(Debug, Clone, Default)]
pub(super) struct ExtensionIds(BTreeMap<u8, String>);

impl ExtensionIds {
    /// Notes that `id` means `uri`; false when it means something else already.
    pub(super) fn hold(&mut self, id: u8, uri: &str) -> bool {
        self.0.entry(id).or_insert_with(|| uri.to_owned()) == uri
    }

    /// The id of `uri`, a new one if need be: 1 to 14, which one-byte headers can hold, then 16 to 255.
    fn give(&mut self, uri: &str) -> Option<u8> {
        let known = self.0.iter().find(|(_, held)| *held == uri).map(|(id, _)| *id);
        let id = known.or_else(|| (1..=14).chain(16..=255).find(|id| !self.0.contains_key(id)))?;
        self.hold(id, uri);
        Some(id)
    }
}

impl LocalMedia {
    /// The section for `transceiver` in an offer of ours.
    pub(super) fn offer(
        id: TransceiverId,
        transceiver: &Transceiver,
        config: &MediaConfig,
        numbers: &mut Numbers,
        ids: &mut ExtensionIds,
    ) -> Self {
        let extensions = config.extensions(transceiver.kind).iter().filter_map(|uri| {
            Some(AgreedExtension { id: ids.give(uri)?, uri: uri.clone(), direction: None })
        });
        LocalMedia {
            transceiver: id,
            kind: transceiver.kind,
            direction: transceiver.direction,
            wanted: transceiver.direction,
            formats: numbers.offer(config.capabilities(transceiver.kind)).into(),
            extensions: extensions.collect(),
            sender: transceiver.sender.clone(),
            send_rids: layers(&transceiver.sender),
            receive_rids: printable(transceiver.receive_rids.iter().copied()),
            rtcp_reduced_size: true,
            mixed_extensions: true,
            cryptex: config.cryptex,
            has_simulcast: transceiver.sender.encodings.len() > 1 || transceiver.receive_rids.len() > 1,
            text: Text::default(),
        }
        .rendered()
    }

    /// The section as offered again: what was agreed upon, in the direction that is wanted now.
    pub(super) fn offered_again(&self, transceiver: &Transceiver) -> Self {
        LocalMedia {
            direction: transceiver.direction,
            wanted: transceiver.direction,
            sender: transceiver.sender.clone(),
            send_rids: if self.send_rids.is_empty() {
                layers(&transceiver.sender)
            } else {
                self.send_rids.clone()
            },
            ..self.clone()
        }
        .rendered()
    }

    /// The reply to a section of the peer's offer, whose formats in common are `formats`.
    pub(super) fn answer(
        id: TransceiverId,
        transceiver: &Transceiver,
        section: &MediaSection<'_>,
        formats: Vec<Format>,
        config: &MediaConfig,
        ids: &mut ExtensionIds,
    ) -> Self {
        let wanted = rids(section, RidDirection::Recv);
        LocalMedia {
            transceiver: id,
            kind: transceiver.kind,
            // RFC 3264 §6.1: what the offer allows, and what is wanted here.
            direction: transceiver.direction.and(section.direction.unwrap_or_default().reversed()),
            wanted: transceiver.direction,
            formats: formats.into(),
            extensions: common_extensions(section, config.extensions(transceiver.kind), ids).into(),
            sender: transceiver.sender.clone(),
            send_rids: layers(&transceiver.sender).into_iter().filter(|rid| wanted.contains(rid)).collect(),
            receive_rids: rids(section, RidDirection::Send),
            rtcp_reduced_size: section.rtp.rtcp_rsize,
            mixed_extensions: section.rtp.extmap_allow_mixed,
            cryptex: config.cryptex && section.rtp.cryptex,
            has_simulcast: section.rtp.simulcast.is_some(),
            text: Text::default(),
        }
        .rendered()
    }

    /// What remains of an offered section when the peer has answered it; `None` when no format does.
    pub(super) fn answered(&self, section: &MediaSection<'_>) -> Option<Self> {
        let formats = codecs::accept(section, &self.formats);
        let theirs: BTreeMap<&str, &Extension<'_>> =
            section.rtp.extensions.iter().map(|extension| (extension.uri, extension)).collect();
        let extensions = self.extensions.iter().filter(|extension| theirs.contains_key(&*extension.uri));
        let wanted = rids(section, RidDirection::Recv);
        let given = rids(section, RidDirection::Send);
        let answered = LocalMedia {
            direction: self.direction.and(section.direction.unwrap_or_default().reversed()),
            formats: formats.into(),
            extensions: extensions.cloned().collect(),
            send_rids: self.send_rids.iter().copied().filter(|rid| wanted.contains(rid)).collect(),
            receive_rids: self.receive_rids.iter().copied().filter(|rid| given.contains(rid)).collect(),
            rtcp_reduced_size: section.rtp.rtcp_rsize,
            mixed_extensions: section.rtp.extmap_allow_mixed,
            cryptex: self.cryptex && section.rtp.cryptex,
            ..self.clone()
        };
        (!answered.formats.is_empty()).then_some(answered)
    }

    /// What the session is told.
    pub(super) fn agreed(
        &self,
        section: usize,
        mid: Option<Mid>,
        remote: &MediaSection<'_>,
        level: MediaLevel,
    ) -> AgreedMedia {
        AgreedMedia {
            transceiver: self.transceiver,
            section,
            mid,
            kind: self.kind,
            direction: self.direction,
            formats: self.formats.clone(),
            extensions: self.extensions.clone(),
            rtcp_reduced_size: self.rtcp_reduced_size,
            mixed_extensions: self.mixed_extensions,
            cryptex: self.cryptex,
            remote: RemoteMedia::read(remote),
            sender: self.sender.clone(),
            send_rids: self.send_rids.clone(),
            level,
        }
    }

    /// The exchange is complete: no description is written from this before it is offered again, with its words put
    /// together anew.
    pub(super) fn settle(&mut self) {
        self.text = Text::default();
    }

    fn rendered(mut self) -> Self {
        let mut pts = Vec::new();
        let mut parameters = Vec::new();
        for format in self.formats.iter() {
            pts.push(format.receive.value().to_string());
            if !format.local_parameters.is_empty() {
                parameters.push((format.receive, format.local_parameters.clone()));
            }
            if let Some((rtx, _)) = format.rtx {
                pts.push(rtx.value().to_string());
                parameters.push((rtx, format!("apt={}", format.receive.value())));
            }
        }
        let names = |rids: &[Rid]| rids.iter().map(Rid::as_str).collect::<Vec<_>>().join(";");
        let has_rtx = self.formats.iter().any(|format| format.rtx.is_some());
        let has_flexfec = self.formats.iter().any(|format| format.codec == Codec::Flexfec);
        let parity = self.sender.encodings.first().filter(|_| has_flexfec);
        let first = self.sender.encodings.first().filter(|_| has_rtx);
        self.text = Text {
            formats: pts.join(" "),
            parameters,
            msid: format!("{} {}", self.sender.stream.as_str(), self.sender.track.as_str()),
            group: first.and_then(|e| Some(format!("{} {}", e.ssrc.0, e.rtx?.0))),
            parity_group: parity.and_then(|e| Some(format!("{} {}", e.ssrc.0, e.fec?.0))),
            send: names(&self.send_rids),
            receive: names(&self.receive_rids),
        };
        self
    }

    /// The section's lines about RTP.
    pub(super) fn fill<'a>(&'a self, section: &mut MediaSection<'a>) {
        section.formats = &self.text.formats;
        section.direction = Some(self.direction);
        let (mut maps, mut feedback) = (Vec::new(), Vec::new());
        for format in self.formats.iter() {
            let Format { codec, clock_rate, channels, receive: pt, .. } = *format;
            let channels = (channels > 1).then_some(channels);
            maps.push(RtpMap { pt, encoding: codec.name(), clock_rate, channels });
            if let Some((pt, _)) = format.rtx {
                maps.push(RtpMap { pt, encoding: Codec::Rtx.name(), clock_rate, channels: None });
            }
            let kinds = format.feedback.named().into_iter().filter(|(_, is_set)| *is_set);
            feedback.extend(kinds.map(|(kind, _)| crate::sdp::Feedback { pt: Some(pt), kind }));
        }
        let line = |id, direction| RidLine { id, direction, restrictions: Parameters("") };
        let send = self.send_rids.iter().map(|rid| line(rid.as_str(), RidDirection::Send));
        let receive = self.receive_rids.iter().map(|rid| line(rid.as_str(), RidDirection::Recv));
        let streams =
            |text: &'a str| (self.has_simulcast && !text.is_empty()).then_some(SimulcastStreams(text));
        let simulcast = Simulcast { send: streams(&self.text.send), recv: streams(&self.text.receive) };
        section.rtp = Rtp {
            rtcp_mux: true,
            rtcp_rsize: self.rtcp_reduced_size,
            extmap_allow_mixed: self.mixed_extensions,
            cryptex: self.cryptex,
            maps,
            feedback,
            format_parameters: self
                .text
                .parameters
                .iter()
                .map(|(pt, text)| FormatParameters { pt: *pt, parameters: Parameters(text) })
                .collect(),
            extensions: self
                .extensions
                .iter()
                .map(|e| Extension { id: e.id.into(), direction: e.direction, uri: &e.uri, attributes: None })
                .collect(),
            rids: send.chain(receive).collect(),
            simulcast: (simulcast != Simulcast::default()).then_some(simulcast),
            ..Rtp::default()
        };
        if self.direction.sends() {
            self.fill_sender(&mut section.rtp);
        }
    }

    /// What is sent: its track, and its sources unless they are told apart by rid (RFC 8829 §5.2.1).
    fn fill_sender<'a>(&'a self, rtp: &mut Rtp<'a>) {
        rtp.msids.push(Msid { stream: self.sender.stream.as_str(), track: Some(self.sender.track.as_str()) });
        if !self.send_rids.is_empty() {
            return;
        }
        rtp.ssrc_groups = self.text.group.iter().map(|group| SsrcGroup::new("FID", group)).collect();
        // RFC 5956 §4.3: which source repairs which.
        let parity = self.text.parity_group.iter();
        rtp.ssrc_groups.extend(parity.map(|group| SsrcGroup::new("FEC-FR", group)));
        let (has_rtx, has_parity) = (self.text.group.is_some(), self.text.parity_group.is_some());
        let first = self.sender.encodings.first();
        let others = |e: &Encoding| [e.rtx.filter(|_| has_rtx), e.fec.filter(|_| has_parity)];
        let sources = first.into_iter().flat_map(|e| [Some(e.ssrc)].into_iter().chain(others(e))).flatten();
        for ssrc in sources {
            let line = |name, value| SsrcLine { ssrc, attribute: Attribute { name, value: Some(value) } };
            rtp.ssrcs.push(line("cname", self.sender.cname.as_str()));
            rtp.ssrcs.push(line("msid", &self.text.msid));
        }
    }
}

/// The layers of a simulcast; empty for a single stream.
fn layers(sender: &Sender) -> Vec<Rid> {
    if sender.encodings.len() < 2 {
        return Vec::new();
    }
    printable(sender.encodings.iter().filter_map(|encoding| encoding.rid))
}

/// The rids that may stand in a description (RFC 8851 §10), each once, as many as are read again.
fn printable(rids: impl Iterator<Item = Rid>) -> Vec<Rid> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut fine = Vec::new();
    for rid in rids.filter(|rid| rid.as_str().bytes().all(is_fine)) {
        if fine.len() < MAX_RIDS / 2 && !fine.contains(&rid) {
            fine.push(rid);
        }
    }
    fine
}

/// The offered extensions that are spoken here, under the ids of the offer (RFC 8285 §6).
fn common_extensions(
    section: &MediaSection<'_>,
    ours: &[Cow<'static, str>],
    ids: &mut ExtensionIds,
) -> Vec<AgreedExtension> {
    let mut extensions = Vec::<AgreedExtension>::new();
    for offered in &section.rtp.extensions {
        // RFC 8285 §5: ids from 4096 on are for the answerer to map, which nobody asks for.
        let Ok(id) = u8::try_from(offered.id) else { continue };
        let is_new = extensions.iter().all(|held| held.id != id && held.uri != offered.uri);
        let known = ours.iter().find(|uri| *uri == offered.uri).filter(|_| is_new);
        if let Some(uri) = known.filter(|_| ids.hold(id, offered.uri)) {
            let direction = offered.direction.map(Direction::reversed);
            extensions.push(AgreedExtension { id, uri: uri.clone(), direction });
        }
    }
    extensions
}

//! Descriptions of ours, put together (RFC 8829 §5.2.1, §5.3.1): the transport in every section, and what each section
//! says for itself.

use crate::sdp::{Description, Group, MediaKind, MediaSection, Origin, Sctp, Transport};
use crate::session::negotiate::sections::Section;
use crate::session::negotiate::transport::{SCTP_PORT, TransportFacts, has_ice_option};
use crate::types::candidate::{Candidate, CandidateAddress, CandidateKind};
use crate::types::direction::Direction;
use crate::types::ids::Mid;
use crate::types::setup::Setup;
use crate::wire::base64;

/// The ICE options that are spoken here, in the order in which they are written; the last where it is wanted.
const ICE_OPTIONS: [&str; 4] = ["trickle", "ice2", "renomination", SPED];
/// draft-hancke-webrtc-sped.
const SPED: &str = "sped";

/// A description of ours before it is text, with the words that its model borrows.
pub(super) struct Draft<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) ice_options: String,
    pub(super) extmap_allow_mixed: bool,
    pub(super) transport: Written<'a>,
    pub(super) sections: &'a [Section],
    /// The names of the bundle's sections; empty where there is no group.
    pub(super) bundle: String,
    /// The section that leads the bundle.
    pub(super) tag: usize,
}

impl Draft<'_> {
    pub(super) fn description(&self) -> Description<'_> {
        let sections = self.sections.iter().enumerate();
        let bundle = (!self.bundle.is_empty()).then(|| Group::new("BUNDLE", &self.bundle));
        let ice_options = (!self.ice_options.is_empty()).then_some(&*self.ice_options);
        Description {
            origin: self.origin,
            name: "-",
            timing: "0 0",
            groups: bundle.into_iter().collect(),
            ice_lite: self.transport.facts.ice_lite,
            extmap_allow_mixed: self.extmap_allow_mixed,
            transport: Transport { ice_options, ..Transport::default() },
            media: sections.map(|(i, section)| section.write(&self.transport, i == self.tag)).collect(),
            ..Description::default()
        }
    }
}

impl Section {
    /// The section as it stands in a description of ours.
    fn write<'a>(&'a self, transport: &'a Written<'_>, is_tagged: bool) -> MediaSection<'a> {
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
        transport.fill(&mut section, is_tagged);
        if let Some(media) = &self.media {
            media.fill(&mut section);
            return section;
        }
        section.sctp = Sctp {
            port: Some(SCTP_PORT),
            max_message_size: Some(transport.facts.max_message_size),
            map: None,
            init: transport.sctp_init.as_deref(),
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

/// The local transport as text, ready to be put into sections.
pub(super) struct Written<'a> {
    facts: &'a TransportFacts<'a>,
    setup: Setup,
    /// The INIT chunk of the local association, if it is to be signalled.
    sctp_init: Option<String>,
    candidates: Vec<String>,
    connection: String,
    port: u16,
}

impl<'a> Written<'a> {
    pub(super) fn new(facts: &'a TransportFacts<'a>, setup: Setup, sctp_init: Option<&[u8]>) -> Self {
        // RFC 8839 §4.2.1.2: the address and port of the sections are those of the default candidate, and 9 and
        // all zeros as long as there is none (RFC 8840 §4.1.1).
        let (connection, port) = match default_destination(facts.candidates) {
            Some(address) if address.is_ipv4() => (format!("IN IP4 {}", address.ip()), address.port()),
            Some(address) => (format!("IN IP6 {}", address.ip()), address.port()),
            None => ("IN IP4 0.0.0.0".to_owned(), 9),
        };
        let candidates = facts.candidates.iter().map(Candidate::to_string).collect();
        Written { facts, setup, sctp_init: sctp_init.map(base64::encode), candidates, connection, port }
    }

    /// Fills in what concerns the transport. Credentials stand in every section, which RFC 9143 §7.1.3 does not
    /// ask for, but older peers need; candidates stand in the tagged one.
    fn fill<'b>(&'b self, section: &mut MediaSection<'b>, is_tagged: bool) {
        section.port = self.port;
        section.connection = Some(&self.connection);
        section.transport = Transport {
            ice_ufrag: Some(&self.facts.credentials.ufrag),
            ice_pwd: Some(&self.facts.credentials.pwd),
            ice_options: None,
            fingerprints: self.facts.fingerprints.to_vec(),
            setup: Some(self.setup),
            tls_id: None,
        };
        if is_tagged {
            let value = |text: &'b String| text.strip_prefix("candidate:").unwrap_or(text);
            section.candidates = self.candidates.iter().map(value).collect();
            section.end_of_candidates = self.facts.end_of_candidates;
        }
    }
}

/// The candidate that a peer without ICE would use: the most likely to be reached, IPv4 first (RFC 8445 §5.1.4).
fn default_destination(candidates: &[Candidate]) -> Option<std::net::SocketAddr> {
    candidates
        .iter()
        .filter(|candidate| candidate.tcp_type().is_none())
        .filter_map(|candidate| match candidate.address() {
            CandidateAddress::Ip(address) => Some((candidate.kind(), *address)),
            CandidateAddress::Name { .. } => None,
        })
        .min_by_key(|(kind, address)| {
            let kind = match kind {
                CandidateKind::Relayed => 0,
                CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => 1,
                CandidateKind::Host => 2,
            };
            (kind, address.is_ipv6(), address.ip().is_loopback())
        })
        .map(|(_, address)| address)
}

/// The names of the sections in `bundle`, for `a=group:BUNDLE`.
pub(super) fn bundle_names(sections: &[Section], bundle: &[usize]) -> String {
    let names = bundle.iter().filter_map(|i| sections[*i].mid.as_ref()).map(Mid::as_str);
    names.collect::<Vec<_>>().join(" ")
}

/// All ICE options of ours, with or without `sped`.
pub(super) fn ice_options(sped: bool) -> String {
    ICE_OPTIONS.into_iter().filter(|option| sped || *option != SPED).collect::<Vec<_>>().join(" ")
}

/// The ICE options of ours that the offer has too; `sped` as it was agreed upon.
pub(super) fn common_ice_options(offer: &Description<'_>, bundle: &[usize], sped: bool) -> String {
    let is_common = |option: &&str| match *option {
        SPED => sped,
        option => has_ice_option(offer, bundle, option),
    };
    ICE_OPTIONS.into_iter().filter(is_common).collect::<Vec<_>>().join(" ")
}

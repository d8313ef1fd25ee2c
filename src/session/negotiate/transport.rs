//! The one transport below all sections: what each side says of it, and what the session is told.

use crate::sdp::{Description, MediaSection, Transport};
use crate::session::negotiate::error::NegotiationError;
use crate::session::negotiate::media::AgreedMedia;
use crate::types::candidate::Candidate;
use crate::types::credentials::Credentials;
use crate::types::fingerprint::Fingerprint;
use crate::types::setup::{DtlsRole, IceRole, Setup};

/// The SCTP port of both ends, unless the peer says another for its own (RFC 8831 §6.1 needs one, any).
pub const SCTP_PORT: u16 = 5000;
/// RFC 8841 §6.1: what a peer takes that does not say how much it takes.
const DEFAULT_MAX_MESSAGE_SIZE: u64 = 65_536;

/// What the local side knows of its transport when it writes a description.
#[derive(Debug, Clone, Copy)]
pub struct TransportFacts<'a> {
    /// The ICE credentials. Others than those of the last description ask for, or reply to, an ICE restart.
    pub credentials: &'a Credentials,
    /// The fingerprints of the local certificate; at least one.
    pub fingerprints: &'a [Fingerprint],
    /// The candidates gathered so far.
    pub candidates: &'a [Candidate],
    /// Whether there will be no more.
    pub end_of_candidates: bool,
    /// Whether the local agent is a lite one.
    pub ice_lite: bool,
    /// The largest message that is accepted, in bytes; zero accepts any (RFC 8841 §6.1).
    pub max_message_size: u64,
    /// The INIT chunk of the local association, if it may be signalled (draft-hancke-tsvwg-snap).
    pub sctp_init: Option<&'a [u8]>,
    /// Whether the DTLS handshake may travel in connectivity checks (draft-hancke-webrtc-sped).
    pub sped: bool,
    /// The role that an answer takes when the offer leaves the choice: RFC 8842 §5.3 recommends the client.
    pub preferred_role: DtlsRole,
}

/// What an exchange of descriptions has agreed upon, to be carried out by the session. It can as well be made by
/// hand, where no descriptions are exchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The peer's transport; `None` when no section is left that would use one.
    pub transport: Option<RemoteTransport>,
    /// Whether ICE starts again with new credentials on both sides (RFC 8445 §9). False for the first exchange.
    pub ice_restart: bool,
    /// Data channels; `None` when they were not offered, or turned down.
    pub data: Option<RemoteData>,
    /// The sections of audio and video, in their order.
    pub media: Vec<AgreedMedia>,
}

/// How the peer is found and authenticated, and who does what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTransport {
    /// The peer's ICE credentials.
    pub credentials: Credentials,
    /// The peer's certificate has one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// The peer's candidates so far. Those that are of no use here are left out.
    pub candidates: Vec<Candidate>,
    /// Whether there will be no more.
    pub end_of_candidates: bool,
    /// Whether the peer's agent is a lite one.
    pub ice_lite: bool,
    /// Whether both ends said that the DTLS handshake may travel in connectivity checks (draft-hancke-webrtc-sped).
    pub sped: bool,
    /// Whether the peer numbers its nominations (ICE option `renomination`, draft-thatcher-ice-renomination); this end
    /// always can.
    pub renomination: bool,
    /// The local role in DTLS; it stays what it was first.
    pub dtls_role: DtlsRole,
    /// The local role in ICE, before any conflict; it stays what it was first.
    pub ice_role: IceRole,
}

/// What the peer says of its end of the SCTP association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteData {
    /// The peer's SCTP port (RFC 8841 §5).
    pub port: u16,
    /// The largest message that the peer accepts, in bytes; `u64::MAX` for any (RFC 8841 §6.1).
    pub max_message_size: u64,
    /// The INIT chunk of the peer's association, when both sides have signalled theirs: there is no handshake with
    /// packets then (draft-hancke-tsvwg-snap).
    pub init: Option<Vec<u8>>,
}

impl RemoteData {
    pub(super) fn read(section: &MediaSection<'_>) -> Self {
        RemoteData {
            // RFC 8841 §5.1: the port must be there; all that omit it use this one.
            port: section.sctp_port().unwrap_or(SCTP_PORT),
            max_message_size: match section.sctp.max_message_size {
                None => DEFAULT_MAX_MESSAGE_SIZE,
                Some(0) => u64::MAX,
                Some(size) => size,
            },
            init: None,
        }
    }
}

/// The peer's transport as a description tells it, before roles are drawn from it.
#[derive(Debug)]
pub(super) struct Told {
    /// The section that it was read from.
    pub(super) source: usize,
    pub(super) credentials: Credentials,
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) end_of_candidates: bool,
    pub(super) ice_lite: bool,
    /// Whether it has the ICE option `sped`.
    pub(super) sped: bool,
    /// Whether it has the ICE option `renomination`.
    pub(super) renomination: bool,
    pub(super) setup: Option<Setup>,
}

impl Told {
    /// Reads the transport of a bundle whose sections are `bundle`, the tagged one first.
    pub(super) fn read(
        description: &Description<'_>,
        bundle: &[usize],
    ) -> Result<Option<Self>, NegotiationError> {
        let has_credentials = |i: &&usize| description.media[**i].transport.ice_ufrag.is_some();
        // RFC 9143 §7.1.3: what concerns the transport stands in the tagged section, and counts for all. Where
        // that section is one that had its place held only, the next that speaks of a transport counts.
        let Some(&source) = bundle.iter().find(has_credentials).or(bundle.first()) else { return Ok(None) };
        let section = &description.media[source];
        let (own, session) = (&section.transport, &description.transport);
        let (Some(ufrag), Some(pwd)) =
            (either(own, session, |t| t.ice_ufrag), either(own, session, |t| t.ice_pwd))
        else {
            return Err(NegotiationError::MissingCredentials { section: source });
        };
        let fingerprints =
            if own.fingerprints.is_empty() { &session.fingerprints } else { &own.fingerprints };
        if fingerprints.is_empty() {
            return Err(NegotiationError::MissingFingerprint { section: source });
        }
        let candidates = section.candidates.iter().filter_map(|text| match text.parse::<Candidate>() {
            // RFC 5761 §5.1.1: RTCP shares the port, so that there is one component.
            Ok(candidate) => (candidate.component() == 1).then_some(candidate),
            Err(error) => {
                tracing::debug!(%error, "a candidate of the description is left out");
                None
            }
        });
        Ok(Some(Told {
            source,
            credentials: Credentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() },
            fingerprints: fingerprints.clone(),
            candidates: candidates.collect(),
            end_of_candidates: section.end_of_candidates
                || description.other.iter().any(|attribute| attribute.name == "end-of-candidates"),
            ice_lite: description.ice_lite,
            sped: has_ice_option(description, bundle, "sped"),
            renomination: has_ice_option(description, bundle, "renomination"),
            setup: own.setup.or(session.setup),
        }))
    }
}

/// Whether one of the sections of a bundle, or the session, has an ICE option.
pub(super) fn has_ice_option(description: &Description<'_>, bundle: &[usize], option: &str) -> bool {
    let sections = bundle.iter().map(|i| &description.media[*i].transport);
    std::iter::once(&description.transport).chain(sections).any(|transport| transport.has_ice_option(option))
}

/// RFC 8839 §4.2: an attribute of the section, or that of the session.
fn either<'a, T>(
    own: &Transport<'a>,
    session: &Transport<'a>,
    attribute: impl Fn(&Transport<'a>) -> Option<T>,
) -> Option<T> {
    attribute(own).or_else(|| attribute(session))
}

//! INIT and INIT ACK (RFC 9260 §3.3.2, §3.3.3): what each side offers.
//!
//! ```text
//!  | 1 or 2 |  flags 0  |      length     |
//!  |             initiate tag             |
//!  |                a_rwnd                |
//!  | outbound streams | inbound streams   |
//!  |             initial TSN              |
//!  | parameters ...                       |
//! ```

use super::parameter::{Parameter, Parameters, Unknown, emit_parameter, kind as parameter};
use super::{emit_chunk, kind};
use crate::sctp::types::Tsn;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

/// RFC 9653 §4, registry "Error Detection Method": SCTP over DTLS.
const EDMID_DTLS: u32 = 1;

/// Extensions that one side understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extensions {
    /// FORWARD-TSN (RFC 3758).
    pub(crate) partial_reliability: bool,
    /// RE-CONFIG (RFC 6525).
    pub(crate) reconfig: bool,
    /// I-DATA and I-FORWARD-TSN (RFC 8260).
    pub(crate) interleaving: bool,
    /// Accepts packets without a checksum (RFC 9653).
    pub(crate) zero_checksum: bool,
}

impl Extensions {
    /// As bits, for the cookie.
    pub(crate) fn bits(self) -> u8 {
        u8::from(self.partial_reliability)
            | u8::from(self.reconfig) << 1
            | u8::from(self.interleaving) << 2
            | u8::from(self.zero_checksum) << 3
    }

    pub(crate) fn from_bits(bits: u8) -> Self {
        Extensions {
            partial_reliability: bits & 1 != 0,
            reconfig: bits & 2 != 0,
            interleaving: bits & 4 != 0,
            zero_checksum: bits & 8 != 0,
        }
    }
}

/// The fixed part of INIT and INIT ACK, and the extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) tag: u32,
    pub(crate) a_rwnd: u32,
    pub(crate) outbound_streams: u16,
    pub(crate) inbound_streams: u16,
    pub(crate) initial_tsn: Tsn,
    pub(crate) extensions: Extensions,
}

/// A parsed INIT or INIT ACK.
#[derive(Debug, Clone)]
pub(crate) struct Init<'a> {
    pub(crate) offer: Offer,
    /// INIT ACK: what to echo.
    pub(crate) cookie: Option<&'a [u8]>,
    /// RFC 9260 §3.3.2.1.4: a peer that sends this must be turned away.
    pub(crate) has_host_name: bool,
    parameters: &'a [u8],
}

/// Why an offer cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadOffer {
    /// RFC 9260 §3.3.2, §3.3.3: dropped without a word (tag 0).
    Silent,
    /// Answered with ABORT and this reason.
    Abort(&'static str),
}

impl<'a> Init<'a> {
    /// Reads the value of an INIT or INIT ACK.
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(value, "INIT");
        let offer = Offer {
            tag: r.u32()?,
            a_rwnd: r.u32()?,
            outbound_streams: r.u16()?,
            inbound_streams: r.u16()?,
            initial_tsn: Serial32(r.u32()?),
            extensions: Extensions::default(),
        };
        let parameters = r.rest();
        let mut init = Init { offer, cookie: None, has_host_name: false, parameters };
        let mut lists = Lists::default();
        for found in Parameters::new(parameters) {
            let found = found?;
            if !init.take(&found, &mut lists) {
                break;
            }
        }
        let extensions = &mut init.offer.extensions;
        extensions.reconfig = lists.reconfig;
        // RFC 8260 §2.2.1 lists I-DATA; without I-FORWARD-TSN its messages could not be given up.
        extensions.interleaving = lists.i_data && lists.i_forward_tsn;
        extensions.partial_reliability |= lists.forward_tsn;
        Ok(init)
    }

    /// Takes in one parameter; false when the rest must not be looked at.
    fn take(&mut self, found: &Parameter<'a>, lists: &mut Lists) -> bool {
        match found.kind {
            parameter::STATE_COOKIE => self.cookie = Some(found.value),
            parameter::HOST_NAME => self.has_host_name = true,
            parameter::FORWARD_TSN => self.offer.extensions.partial_reliability = true,
            parameter::ZERO_CHECKSUM => {
                let method = Reader::new(found.value, "zero checksum").u32();
                self.offer.extensions.zero_checksum |= method == Ok(EDMID_DTLS);
            }
            parameter::SUPPORTED_EXTENSIONS => lists.take(found.value),
            kind if is_known(kind) => {}
            kind => return Unknown::parameter(kind).skip,
        }
        true
    }

    /// Parameters that the sender wants to be told are unknown, as they lay on the wire.
    pub(crate) fn reported(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let mut stopped = false;
        Parameters::new(self.parameters).map_while(Result::ok).filter_map(move |found| {
            if stopped || is_known(found.kind) {
                return None;
            }
            let unknown = Unknown::parameter(found.kind);
            stopped = !unknown.skip;
            unknown.report.then_some(found.whole)
        })
    }

    /// RFC 9260 §3.3.2: values that no peer may send.
    pub(crate) fn check(&self) -> Result<(), BadOffer> {
        match self.offer {
            Offer { tag: 0, .. } => Err(BadOffer::Silent),
            Offer { a_rwnd: ..1500, .. } => Err(BadOffer::Abort("a_rwnd below 1500")),
            Offer { outbound_streams: 0, .. } => Err(BadOffer::Abort("no outbound streams")),
            Offer { inbound_streams: 0, .. } => Err(BadOffer::Abort("no inbound streams")),
            _ if self.has_host_name => Err(BadOffer::Abort("host name address")),
            _ => Ok(()),
        }
    }
}

/// Whether a parameter has a meaning here, if only to be passed over.
fn is_known(kind: u16) -> bool {
    use parameter::*;
    matches!(
        kind,
        // RFC 8261 §5: addresses mean nothing inside DTLS.
        IPV4_ADDRESS
            | IPV6_ADDRESS
            | SUPPORTED_ADDRESSES
            | COOKIE_PRESERVATIVE
            | STATE_COOKIE
            | UNRECOGNIZED
            | HOST_NAME
            | ZERO_CHECKSUM
            | SUPPORTED_EXTENSIONS
            | FORWARD_TSN
    )
}

/// The chunk types of a Supported Extensions parameter that matter.
#[derive(Debug, Default)]
struct Lists {
    reconfig: bool,
    forward_tsn: bool,
    i_data: bool,
    i_forward_tsn: bool,
}

impl Lists {
    fn take(&mut self, chunks: &[u8]) {
        self.reconfig |= chunks.contains(&kind::RE_CONFIG);
        self.forward_tsn |= chunks.contains(&kind::FORWARD_TSN);
        self.i_data |= chunks.contains(&kind::I_DATA);
        self.i_forward_tsn |= chunks.contains(&kind::I_FORWARD_TSN);
    }
}

/// Appends an INIT, or with a cookie an INIT ACK. `unrecognized` are parameters of the peer's INIT, as many as
/// fit into `room` bytes of chunk.
pub(crate) fn emit_init<'p>(
    w: &mut Writer<'_>,
    offer: &Offer,
    cookie: Option<&[u8]>,
    unrecognized: impl IntoIterator<Item = &'p [u8]>,
    room: usize,
) {
    let start = w.written();
    let kind = if cookie.is_some() { kind::INIT_ACK } else { kind::INIT };
    emit_chunk(w, kind, 0, |w| {
        w.u32(offer.tag);
        w.u32(offer.a_rwnd);
        w.u16(offer.outbound_streams);
        w.u16(offer.inbound_streams);
        w.u32(offer.initial_tsn.0);
        emit_extensions(w, offer.extensions);
        if let Some(cookie) = cookie {
            emit_parameter(w, parameter::STATE_COOKIE, |w| w.slice(cookie));
        }
        for unknown in unrecognized {
            let needed = 4 + unknown.len().next_multiple_of(4);
            if w.written() - start + needed > room {
                break;
            }
            // RFC 9260 §3.3.3.1: the parameter is told back whole.
            emit_parameter(w, parameter::UNRECOGNIZED, |w| w.slice(unknown));
        }
    });
}

fn emit_extensions(w: &mut Writer<'_>, extensions: Extensions) {
    let Extensions { partial_reliability, reconfig, interleaving, zero_checksum } = extensions;
    if partial_reliability {
        emit_parameter(w, parameter::FORWARD_TSN, |_| {});
    }
    if zero_checksum {
        emit_parameter(w, parameter::ZERO_CHECKSUM, |w| w.u32(EDMID_DTLS));
    }
    let listed = [
        (reconfig, kind::RE_CONFIG),
        (partial_reliability, kind::FORWARD_TSN),
        (interleaving, kind::I_DATA),
        (interleaving, kind::I_FORWARD_TSN),
    ];
    emit_parameter(w, parameter::SUPPORTED_EXTENSIONS, |w| {
        listed.iter().filter(|(is_on, _)| *is_on).for_each(|(_, kind)| w.u8(*kind));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    const OFFER: Offer = Offer {
        tag: 0x896cdd1d,
        a_rwnd: 0x0050_0000,
        outbound_streams: 65_535,
        inbound_streams: 65_535,
        initial_tsn: Serial32(0xe079651d),
        extensions: Extensions {
            partial_reliability: true,
            reconfig: true,
            interleaving: false,
            zero_checksum: false,
        },
    };

    /// draft-hancke-tsvwg-snap, section "General": an INIT as a browser writes it.
    const SNAP_EXAMPLE: &[u8] = &[
        0x01, 0x00, 0x00, 0x1e, 0x89, 0x6c, 0xdd, 0x1d, 0x00, 0x50, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xe0,
        0x79, 0x65, 0x1d, 0xc0, 0x00, 0x00, 0x04, 0x80, 0x08, 0x00, 0x06, 0x82, 0xc0,
    ];

    #[test]
    fn the_init_of_the_snap_draft_is_read_and_written() {
        let init = Init::parse(&SNAP_EXAMPLE[4..]).unwrap();
        assert_eq!(init.offer, OFFER);
        assert_eq!(init.check(), Ok(()));
        let mut buf = BytesMut::new();
        emit_init(&mut Writer::new(&mut buf), &OFFER, None, [], 1000);
        assert_eq!(&buf[..30], SNAP_EXAMPLE);
        assert_eq!(&buf[30..], [0, 0]);
    }

    #[test]
    fn unknown_parameters_go_by_their_highest_bits() {
        // RFC 9260 §3.2.1. Skip silently, skip and report, then stop and report: the extension behind is not seen.
        let mut value = SNAP_EXAMPLE[4..20].to_vec();
        value.extend([0x80, 0x77, 0, 4, 0xc0, 0x77, 0, 5, 9, 0, 0, 0, 0x40, 0x77, 0, 4, 0xc0, 0, 0, 4]);
        let init = Init::parse(&value).unwrap();
        assert!(!init.offer.extensions.partial_reliability);
        let reported: Vec<_> = init.reported().collect();
        assert_eq!(reported, [&[0xc0, 0x77, 0, 5, 9][..], &[0x40, 0x77, 0, 4]]);
        let mut buf = BytesMut::new();
        emit_init(&mut Writer::new(&mut buf), &OFFER, Some(b"cookie"), init.reported(), 1000);
        let ack = Init::parse(&buf[4..]).unwrap();
        assert_eq!(ack.cookie, Some(&b"cookie"[..]));
        assert_eq!(ack.reported().count(), 0);
    }

    #[test]
    fn every_truncation_is_refused_or_shorter() {
        for len in 0..SNAP_EXAMPLE.len() - 4 {
            let parsed = Init::parse(&SNAP_EXAMPLE[4..4 + len]);
            assert_eq!(parsed.is_ok(), matches!(len, 16 | 20), "{len}");
        }
    }

    #[test]
    fn offers_that_no_peer_may_make_are_refused() {
        let check = |change: fn(&mut Offer)| {
            let mut offer = OFFER;
            change(&mut offer);
            Init { offer, cookie: None, has_host_name: false, parameters: &[] }.check()
        };
        assert_eq!(check(|o| o.tag = 0), Err(BadOffer::Silent));
        assert!(matches!(check(|o| o.a_rwnd = 1499), Err(BadOffer::Abort(_))));
        assert!(matches!(check(|o| o.outbound_streams = 0), Err(BadOffer::Abort(_))));
        assert!(matches!(check(|o| o.inbound_streams = 0), Err(BadOffer::Abort(_))));
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(tag: u32, a_rwnd: u32, outbound_streams: u16, inbound_streams: u16, tsn: u32,
            bits in 0u8..16, cookie in prop::option::of(prop::collection::vec(any::<u8>(), 1..100))) {
            let offer = Offer {
                tag, a_rwnd, outbound_streams, inbound_streams,
                initial_tsn: Serial32(tsn),
                extensions: Extensions::from_bits(bits),
            };
            let mut buf = BytesMut::new();
            emit_init(&mut Writer::new(&mut buf), &offer, cookie.as_deref(), [], 1000);
            let init = Init::parse(&buf[4..]).unwrap();
            prop_assert_eq!(init.offer, offer);
            prop_assert_eq!(init.cookie, cookie.as_deref());
            prop_assert_eq!(offer.extensions.bits(), bits);
        }

        #[test]
        fn any_bytes_are_borne(value in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(init) = Init::parse(&value) {
                let _ = init.reported().count();
            }
        }
    }
}

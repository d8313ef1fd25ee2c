//! Retransmission in a stream of its own (RFC 4588 §4).
//!
//! ```text
//!  RTX header: own SSRC, number and type; the original's time and marker | OSN (16) | original payload
//! ```

use bytes::{Buf as _, BytesMut};

use crate::rtp::elements::{ElementsWriter, Form};
use crate::rtp::extended::short_sequence;
use crate::rtp::header::{Fields, Header, Packet, Rewrite};
use crate::types::ids::{Pt, Ssrc};
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial16;
use crate::wire::writer::Writer;

/// The original sequence number in front of the payload, in bytes.
pub const OSN_LEN: usize = 2;

/// Writes the packets of one retransmission stream.
#[derive(Debug)]
pub struct Rtx {
    ssrc: Ssrc,
    next: u64,
}

impl Rtx {
    /// A stream whose first packet has the long number `first` (RFC 4588 §4: drawn at random).
    pub fn new(ssrc: Ssrc, first: u64) -> Self {
        Rtx { ssrc, next: first }
    }

    /// The stream's SSRC.
    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Appends a retransmission of `original` to `out`, padding left out. `elements` writes the header
    /// extension, which names the stream that is repaired where it has a name (RFC 8852 §3.2). Says which
    /// number the packet has in this stream.
    pub fn emit(
        &mut self,
        out: &mut BytesMut,
        original: &Packet<'_>,
        payload_type: Pt,
        form: Form,
        elements: impl FnOnce(&mut ElementsWriter<'_>),
    ) -> u64 {
        let sequence = self.next;
        self.next += 1;
        let mut csrcs = [Ssrc(0); 15];
        let mut count = 0;
        for (place, csrc) in csrcs.iter_mut().zip(original.csrcs()) {
            *place = csrc;
            count += 1;
        }
        let fields = Fields {
            payload_type,
            sequence: short_sequence(sequence),
            ssrc: self.ssrc,
            ..Fields::from(original.header())
        };
        fields.emit(out, csrcs.get(..count).unwrap_or_default(), form, elements);
        let mut w = Writer::new(out);
        w.u16(original.header().sequence.0);
        w.slice(original.payload());
        sequence
    }
}

/// Turns a packet of a retransmission stream into the one that it repeats, whose stream has `ssrc` and whose
/// payload has the type `payload_type`. The payload stays where it is; the header moves by two bytes.
///
/// `None`, and `packet` is as it was, when it carries nothing: padding that probes the path.
pub fn restore(packet: &mut BytesMut, ssrc: Ssrc, payload_type: Pt) -> Result<Option<Header>, Malformed> {
    let parsed = Packet::parse(packet)?;
    if parsed.payload().is_empty() {
        return Ok(None);
    }
    let sequence = Serial16(Reader::new(parsed.payload(), "RTX payload").u16()?);
    let header_len = parsed.header().len();
    packet.copy_within(..header_len, OSN_LEN);
    packet.advance(OSN_LEN);
    let original = Rewrite {
        ssrc: Some(ssrc),
        payload_type: Some(payload_type),
        sequence: Some(sequence),
        ..Rewrite::default()
    };
    original.apply(packet);
    Header::parse(packet).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::header::pad;
    use crate::wire::serial::Serial32;
    use proptest::prelude::*;

    fn packet(payload: &[u8], csrcs: &[Ssrc], padding: u8) -> BytesMut {
        let mut out = BytesMut::new();
        let fields = Fields {
            marker: true,
            payload_type: Pt::new(96).unwrap(),
            sequence: Serial16(0xfffe),
            timestamp: Serial32(7),
            ssrc: Ssrc(1),
        };
        fields.emit(&mut out, csrcs, Form::OneByte, |w| assert!(w.push(3, b"mid")));
        out.extend_from_slice(payload);
        pad(&mut out, 0, padding);
        out
    }

    fn wrap(rtx: &mut Rtx, original: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        let original = Packet::parse(original).unwrap();
        rtx.emit(&mut out, &original, Pt::new(97).unwrap(), Form::OneByte, |w| {
            original.elements().for_each(|e| assert!(w.push(e.id, e.data)));
        });
        out
    }

    #[test]
    fn padding_alone_is_not_a_retransmission_and_one_byte_is_none_either() {
        let mut probe = packet(b"", &[], 200);
        let before = probe.clone();
        assert_eq!(restore(&mut probe, Ssrc(1), Pt::new(96).unwrap()), Ok(None));
        assert_eq!(probe, before);
        assert!(restore(&mut packet(b"x", &[], 0), Ssrc(1), Pt::new(96).unwrap()).is_err());
        assert!(restore(&mut packet(b"x", &[], 9), Ssrc(1), Pt::new(96).unwrap()).is_err());
    }

    #[test]
    fn every_cut_is_an_error_or_a_shorter_packet() {
        let whole = wrap(&mut Rtx::new(Ssrc(2), 9), &packet(b"payload", &[Ssrc(5)], 0));
        for len in 0..whole.len() {
            let mut cut = BytesMut::from(&whole[..len]);
            if let Ok(Some(header)) = restore(&mut cut, Ssrc(1), Pt::new(96).unwrap()) {
                assert_eq!((header.sequence, cut.len()), (Serial16(0xfffe), len - OSN_LEN));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_retransmitted_is_restored(
            payload in prop::collection::vec(any::<u8>(), 1..60),
            csrcs in prop::collection::vec(any::<u32>(), 0..16),
            padding: u8,
        ) {
            let csrcs: Vec<Ssrc> = csrcs.into_iter().map(Ssrc).collect();
            let mut rtx = Rtx::new(Ssrc(2), 65_535);
            for sequence in [0xffff, 0] {
                let mut wrapped = wrap(&mut rtx, &packet(&payload, &csrcs, padding));
                let header = Header::parse(&wrapped).unwrap();
                prop_assert_eq!((header.ssrc, header.sequence.0, header.marker), (Ssrc(2), sequence, true));
                prop_assert_eq!(header.payload_type.value(), 97);
                let restored = restore(&mut wrapped, Ssrc(1), Pt::new(96).unwrap()).unwrap();
                prop_assert_eq!(restored, Header::parse(&wrapped).ok());
                prop_assert_eq!(&wrapped[..], &packet(&payload, &csrcs, 0)[..]);
            }
        }
    }
}

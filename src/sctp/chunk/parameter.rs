//! Parameters and error causes (RFC 9260 §3.2.1, §3.3.10): type, length, value, padded to four bytes.

use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Parameter types (RFC 9260 §3.2.1 and the extensions named).
pub(crate) mod kind {
    pub(crate) const IPV4_ADDRESS: u16 = 5;
    pub(crate) const IPV6_ADDRESS: u16 = 6;
    pub(crate) const STATE_COOKIE: u16 = 7;
    pub(crate) const UNRECOGNIZED: u16 = 8;
    pub(crate) const COOKIE_PRESERVATIVE: u16 = 9;
    pub(crate) const HOST_NAME: u16 = 11;
    pub(crate) const SUPPORTED_ADDRESSES: u16 = 12;
    /// RFC 6525 §4.
    pub(crate) const OUTGOING_RESET: u16 = 13;
    pub(crate) const INCOMING_RESET: u16 = 14;
    pub(crate) const SSN_TSN_RESET: u16 = 15;
    pub(crate) const RECONFIG_RESPONSE: u16 = 16;
    pub(crate) const ADD_OUTGOING: u16 = 17;
    pub(crate) const ADD_INCOMING: u16 = 18;
    /// RFC 9653 §4.
    pub(crate) const ZERO_CHECKSUM: u16 = 0x8001;
    /// RFC 5061 §4.2.7.
    pub(crate) const SUPPORTED_EXTENSIONS: u16 = 0x8008;
    /// RFC 3758 §3.1.
    pub(crate) const FORWARD_TSN: u16 = 0xc000;
}

/// Bytes of a parameter's type and length.
pub(crate) const HEADER_LEN: usize = 4;

/// One parameter or error cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parameter<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
    /// Header and value as they lay on the wire, without padding.
    pub(crate) whole: &'a [u8],
}

/// What to do with a chunk or parameter that is not understood (RFC 9260 §3.2, §3.2.1): its two highest bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// Go on with what follows; otherwise nothing more of the packet or chunk is processed.
    pub(crate) skip: bool,
    /// Tell the sender.
    pub(crate) report: bool,
}

impl Unknown {
    pub(crate) fn chunk(kind: u8) -> Self {
        Unknown { skip: kind & 0x80 != 0, report: kind & 0x40 != 0 }
    }

    pub(crate) fn parameter(kind: u16) -> Self {
        Unknown { skip: kind & 0x8000 != 0, report: kind & 0x4000 != 0 }
    }
}

/// The parameters of a chunk, in order.
#[derive(Debug, Clone)]
pub(crate) struct Parameters<'a>(Reader<'a>);

impl<'a> Parameters<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Parameters(Reader::new(bytes, "SCTP parameter"))
    }

    fn read(&mut self) -> Result<Parameter<'a>, Malformed> {
        let rest = self.0.peek();
        let kind = self.0.u16()?;
        let len = usize::from(self.0.u16()?);
        // A length below its own header would never move forward.
        let value_len = len.checked_sub(HEADER_LEN).ok_or(self.0.malformed())?;
        let value = self.0.take(value_len)?;
        let whole = rest.get(..len).ok_or(self.0.malformed())?;
        // RFC 9260 §3.2: padding of the last one may be missing.
        self.0.skip((len.next_multiple_of(4) - len).min(self.0.remaining()))?;
        Ok(Parameter { kind, value, whole })
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<Parameter<'a>, Malformed>;

    /// After an error nothing of the rest can be understood: the next item is `None`.
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let parameter = self.read();
        if parameter.is_err() {
            self.0.rest();
        }
        Some(parameter)
    }
}

/// Appends a parameter or error cause with its length, behind the padding of the one before.
///
/// RFC 9260 §3.2: the chunk's length counts the padding between parameters, but not that of the last one.
pub(crate) fn emit_parameter(w: &mut Writer<'_>, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
    w.pad_to(4);
    let start = w.written();
    w.u16(kind);
    w.u16(0);
    body(w);
    let len = w.written() - start;
    w.patch_u16(start + 2, super::wire_length(len));
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    #[test]
    fn a_length_below_four_or_beyond_the_chunk_is_refused() {
        // HARDENING: a zero-length parameter must not loop, the last one must not be read past.
        for len in [0u8, 1, 2, 3, 9, 255] {
            let bytes = [0, 7, 0, len, 1, 2, 3, 4];
            let mut parameters = Parameters::new(&bytes).take(10);
            assert!(parameters.next().unwrap().is_err(), "{len}");
            assert!(parameters.next().is_none());
        }
    }

    #[test]
    fn the_two_highest_bits_say_what_to_do() {
        assert_eq!(Unknown::chunk(0x3f), Unknown { skip: false, report: false });
        assert_eq!(Unknown::chunk(0x7f), Unknown { skip: false, report: true });
        assert_eq!(Unknown::parameter(0x8123), Unknown { skip: true, report: false });
        assert_eq!(Unknown::parameter(0xc123), Unknown { skip: true, report: true });
    }

    proptest! {
        #[test]
        fn emitted_parameters_are_read_back(list in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8)) {
            let mut buf = BytesMut::new();
            let mut w = Writer::new(&mut buf);
            for (kind, value) in &list {
                emit_parameter(&mut w, *kind, |w| w.slice(value));
            }
            let read: Result<Vec<_>, _> = Parameters::new(&buf).map(|p| p.map(|p| (p.kind, p.value.to_vec()))).collect();
            prop_assert_eq!(read, Ok(list));
        }
    }
}

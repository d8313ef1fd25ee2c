//! Certificate and CertificateRequest as DTLS 1.3 has them (RFC 8446 §4.4.2, §4.3.2). CertificateVerify has the form
//! of 1.2's: [`Signed`](super::certificate::Signed).

use super::Codes;
use super::certificate::{MAX_CERTIFICATE_LEN, MAX_CHAIN};
use super::extension::{emit_request_schemes, request_schemes};
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The end-entity certificate of a Certificate message; the rest of the chain says nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// Repeats that of the request; empty within a handshake.
    pub context: &'a [u8],
    /// DER of the end-entity certificate; `None` when the chain is empty.
    pub end_entity: Option<&'a [u8]>,
    /// An extension of a certificate is there; none is ever asked for (RFC 8446 §4.4.2: an error).
    pub unsolicited: bool,
}

impl<'a> Certificate<'a> {
    /// Reads the body of a Certificate message.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "Certificate");
        let context = r.sub_u8()?.rest();
        let mut list = r.sub_u24()?;
        r.finish()?;
        let mut found = Certificate { context, end_entity: None, unsolicited: false };
        let mut count = 0;
        while !list.is_empty() {
            let der = list.sub_u24()?.rest();
            found.unsolicited |= !list.sub_u16()?.is_empty();
            count += 1;
            // RFC 8446 §4.4.2: a certificate holds at least one byte.
            if der.is_empty() || der.len() > MAX_CERTIFICATE_LEN || count > MAX_CHAIN {
                return Err(list.malformed());
            }
            found.end_entity.get_or_insert(der);
        }
        Ok(found)
    }
}

/// Writes the body of a Certificate message of a handshake, without extensions.
pub fn emit_chain<'a>(chain: impl IntoIterator<Item = &'a [u8]>, w: &mut Writer<'_>) {
    w.u8(0);
    w.nested_u24(|w| {
        for der in chain {
            w.nested_u24(|w| w.slice(der));
            w.u16(0);
        }
    });
}

/// What the server accepts as the client's proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateRequest<'a> {
    /// Empty within a handshake.
    pub context: &'a [u8],
    /// Signature schemes, by preference; a request without them is an error (RFC 8446 §4.3.2).
    pub signature_algorithms: Option<Codes<'a>>,
}

impl<'a> CertificateRequest<'a> {
    /// Reads the body; extensions that do not matter here are skipped.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "CertificateRequest");
        let context = r.sub_u8()?.rest();
        if r.is_empty() {
            return Err(r.malformed());
        }
        Ok(CertificateRequest { context, signature_algorithms: request_schemes(r)? })
    }

    /// Writes the body; without schemes it has none to write.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.nested_u8(|w| w.slice(self.context));
        match self.signature_algorithms {
            Some(schemes) => emit_request_schemes(schemes, w),
            None => w.u16(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::written;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chains_round_trip_and_no_cut_passes(chain in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 1..50), 0..MAX_CHAIN,
        )) {
            let bytes = written(|w| emit_chain(chain.iter().map(Vec::as_slice), w));
            let parsed = Certificate::parse(&bytes).unwrap();
            let end_entity = chain.first().map(Vec::as_slice);
            prop_assert_eq!(parsed, Certificate { context: &[], end_entity, unsolicited: false });
            for cut in 0..bytes.len() {
                prop_assert!(Certificate::parse(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn requests_round_trip_and_no_cut_passes(
            context in prop::collection::vec(any::<u8>(), 0..20),
            codes in prop::option::of(prop::collection::vec(any::<[u8; 2]>(), 1..20)),
        ) {
            let signature_algorithms = codes.as_deref().map(Codes::new);
            let request = CertificateRequest { context: &context, signature_algorithms };
            let bytes = written(|w| request.emit(w));
            prop_assert_eq!(CertificateRequest::parse(&bytes), Ok(request));
            prop_assert!((0..bytes.len()).all(|cut| CertificateRequest::parse(&bytes[..cut]).is_err()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (Certificate::parse(&bytes), CertificateRequest::parse(&bytes));
        }
    }

    #[test]
    fn long_chains_and_huge_or_empty_certificates_are_refused() {
        let parse = |chain: &[Vec<u8>]| {
            let bytes = written(|w| emit_chain(chain.iter().map(Vec::as_slice), w));
            Certificate::parse(&bytes).is_ok()
        };
        assert!(parse(&vec![vec![1]; MAX_CHAIN]));
        assert!(!parse(&vec![vec![1]; MAX_CHAIN + 1]));
        assert!(parse(&[vec![1; MAX_CERTIFICATE_LEN]]));
        assert!(!parse(&[vec![1; MAX_CERTIFICATE_LEN + 1]]));
        assert!(!parse(&[vec![]]));
    }

    #[test]
    fn extensions_of_certificates_are_seen() {
        let body = [0, 0, 0, 10, 0, 0, 1, 7, 0, 4, 0, 5, 0, 0];
        assert!(Certificate::parse(&body).unwrap().unsolicited);
    }
}

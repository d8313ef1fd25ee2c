//! Certificate, CertificateRequest and CertificateVerify as DTLS 1.2 has them (RFC 5246 §7.4.2, §7.4.4, §7.4.8).

use super::Codes;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Certificates in one chain that are looked at; a longer chain is refused.
pub const MAX_CHAIN: usize = 16;

/// The longest certificate accepted, in bytes.
pub const MAX_CERTIFICATE_LEN: usize = 16 * 1024;

/// The end-entity certificate of a Certificate message. The rest of the chain says nothing here: the fingerprint
/// of the first one is what counts (RFC 8122 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// DER of the end-entity certificate; `None` when the chain is empty.
    pub end_entity: Option<&'a [u8]>,
}

impl<'a> Certificate<'a> {
    /// Reads the body of a Certificate message.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "Certificate");
        let mut list = r.sub_u24()?;
        r.finish()?;
        let mut end_entity = None;
        let mut count = 0;
        while !list.is_empty() {
            let der = list.sub_u24()?.rest();
            count += 1;
            // RFC 5246 §7.4.2: an ASN.1Cert holds at least one byte.
            if der.is_empty() || der.len() > MAX_CERTIFICATE_LEN || count > MAX_CHAIN {
                return Err(list.malformed());
            }
            end_entity.get_or_insert(der);
        }
        Ok(Certificate { end_entity })
    }
}

/// Writes the body of a Certificate message.
pub fn emit_chain<'a>(chain: impl IntoIterator<Item = &'a [u8]>, w: &mut Writer<'_>) {
    w.nested_u24(|w| {
        for der in chain {
            w.nested_u24(|w| w.slice(der));
        }
    });
}

/// The kinds of key that a 1.2 server lets a client prove (RFC 5246 §7.4.4, RFC 8422 §5.5).
pub mod client_certificate_type {
    /// RSA.
    pub const RSA_SIGN: u8 = 1;
    /// ECDSA and EdDSA.
    pub const ECDSA_SIGN: u8 = 64;
}

/// What the server accepts as the client's proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateRequest<'a> {
    /// Kinds of key.
    pub types: &'a [u8],
    /// Signature schemes, by preference.
    pub signature_algorithms: Codes<'a>,
}

impl<'a> CertificateRequest<'a> {
    /// Reads the body; names of authorities are skipped, since certificates are self-signed here.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "CertificateRequest");
        let types = r.sub_u8()?.rest();
        let signature_algorithms = Codes::parse(r.sub_u16()?)?;
        let mut authorities = r.sub_u16()?;
        r.finish()?;
        while !authorities.is_empty() {
            authorities.sub_u16()?;
        }
        Ok(CertificateRequest { types, signature_algorithms })
    }

    /// Writes the body, with no authorities.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.nested_u8(|w| w.slice(self.types));
        w.nested_u16(|w| self.signature_algorithms.emit(w));
        w.u16(0);
    }
}

/// A signature and how it was made. CertificateVerify is one; ServerKeyExchange ends with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The signature scheme's code.
    pub scheme: u16,
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Reads all that is left in `r`.
    pub fn read(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let scheme = r.u16()?;
        let signature = r.sub_u16()?.rest();
        r.finish()?;
        Ok(Signed { scheme, signature })
    }

    /// Reads the body of a CertificateVerify.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        Signed::read(Reader::new(body, "CertificateVerify"))
    }

    /// Writes the scheme and the signature.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u16(self.scheme);
        w.nested_u16(|w| w.slice(self.signature));
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
            prop_assert_eq!(parsed.end_entity, chain.first().map(Vec::as_slice));
            for cut in 0..bytes.len() {
                prop_assert!(Certificate::parse(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn requests_and_signatures_round_trip_and_no_cut_passes(
            types: [u8; 3], codes in prop::collection::vec(any::<[u8; 2]>(), 1..20),
            scheme: u16, signature in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let request = CertificateRequest { types: &types, signature_algorithms: Codes::new(&codes) };
            let bytes = written(|w| request.emit(w));
            prop_assert_eq!(CertificateRequest::parse(&bytes), Ok(request));
            prop_assert!((0..bytes.len()).all(|cut| CertificateRequest::parse(&bytes[..cut]).is_err()));

            let signed = Signed { scheme, signature: &signature };
            let bytes = written(|w| signed.emit(w));
            prop_assert_eq!(Signed::parse(&bytes), Ok(signed));
            prop_assert!((0..bytes.len()).all(|cut| Signed::parse(&bytes[..cut]).is_err()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (Certificate::parse(&bytes), CertificateRequest::parse(&bytes), Signed::parse(&bytes));
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
}

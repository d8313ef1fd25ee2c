//! ServerKeyExchange and ClientKeyExchange for ECDHE with named curves (RFC 8422 §5.4, §5.7).

use super::certificate::Signed;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// `ECCurveType.named_curve`, the only one in use.
const NAMED_CURVE: u8 = 3;

/// The server's group and share: the part of ServerKeyExchange that is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerEcdhParams<'a> {
    /// The group's code.
    pub group: u16,
    /// The server's public share.
    pub public: &'a [u8],
}

impl ServerEcdhParams<'_> {
    /// Writes the parameters.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u8(NAMED_CURVE);
        w.u16(self.group);
        w.nested_u8(|w| w.slice(self.public));
    }
}

/// The server's share and its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerKeyExchange<'a> {
    /// Group and share.
    pub params: ServerEcdhParams<'a>,
    /// The bytes that are signed, behind both randoms.
    pub signed_part: &'a [u8],
    /// The signature.
    pub signed: Signed<'a>,
}

impl<'a> ServerKeyExchange<'a> {
    /// Reads the body of a ServerKeyExchange.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "ServerKeyExchange");
        if r.u8()? != NAMED_CURVE {
            return Err(r.malformed());
        }
        let params = ServerEcdhParams { group: r.u16()?, public: point(&mut r)? };
        let (signed_part, _) = body.split_at(body.len() - r.remaining());
        Ok(ServerKeyExchange { params, signed_part, signed: Signed::read(r)? })
    }

    /// Writes parameters and signature.
    pub fn emit(&self, w: &mut Writer<'_>) {
        self.params.emit(w);
        self.signed.emit(w);
    }
}

/// The client's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientKeyExchange<'a> {
    /// The client's public share.
    pub public: &'a [u8],
}

impl<'a> ClientKeyExchange<'a> {
    /// Reads the body of a ClientKeyExchange.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "ClientKeyExchange");
        let public = point(&mut r)?;
        r.finish()?;
        Ok(ClientKeyExchange { public })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.nested_u8(|w| w.slice(self.public));
    }
}

/// RFC 8422 §5.4: a point holds at least one byte.
fn point<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let point = r.sub_u8()?.rest();
    if point.is_empty() { Err(r.malformed()) } else { Ok(point) }
}

#[cfg(test)]
mod tests {
    use super::super::written;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn key_exchanges_round_trip_and_no_cut_passes(
            group: u16, public in prop::collection::vec(any::<u8>(), 1..=255),
            scheme: u16, signature in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let params = ServerEcdhParams { group, public: &public };
            let signed_part = written(|w| params.emit(w));
            let signed = Signed { scheme, signature: &signature };
            let message = ServerKeyExchange { params, signed_part: &signed_part, signed };
            let bytes = written(|w| message.emit(w));
            prop_assert_eq!(ServerKeyExchange::parse(&bytes), Ok(message));
            prop_assert!((0..bytes.len()).all(|cut| ServerKeyExchange::parse(&bytes[..cut]).is_err()));

            let message = ClientKeyExchange { public: &public };
            let bytes = written(|w| message.emit(w));
            prop_assert_eq!(ClientKeyExchange::parse(&bytes), Ok(message));
            prop_assert!((0..bytes.len()).all(|cut| ClientKeyExchange::parse(&bytes[..cut]).is_err()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (ServerKeyExchange::parse(&bytes), ClientKeyExchange::parse(&bytes));
        }
    }

    #[test]
    fn explicit_curves_and_empty_points_are_refused() {
        assert!(ServerKeyExchange::parse(&[1, 0, 29, 1, 9, 4, 3, 0, 0]).is_err());
        assert!(ServerKeyExchange::parse(&[3, 0, 29, 0, 4, 3, 0, 0]).is_err());
        assert!(ClientKeyExchange::parse(&[0]).is_err());
    }
}

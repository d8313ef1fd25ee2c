//! Alerts (RFC 5246 §7.2, RFC 8446 §6).

use bytes::BytesMut;

use super::record::ContentType;
use super::records::Records;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// How grave an alert is. DTLS 1.3 ignores the level: there, all but `close_notify` and `user_canceled` end the
/// connection (RFC 8446 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertLevel {
    /// The connection may go on.
    Warning,
    /// The connection ends.
    Fatal,
}

/// The code of an alert (RFC 5246 §7.2.2, RFC 8446 §6.2, and the IANA registry).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AlertDescription(
    /// The code on the wire.
    pub u8,
);

macro_rules! descriptions {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal;)*) => {
        impl AlertDescription {
            $($(#[$doc])* pub const $name: Self = AlertDescription($code);)*

            /// The RFC's name of the code; `unknown` for one that no RFC here names.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => $text,)*
                    _ => "unknown",
                }
            }
        }
    };
}

descriptions! {
    /// The sender will send no more.
    CLOSE_NOTIFY = 0 "close_notify";
    /// A message came that has no place here.
    UNEXPECTED_MESSAGE = 10 "unexpected_message";
    /// A record failed its authentication. Never sent: such records are dropped (RFC 6347 §4.1.2.7).
    BAD_RECORD_MAC = 20 "bad_record_mac";
    /// A record is longer than allowed.
    RECORD_OVERFLOW = 22 "record_overflow";
    /// No common parameters.
    HANDSHAKE_FAILURE = 40 "handshake_failure";
    /// A certificate is corrupt, or is not the one that was signalled.
    BAD_CERTIFICATE = 42 "bad_certificate";
    /// A certificate is of a kind that is not supported.
    UNSUPPORTED_CERTIFICATE = 43 "unsupported_certificate";
    /// A certificate is not accepted for another reason.
    CERTIFICATE_UNKNOWN = 46 "certificate_unknown";
    /// A field is out of range or contradicts others.
    ILLEGAL_PARAMETER = 47 "illegal_parameter";
    /// A message cannot be decoded.
    DECODE_ERROR = 50 "decode_error";
    /// A signature or Finished is wrong.
    DECRYPT_ERROR = 51 "decrypt_error";
    /// No common version.
    PROTOCOL_VERSION = 70 "protocol_version";
    /// The parameters on offer are too weak.
    INSUFFICIENT_SECURITY = 71 "insufficient_security";
    /// The sender failed for a reason of its own.
    INTERNAL_ERROR = 80 "internal_error";
    /// The user gave up.
    USER_CANCELED = 90 "user_canceled";
    /// Renegotiation is refused (RFC 5246 §7.2.2).
    NO_RENEGOTIATION = 100 "no_renegotiation";
    /// An extension that the other side needs is missing.
    MISSING_EXTENSION = 109 "missing_extension";
    /// An extension came that was not asked for.
    UNSUPPORTED_EXTENSION = 110 "unsupported_extension";
    /// The client sent no certificate.
    CERTIFICATE_REQUIRED = 116 "certificate_required";
}

impl std::fmt::Debug for AlertDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl std::fmt::Display for AlertDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// Warning or fatal.
    pub level: AlertLevel,
    /// What happened.
    pub description: AlertDescription,
}

impl Alert {
    /// A fatal alert.
    pub fn fatal(description: AlertDescription) -> Self {
        Alert { level: AlertLevel::Fatal, description }
    }

    /// A warning.
    pub fn warning(description: AlertDescription) -> Self {
        Alert { level: AlertLevel::Warning, description }
    }

    /// Reads the two bytes of an alert.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "alert");
        let level = match r.u8()? {
            1 => AlertLevel::Warning,
            2 => AlertLevel::Fatal,
            _ => return Err(r.malformed()),
        };
        let description = AlertDescription(r.u8()?);
        r.finish()?;
        Ok(Alert { level, description })
    }

    /// Writes the two bytes of an alert.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u8(match self.level {
            AlertLevel::Warning => 1,
            AlertLevel::Fatal => 2,
        });
        w.u8(self.description.0);
    }

    /// Writes a record behind what `out` holds, under the newest keys.
    pub(crate) fn write(&self, records: &mut Records, out: &mut BytesMut) {
        let (start, epoch) = (out.len(), records.write_epoch());
        out.resize(start + records.overhead(epoch).head, 0);
        self.emit(&mut Writer::new(out));
        if records.seal(epoch, ContentType::ALERT, out, start).is_err() {
            out.truncate(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_round_trip_and_odd_ones_are_refused() {
        for code in 0..=255 {
            for alert in [Alert::fatal(AlertDescription(code)), Alert::warning(AlertDescription(code))] {
                let mut buf = BytesMut::new();
                alert.emit(&mut Writer::new(&mut buf));
                assert_eq!(Alert::parse(&buf), Ok(alert));
            }
        }
        for odd in [&[][..], &[1], &[3, 0], &[1, 0, 0]] {
            assert!(Alert::parse(odd).is_err());
        }
    }
}

//! The data channel establishment protocol (RFC 8832): OPEN, and the ACK that answers it.
//!
//! ```text
//!  |  0x03  | channel type | priority      |
//!  |        reliability parameter          |
//!  | label length    | protocol length     |
//!  | label ... | protocol ...              |
//! ```
//!
//! Both are messages of payload protocol identifier 50 on the stream of the channel.

use std::time::Duration;

use bytes::BytesMut;

use crate::types::reliability::Reliability;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

const TYPE_ACK: u8 = 0x02;
const TYPE_OPEN: u8 = 0x03;

const UNORDERED: u8 = 0x80;
const RELIABLE: u8 = 0x00;
const MAX_RETRANSMITS: u8 = 0x01;
const MAX_LIFETIME: u8 = 0x02;

/// DATA_CHANNEL_ACK (RFC 8832 §5.2), whole.
pub const ACK: [u8; 1] = [TYPE_ACK];

/// DATA_CHANNEL_OPEN (RFC 8832 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Whether messages arrive in the order they were sent.
    pub ordered: bool,
    /// How long a lost message is sent again. Lifetimes travel as whole milliseconds, up to 49 days.
    pub reliability: Reliability,
    /// RFC 8831 §6.4: 128 is below normal, 256 normal, 512 high, 1024 extra high.
    pub priority: u16,
    /// The name, UTF-8 by the RFC but unchecked here. At most 65,535 bytes.
    pub label: &'a [u8],
    /// The subprotocol, UTF-8 by the RFC but unchecked here. At most 65,535 bytes.
    pub protocol: &'a [u8],
}

/// A message of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// The sender wants a channel on this stream.
    Open(Open<'a>),
    /// The sender has taken the OPEN.
    Ack,
}

impl<'a> Message<'a> {
    /// Reads a message. Lengths must account for every byte.
    ///
    /// # Errors
    /// [`Malformed`] for unknown message and channel types, lengths that do not fit, and trailing bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "DCEP message");
        let message = match r.u8()? {
            TYPE_OPEN => Message::Open(Open::read(&mut r)?),
            TYPE_ACK => Message::Ack,
            _ => return Err(r.malformed()),
        };
        r.finish()?;
        Ok(message)
    }
}

impl<'a> Open<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let channel_type = r.u8()?;
        let priority = r.u16()?;
        let parameter = r.u32()?;
        let label_len = usize::from(r.u16()?);
        let protocol_len = usize::from(r.u16()?);
        let reliability = match channel_type & !UNORDERED {
            RELIABLE => Reliability::Reliable,
            // More than 65,535 times is as good as that often: the time-out doubles.
            MAX_RETRANSMITS => Reliability::MaxRetransmits(u16::try_from(parameter).unwrap_or(u16::MAX)),
            MAX_LIFETIME => Reliability::MaxLifetime(Duration::from_millis(u64::from(parameter))),
            _ => return Err(r.malformed()),
        };
        let ordered = channel_type & UNORDERED == 0;
        Ok(Open {
            ordered,
            reliability,
            priority,
            label: r.take(label_len)?,
            protocol: r.take(protocol_len)?,
        })
    }

    /// Appends the message.
    ///
    /// A label or protocol above 65,535 bytes is cut there: the caller checks its length.
    pub fn emit(&self, out: &mut BytesMut) {
        let (kind, parameter) = match self.reliability {
            Reliability::Reliable => (RELIABLE, 0),
            Reliability::MaxRetransmits(times) => (MAX_RETRANSMITS, u32::from(times)),
            Reliability::MaxLifetime(life) => {
                (MAX_LIFETIME, u32::try_from(life.as_millis()).unwrap_or(u32::MAX))
            }
        };
        let cut = |text: &'a [u8]| &text[..text.len().min(usize::from(u16::MAX))];
        let (label, protocol) = (cut(self.label), cut(self.protocol));
        let length = |text: &[u8]| u16::try_from(text.len()).unwrap_or(u16::MAX);
        let mut w = Writer::new(out);
        w.u8(TYPE_OPEN);
        w.u8(if self.ordered { kind } else { kind | UNORDERED });
        w.u16(self.priority);
        w.u32(parameter);
        w.u16(length(label));
        w.u16(length(protocol));
        w.slice(label);
        w.slice(protocol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn emitted(open: &Open<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        open.emit(&mut out);
        out.to_vec()
    }

    #[test]
    fn messages_lie_on_the_wire_as_rfc_8832_draws_them() {
        let reliable = Reliability::Reliable;
        let seconds = Reliability::MaxLifetime(Duration::from_secs(3));
        type Vector = (&'static [u8], bool, Reliability, u16, &'static str, &'static str);
        let vectors: [Vector; 5] = [
            (b"\x03\0\x01\0\0\0\0\0\0\x04\0\0chat", true, reliable, 256, "chat", ""),
            (b"\x03\x80\0\0\0\0\0\0\0\x01\0\x05uproto", false, reliable, 0, "u", "proto"),
            (b"\x03\x81\0\x80\0\0\0\x03\0\x01\0\0r", false, Reliability::MaxRetransmits(3), 128, "r", ""),
            (b"\x03\x02\x02\0\0\0\x0b\xb8\0\x05\0\0caf\xc3\xa9", true, seconds, 512, "café", ""),
            (b"\x03\0\0\0\0\0\0\0\0\0\0\0", true, reliable, 0, "", ""),
        ];
        for (wire, ordered, reliability, priority, label, protocol) in vectors {
            let (label, protocol) = (label.as_bytes(), protocol.as_bytes());
            let open = Open { ordered, reliability, priority, label, protocol };
            assert_eq!(emitted(&open), wire);
            assert_eq!(Message::parse(wire), Ok(Message::Open(open)));
        }
        assert_eq!(Message::parse(&ACK), Ok(Message::Ack));
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let wire = b"\x03\x80\0\0\0\0\0\0\0\x01\0\x05uproto";
        for len in 0..wire.len() {
            assert!(Message::parse(&wire[..len]).is_err(), "{len}");
        }
        assert!(Message::parse(b"\x03\x80\0\0\0\0\0\0\0\x01\0\x05uproto!").is_err());
        assert!(Message::parse(b"\x02\0").is_err());
        assert!(Message::parse(b"\x04").is_err());
        assert!(Message::parse(b"\x03\x03\0\0\0\0\0\0\0\0\0\0").is_err());
    }

    #[test]
    fn a_reliable_channel_ignores_its_parameter() {
        // RFC 8832 §5.1: MUST be ignored on the receiving side.
        let parsed = Message::parse(b"\x03\0\0\0\0\0\0\x09\0\0\0\0");
        assert!(matches!(parsed, Ok(Message::Open(Open { reliability: Reliability::Reliable, .. }))));
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(ordered: bool, kind in 0..3, parameter: u16, priority: u16,
            label in prop::collection::vec(any::<u8>(), 0..50), protocol in prop::collection::vec(any::<u8>(), 0..50)) {
            let reliability = match kind {
                0 => Reliability::Reliable,
                1 => Reliability::MaxRetransmits(parameter),
                _ => Reliability::MaxLifetime(Duration::from_millis(u64::from(parameter) * 7919)),
            };
            let open = Open { ordered, reliability, priority, label: &label, protocol: &protocol };
            let wire = emitted(&open);
            prop_assert_eq!(Message::parse(&wire), Ok(Message::Open(open)));
        }

        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Message::parse(&bytes);
        }
    }
}

//! DNS messages, as far as addresses need them (RFC 1035 §4, RFC 6762 §18).

use std::net::IpAddr;

use bytes::BytesMut;

use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// An IPv4 address (RFC 1035 §3.4.1).
pub(super) const A: u16 = 1;
/// An IPv6 address (RFC 3596 §2.1).
pub(super) const AAAA: u16 = 28;
/// Any type (RFC 1035 §3.2.3).
const ANY: u16 = 255;
/// The internet, and any class.
const IN: u16 = 1;
/// RFC 6762 §5.4, §10.2: "answer by unicast" in a question, "no others are true" in a record.
const TOP: u16 = 0x8000;
/// Records and questions that are read of one message.
const MAX_ITEMS: u16 = 64;
/// The longest name, on the wire (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;
/// Compression pointers followed for one name; each goes backwards.
const MAX_POINTERS: usize = 16;

/// A question for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// In lower case, without a final dot.
    pub(super) name: String,
    pub(super) v4: bool,
    pub(super) v6: bool,
    pub(super) unicast: bool,
}

/// An address of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// In lower case, without a final dot.
    pub(super) name: String,
    pub(super) ip: IpAddr,
    pub(super) ttl: u32,
}

/// What a message holds that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) is_response: bool,
    pub(super) questions: Vec<Question>,
    /// Answers; in a question, those that are known already (RFC 6762 §7.1).
    pub(super) records: Vec<Record>,
}

impl Message {
    /// Reads a datagram. What is of another type or class is passed over.
    pub(super) fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(datagram, "DNS message");
        let id = r.u16()?;
        let flags = r.u16()?;
        // RFC 6762 §18.3, §18.11: another opcode or an error is ignored.
        if flags & 0x780f != 0 {
            return Err(r.malformed());
        }
        let (questions, answers, authorities, additionals) = (r.u16()?, r.u16()?, r.u16()?, r.u16()?);
        let mut message = Message { id, is_response: flags & TOP != 0, ..Message::default() };
        for _ in 0..questions.min(MAX_ITEMS) {
            let name = name(datagram, &mut r)?;
            let (kind, class) = (r.u16()?, r.u16()?);
            let (v4, v6) = (matches!(kind, A | ANY), matches!(kind, AAAA | ANY));
            if matches!(class & !TOP, IN | ANY) && (v4 || v6) {
                message.questions.push(Question { name, v4, v6, unicast: class & TOP != 0 });
            }
        }
        if questions > MAX_ITEMS {
            return Ok(message);
        }
        let records = answers.saturating_add(authorities).saturating_add(additionals);
        // Authorities of a question are what a prober would like to have (RFC 6762 §8.2): not answers.
        let records = if message.is_response { records } else { answers };
        for _ in 0..records.min(MAX_ITEMS) {
            let name = name(datagram, &mut r)?;
            let (kind, class, ttl) = (r.u16()?, r.u16()?, r.u32()?);
            let mut data = r.sub_u16()?;
            let ip = match kind {
                A => IpAddr::from(data.array::<4>()?),
                AAAA => IpAddr::from(data.array::<16>()?),
                _ => continue,
            };
            data.finish()?;
            if class & !TOP == IN {
                message.records.push(Record { name, ip, ttl });
            }
        }
        Ok(message)
    }

    /// Writes a message with both questions for each name.
    pub(super) fn emit(&self, buf: &mut BytesMut) {
        let mut w = Writer::new(buf);
        let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let per_question = |q: &Question| usize::from(q.v4) + usize::from(q.v6);
        let questions = self.questions.iter().map(per_question).sum();
        w.u16(self.id);
        // RFC 6762 §18.4: responses are authoritative.
        w.u16(if self.is_response { 0x8400 } else { 0 });
        w.u16(count(questions));
        w.u16(count(self.records.len()));
        w.u32(0);
        for question in &self.questions {
            let class = if question.unicast { IN | TOP } else { IN };
            for kind in [question.v4.then_some(A), question.v6.then_some(AAAA)].into_iter().flatten() {
                emit_name(&mut w, &question.name);
                w.u16(kind);
                w.u16(class);
            }
        }
        for record in &self.records {
            emit_name(&mut w, &record.name);
            w.u16(if record.ip.is_ipv4() { A } else { AAAA });
            // RFC 6762 §10.2: nobody else has this name; a legacy resolver is not told so (§6.7).
            w.u16(if self.id == 0 { IN | TOP } else { IN });
            w.u32(record.ttl);
            w.nested_u16(|w| match record.ip {
                IpAddr::V4(ip) => w.slice(&ip.octets()),
                IpAddr::V6(ip) => w.slice(&ip.octets()),
            });
        }
    }
}

/// RFC 1035 §4.1.4: labels, and pointers to earlier ones. Every pointer goes to before where its name began, so
/// there are no circles.
fn name<'a>(datagram: &'a [u8], r: &mut Reader<'a>) -> Result<String, Malformed> {
    let malformed = r.malformed();
    let mut name = String::new();
    let mut start = datagram.len() - r.remaining();
    let mut jumped: Option<Reader<'_>> = None;
    let mut pointers = 0;
    let mut length = 1;
    loop {
        let source = jumped.as_mut().unwrap_or(r);
        let first = source.u8()?;
        match first >> 6 {
            0 if first == 0 => return Ok(name),
            0 => {
                let label = source.take(usize::from(first))?;
                length += 1 + label.len();
                if length > MAX_NAME {
                    return Err(malformed);
                }
                let label = std::str::from_utf8(label).map_err(|_| malformed)?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&label.to_ascii_lowercase());
            }
            3 => {
                let target = usize::from(u16::from_be_bytes([first & 0x3f, source.u8()?]));
                pointers += 1;
                if target >= start || pointers > MAX_POINTERS {
                    return Err(malformed);
                }
                start = target;
                let mut at = Reader::new(datagram, "DNS name");
                at.skip(target)?;
                jumped = Some(at);
            }
            _ => return Err(malformed),
        }
    }
}

/// Names come from [`super::Name`], so each label fits.
fn emit_name(w: &mut Writer<'_>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        w.nested_u8(|w| w.slice(label.as_bytes().get(..63).unwrap_or(label.as_bytes())));
    }
    w.u8(0);
}

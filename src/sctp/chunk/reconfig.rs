//! RE-CONFIG (RFC 6525 §3, §4): streams begin anew, or more of them are added.
//!
//! ```text
//!  outgoing reset (13)        incoming reset (14)      response (16)
//!  |  13  |     length     |  |  14  |   length     |  |  16  |   length     |
//!  |  request sequence     |  |  request sequence   |  |  response sequence  |
//!  |  response sequence    |  |  stream | stream .. |  |  result             |
//!  |  last assigned TSN    |
//!  |  stream | stream ...  |  no stream: all of them
//! ```

use super::parameter::{Parameter, emit_parameter, kind as parameter};
use super::{emit_chunk, kind};
use crate::sctp::types::Tsn;
use crate::types::ids::StreamId;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

/// What became of a request (RFC 6525 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    NothingToDo,
    Performed,
    Denied,
    WrongSsn,
    InProgressAlready,
    BadSequence,
    InProgress,
    /// Not in the RFC's table.
    Unknown(u32),
}

impl Outcome {
    fn from_code(code: u32) -> Self {
        match code {
            0 => Outcome::NothingToDo,
            1 => Outcome::Performed,
            2 => Outcome::Denied,
            3 => Outcome::WrongSsn,
            4 => Outcome::InProgressAlready,
            5 => Outcome::BadSequence,
            6 => Outcome::InProgress,
            other => Outcome::Unknown(other),
        }
    }

    fn code(self) -> u32 {
        match self {
            Outcome::NothingToDo => 0,
            Outcome::Performed => 1,
            Outcome::Denied => 2,
            Outcome::WrongSsn => 3,
            Outcome::InProgressAlready => 4,
            Outcome::BadSequence => 5,
            Outcome::InProgress => 6,
            Outcome::Unknown(code) => code,
        }
    }
}

/// Streams listed in a request; none listed means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamList<'a>(&'a [[u8; 2]]);

impl<'a> StreamList<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        match r.rest().as_chunks() {
            (streams, []) => Ok(StreamList(streams)),
            _ => Err(r.malformed()),
        }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = StreamId> + Clone + 'a {
        self.0.iter().map(|&stream| StreamId(u16::from_be_bytes(stream)))
    }
}

/// One parameter of a RE-CONFIG chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconfig<'a> {
    OutgoingReset {
        request: u32,
        /// The incoming request that this one answers, if any.
        response: u32,
        last_tsn: Tsn,
        streams: StreamList<'a>,
    },
    IncomingReset {
        request: u32,
        streams: StreamList<'a>,
    },
    /// RFC 6525 §4.3.
    SsnTsnReset {
        request: u32,
    },
    /// RFC 6525 §4.5: the peer wants to send on so many streams more.
    AddOutgoing {
        request: u32,
        streams: u16,
    },
    /// RFC 6525 §4.6: we are asked to send on so many streams more.
    AddIncoming {
        request: u32,
    },
    Response {
        response: u32,
        outcome: Outcome,
    },
}

impl<'a> Reconfig<'a> {
    /// Reads a parameter; `None` when its type is not one of RFC 6525.
    pub(crate) fn parse(found: &Parameter<'a>) -> Result<Option<Self>, Malformed> {
        let mut r = Reader::new(found.value, "RE-CONFIG");
        Ok(Some(match found.kind {
            parameter::OUTGOING_RESET => Reconfig::OutgoingReset {
                request: r.u32()?,
                response: r.u32()?,
                last_tsn: Serial32(r.u32()?),
                streams: StreamList::read(&mut r)?,
            },
            parameter::INCOMING_RESET => {
                Reconfig::IncomingReset { request: r.u32()?, streams: StreamList::read(&mut r)? }
            }
            parameter::SSN_TSN_RESET => Reconfig::SsnTsnReset { request: r.u32()? },
            parameter::ADD_OUTGOING => Reconfig::AddOutgoing { request: r.u32()?, streams: r.u16()? },
            parameter::ADD_INCOMING => Reconfig::AddIncoming { request: r.u32()? },
            // RFC 6525 §4.4: two optional TSNs may follow.
            parameter::RECONFIG_RESPONSE => {
                Reconfig::Response { response: r.u32()?, outcome: Outcome::from_code(r.u32()?) }
            }
            _ => return Ok(None),
        }))
    }
}

/// Bytes of a RE-CONFIG chunk with an outgoing reset request for `streams` streams.
pub(crate) const fn outgoing_reset_len(streams: usize) -> usize {
    (4 + 16 + 2 * streams).next_multiple_of(4)
}

/// Appends a RE-CONFIG chunk with an outgoing reset request.
pub(crate) fn emit_outgoing_reset(
    w: &mut Writer<'_>,
    request: u32,
    response: u32,
    last_tsn: Tsn,
    streams: &[StreamId],
) {
    emit_chunk(w, kind::RE_CONFIG, 0, |w| {
        emit_parameter(w, parameter::OUTGOING_RESET, |w| {
            w.u32(request);
            w.u32(response);
            w.u32(last_tsn.0);
            streams.iter().for_each(|stream| w.u16(stream.0));
        });
    });
}

/// Appends a RE-CONFIG chunk with the answers to the requests of one chunk.
pub(crate) fn emit_responses(w: &mut Writer<'_>, responses: &[(u32, Outcome)]) {
    emit_chunk(w, kind::RE_CONFIG, 0, |w| {
        for (response, outcome) in responses {
            emit_parameter(w, parameter::RECONFIG_RESPONSE, |w| {
                w.u32(*response);
                w.u32(outcome.code());
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sctp::chunk::parameter::Parameters;
    use bytes::BytesMut;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_outgoing_reset_is_read_back(request: u32, response: u32, tsn: u32, streams in prop::collection::vec(any::<u16>(), 0..20)) {
            let streams: Vec<_> = streams.into_iter().map(StreamId).collect();
            let mut buf = BytesMut::new();
            emit_outgoing_reset(&mut Writer::new(&mut buf), request, response, Serial32(tsn), &streams);
            prop_assert_eq!(buf.len(), outgoing_reset_len(streams.len()));
            let found = Parameters::new(&buf[4..]).next().unwrap().unwrap();
            let Some(Reconfig::OutgoingReset { request: a, response: b, last_tsn, streams: list }) = Reconfig::parse(&found).unwrap() else {
                return Err(TestCaseError::fail("another parameter"));
            };
            prop_assert_eq!((a, b, last_tsn.0), (request, response, tsn));
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), streams);
        }

        #[test]
        fn responses_are_read_back(list in prop::collection::vec((any::<u32>(), 0u32..10), 1..3)) {
            let responses: Vec<_> = list.iter().map(|&(response, code)| (response, Outcome::from_code(code))).collect();
            let mut buf = BytesMut::new();
            emit_responses(&mut Writer::new(&mut buf), &responses);
            let read: Vec<_> = Parameters::new(&buf[4..]).map(|p| Reconfig::parse(&p.unwrap()).unwrap().unwrap()).collect();
            let expected: Vec<_> = responses.iter().map(|&(response, outcome)| Reconfig::Response { response, outcome }).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_value_is_borne(kind in 12u16..20, value in prop::collection::vec(any::<u8>(), 0..40)) {
            let found = Parameter { kind, value: &value, whole: &[] };
            if let Ok(Some(Reconfig::OutgoingReset { streams, .. })) = Reconfig::parse(&found) {
                prop_assert_eq!(streams.iter().len() * 2 + 12, value.len());
            }
        }
    }
}

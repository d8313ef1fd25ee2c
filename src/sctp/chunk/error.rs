//! ERROR and ABORT (RFC 9260 §3.3.10, §3.3.7): error causes, which both carry.

use super::parameter::{Parameters, emit_parameter};
use super::{emit_chunk, kind};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// ABORT and SHUTDOWN COMPLETE: the verification tag is the receiver's own, sent back to it (RFC 9260 §8.5.1).
pub(crate) const TAG_REFLECTED: u8 = 0x01;

/// What went wrong, as the wire tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause<'a> {
    /// RFC 9260 §3.3.10.1.
    InvalidStream(u16),
    /// RFC 9260 §3.3.10.2: no state cookie in the INIT ACK.
    MissingCookie,
    /// RFC 9260 §3.3.10.3: how far beyond its life, in microseconds.
    StaleCookie(u32),
    /// RFC 9260 §3.3.10.6: the whole chunk, or its beginning.
    UnrecognizedChunk(&'a [u8]),
    /// RFC 9260 §3.3.10.7.
    InvalidMandatoryParameter,
    /// RFC 9260 §3.3.10.9: the TSN of a DATA chunk without data.
    NoUserData(u32),
    /// RFC 9260 §3.3.10.10.
    CookieWhileShuttingDown,
    /// RFC 9260 §3.3.10.12, with the words of the one who gave up.
    UserAbort(&'a str),
    /// RFC 9260 §3.3.10.13, with what was wrong.
    ProtocolViolation(&'a str),
}

impl Cause<'_> {
    fn emit(self, w: &mut Writer<'_>) {
        emit_parameter(w, self.code(), |w| match self {
            Cause::InvalidStream(stream) => {
                w.u16(stream);
                w.u16(0);
            }
            Cause::MissingCookie => {
                w.u32(1);
                w.u16(super::parameter::kind::STATE_COOKIE);
            }
            Cause::StaleCookie(value) | Cause::NoUserData(value) => w.u32(value),
            Cause::UnrecognizedChunk(chunk) => w.slice(chunk),
            Cause::InvalidMandatoryParameter | Cause::CookieWhileShuttingDown => {}
            Cause::UserAbort(text) | Cause::ProtocolViolation(text) => w.slice(text.as_bytes()),
        });
    }

    fn code(self) -> u16 {
        match self {
            Cause::InvalidStream(_) => 1,
            Cause::MissingCookie => 2,
            Cause::StaleCookie(_) => 3,
            Cause::UnrecognizedChunk(_) => 6,
            Cause::InvalidMandatoryParameter => 7,
            Cause::NoUserData(_) => 9,
            Cause::CookieWhileShuttingDown => 10,
            Cause::UserAbort(_) => 12,
            Cause::ProtocolViolation(_) => 13,
        }
    }
}

/// Appends an ABORT; `flags` is 0 or [`TAG_REFLECTED`].
pub(crate) fn emit_abort(w: &mut Writer<'_>, flags: u8, cause: Option<Cause<'_>>) {
    emit_chunk(w, kind::ABORT, flags, |w| cause.into_iter().for_each(|cause| cause.emit(w)));
}

/// Appends an ERROR.
pub(crate) fn emit_error(w: &mut Writer<'_>, cause: Cause<'_>) {
    emit_chunk(w, kind::ERROR, 0, |w| cause.emit(w));
}

/// Appends an ERROR that names parameters of an INIT ACK (RFC 9260 §3.3.10.8), as many as fit into `room`.
pub(crate) fn emit_unrecognized_parameters<'p>(
    w: &mut Writer<'_>,
    parameters: impl IntoIterator<Item = &'p [u8]>,
    room: usize,
) {
    let start = w.written();
    emit_chunk(w, kind::ERROR, 0, |w| {
        emit_parameter(w, 8, |w| {
            for unknown in parameters {
                let padded = unknown.len().next_multiple_of(4);
                if w.written() - start + padded > room {
                    break;
                }
                w.slice(unknown);
                w.zeros(padded - unknown.len());
            }
        });
    });
}

/// Whether an ERROR's causes say that our cookie was too old.
pub(crate) fn has_stale_cookie(value: &[u8]) -> bool {
    Parameters::new(value).map_while(Result::ok).any(|cause| cause.kind == 3)
}

/// The first cause of an ABORT or ERROR in words, at most 200 bytes of which are the peer's.
pub(crate) fn describe(value: &[u8]) -> String {
    let Some(Ok(cause)) = Parameters::new(value).next() else { return "no cause given".to_owned() };
    let words = match cause.kind {
        1 => "invalid stream identifier",
        2 => "missing mandatory parameter",
        3 => "stale cookie",
        4 => "out of resource",
        5 => "unresolvable address",
        6 => "unrecognized chunk type",
        7 => "invalid mandatory parameter",
        8 => "unrecognized parameters",
        9 => "no user data",
        10 => "cookie received while shutting down",
        11 => "restart with new addresses",
        12 => "user-initiated abort",
        13 => "protocol violation",
        other => return format!("cause {other}"),
    };
    if !matches!(cause.kind, 12 | 13) || cause.value.is_empty() {
        return words.to_owned();
    }
    let mut r = Reader::new(cause.value, "abort reason");
    let text = r.take(cause.value.len().min(200)).unwrap_or_default();
    format!("{words}: {}", String::from_utf8_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    #[test]
    fn the_words_of_an_abort_reach_the_other_side() {
        let mut buf = BytesMut::new();
        emit_abort(&mut Writer::new(&mut buf), TAG_REFLECTED, Some(Cause::UserAbort("good bye")));
        assert_eq!(&buf[..8], [6, 1, 0, 16, 0, 12, 0, 12]);
        assert_eq!(describe(&buf[4..]), "user-initiated abort: good bye");
        assert_eq!(describe(&[]), "no cause given");
        assert_eq!(describe(&[0, 9, 0, 8, 0, 0, 0, 1]), "no user data");
    }

    #[test]
    fn a_stale_cookie_is_told() {
        let mut buf = BytesMut::new();
        emit_error(&mut Writer::new(&mut buf), Cause::StaleCookie(7));
        assert!(has_stale_cookie(&buf[4..]));
        assert!(!has_stale_cookie(&buf[8..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_described_within_bounds(value in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(describe(&value).len() < 700);
            let _ = has_stale_cookie(&value);
        }
    }
}

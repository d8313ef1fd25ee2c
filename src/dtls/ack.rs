//! ACK: which records of a flight have arrived (RFC 9147 §7), and when to say so.
//!
//! A flight that is answered by the next one is not acknowledged, unless something of it is missing: at once when
//! a gap is seen, and a quarter of the retransmission's interval after its last datagram otherwise (§7.1).

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::record::{ContentType, Epoch, RecordNumber};
use super::records::Records;
use crate::time::Timer;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// How many record numbers are kept; the oldest go first. A flight of 20 KiB in records of 300 bytes has as many.
const MAX_NUMBERS: usize = 64;

/// How many record numbers of one ACK are looked at: more than a flight here ever has.
const MAX_READ: usize = 512;

/// Bytes of one record number.
const NUMBER_LEN: usize = 16;

/// Reads the body of an ACK. Numbers that no record of this end can have are left out.
pub(crate) fn parse(body: &[u8]) -> Result<Vec<RecordNumber>, Malformed> {
    let mut r = Reader::new(body, "ACK");
    let mut list = r.sub_u16()?;
    r.finish()?;
    if !list.remaining().is_multiple_of(NUMBER_LEN) {
        return Err(list.malformed());
    }
    let mut numbers = Vec::new();
    while !list.is_empty() && numbers.len() < MAX_READ {
        let (epoch, sequence): (Epoch, u64) = (list.u64()?, list.u64()?);
        numbers.push(RecordNumber { epoch, sequence });
    }
    Ok(numbers)
}

/// Writes the body of an ACK.
pub(crate) fn emit(numbers: &[RecordNumber], w: &mut Writer<'_>) {
    w.nested_u16(|w| {
        for number in numbers {
            w.u64(number.epoch);
            w.u64(number.sequence);
        }
    });
}

/// The records of the peer's current flight.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// In order of arrival.
    numbers: Vec<RecordNumber>,
    is_due: bool,
    timer: Timer,
    /// Until when a gap is not told again.
    quiet_until: Option<Instant>,
}

impl Acks {
    /// A record whose messages were taken or kept.
    pub(crate) fn note(&mut self, number: RecordNumber) {
        if self.numbers.contains(&number) {
            return;
        }
        if self.numbers.len() == MAX_NUMBERS {
            self.numbers.remove(0);
        }
        self.numbers.push(number);
    }

    /// Whether any record of the flight is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The flight is answered, which says that it arrived (RFC 9147 §7).
    pub(crate) fn clear(&mut self) {
        *self = Acks::default();
    }

    /// Gives back memory that is not in use.
    pub(crate) fn slim(&mut self) {
        self.numbers.shrink_to_fit();
    }

    /// To be told with the next datagram.
    pub(crate) fn demand(&mut self) {
        self.is_due = true;
        self.timer.cancel();
    }

    /// The flight is not complete: told at once when there is a gap in it, else after a while without news.
    pub(crate) fn on_incomplete(&mut self, now: Instant, interval: Duration, has_gap: bool) {
        let is_quiet = self.quiet_until.is_some_and(|until| now < until);
        if has_gap && !is_quiet {
            self.quiet_until = Some(now + interval / 4);
            self.demand();
        } else {
            self.timer.arm(now + interval / 4);
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.is_due |= self.timer.expire(now);
    }

    /// Writes a record behind what `out` holds, if one is due and fits into `max` bytes.
    pub(crate) fn write(&mut self, records: &mut Records, out: &mut BytesMut, max: usize) {
        let (start, epoch) = (out.len(), records.write_epoch());
        let overhead = records.overhead(epoch);
        let room = max.saturating_sub(start + overhead.head + overhead.tail);
        let Some(numbers) = self.take_due(room) else { return };
        out.resize(start + overhead.head, 0);
        emit(&numbers, &mut Writer::new(out));
        if records.seal(epoch, ContentType::ACK, out, start).is_err() {
            out.truncate(start);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timer.deadline()
    }

    /// Whether there is an ACK to be written.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Takes the newest numbers, in numerical order, as many as fit into `room` bytes of body; `None` when nothing is
    /// due, or not even an empty list fits.
    fn take_due(&mut self, room: usize) -> Option<Vec<RecordNumber>> {
        let fitting = room.checked_sub(2).filter(|_| self.is_due)? / NUMBER_LEN;
        self.is_due = false;
        let mut numbers = self.numbers.clone();
        numbers.drain(..numbers.len().saturating_sub(fitting));
        numbers.sort_unstable();
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::handshake::written;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn acks_round_trip_and_no_cut_passes(numbers in prop::collection::vec(any::<(u64, u64)>(), 0..30)) {
            let numbers: Vec<_> =
                numbers.into_iter().map(|(epoch, sequence)| RecordNumber { epoch, sequence }).collect();
            let bytes = written(|w| emit(&numbers, w));
            prop_assert_eq!(parse(&bytes), Ok(numbers));
            prop_assert!((0..bytes.len()).all(|cut| parse(&bytes[..cut]).is_err()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn half_a_number_is_refused() {
        assert!(parse(&[0, 8, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn the_newest_numbers_are_kept_and_told_first() {
        let mut acks = Acks::default();
        for sequence in 0..100 {
            acks.note(RecordNumber { epoch: 2, sequence });
            acks.note(RecordNumber { epoch: 2, sequence });
        }
        assert_eq!(acks.take_due(1000), None, "nothing is due");
        acks.demand();
        assert_eq!(acks.take_due(1), None, "no room");
        let told = acks.take_due(2 + 3 * NUMBER_LEN).unwrap();
        assert_eq!(told.iter().map(|number| number.sequence).collect::<Vec<_>>(), [97, 98, 99]);
        acks.demand();
        assert_eq!(acks.take_due(10_000).unwrap().len(), MAX_NUMBERS);
    }
}

//! What a hostile or clumsy SCTP sender can make the receiver hold: never more than the window and a quarter, with
//! all memory counted, and one allocation per message in peace.

mod heap;

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use sansrtc::packet::Ecn;
use sansrtc::rng::{Rng, Stream};
use sansrtc::sctp::{Association, Config, Event};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// A receiver, and what a foreign sender needs to know to speak to it.
struct Victim {
    association: Association,
    now: Instant,
    tag: u32,
    tsn: u32,
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods)] // A fixed point: only differences matter.
    Instant::now()
}

fn association(seed: u8, config: &Config) -> Association {
    Association::new(config.clone(), Rng::new([seed; 32], Stream::Sctp), now())
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// One DATA (no `fsn`) or I-DATA chunk.
#[derive(Clone, Copy)]
struct Chunk {
    /// Beyond the first one.
    tsn: u32,
    stream: u16,
    message: u32,
    fsn: Option<u32>,
    first: bool,
    last: bool,
    unordered: bool,
    len: usize,
}

impl Victim {
    fn new(interleaving: bool) -> Victim {
        let config = Config { interleaving, ..Config::default() };
        let mut association = association(1, &config);
        let sender = self::association(2, &config).local_init();
        let tag = word(&association.local_init()[4..8]);
        let now = now();
        association.accept_remote_init(now, None, &sender).unwrap();
        assert_eq!(association.poll_event(), Some(Event::Connected));
        Victim { association, now, tag, tsn: word(&sender[16..20]) }
    }

    /// Gives a packet with this chunk and so much padding, and reads away what the receiver says.
    fn give(&mut self, chunk: Chunk, padding: usize) {
        let mut packet = BytesMut::with_capacity(40 + chunk.len + padding + 8);
        self.write(&mut packet, chunk, padding);
        self.handle(packet.freeze());
        let mut out = BytesMut::new();
        while self.association.poll_packet(self.now, &mut out) {
            out.clear();
        }
    }

    fn handle(&mut self, packet: Bytes) {
        self.association.handle_packet(self.now, packet, Ecn::NotEct);
        self.now += Duration::from_micros(10);
    }

    fn write(&self, packet: &mut BytesMut, chunk: Chunk, padding: usize) {
        let Chunk { tsn, stream, message, fsn, first, last, unordered, len } = chunk;
        packet.put_slice(&[0x13, 0x88, 0x13, 0x88]);
        packet.put_u32(self.tag);
        // RFC 9653: no checksum.
        packet.put_u32(0);
        let head = if fsn.is_some() { 20 } else { 16 };
        packet.put_u8(if fsn.is_some() { 64 } else { 0 });
        packet.put_u8(u8::from(unordered) << 2 | u8::from(first) << 1 | u8::from(last));
        packet.put_u16((head + len) as u16);
        packet.put_u32(self.tsn.wrapping_add(tsn));
        packet.put_u16(stream);
        match fsn {
            None => {
                packet.put_u16(message as u16);
                packet.put_u32(53);
            }
            Some(fsn) => {
                packet.put_u16(0);
                packet.put_u32(message);
                packet.put_u32(if first { 53 } else { fsn });
            }
        }
        packet.put_bytes(tsn as u8, len.next_multiple_of(4));
        if padding > 0 {
            // A chunk that nobody knows, and that is skipped.
            packet.put_slice(&[0xbf, 0]);
            packet.put_u16(4 + padding as u16);
            packet.put_bytes(0, padding);
        }
    }
}

const WINDOW: isize = 1024 * 1024;

/// Gives all chunks, reads nothing, and says what the receiver holds at its worst and in the end.
fn hold(interleaving: bool, padding: usize, chunks: impl Iterator<Item = Chunk>) -> (isize, isize) {
    let mut victim = Victim::new(interleaving);
    let ((), held, peak) = heap::measure(|| {
        for chunk in chunks {
            victim.give(chunk, padding);
        }
    });
    (held, peak)
}

fn piece(tsn: u32) -> Chunk {
    Chunk { tsn, stream: 0, message: 0, fsn: None, first: false, last: false, unordered: false, len: 1 }
}

fn check(name: &str, (held, peak): (isize, isize)) {
    println!("{name}: holds {held}, at the worst {peak}");
    assert!(held <= WINDOW * 5 / 4, "{name}: {held} bytes held");
    // A queue that grows holds the former one, too, for a moment.
    assert!(peak <= WINDOW * 3 / 2, "{name}: {peak} bytes at the worst");
}

#[test]
fn fragments_that_never_end_hold_no_more_than_the_window_and_a_quarter() {
    const COUNT: u32 = 60_000;
    for len in [1, 2, 100, 1100] {
        let idata = |tsn: u32, message: u32, fsn: u32| Chunk {
            message,
            fsn: Some(fsn),
            first: fsn == 0,
            len,
            ..piece(tsn)
        };
        let patterns: [(&str, Box<dyn Iterator<Item = Chunk>>); 9] = [
            ("one message in order", Box::new((0..COUNT).map(|i| idata(i, 0, i)))),
            ("every second fragment", Box::new((0..COUNT).map(|i| idata(i, 0, 2 * i)))),
            ("backwards", Box::new((0..COUNT).map(|i| idata(i, 0, COUNT - i)))),
            ("the last halves backwards", Box::new((0..COUNT).map(|i| idata(i, 0, 2 * (COUNT - i))))),
            ("many messages begun", Box::new((0..COUNT).map(|i| idata(i, i, 0)))),
            (
                "many streams",
                Box::new((0..COUNT).map(|i| Chunk { stream: (i % 4000) as u16, ..idata(i, 0, i / 4000) })),
            ),
            (
                "many streams, not ordered, with holes",
                Box::new((0..COUNT).map(|i| Chunk {
                    stream: (i * 7 % 4000) as u16,
                    unordered: true,
                    ..idata(i, i % 5, 2 * (i / 4000))
                })),
            ),
            (
                "whole messages behind the one that misses",
                Box::new((0..COUNT).map(|i| Chunk { first: true, last: true, ..idata(i, i + 1, 0) })),
            ),
            ("holes in the TSNs, too", Box::new((0..COUNT).map(|i| idata(2 * i + 1, i / 3 + 1, i % 3 * 2)))),
        ];
        for (name, chunks) in patterns {
            check(&format!("{name}, {len} bytes"), hold(true, 0, chunks));
        }
        let data = |tsn: u32| Chunk { len, ..piece(tsn) };
        let patterns: [(&str, Box<dyn Iterator<Item = Chunk>>); 3] = [
            ("DATA: every second TSN", Box::new((0..30_000).map(|i| data(2 * i + 1)))),
            ("DATA: all but the first, backwards", Box::new((1..30_000).rev().map(data))),
            (
                "DATA: not ordered, every second TSN",
                Box::new((0..30_000).map(|i| Chunk { unordered: true, ..data(2 * i + 1) })),
            ),
        ];
        for (name, chunks) in patterns {
            check(&format!("{name}, {len} bytes"), hold(false, 0, chunks));
        }
    }
}

#[test]
fn messages_that_nobody_reads_do_not_pin_the_packets_that_they_came_in() {
    for len in [1, 50, 1100] {
        for padding in [0, 1100] {
            let chunks = (0..20_000).map(|i| Chunk { first: true, last: true, message: i, len, ..piece(i) });
            check(&format!("{len} bytes and {padding} of padding"), hold(false, padding, chunks));
        }
    }
}

#[test]
fn room_taken_in_advance_counts() {
    // A message of 256 KB says that more of them may come; then many begin, with a byte each.
    let large =
        (0..250).map(|i| Chunk { fsn: Some(i), first: i == 0, last: i == 249, len: 1024, ..piece(i) });
    let begun = (250..30_000).map(|i| Chunk {
        fsn: Some(0),
        first: true,
        message: 1,
        stream: (i % 4000) as u16,
        ..piece(i)
    });
    check("begun after a large one", hold(true, 0, large.chain(begun)));
}

#[test]
fn a_message_of_many_chunks_costs_one_allocation() {
    for (interleaving, size) in [(false, 16 * 1024), (true, 16 * 1024), (false, 200_000)] {
        let mut victim = Victim::new(interleaving);
        let count = size / 1100;
        let mut slab = BytesMut::with_capacity(1 << 20);
        let mut taken = 0;
        for number in 0..60 {
            // The first ones say how large the others will be.
            taken = if number <= 10 { 0 } else { taken };
            for fsn in 0..count {
                let chunk = Chunk {
                    message: number,
                    fsn: interleaving.then_some(fsn),
                    first: fsn == 0,
                    last: fsn + 1 == count,
                    len: 1100,
                    ..piece(number * count + fsn)
                };
                slab.reserve(2048);
                victim.write(&mut slab, chunk, 0);
                let packet = slab.split().freeze();
                let before = heap::allocations();
                victim.handle(packet);
                taken += heap::allocations() - before;
                slab.reserve(2048);
                while victim.association.poll_packet(victim.now, &mut slab) {
                    slab.clear();
                }
            }
            let Some(Event::Message { data, .. }) = victim.association.poll_event() else { panic!() };
            assert_eq!(data.len() as u32, count * 1100);
        }
        println!("{size} bytes: {taken} allocations for 50 messages");
        assert!(taken <= 50, "{taken}");
    }
}

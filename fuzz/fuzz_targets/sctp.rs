//! A live SCTP association against packets with the right ports and tag and any chunks, as only its DTLS peer could
//! send them: no panic, no packet above the MTU, no output without end, bounded memory.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use sansrtc::packet::Ecn;
use sansrtc::rng::{Rng, Stream};
use sansrtc::sctp::{Association, Config, SendOptions};
use sansrtc::types::ids::StreamId;

/// Packets that one input may draw.
const MAX_REPLIES: usize = 4096;

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// Chunks, as they are.
    Chunks(&'a [u8]),
    /// One chunk with a right length.
    Chunk {
        kind: u8,
        flags: u8,
        value: &'a [u8],
    },
    /// DATA with a TSN near what is expected.
    Data {
        ahead: i8,
        flags: u8,
        stream: u8,
        ssn: u8,
        ppid: u8,
        data: &'a [u8],
    },
    /// SACK near what was sent.
    Sack {
        ahead: i8,
        window: u16,
        gaps: [u8; 4],
    },
    Send {
        stream: u8,
        length: u16,
    },
    Reset {
        stream: u8,
    },
    Time {
        milliseconds: u16,
    },
    /// A packet of the honest peer gets through.
    Deliver,
}

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let mut world = World::new();
    world.exchange(6);
    while !input.is_empty() {
        let Ok(step) = Step::arbitrary(&mut input) else { break };
        world.step(step);
        world.drain();
    }
});

struct World {
    now: Instant,
    ours: Association,
    theirs: Association,
    /// The common header of a packet to us, and the last packets each way.
    header: Option<[u8; 12]>,
    to_us: Vec<Bytes>,
    to_them: Vec<Bytes>,
    /// TSNs as far as they were seen: theirs, and ours.
    tsn: u32,
    own_tsn: u32,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let config = Config { mtu: 1000, ..Config::default() };
        let association = |seed| Association::new(config.clone(), Rng::new([seed; 32], Stream::Sctp), now);
        let (mut ours, mut theirs) = (association(1), association(2));
        ours.connect(now, None);
        theirs.connect(now, None);
        World { now, ours, theirs, header: None, to_us: vec![], to_them: vec![], tsn: 0, own_tsn: 0 }
    }

    /// Lets both ends speak with each other for a few rounds.
    fn exchange(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.drain();
            self.to_us.drain(..).for_each(|packet| self.ours.handle_packet(self.now, packet, Ecn::NotEct));
        }
    }

    fn drain(&mut self) {
        let mut packet = BytesMut::with_capacity(2048);
        for count in 0.. {
            assert!(count < MAX_REPLIES, "output without end");
            if !self.ours.poll_packet(self.now, &mut packet) {
                break;
            }
            assert!(packet.len() <= 1000, "a packet of {} bytes", packet.len());
            self.own_tsn = first_tsn(&packet).unwrap_or(self.own_tsn);
            self.to_them.push(packet.split().freeze());
        }
        for packet in self.to_them.drain(..) {
            self.theirs.handle_packet(self.now, packet, Ecn::NotEct);
        }
        while self.theirs.poll_packet(self.now, &mut packet) {
            self.header = packet.first_chunk().copied();
            self.tsn = first_tsn(&packet).unwrap_or(self.tsn);
            self.to_us.push(packet.split().freeze());
        }
        self.to_us.truncate(64);
        while self.ours.poll_event().is_some() {}
        while self.theirs.poll_event().is_some() {}
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Chunks(chunks) => self.inject(chunks),
            Step::Chunk { kind, flags, value } => self.inject(&chunk(kind, flags, value)),
            Step::Data { ahead, flags, stream, ssn, ppid, data } => {
                let tsn = self.tsn.wrapping_add_signed(ahead.into());
                let mut value = tsn.to_be_bytes().to_vec();
                value.extend([0, stream, 0, ssn, 0, 0, 0, ppid]);
                value.extend(data);
                self.inject(&chunk(0, flags, &value));
            }
            Step::Sack { ahead, window, gaps: [start, end, more, last] } => {
                let tsn = self.own_tsn.wrapping_add_signed(ahead.into());
                let mut value = tsn.to_be_bytes().to_vec();
                value.extend(u32::from(window).to_be_bytes());
                value.extend([0, 2, 0, 0, 0, start, 0, end, 0, more, 0, last]);
                self.inject(&chunk(3, 0, &value));
            }
            Step::Send { stream, length } => {
                let data = Bytes::from(vec![0; usize::from(length).max(1)]);
                let _ = self.ours.send(self.now, StreamId(stream.into()), 53, data, SendOptions::default());
            }
            Step::Reset { stream } => self.ours.reset_stream(self.now, StreamId(stream.into())),
            Step::Time { milliseconds } => {
                self.now += Duration::from_millis(milliseconds.into());
                self.ours.handle_timeout(self.now);
                self.theirs.handle_timeout(self.now);
            }
            Step::Deliver => {
                if !self.to_us.is_empty() {
                    let packet = self.to_us.remove(0);
                    self.ours.handle_packet(self.now, packet, Ecn::NotEct);
                }
            }
        }
    }

    /// Chunks behind the common header, with a right checksum.
    fn inject(&mut self, chunks: &[u8]) {
        let Some(header) = self.header else { return };
        let mut packet = [&header[..], chunks].concat();
        packet[8..12].fill(0);
        let checksum = crc32c::crc32c(&packet);
        packet[8..12].copy_from_slice(&checksum.to_le_bytes());
        self.ours.handle_packet(self.now, packet.into(), Ecn::NotEct);
    }
}

fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut chunk = vec![kind, flags];
    chunk.extend(length.to_be_bytes());
    chunk.extend(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// The TSN of a packet whose first chunk is DATA or I-DATA.
fn first_tsn(packet: &[u8]) -> Option<u32> {
    let chunk = packet.get(12..20)?;
    matches!(chunk[0], 0 | 64).then(|| u32::from_be_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]))
}

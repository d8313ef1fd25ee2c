//! Opus in Ogg (RFC 3533, RFC 7845).
//!
//! ```text
//!  page: OpusHead | page: OpusTags | page: packets of about a second | ...
//!  page = "OggS" 0 flags granule serial number checksum count sizes... data...
//! ```
//!
//! The granule position of a page is how many samples, at 48 kHz, there are up to its end.

use std::io::{self, ErrorKind, Read, Write};

/// Samples per second of every Opus time.
pub(crate) const RATE: u64 = 48_000;
/// What a decoder throws away at the start (RFC 7845 §4.2); the encoders of browsers need 6.5 ms.
const PRE_SKIP: u16 = 312;
/// How much is missing at most that is filled (RFC 7845 §4.1). A longer gap is cut out.
const MAX_FILL: u64 = 30 * RATE;
const CONTINUED: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// Segments of a page: each is 255 bytes of a packet, or its end.
const MAX_SEGMENTS: usize = 255;
/// The largest packet that is read.
const MAX_PACKET: usize = 64 * 1024;

/// Writes a file.
pub(crate) struct OggWriter<W> {
    out: W,
    serial: u32,
    page: u32,
    granule: u64,
    /// Of the page being filled.
    sizes: Vec<u8>,
    data: Vec<u8>,
    since: u64,
    /// The time that the next packet should have.
    next: Option<u64>,
    /// The first byte of the last packet.
    toc: u8,
}

impl<W: Write> OggWriter<W> {
    /// Starts a file with this many channels.
    pub(crate) fn new(out: W, serial: u32, channels: u8) -> io::Result<Self> {
        let mut writer = OggWriter {
            out,
            serial,
            page: 0,
            granule: 0,
            sizes: Vec::new(),
            data: Vec::new(),
            since: 0,
            next: None,
            toc: 0,
        };
        // RFC 7845 §5.1: version, channels, pre-skip, the rate of the source, gain, mapping family.
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels);
        head.extend_from_slice(&PRE_SKIP.to_le_bytes());
        head.extend_from_slice(&48_000u32.to_le_bytes());
        head.extend_from_slice(&[0, 0, 0]);
        writer.add(&head);
        writer.emit(FIRST)?;
        // §5.2: who made it, and no comments.
        let vendor = b"sansrtc";
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
        tags.extend_from_slice(vendor);
        tags.extend_from_slice(&[0; 4]);
        writer.add(&tags);
        writer.emit(0)?;
        Ok(writer)
    }

    /// Adds a packet whose first sample is at `time`, in samples. What is missing before it is filled with empty
    /// frames, which a decoder conceals.
    pub(crate) fn write(&mut self, time: u64, packet: &[u8]) -> io::Result<()> {
        let Some(samples) = samples(packet) else { return Ok(()) };
        if let Some(next) = self.next
            && time > next
            && time - next <= MAX_FILL
        {
            // RFC 6716 §3.1: the same mode, one frame, without data.
            let filler = [self.toc & 0b1111_1100];
            let length = u64::from(frame_length(self.toc));
            for _ in 0..(time - next) / length {
                self.push(&filler, length)?;
            }
        }
        self.next = Some(time + samples);
        self.toc = packet.first().copied().unwrap_or_default();
        self.push(packet, samples)
    }

    /// Writes the last page.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.emit(LAST)?;
        self.out.flush()
    }

    /// Seconds written so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.granule as f64 / RATE as f64
    }

    fn push(&mut self, packet: &[u8], samples: u64) -> io::Result<()> {
        if self.sizes.len() + packet.len() / 255 + 1 > MAX_SEGMENTS || self.since >= RATE {
            self.emit(0)?;
        }
        self.granule += samples;
        self.since += samples;
        self.add(packet);
        Ok(())
    }

    /// RFC 3533 §5: a packet is cut into segments of 255 bytes; a shorter one, be it empty, ends it.
    fn add(&mut self, packet: &[u8]) {
        self.sizes.extend(std::iter::repeat_n(255, packet.len() / 255));
        self.sizes.push((packet.len() % 255) as u8);
        self.data.extend_from_slice(packet);
    }

    fn emit(&mut self, flags: u8) -> io::Result<()> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend_from_slice(&self.granule.to_le_bytes());
        page.extend_from_slice(&self.serial.to_le_bytes());
        page.extend_from_slice(&self.page.to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        page.push(self.sizes.len() as u8);
        page.append(&mut self.sizes);
        page.append(&mut self.data);
        let checksum = crc(&page);
        page[22..26].copy_from_slice(&checksum.to_le_bytes());
        self.page += 1;
        self.since = 0;
        self.out.write_all(&page)
    }
}

/// A file that was read whole.
#[derive(Debug)]
pub(crate) struct Ogg {
    /// Channels, as the head says.
    pub(crate) channels: u8,
    /// Its packets, with the times of their first samples.
    pub(crate) packets: Vec<(u64, Vec<u8>)>,
}

impl Ogg {
    /// Reads a file with one Opus stream.
    pub(crate) fn read(mut from: impl Read) -> io::Result<Self> {
        let bad = |why: &str| io::Error::new(ErrorKind::InvalidData, why.to_owned());
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let mut rest = &bytes[..];
        let mut packets: Vec<Vec<u8>> = Vec::new();
        let mut open: Vec<u8> = Vec::new();
        while !rest.is_empty() {
            let (page, behind) = split_page(rest).ok_or_else(|| bad("not an Ogg file, or a damaged one"))?;
            rest = behind;
            if page.flags & CONTINUED == 0 {
                open.clear();
            }
            let mut data = page.data;
            for &size in page.sizes {
                let (segment, behind) = data.split_at(usize::from(size));
                data = behind;
                open.extend_from_slice(segment);
                if open.len() > MAX_PACKET {
                    return Err(bad("a packet is too large"));
                }
                if size < 255 {
                    packets.push(std::mem::take(&mut open));
                }
            }
        }
        let mut packets = packets.into_iter();
        let head = packets.next().filter(|head| head.starts_with(b"OpusHead"));
        let channels = head.and_then(|head| head.get(9).copied()).ok_or_else(|| bad("not an Opus file"))?;
        packets.next().filter(|tags| tags.starts_with(b"OpusTags")).ok_or_else(|| bad("not an Opus file"))?;
        let mut time = 0;
        let timed = packets.filter_map(|packet| {
            let start = time;
            time += samples(&packet)?;
            Some((start, packet))
        });
        Ok(Ogg { channels, packets: timed.collect() })
    }
}

struct Page<'a> {
    flags: u8,
    sizes: &'a [u8],
    data: &'a [u8],
}

fn split_page(bytes: &[u8]) -> Option<(Page<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(27).filter(|(head, _)| head.starts_with(b"OggS\0"))?;
    let (sizes, rest) = rest.split_at_checked(usize::from(head[26]))?;
    let length = sizes.iter().map(|size| usize::from(*size)).sum();
    let (data, rest) = rest.split_at_checked(length)?;
    let mut page = bytes[..27 + sizes.len() + length].to_vec();
    let checksum = u32::from_le_bytes([page[22], page[23], page[24], page[25]]);
    page[22..26].fill(0);
    (crc(&page) == checksum).then_some((Page { flags: head[5], sizes, data }, rest))
}

/// RFC 3533 §6: the polynomial 0x04c11db7, the highest bit first, nothing inverted.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| crc << 1 ^ (crc >> 31).wrapping_mul(0x04c1_1db7))
    })
}

/// Samples of one frame of a packet that starts with `toc` (RFC 6716 §3.1, table 2).
fn frame_length(toc: u8) -> u32 {
    match toc >> 3 {
        config @ 0..12 => [480, 960, 1920, 2880][usize::from(config % 4)],
        config @ 12..16 => [480, 960][usize::from(config % 2)],
        config => [120, 240, 480, 960][usize::from(config % 4)],
    }
}

/// Samples of a packet; `None` when it is empty, or longer than the 120 ms that are allowed.
pub(crate) fn samples(packet: &[u8]) -> Option<u64> {
    let toc = *packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let samples = frames * frame_length(toc);
    (1..=5760).contains(&samples).then_some(u64::from(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms of CELT, fullband, one frame.
    const TOC: u8 = 31 << 3;

    fn written(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = OggWriter::new(&mut file, 7, 2).expect("memory takes all");
        for (time, packet) in packets {
            writer.write(*time, packet).expect("memory takes all");
        }
        writer.finish().expect("memory takes all");
        file
    }

    #[test]
    fn packets_of_all_sizes_come_back() {
        let sizes = [1, 2, 100, 254, 255, 256, 509, 510, 511, 1275, 7000];
        let packets: Vec<(u64, Vec<u8>)> = (0..200)
            .map(|i| {
                let mut packet = vec![i as u8; sizes[i as usize % sizes.len()]];
                packet[0] = TOC;
                (i * 960, packet)
            })
            .collect();
        let read = Ogg::read(&written(&packets)[..]).expect("what was written can be read");
        assert_eq!(read.channels, 2);
        assert_eq!(read.packets, packets);
    }

    #[test]
    fn a_gap_is_filled_with_empty_frames() {
        // RFC 7845 §4.1
        let packet = vec![TOC | 1, 1, 2, 3, 4];
        let read =
            Ogg::read(&written(&[(0, packet.clone()), (1920 + 3 * 960, packet.clone())])[..]).expect("good");
        let filler = vec![TOC];
        let expected = [
            (0, packet.clone()),
            (1920, filler.clone()),
            (2880, filler.clone()),
            (3840, filler),
            (4800, packet),
        ];
        assert_eq!(read.packets, expected);
    }

    #[test]
    fn every_page_but_the_heads_says_how_far_it_goes() {
        let packets: Vec<_> = (0..120).map(|i| (i * 960, vec![TOC, 0])).collect();
        let file = written(&packets);
        let mut rest = &file[..];
        let mut granules = Vec::new();
        while let Some((_, behind)) = split_page(rest) {
            granules.push(u64::from_le_bytes(rest[6..14].try_into().expect("eight bytes")));
            rest = behind;
        }
        assert_eq!(granules, [0, 0, RATE, 2 * RATE, 120 * 960]);
        assert!(rest.is_empty());
    }

    #[test]
    fn the_length_of_a_packet_is_in_its_first_bytes() {
        // RFC 6716 §3.1
        let cases: [(&[u8], Option<u64>); 8] = [
            (&[], None),
            (&[0], Some(480)),
            (&[3 << 3], Some(2880)),
            (&[13 << 3], Some(960)),
            (&[16 << 3], Some(120)),
            (&[TOC | 2], Some(1920)),
            (&[TOC | 3, 6], Some(5760)),
            (&[TOC | 3, 7], None),
        ];
        for (packet, expected) in cases {
            assert_eq!(samples(packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn a_file_of_another_writer_can_be_read() {
        let read = Ogg::read(&include_bytes!("../../tests/data/media/tone.ogg")[..]).expect("a good file");
        assert_eq!((read.channels, read.packets.len()), (1, 201));
        assert!(read.packets.iter().zip(0..).all(|((time, _), at)| *time == at * 960), "20 ms each");
    }

    #[test]
    fn damaged_files_are_refused() {
        let file = written(&[(0, vec![TOC, 1, 2, 3])]);
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            assert!(Ogg::read(&damaged[..]).is_err(), "at {at}");
        }
        assert!(Ogg::read(&[][..]).is_err());
    }
}

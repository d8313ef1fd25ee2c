//! IVF: a file of video frames with their times. What VP8, VP9 and AV1 are commonly kept in.
//!
//! ```text
//!  "DKIF" version header-length fourcc width height rate scale frames unused   32 bytes, little endian
//!  length time frame    length time frame    ...                               12 bytes before each frame
//! ```

use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

use sansrtc::payload::Codec;

const HEADER: usize = 32;
/// The largest frame that is read.
const MAX_FRAME: usize = 16 << 20;
/// An AV1 temporal delimiter with a size (AV1 bitstream §5.6): in files each temporal unit starts with one, on the
/// wire there is none.
const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0x00];

/// The codecs that IVF is for.
const CODECS: [(Codec, &[u8; 4]); 3] = [(Codec::Vp8, b"VP80"), (Codec::Vp9, b"VP90"), (Codec::Av1, b"AV01")];

/// Writes a file, whose times count 90,000 a second.
pub(crate) struct IvfWriter<W> {
    out: W,
    codec: Codec,
    frames: u32,
}

impl<W: Write + Seek> IvfWriter<W> {
    /// Starts a file of `codec`, or says that IVF is not for it.
    pub(crate) fn new(mut out: W, codec: Codec) -> io::Result<Self> {
        let fourcc = CODECS.iter().find(|(known, _)| *known == codec).map(|(_, fourcc)| *fourcc);
        let fourcc = fourcc.ok_or_else(|| io::Error::new(ErrorKind::Unsupported, "not a codec for IVF"))?;
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(b"DKIF");
        header[6..8].copy_from_slice(&32u16.to_le_bytes());
        header[8..12].copy_from_slice(fourcc);
        header[16..20].copy_from_slice(&90_000u32.to_le_bytes());
        header[20..24].copy_from_slice(&1u32.to_le_bytes());
        out.write_all(&header)?;
        Ok(IvfWriter { out, codec, frames: 0 })
    }

    /// Adds a frame; `time` counts 90,000 a second, from the first one.
    pub(crate) fn write(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        if self.frames == 0
            && let Some((width, height)) = size(self.codec, frame)
        {
            self.out.seek(SeekFrom::Start(12))?;
            self.out.write_all(&width.to_le_bytes())?;
            self.out.write_all(&height.to_le_bytes())?;
            self.out.seek(SeekFrom::End(0))?;
        }
        let delimiter: &[u8] = if self.codec == Codec::Av1 { &TEMPORAL_DELIMITER } else { &[] };
        let length = u32::try_from(delimiter.len() + frame.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&time.to_le_bytes())?;
        self.out.write_all(delimiter)?;
        self.out.write_all(frame)?;
        self.frames += 1;
        Ok(())
    }

    /// Writes the number of frames into the header, and everything out.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(24))?;
        self.out.write_all(&self.frames.to_le_bytes())?;
        self.out.seek(SeekFrom::End(0))?;
        self.out.flush()
    }
}

/// Width and height of the picture that a key frame starts, where they are easy to see. Players find those of AV1
/// in the frame.
fn size(codec: Codec, frame: &[u8]) -> Option<(u16, u16)> {
    match codec {
        // RFC 6386 §9.1: three bytes of frame tag, whose first bit is clear, a start code, 14 bits each.
        Codec::Vp8 if frame.first()? & 1 == 0 && frame.get(3..6)? == [0x9d, 0x01, 0x2a] => {
            let at = |i: usize| Some(u16::from_le_bytes([*frame.get(i)?, *frame.get(i + 1)?]) & 0x3fff);
            Some((at(6)?, at(8)?))
        }
        // VP9 bitstream §6.2, profile 0: marker, profile, key frame flags, a sync code, the colour space, 16 bits each
        // less one.
        Codec::Vp9
            if frame.first()? & 0b1111_1100 == 0b1000_0000 && frame.get(1..4)? == [0x49, 0x83, 0x42] =>
        {
            let bits = frame.get(4..9)?.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            // 40 bits: 3 of colour space, 1 of range, then the sizes.
            let part = |shift: u32| u16::try_from(bits >> shift & 0xffff).ok()?.checked_add(1);
            Some((part(20)?, part(4)?))
        }
        _ => None,
    }
}

/// A file that was read whole.
#[derive(Debug)]
pub(crate) struct Ivf {
    /// What it holds.
    pub(crate) codec: Codec,
    /// Its frames, with their times in units of 1/90,000 s.
    pub(crate) frames: Vec<(u64, Vec<u8>)>,
}

impl Ivf {
    /// Reads a file.
    pub(crate) fn read(mut from: impl Read) -> io::Result<Self> {
        let bad = |why: &str| io::Error::new(ErrorKind::InvalidData, why.to_owned());
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        if &header[..4] != b"DKIF" {
            return Err(bad("not an IVF file"));
        }
        let codec = CODECS.iter().find(|(_, fourcc)| header[8..12] == fourcc[..]).map(|(codec, _)| *codec);
        let codec = codec.ok_or_else(|| bad("an IVF file with an unknown codec"))?;
        let number = |at: usize| {
            u64::from(u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]))
        };
        let (rate, scale) = (number(16).max(1), number(20).max(1));
        let more = u64::from(u16::from_le_bytes([header[6], header[7]])).saturating_sub(HEADER as u64);
        io::copy(&mut (&mut from).take(more), &mut io::sink())?;
        let mut frames = Vec::new();
        loop {
            let mut head = [0; 12];
            match from.read_exact(&mut head) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                result => result?,
            }
            let (length, time) = head.split_at(4);
            let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
            let time = u64::from_le_bytes(time.try_into().unwrap_or_default());
            if length > MAX_FRAME {
                return Err(bad("a frame is too large"));
            }
            let mut frame = vec![0; length];
            from.read_exact(&mut frame)?;
            if codec == Codec::Av1 && frame.starts_with(&TEMPORAL_DELIMITER) {
                frame.drain(..TEMPORAL_DELIMITER.len());
            }
            let time = u128::from(time) * u128::from(scale) * 90_000 / u128::from(rate);
            frames.push((u64::try_from(time).unwrap_or(u64::MAX), frame));
        }
        Ok(Ivf { codec, frames })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn written(codec: Codec, frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let mut writer = IvfWriter::new(&mut file, codec).expect("a codec for IVF");
        for (time, frame) in frames {
            writer.write(*time, frame).expect("memory takes all");
        }
        writer.finish().expect("memory takes all");
        file.into_inner()
    }

    #[test]
    fn frames_come_back_with_their_times() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1] {
            let frames: [(u64, &[u8]); 3] = [(0, b"first"), (3000, b""), (7_000_000_000, b"last")];
            let file = written(codec, &frames);
            assert_eq!(&file[24..28], [3, 0, 0, 0]);
            let read = Ivf::read(&file[..]).expect("what was written can be read");
            assert_eq!(read.codec, codec);
            let back: Vec<(u64, &[u8])> =
                read.frames.iter().map(|(time, frame)| (*time, &frame[..])).collect();
            assert_eq!(back, frames);
        }
    }

    #[test]
    fn the_size_of_the_picture_is_in_the_header() {
        // Key frames of 640x360 and 1280x720, cut off behind the size.
        let vp8 = [0x50, 0x0d, 0x02, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
        assert_eq!(&written(Codec::Vp8, &[(0, &vp8)])[12..16], [0x80, 0x02, 0x68, 0x01]);
        let vp9 = [0x82, 0x49, 0x83, 0x42, 0x00, 0x4f, 0xf0, 0x2c, 0xf0];
        assert_eq!(&written(Codec::Vp9, &[(0, &vp9)])[12..16], [0x00, 0x05, 0xd0, 0x02]);
    }

    #[test]
    fn times_are_converted_from_other_scales() {
        let mut file = written(Codec::Vp8, &[(50, b"frame")]);
        file[16..20].copy_from_slice(&25u32.to_le_bytes());
        assert_eq!(Ivf::read(&file[..]).expect("a good file").frames[0].0, 180_000);
    }

    #[test]
    fn files_of_another_writer_can_be_read() {
        let files: [(&[u8], Codec); 3] = [
            (include_bytes!("../../tests/data/media/vp8.ivf"), Codec::Vp8),
            (include_bytes!("../../tests/data/media/vp9.ivf"), Codec::Vp9),
            (include_bytes!("../../tests/data/media/av1.ivf"), Codec::Av1),
        ];
        for (file, codec) in files {
            let read = Ivf::read(file).expect("a good file");
            assert_eq!((read.codec, read.frames.len()), (codec, 100));
            assert!(read.frames.iter().zip(0..).all(|((time, _), at)| *time == at * 3600), "25 a second");
        }
    }

    #[test]
    fn what_is_no_ivf_file_is_refused() {
        let file = written(Codec::Vp8, &[(0, b"frame")]);
        for end in (0..HEADER).chain(HEADER + 12..file.len()) {
            assert!(Ivf::read(&file[..end]).is_err(), "cut at {end}");
        }
        let mut lies = file.clone();
        lies[HEADER..HEADER + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Ivf::read(&lies[..]).is_err());
        assert!(IvfWriter::new(Cursor::new(Vec::new()), Codec::H264).is_err());
    }
}

//! H.264 and H.265 byte streams (annex B of both): NAL units with start codes between them. Such a file has no times.

use sansrtc::payload::Codec;

/// Cuts a byte stream into access units, each with start codes of four bytes.
pub(crate) fn access_units(codec: Codec, stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    let mut has_picture = true;
    for nal in nal_units(stream) {
        let kind = Kind::of(codec, nal);
        // A unit ends where the next picture, or what goes before it, starts (H.264 §7.4.1.2.3, H.265 §7.4.2.4.4).
        let starts = matches!(kind, Kind::Before | Kind::Picture { is_first: true });
        if (has_picture && starts) || units.is_empty() {
            units.push(Vec::new());
            has_picture = false;
        }
        has_picture |= matches!(kind, Kind::Picture { .. });
        if let Some(unit) = units.last_mut() {
            unit.extend_from_slice(&[0, 0, 0, 1]);
            unit.extend_from_slice(nal);
        }
    }
    units
}

/// What a NAL unit means for where a picture starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It goes before the picture that follows.
    Before,
    /// A slice; the first one of its picture, or not.
    Picture { is_first: bool },
    /// It belongs to what is there.
    Other,
}

impl Kind {
    fn of(codec: Codec, nal: &[u8]) -> Kind {
        let first = |at: usize| nal.get(at).is_some_and(|byte| byte & 0x80 != 0);
        let Some(head) = nal.first() else { return Kind::Other };
        match (codec, head & 0x1f, head >> 1 & 0x3f) {
            // The slice starts with the number of its first macroblock; zero is a single set bit.
            (Codec::H264, 1 | 2 | 5, _) => Kind::Picture { is_first: first(1) },
            // SEI, parameter sets, delimiter, and what is reserved for the front.
            (Codec::H264, 6..=9 | 14..=18, _) => Kind::Before,
            (Codec::H265, _, 0..=31) => Kind::Picture { is_first: first(2) },
            (Codec::H265, _, 32..=35 | 39 | 41..=44 | 48..=55) => Kind::Before,
            _ => Kind::Other,
        }
    }
}

/// The NAL units between the start codes, without the zeros around them.
fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = stream[at..].windows(3).position(|bytes| bytes == [0, 0, 1]) {
        starts.push(at + found);
        at += found + 3;
    }
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([stream.len()]).collect();
    starts.into_iter().zip(ends).filter_map(|(start, end)| {
        let nal = &stream[start + 3..end];
        let length = nal.iter().rposition(|byte| *byte != 0)? + 1;
        Some(&nal[..length])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameter sets, a key frame of two slices, SEI with a frame, a frame.
    const H264: [&[u8]; 7] = [
        &[0x67, 0x42, 0xc0, 0x1f],
        &[0x68, 0xce, 0x3c, 0x80, 0x01],
        &[0x65, 0x88, 0x80, 0x10],
        &[0x65, 0x01, 0x22, 0x44],
        &[0x06, 0x05, 0x01, 0x80],
        &[0x41, 0x9a, 0x24],
        &[0x41, 0x9a, 0x46],
    ];

    fn stream(nals: &[&[u8]], code: &[u8]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [code, nal].concat()).collect()
    }

    #[test]
    fn h264_is_cut_before_each_picture_and_what_belongs_to_it() {
        for code in [&[0, 0, 1][..], &[0, 0, 0, 1], &[0, 0, 0, 0, 0, 1]] {
            let units = access_units(Codec::H264, &stream(&H264, code));
            let four = [0, 0, 0, 1];
            let expected = [&H264[..4], &H264[4..6], &H264[6..]].map(|nals| stream(nals, &four));
            assert_eq!(units, expected, "start code {code:?}");
        }
    }

    #[test]
    fn h265_is_cut_before_each_picture_and_what_belongs_to_it() {
        let vps = [0x40, 0x01, 0x0c];
        let key = [0x26, 0x01, 0xaf, 0x10];
        let more = [0x26, 0x01, 0x2f, 0x10];
        let delta = [0x02, 0x01, 0xd0, 0x10];
        let units = access_units(Codec::H265, &stream(&[&vps, &key, &more, &delta, &delta], &[0, 0, 1]));
        let four = [0, 0, 0, 1];
        let expected = [&[&vps[..], &key, &more][..], &[&delta], &[&delta]].map(|nals| stream(nals, &four));
        assert_eq!(units, expected);
    }

    #[test]
    fn streams_of_another_writer_have_a_unit_for_each_picture() {
        let files: [(&[u8], Codec); 2] = [
            (include_bytes!("../../tests/data/media/clip.h264"), Codec::H264),
            (include_bytes!("../../tests/data/media/clip.h265"), Codec::H265),
        ];
        for (file, codec) in files {
            assert_eq!(access_units(codec, file).len(), 100, "{codec:?}");
        }
    }

    #[test]
    fn nothing_comes_of_nothing() {
        for stream in [&[][..], &[0], &[0, 0, 1], &[0, 0, 1, 0, 0, 1], &[1, 2, 3]] {
            assert!(access_units(Codec::H264, stream).is_empty(), "{stream:?}");
        }
    }
}

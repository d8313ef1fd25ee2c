//! NAL units in Annex B form (H.264 and H.265, annex B): each behind a start code.

use bytes::BytesMut;

/// What stands in front of every NAL unit that is put out.
pub(super) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Appends a start code and the parts of a NAL unit.
pub(super) fn append(frame: &mut BytesMut, parts: &[&[u8]]) {
    frame.extend_from_slice(&START_CODE);
    parts.iter().for_each(|part| frame.extend_from_slice(part));
}

/// Walks the NAL units of a frame, without their start codes. Bytes before the first are skipped; zeros
/// before a start code belong to nobody. Empty units are left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units<'a> {
    rest: &'a [u8],
}

impl<'a> Units<'a> {
    pub(super) fn new(frame: &'a [u8]) -> Self {
        let start = find_start_code(frame).map_or(frame.len(), |at| at + 3);
        Units { rest: frame.get(start..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = find_start_code(self.rest);
            let (unit, rest) = match end {
                Some(at) => (self.rest.get(..at)?, self.rest.get(at + 3..)?),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            let len = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if len > 0 {
                return unit.get(..len);
            }
        }
        None
    }
}

/// Where the bytes 0, 0, 1 stand. Looks at every third byte unless a start code may be near.
fn find_start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    while let Some(byte) = bytes.get(at) {
        match byte {
            1 if bytes.get(at - 2..at) == Some(&[0, 0]) => return Some(at - 2),
            0 => at += 1,
            _ => at += 3,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn units(frame: &[u8]) -> Vec<&[u8]> {
        Units::new(frame).collect()
    }

    #[test]
    fn units_are_found_behind_start_codes_of_both_lengths() {
        assert_eq!(units(b"\0\0\0\x01ab\0\0\x01c\0\0\0\0\x01d\0\0"), [&b"ab"[..], b"c", b"d"]);
        assert_eq!(units(b"\0\0\x01\0\0\x01\0\0\x01x"), [&b"x"[..]]);
        assert!(units(b"no start code").is_empty() && units(b"").is_empty() && units(b"\0\0\x01").is_empty());
    }

    proptest! {
        #[test]
        fn units_are_those_of_a_plain_search(frame in prop::collection::vec(0u8..3, 0..60)) {
            let mut expected: Vec<Vec<u8>> = Vec::new();
            let mut at = 0;
            let mut current: Option<Vec<u8>> = None;
            while at < frame.len() {
                if frame[at..].starts_with(&[0, 0, 1]) {
                    expected.extend(current.replace(Vec::new()));
                    at += 3;
                } else {
                    current.iter_mut().for_each(|unit| unit.push(frame[at]));
                    at += 1;
                }
            }
            expected.extend(current);
            for unit in &mut expected {
                while unit.last() == Some(&0) {
                    unit.pop();
                }
            }
            expected.retain(|unit| !unit.is_empty());
            prop_assert_eq!(units(&frame), expected);
        }
    }
}

//! Elements about the picture: orientation and colour space.

use super::whole;
use crate::wire::Malformed;
use crate::wire::writer::Writer;

/// How a receiver must turn the picture (3GPP TS 26.114 §7.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orientation {
    /// Whether the camera faces away from the user.
    pub back_camera: bool,
    /// Whether the picture is to be mirrored left to right, after turning.
    pub flip: bool,
    /// Quarter turns clockwise that bring the picture upright, 0 to 3.
    pub quarter_turns: u8,
}

impl Orientation {
    /// Reads the element's data. The bits of the finer granularity are ignored.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let [byte, ..] = data else { return Err(Malformed("video orientation")) };
        Ok(Orientation { back_camera: byte & 0x08 != 0, flip: byte & 0x04 != 0, quarter_turns: byte & 0x03 })
    }

    /// The element's data.
    pub fn emit(self) -> [u8; 1] {
        let camera = if self.back_camera { 0x08 } else { 0 };
        let flip = if self.flip { 0x04 } else { 0 };
        [camera | flip | self.quarter_turns & 0x03]
    }
}

/// The colour space of a picture; codes are those of ITU-T H.273.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColorSpace {
    /// Colour primaries (H.273 §8.1).
    pub primaries: u8,
    /// Transfer characteristics (H.273 §8.2).
    pub transfer: u8,
    /// Matrix coefficients (H.273 §8.3).
    pub matrix: u8,
    /// 0 unspecified, 1 limited, 2 full, 3 derived.
    pub range: u8,
    /// Horizontal chroma siting: 0 unspecified, 1 collocated, 2 half.
    pub siting_horizontal: u8,
    /// Vertical chroma siting: 0 unspecified, 1 collocated, 2 half.
    pub siting_vertical: u8,
    /// High dynamic range, if described.
    pub hdr: Option<Hdr>,
}

/// Mastering display and light levels (SMPTE ST 2086, CTA-861.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hdr {
    /// The largest luminance, in cd/m².
    pub luminance_max: u16,
    /// The least luminance, in 1/10,000 cd/m².
    pub luminance_min: u16,
    /// x and y of red, green, blue and white, in 1/50,000.
    pub chromaticities: [[u16; 2]; 4],
    /// The brightest pixel, in cd/m².
    pub max_content_light_level: u16,
    /// The brightest frame on average, in cd/m².
    pub max_frame_average_light_level: u16,
}

impl ColorSpace {
    /// Reads the element's data: 4 bytes, or 28 with HDR metadata.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        whole(data, "colour space", |r| {
            let [primaries, transfer, matrix, last] = r.array()?;
            let hdr = match r.is_empty() {
                true => None,
                false => {
                    let (luminance_max, luminance_min) = (r.u16()?, r.u16()?);
                    let mut chromaticities = [[0; 2]; 4];
                    for [x, y] in &mut chromaticities {
                        (*x, *y) = (r.u16()?, r.u16()?);
                    }
                    Some(Hdr {
                        luminance_max,
                        luminance_min,
                        chromaticities,
                        max_content_light_level: r.u16()?,
                        max_frame_average_light_level: r.u16()?,
                    })
                }
            };
            Ok(ColorSpace {
                primaries,
                transfer,
                matrix,
                range: last >> 4 & 0x03,
                siting_horizontal: last >> 2 & 0x03,
                siting_vertical: last & 0x03,
                hdr,
            })
        })
    }

    /// How many bytes [`emit`](Self::emit) writes: 4, or 28 with HDR metadata.
    pub fn emitted_len(&self) -> usize {
        if self.hdr.is_some() { 28 } else { 4 }
    }

    /// Writes the element's data.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.slice(&[self.primaries, self.transfer, self.matrix]);
        let siting = (self.siting_horizontal & 0x03) << 2 | self.siting_vertical & 0x03;
        w.u8((self.range & 0x03) << 4 | siting);
        let Some(hdr) = &self.hdr else { return };
        w.u16(hdr.luminance_max);
        w.u16(hdr.luminance_min);
        hdr.chromaticities.iter().flatten().for_each(|v| w.u16(*v));
        w.u16(hdr.max_content_light_level);
        w.u16(hdr.max_frame_average_light_level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    #[test]
    fn orientations_round_trip() {
        for byte in 0..16 {
            assert_eq!(Orientation::parse(&[byte]).unwrap().emit(), [byte]);
        }
        assert!(Orientation::parse(&[]).is_err());
    }

    proptest! {
        #[test]
        fn colour_spaces_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..32)) {
            match ColorSpace::parse(&bytes) {
                Ok(space) => {
                    let mut out = BytesMut::new();
                    space.emit(&mut Writer::new(&mut out));
                    prop_assert_eq!(out.len(), space.emitted_len());
                    prop_assert_eq!(ColorSpace::parse(&out), Ok(space));
                }
                Err(_) => prop_assert!(bytes.len() != 4 && bytes.len() != 28),
            }
        }
    }
}

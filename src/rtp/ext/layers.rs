//! Video layers allocation, version 0: which layers a sender sends, at which rates and sizes.
//!
//! ```text
//! |RID| NS| sl_bm |  this stream, streams - 1, spatial layers of every stream (0: listed per stream)
//! |sl0_bm |sl1_bm |  only when sl_bm is 0: a nibble per stream, filled up to a byte
//! |#tl|#tl|#tl|#tl|  temporal layers - 1 of each active spatial layer, filled up to a byte
//! | leb128 ...    |  kbit/s of each temporal layer
//! | w-1 | h-1 |fps|  optional: 5 bytes per spatial layer
//! ```

use super::whole;
use crate::wire::Malformed;
use crate::wire::leb128;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Streams, spatial layers per stream, and temporal layers per spatial layer: at most so many each.
pub const MAX: usize = 4;

/// What one spatial layer of one stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpatialLayer {
    /// Which stream, 0 to 3.
    pub stream: u8,
    /// Which spatial layer of it, 0 to 3.
    pub spatial: u8,
    /// How many temporal layers, 1 to 4.
    pub temporal_layers: u8,
    /// kbit/s needed for each temporal layer with all below it.
    pub kbps: [u32; MAX],
    /// Size and frame rate, if told.
    pub picture: Option<Picture>,
}

/// Size and frame rate of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels, 1 to 65,536.
    pub width: u32,
    /// Height in pixels, 1 to 65,536.
    pub height: u32,
    /// Frames per second at most.
    pub max_fps: u8,
}

/// The layers that a sender sends; none when it sends nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// The stream that carries this element, 0 to 3.
    pub stream: u8,
    /// How many streams there are, 1 to 4.
    pub streams: u8,
    layers: [SpatialLayer; MAX * MAX],
    count: usize,
}

impl Allocation {
    /// An allocation without layers, sent on stream `stream` (0 to 3) of `streams` (1 to 4).
    pub fn new(stream: u8, streams: u8) -> Self {
        let layers = [SpatialLayer::default(); MAX * MAX];
        Allocation { stream: stream.min(3), streams: streams.clamp(1, 4), layers, count: 0 }
    }

    /// The active layers, by stream and then spatial layer, ascending.
    pub fn layers(&self) -> &[SpatialLayer] {
        self.layers.get(..self.count).unwrap_or_default()
    }

    /// Adds a layer; false when it is out of order or out of range.
    pub fn push(&mut self, layer: SpatialLayer) -> bool {
        let after = |last: &SpatialLayer| (last.stream, last.spatial) < (layer.stream, layer.spatial);
        let in_order = self.layers().last().is_none_or(after);
        let in_range =
            layer.stream < self.streams && layer.spatial < 4 && (1..=4).contains(&layer.temporal_layers);
        match self.layers.get_mut(self.count) {
            Some(place) if in_order && in_range => {
                *place = layer;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    /// Reads the element's data.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        whole(data, "video layers allocation", |r| {
            let first = r.u8()?;
            if first == 0 && r.is_empty() {
                return Ok(Allocation::new(0, 1));
            }
            let mut allocation = Allocation::new(first >> 6, (first >> 4 & 0x03) + 1);
            let masks = read_masks(r, first & 0x0f, allocation.streams)?;
            let mut counts = [0; MAX * MAX];
            let active: u32 = masks.iter().map(|mask| mask.count_ones()).sum();
            let mut quads = counts.chunks_mut(4);
            for _ in 0..active.div_ceil(4) {
                let byte = r.u8()?;
                let quad = quads.next().into_iter().flatten();
                quad.zip([6, 4, 2, 0]).for_each(|(count, shift)| *count = (byte >> shift & 0x03) + 1);
            }
            let mut counts = counts.into_iter();
            for (stream, mask) in (0..allocation.streams).zip(masks) {
                for spatial in (0..4).filter(|bit| mask >> bit & 1 == 1) {
                    let mut layer = SpatialLayer { stream, spatial, ..SpatialLayer::default() };
                    layer.temporal_layers = counts.next().unwrap_or(1);
                    for kbps in layer.kbps.iter_mut().take(usize::from(layer.temporal_layers)) {
                        *kbps = leb128::read(r)?;
                    }
                    allocation.push(layer);
                }
            }
            if !r.is_empty() {
                for layer in allocation.layers.iter_mut().take(allocation.count) {
                    let (width, height) = (u32::from(r.u16()?) + 1, u32::from(r.u16()?) + 1);
                    layer.picture = Some(Picture { width, height, max_fps: r.u8()? });
                }
            }
            Ok(allocation)
        })
    }

    /// Writes the element's data, at most 249 bytes. Sizes are written when every layer has one.
    pub fn emit(&self, w: &mut Writer<'_>) {
        if self.count == 0 {
            return w.u8(0);
        }
        let mut masks = [0u8; MAX];
        for layer in self.layers() {
            masks.get_mut(usize::from(layer.stream)).into_iter().for_each(|mask| *mask |= 1 << layer.spatial);
        }
        let streams = masks.iter().take(usize::from(self.streams));
        let shared = masks.first().copied().filter(|first| streams.clone().all(|mask| mask == first));
        w.u8(self.stream << 6 | (self.streams - 1) << 4 | shared.unwrap_or(0));
        if shared.is_none() {
            let [a, b, c, d] = masks;
            w.u8(a << 4 | b);
            if self.streams > 2 {
                w.u8(c << 4 | d);
            }
        }
        for quad in self.layers().chunks(4) {
            let shifts = [6, 4, 2, 0];
            let byte =
                quad.iter().zip(shifts).fold(0, |byte, (l, shift)| byte | (l.temporal_layers - 1) << shift);
            w.u8(byte);
        }
        for layer in self.layers() {
            let rates = layer.kbps.iter().take(usize::from(layer.temporal_layers));
            rates.for_each(|kbps| leb128::write(w, *kbps));
        }
        if self.layers().iter().all(|layer| layer.picture.is_some()) {
            for picture in self.layers().iter().filter_map(|layer| layer.picture) {
                let less_one = |v: u32| u16::try_from(v.saturating_sub(1)).unwrap_or(u16::MAX);
                w.u16(less_one(picture.width));
                w.u16(less_one(picture.height));
                w.u8(picture.max_fps);
            }
        }
    }
}

fn read_masks(r: &mut Reader<'_>, shared: u8, streams: u8) -> Result<[u8; MAX], Malformed> {
    if shared != 0 {
        return Ok(keep([shared; MAX], streams));
    }
    let first = r.u8()?;
    let second = if streams > 2 { r.u8()? } else { 0 };
    Ok(keep([first >> 4, first & 0x0f, second >> 4, second & 0x0f], streams))
}

/// Clears what lies behind the last stream.
fn keep(mut masks: [u8; MAX], streams: u8) -> [u8; MAX] {
    masks.iter_mut().skip(usize::from(streams)).for_each(|mask| *mask = 0);
    masks
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn emit(allocation: &Allocation) -> BytesMut {
        let mut out = BytesMut::new();
        allocation.emit(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn nothing_sent_is_a_single_zero() {
        assert_eq!(Allocation::parse(&[0]).unwrap().layers(), []);
        assert_eq!(&emit(&Allocation::new(2, 3))[..], [0]);
    }

    #[test]
    #[allow(clippy::unusual_byte_groupings, reason = "the digits are grouped as the fields are")]
    fn three_streams_of_one_layer_are_read() {
        // Stream 1 of 3, spatial layer 0 of each; 1, 2 and 3 temporal layers.
        let bytes = [0b01_10_0001, 0b00_01_10_00, 50, 80, 0x96, 0x01, 100, 0xc8, 0x01, 44];
        let allocation = Allocation::parse(&bytes).unwrap();
        let counts: Vec<_> = allocation.layers().iter().map(|l| (l.stream, l.temporal_layers)).collect();
        assert_eq!(counts, [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(allocation.layers()[1].kbps, [80, 150, 0, 0]);
        assert_eq!(allocation.layers()[2].kbps, [100, 200, 44, 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(allocation) = Allocation::parse(&bytes) {
                prop_assert!(allocation.layers().len() <= 16);
                if !allocation.layers().is_empty() {
                    prop_assert_eq!(Allocation::parse(&emit(&allocation)), Ok(allocation));
                }
            }
        }
    }
}

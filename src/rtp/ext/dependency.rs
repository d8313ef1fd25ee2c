//! The AV1 dependency descriptor (RTP payload format for AV1, appendix A): read, written, rewritten.
//!
//! Each packet names a template, of which the sender told all in a [`Structure`] with the first packet of a
//! key frame; what differs from the template is spelled out. A reader therefore keeps the last structure of
//! the stream and gives it to [`Descriptor::parse`].
//!
//! ```text
//! S E template(6)  frame number(16)      mandatory: 3 bytes
//! s a d f c                              structure, active targets, custom DTIs, frame diffs, chains
//! [structure] [active targets] [DTIs] [frame diffs] [chain diffs] padding
//! ```
//!
//! Lists are bounded: 32 decode targets and chains and 64 templates by the format, 16 references of one
//! frame by this reader (AV1 has 7).

use bytes::BytesMut;

use crate::wire::Malformed;
use crate::wire::bits::{BitReader, BitWriter};
use crate::wire::writer::Writer;

/// Decode targets, and chains, at most.
pub const MAX_TARGETS: usize = 32;
/// Templates at most.
pub const MAX_TEMPLATES: usize = 64;
/// References of one frame that are read at most.
pub const MAX_REFERENCES: usize = 16;

const WHAT: &str = "dependency descriptor";

/// How a frame relates to a decode target (table A.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Indication {
    /// The frame is not part of the target.
    NotPresent = 0,
    /// The frame is part of the target, and nothing refers to it.
    Discardable = 1,
    /// With this frame decodable, all later frames of the target are.
    Switch = 2,
    /// The frame is part of the target.
    Required = 3,
}

impl Indication {
    fn from_bits(bits: u64) -> Self {
        match bits & 0b11 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }
}

/// The indications of one frame, one per decode target: two bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Indications(u64);

impl Indications {
    /// The indication for decode target `target`; not present beyond the 32nd.
    pub fn of(self, target: usize) -> Indication {
        Indication::from_bits(u32::try_from(2 * target).ok().and_then(|s| self.0.checked_shr(s)).unwrap_or(0))
    }

    /// Sets the indication for decode target `target`, 0 to 31.
    pub fn set(&mut self, target: usize, indication: Indication) {
        if target < MAX_TARGETS {
            self.0 = self.0 & !(0b11 << (2 * target)) | (indication as u64) << (2 * target);
        }
    }

    fn read(r: &mut BitReader<'_>, targets: usize) -> Result<Self, Malformed> {
        let mut all = Indications::default();
        for target in 0..targets {
            all.set(target, Indication::from_bits(u64::from(r.bits(2)?)));
        }
        Ok(all)
    }

    fn write(self, w: &mut Bits, targets: usize) {
        (0..targets).for_each(|target| w.bits(2, self.of(target) as u32));
    }
}

/// A short list held in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        List { items: [T::default(); N], len: 0 }
    }
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// The items of `slice`; `None` when there are more than `N`.
    pub fn from_slice(slice: &[T]) -> Option<Self> {
        let mut list = List::default();
        slice.iter().all(|item| list.push(*item)).then_some(list)
    }

    /// Appends an item; false when the list is full.
    pub fn push(&mut self, item: T) -> bool {
        match self.items.get_mut(self.len) {
            Some(place) => {
                *place = item;
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// The items.
    pub fn as_slice(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or_default()
    }
}

/// Distances to the frames that a frame refers to, 1 to 4096 each.
pub type References = List<u16, MAX_REFERENCES>;
/// For each chain, the distance to its last frame; 0 when none is needed.
pub type ChainDistances = List<u8, MAX_TARGETS>;

/// What one kind of frame has in common (A.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Template {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// One indication per decode target.
    pub indications: Indications,
    /// Distances to the frames referred to, 1 to 16.
    pub references: References,
    /// One distance per chain, 0 to 15.
    pub chains: ChainDistances,
}

/// The layers that a decode target needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The highest spatial layer.
    pub spatial: u8,
    /// The highest temporal layer.
    pub temporal: u8,
    /// The chain that protects the target, if there are chains.
    pub chain: Option<u8>,
}

/// The frame dependency structure of a coded video sequence (A.8.2, `template_dependency_structure`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// The template id that names the first template, 0 to 63.
    pub template_id_offset: u8,
    /// How many chains there are, at most as many as decode targets.
    pub chains: u8,
    /// What a receiver can ask for, 1 to 32.
    pub targets: Vec<Target>,
    /// The kinds of frames, by layer ascending, 1 to 64.
    pub templates: Vec<Template>,
    /// Width and height of each spatial layer; empty when not told.
    pub resolutions: Vec<(u32, u32)>,
}

impl Structure {
    /// The template that `id` names.
    pub fn template(&self, id: u8) -> Option<&Template> {
        // A.8.2, frame_dependency_definition: ids count modulo 64 from the offset.
        self.templates.get(usize::from(id.wrapping_sub(self.template_id_offset) & 0x3f))
    }

    /// The mask with a bit for each decode target.
    pub fn all_targets(&self) -> u32 {
        u32::try_from(self.targets.len()).ok().and_then(|n| 1u32.checked_shl(n)).unwrap_or(0).wrapping_sub(1)
    }

    fn parse(r: &mut BitReader<'_>) -> Result<Self, Malformed> {
        let template_id_offset = r.u8(6)?;
        let targets = usize::from(r.u8(5)?) + 1;
        let mut templates = read_layers(r)?;
        for template in &mut templates {
            template.indications = Indications::read(r, targets)?;
        }
        for template in &mut templates {
            while r.flag()? {
                if !template.references.push(r.u16(4)? + 1) {
                    return Err(r.malformed());
                }
            }
        }
        let chains = read_ns(r, u32::try_from(targets).unwrap_or(0) + 1)?;
        let mut protected = [None; MAX_TARGETS];
        if chains > 0 {
            for place in protected.iter_mut().take(targets) {
                *place = Some(read_ns(r, u32::from(chains))?);
            }
            for template in &mut templates {
                for _ in 0..chains {
                    template.chains.push(r.u8(4)?);
                }
            }
        }
        let mut resolutions = Vec::new();
        if r.flag()? {
            for _ in 0..=templates.last().map_or(0, |last| last.spatial) {
                resolutions.push((r.bits(16)? + 1, r.bits(16)? + 1));
            }
        }
        let targets = protected.iter().take(targets).enumerate();
        let targets = targets.map(|(at, chain)| target(&templates, at, *chain)).collect();
        Ok(Structure { template_id_offset, chains, targets, templates, resolutions })
    }

    fn write(&self, w: &mut Bits) -> Option<()> {
        let targets = u32::try_from(self.targets.len()).ok().filter(|n| (1..=32).contains(n))?;
        w.bits(6, u32::from(self.template_id_offset));
        w.bits(5, targets - 1);
        for (at, template) in self.templates.iter().enumerate() {
            let next = match self.templates.get(at + 1) {
                None => 3,
                Some(next) if (next.spatial, next.temporal) == (template.spatial, template.temporal) => 0,
                Some(next) if (next.spatial, next.temporal) == (template.spatial, template.temporal + 1) => 1,
                Some(next) if (next.spatial, next.temporal) == (template.spatial + 1, 0) => 2,
                // The format cannot say this order of layers.
                Some(_) => return None,
            };
            w.bits(2, next);
        }
        self.templates.iter().for_each(|t| t.indications.write(w, self.targets.len()));
        for template in &self.templates {
            for distance in template.references.as_slice() {
                w.flag(true);
                w.bits(4, u32::from(distance.saturating_sub(1)));
            }
            w.flag(false);
        }
        write_ns(w, targets + 1, u32::from(self.chains));
        if self.chains > 0 {
            for target in &self.targets {
                write_ns(w, u32::from(self.chains), u32::from(target.chain.unwrap_or(0)));
            }
            for template in &self.templates {
                for chain in 0..usize::from(self.chains) {
                    w.bits(4, u32::from(template.chains.as_slice().get(chain).copied().unwrap_or(0)));
                }
            }
        }
        w.flag(!self.resolutions.is_empty());
        for (width, height) in &self.resolutions {
            w.bits(16, width.wrapping_sub(1));
            w.bits(16, height.wrapping_sub(1));
        }
        Some(())
    }
}

/// A.8.2, decode_target_layers: the highest layers of the templates that belong to the target.
fn target(templates: &[Template], at: usize, chain: Option<u8>) -> Target {
    let parts = templates.iter().filter(|t| t.indications.of(at) != Indication::NotPresent);
    let (spatial, temporal) = parts.fold((0, 0), |(s, t), part| (part.spatial.max(s), part.temporal.max(t)));
    Target { spatial, temporal, chain }
}

/// A.8.2, template_layers: templates come by layer, each saying what the next one's is.
fn read_layers(r: &mut BitReader<'_>) -> Result<Vec<Template>, Malformed> {
    let mut templates = Vec::new();
    let mut template = Template::default();
    loop {
        if templates.len() == MAX_TEMPLATES {
            return Err(r.malformed());
        }
        templates.push(template);
        match r.bits(2)? {
            0 => {}
            1 => template.temporal += 1,
            2 => {
                template.temporal = 0;
                template.spatial += 1;
            }
            _ => break,
        }
        // No codec has more layers than this: 3 bits of temporal id, 2 of spatial id (AV1 §5.3.3).
        if template.temporal > 7 || template.spatial > 3 {
            return Err(r.malformed());
        }
    }
    Ok(templates)
}

/// A number in `0..n`, in as few bits as that takes (A.8.2, `ns(n)`).
fn read_ns(r: &mut BitReader<'_>, n: u32) -> Result<u8, Malformed> {
    let (width, short) = ns_widths(n);
    let value = r.bits(width - 1)?;
    let value = if value < short { value } else { (value << 1) - short + r.bits(1)? };
    u8::try_from(value).map_err(|_| r.malformed())
}

fn write_ns(w: &mut Bits, n: u32, value: u32) {
    let (width, short) = ns_widths(n);
    if value < short { w.bits(width - 1, value) } else { w.bits(width, value + short) }
}

/// The bits of the longer codes, and how many values have one bit less. `n` is 1 to 33.
fn ns_widths(n: u32) -> (u32, u32) {
    let width = u32::BITS - n.leading_zeros();
    (width, (1 << width) - n)
}

/// An element holds at most 255 bytes.
type Bits = BitWriter<255>;

/// The descriptor of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Whether the packet starts its frame.
    pub start_of_frame: bool,
    /// Whether the packet ends its frame.
    pub end_of_frame: bool,
    /// Which template the frame follows, 0 to 63.
    pub template_id: u8,
    /// The frame's number, one higher for each frame in decode order.
    pub frame_number: u16,
    /// The structure, when this packet carries it: the first packet of a key frame.
    pub structure: Option<Structure>,
    /// Bit i is set when decode target i is still produced; `None` when unchanged.
    pub active_targets: Option<u32>,
    /// Indications in place of the template's.
    pub indications: Option<Indications>,
    /// References in place of the template's.
    pub references: Option<References>,
    /// Chain distances in place of the template's.
    pub chains: Option<ChainDistances>,
}

/// A descriptor with its template's share filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The frame's number.
    pub number: u16,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// One indication per decode target.
    pub indications: Indications,
    /// Distances to the frames referred to; none in a key frame.
    pub references: References,
    /// One distance per chain.
    pub chains: ChainDistances,
}

impl Descriptor {
    /// A descriptor that says no more than its template does.
    pub fn new(template_id: u8, frame_number: u16) -> Self {
        Descriptor {
            start_of_frame: true,
            end_of_frame: true,
            template_id,
            frame_number,
            structure: None,
            active_targets: None,
            indications: None,
            references: None,
            chains: None,
        }
    }

    /// Reads the element's data. `known` is the structure last seen in this stream.
    ///
    /// Refused when the descriptor leans on a structure that was not seen, or names a template outside it.
    pub fn parse(data: &[u8], known: Option<&Structure>) -> Result<Self, Malformed> {
        let mut r = BitReader::new(data, WHAT);
        let mut descriptor = Descriptor {
            start_of_frame: r.flag()?,
            end_of_frame: r.flag()?,
            template_id: r.u8(6)?,
            frame_number: r.u16(16)?,
            ..Descriptor::new(0, 0)
        };
        if data.len() > 3 {
            descriptor.read_extended(&mut r, known)?;
        }
        let structure = descriptor.structure.as_ref().or(known);
        if structure.is_none_or(|s| s.template(descriptor.template_id).is_none()) {
            return Err(r.malformed());
        }
        Ok(descriptor)
    }

    fn read_extended(&mut self, r: &mut BitReader<'_>, known: Option<&Structure>) -> Result<(), Malformed> {
        let [present, active, indications, references, chains] =
            [r.flag()?, r.flag()?, r.flag()?, r.flag()?, r.flag()?];
        if present {
            self.structure = Some(Structure::parse(r)?);
        }
        let structure = self.structure.as_ref().or(known).ok_or(r.malformed())?;
        let targets = structure.targets.len();
        if active {
            self.active_targets = Some(r.bits(u32::try_from(targets).unwrap_or(0))?);
        } else if present {
            // A.4: a new structure without a mask makes every target active.
            self.active_targets = Some(structure.all_targets());
        }
        if indications {
            self.indications = Some(Indications::read(r, targets)?);
        }
        if references {
            let mut list = References::default();
            loop {
                let size = r.bits(2)?;
                if size == 0 {
                    break;
                }
                let distance = r.u16(4 * size)? + 1;
                if !list.push(distance) {
                    return Err(r.malformed());
                }
            }
            self.references = Some(list);
        }
        if chains {
            let mut list = ChainDistances::default();
            for _ in 0..structure.chains {
                list.push(r.u8(8)?);
            }
            self.chains = Some(list);
        }
        Ok(())
    }

    /// The frame's layers and dependencies; `known` as in [`parse`](Self::parse).
    pub fn frame(&self, known: Option<&Structure>) -> Option<Frame> {
        let template = self.structure.as_ref().or(known)?.template(self.template_id)?;
        Some(Frame {
            number: self.frame_number,
            spatial: template.spatial,
            temporal: template.temporal,
            indications: self.indications.unwrap_or(template.indications),
            references: self.references.unwrap_or(template.references),
            chains: self.chains.unwrap_or(template.chains),
        })
    }

    /// Appends the element's data to `out`, 3 to 255 bytes, and says how many; `known` as in
    /// [`parse`](Self::parse). `None`, and nothing appended, when it cannot be written.
    pub fn emit(&self, known: Option<&Structure>, out: &mut BytesMut) -> Option<usize> {
        self.emit_as(self.frame_number, self.active_targets, known, out)
    }

    /// As [`emit`](Self::emit), with another frame number and other active targets: what a forwarder does.
    pub fn emit_as(
        &self,
        frame_number: u16,
        active_targets: Option<u32>,
        known: Option<&Structure>,
        out: &mut BytesMut,
    ) -> Option<usize> {
        let mut w = Bits::default();
        w.flag(self.start_of_frame);
        w.flag(self.end_of_frame);
        w.bits(6, u32::from(self.template_id));
        w.bits(16, u32::from(frame_number));
        let structure = self.structure.as_ref().or(known)?;
        // With a structure, a mask that has every bit goes without saying (A.4).
        let active = active_targets;
        let active = active.filter(|m| self.structure.is_none() || *m != structure.all_targets());
        let custom = [self.indications.is_some(), self.references.is_some(), self.chains.is_some()];
        if self.structure.is_some() || active.is_some() || custom != [false; 3] {
            w.flag(self.structure.is_some());
            w.flag(active.is_some());
            custom.iter().for_each(|flag| w.flag(*flag));
            self.write_extended(&mut w, structure, active)?;
        }
        let bytes = w.finish()?;
        Writer::new(out).slice(bytes);
        Some(bytes.len())
    }

    fn write_extended(&self, w: &mut Bits, structure: &Structure, active: Option<u32>) -> Option<()> {
        if let Some(own) = &self.structure {
            own.write(w)?;
        }
        if let Some(mask) = active {
            w.bits(u32::try_from(structure.targets.len()).ok()?, mask);
        }
        if let Some(indications) = self.indications {
            indications.write(w, structure.targets.len());
        }
        if let Some(references) = &self.references {
            for distance in references.as_slice() {
                let less_one = u32::from(distance.saturating_sub(1));
                let size = if less_one < 16 {
                    1
                } else if less_one < 256 {
                    2
                } else {
                    3
                };
                w.bits(2, size);
                w.bits(4 * size, less_one);
            }
            w.bits(2, 0);
        }
        if let Some(chains) = &self.chains {
            for chain in 0..usize::from(structure.chains) {
                w.bits(8, u32::from(chains.as_slice().get(chain).copied().unwrap_or(0)));
            }
        }
        Some(())
    }
}

/// The frame number of an element, read without its structure.
pub fn frame_number(data: &[u8]) -> Option<u16> {
    data.first_chunk::<3>().map(|[_, high, low]| u16::from_be_bytes([*high, *low]))
}

/// Writes another frame number over that of an element, in place. Too short an element is left alone.
pub fn set_frame_number(data: &mut [u8], number: u16) {
    if let Some([_, high, low]) = data.first_chunk_mut::<3>() {
        [*high, *low] = number.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list<const N: usize, T: Copy + Default>(items: &[T]) -> List<T, N> {
        List::from_slice(items).unwrap()
    }

    fn indications(text: &str) -> Indications {
        let mut all = Indications::default();
        for (at, c) in text.chars().enumerate() {
            let one = match c {
                'D' => Indication::Discardable,
                'S' => Indication::Switch,
                'R' => Indication::Required,
                _ => Indication::NotPresent,
            };
            all.set(at, one);
        }
        all
    }

    fn template(s: u8, t: u8, dtis: &str, references: &[u16], chains: &[u8]) -> Template {
        Template {
            spatial: s,
            temporal: t,
            indications: indications(dtis),
            references: list(references),
            chains: list(chains),
        }
    }

    /// A.10.2.1: L1T3, single spatial layer with 3 temporal layers.
    fn l1t3() -> Structure {
        let target = |temporal| Target { spatial: 0, temporal, chain: Some(0) };
        Structure {
            template_id_offset: 60,
            chains: 1,
            targets: vec![target(0), target(1), target(2)],
            templates: vec![
                template(0, 0, "SSS", &[], &[0]),
                template(0, 0, "SSS", &[4], &[4]),
                template(0, 1, "-DS", &[2], &[2]),
                template(0, 2, "--D", &[1], &[1]),
                template(0, 2, "--D", &[1], &[3]),
            ],
            resolutions: vec![(1280, 720)],
        }
    }

    fn emit(descriptor: &Descriptor, known: Option<&Structure>) -> BytesMut {
        let mut out = BytesMut::new();
        assert_eq!(descriptor.emit(known, &mut out), Some(out.len()));
        out
    }

    #[test]
    fn a_structure_is_written_read_and_used() {
        let structure = l1t3();
        let mut first = Descriptor::new(60, 100);
        first.structure = Some(structure.clone());
        first.active_targets = Some(0b111);
        let bytes = emit(&first, None);
        assert_eq!(Descriptor::parse(&bytes, None), Ok(first));

        // The offset is 60: the fifth template has id 64, which is 0.
        let plain = Descriptor::new(0, 101);
        let bytes = emit(&plain, Some(&structure));
        assert_eq!(bytes.len(), 3);
        let frame = Descriptor::parse(&bytes, Some(&structure)).unwrap().frame(Some(&structure)).unwrap();
        assert_eq!((frame.spatial, frame.temporal, frame.chains.as_slice()), (0, 2, &[3u8][..]));
        assert!(Descriptor::parse(&bytes, None).is_err());
        assert!(
            Descriptor::parse(&emit(&Descriptor::new(1, 0), Some(&structure)), Some(&structure)).is_err()
        );
    }

    #[test]
    fn non_symmetric_numbers_follow_the_table() {
        // A.8.2, the example for n = 5.
        let expected = [(2, 0b00), (2, 0b01), (2, 0b10), (3, 0b110), (3, 0b111)];
        for (value, (width, code)) in (0u32..).zip(expected) {
            let (mut a, mut b) = (Bits::default(), Bits::default());
            write_ns(&mut a, 5, value);
            b.bits(width, code);
            assert_eq!(a.finish(), b.finish());
            assert_eq!(
                read_ns(&mut BitReader::new(a.finish().unwrap(), "test"), 5).map(u32::from),
                Ok(value)
            );
        }
        write_ns(&mut Bits::default(), 1, 0);
    }

    #[test]
    fn frame_numbers_are_rewritten_in_place() {
        let structure = l1t3();
        let mut bytes = emit(&Descriptor::new(61, 0x0102), Some(&structure));
        assert_eq!(frame_number(&bytes), Some(0x0102));
        set_frame_number(&mut bytes, 0xfffe);
        assert_eq!(Descriptor::parse(&bytes, Some(&structure)), Ok(Descriptor::new(61, 0xfffe)));
        set_frame_number(&mut [1, 2], 3);
    }

    #[test]
    fn a_cut_descriptor_is_refused() {
        let mut first = Descriptor::new(60, 100);
        first.structure = Some(l1t3());
        let bytes = emit(&first, None);
        for len in 0..bytes.len() {
            assert!(Descriptor::parse(&bytes[..len], None).is_err(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_differs_from_the_template_round_trips(
            flags in any::<(bool, bool)>(),
            number: u16,
            active in prop::option::of(0u32..8),
            dtis in prop::option::of(0u64..64),
            references in prop::option::of(prop::collection::vec(1u16..=4096, 0..16)),
            chain in prop::option::of(any::<u8>()),
        ) {
            let structure = l1t3();
            let descriptor = Descriptor {
                start_of_frame: flags.0,
                end_of_frame: flags.1,
                active_targets: active,
                indications: dtis.map(Indications),
                references: references.map(|r| list(&r)),
                chains: chain.map(|c| list(&[c])),
                ..Descriptor::new(62, number)
            };
            let bytes = emit(&descriptor, Some(&structure));
            prop_assert_eq!(Descriptor::parse(&bytes, Some(&structure)), Ok(descriptor));
        }

        #[test]
        fn any_bytes_are_refused_or_round_trip(mut bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            if let Some(byte) = bytes.get_mut(3) {
                *byte |= 0x80;
            }
            let structure = l1t3();
            for known in [None, Some(&structure)] {
                if let Ok(descriptor) = Descriptor::parse(&bytes, known) {
                    let again = emit(&descriptor, known);
                    prop_assert!(again.len() <= bytes.len());
                    prop_assert_eq!(Descriptor::parse(&again, known), Ok(descriptor));
                }
            }
        }
    }
}

//! What header extension elements mean: one type per kind, each with its URI (RFC 8285 §5).
//!
//! A value parses from an element's data and emits itself again. [`Kind`] names the kinds, [`Ids`] holds
//! which id stands for which kind in one session. Kinds of the user are [`Kind::Other`].

pub mod audio;
pub mod dependency;
pub mod layers;
pub mod timing;
pub mod video;

use crate::wire::Malformed;
use crate::wire::reader::Reader;

/// A kind of header extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// The media section that a stream belongs to (RFC 9143 §15.2), text.
    Mid,
    /// The stream within its section (RFC 8852 §4.3), text.
    Rid,
    /// The stream that a retransmission stream repairs (RFC 8852 §4.4), text.
    RepairedRid,
    /// When the packet left its sender: [`timing::AbsSendTime`].
    AbsSendTime,
    /// A number over all streams of the transport: [`timing::TransportSequence`].
    TransportSequence,
    /// How loud the packet's audio is: [`audio::AudioLevel`] (RFC 6464).
    AudioLevel,
    /// How loud each contributing source is: [`audio::MixerLevels`] (RFC 6465).
    MixerLevels,
    /// Which way is up: [`video::Orientation`] (3GPP TS 26.114 §7.4.5).
    VideoOrientation,
    /// How long frames should wait to be shown: [`timing::PlayoutDelay`].
    PlayoutDelay,
    /// When the frame was captured: [`timing::AbsCaptureTime`].
    AbsCaptureTime,
    /// Which layers a sender sends: [`layers::Allocation`].
    VideoLayersAllocation,
    /// What a frame depends on: [`dependency::Descriptor`].
    DependencyDescriptor,
    /// What the colours mean: [`video::ColorSpace`].
    ColorSpace,
    /// Time between a packet's time stamp and its sending: [`timing::TransmissionOffset`] (RFC 5450).
    TransmissionOffset,
    /// An extension that the user brought, under a number that the user chose.
    Other(u16),
}

impl Kind {
    /// All kinds that this crate knows.
    pub const KNOWN: [Kind; 14] = [
        Kind::Mid,
        Kind::Rid,
        Kind::RepairedRid,
        Kind::AbsSendTime,
        Kind::TransportSequence,
        Kind::AudioLevel,
        Kind::MixerLevels,
        Kind::VideoOrientation,
        Kind::PlayoutDelay,
        Kind::AbsCaptureTime,
        Kind::VideoLayersAllocation,
        Kind::DependencyDescriptor,
        Kind::ColorSpace,
        Kind::TransmissionOffset,
    ];

    /// The URI that names this kind in SDP; `None` for the user's own.
    pub fn uri(self) -> Option<&'static str> {
        Some(match self {
            Kind::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Kind::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Kind::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Kind::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Kind::TransportSequence => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Kind::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Kind::MixerLevels => "urn:ietf:params:rtp-hdrext:csrc-audio-level",
            Kind::VideoOrientation => "urn:3gpp:video-orientation",
            Kind::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Kind::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Kind::VideoLayersAllocation => {
                "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
            }
            Kind::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
            Kind::ColorSpace => "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
            Kind::TransmissionOffset => "urn:ietf:params:rtp-hdrext:toffset",
            Kind::Other(_) => return None,
        })
    }

    /// The kind that `uri` names; `None` when this crate does not know it.
    pub fn from_uri(uri: &str) -> Option<Kind> {
        Kind::KNOWN.into_iter().find(|kind| kind.uri() == Some(uri))
    }
}

/// Which id stands for which kind (RFC 8285 §4.1.2). At most 255 ids, looked up in constant time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// Indexed by id; as long as the highest id needs.
    kinds: Vec<Option<Kind>>,
}

impl Ids {
    /// No ids.
    pub fn new() -> Self {
        Ids::default()
    }

    /// Lets `id` stand for `kind`, in place of whatever it stood for. False for 0, which is no id.
    pub fn insert(&mut self, id: u8, kind: Kind) -> bool {
        if id == 0 {
            return false;
        }
        let at = usize::from(id);
        if self.kinds.len() <= at {
            self.kinds.resize(at + 1, None);
        }
        if let Some(place) = self.kinds.get_mut(at) {
            *place = Some(kind);
        }
        true
    }

    /// What `id` stands for.
    pub fn kind(&self, id: u8) -> Option<Kind> {
        self.kinds.get(usize::from(id)).copied().flatten()
    }

    /// The lowest id of `kind`.
    pub fn id(&self, kind: Kind) -> Option<u8> {
        let at = self.kinds.iter().position(|held| *held == Some(kind))?;
        u8::try_from(at).ok()
    }

    /// All ids with their kinds, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Kind)> + '_ {
        (0..=u8::MAX).zip(&self.kinds).filter_map(|(id, kind)| kind.map(|kind| (id, kind)))
    }
}

/// The text of a MID, RID or repaired RID element; `None` when it is not printable ASCII.
///
/// Trailing zero bytes are dropped: some senders pad with them.
pub fn text(data: &[u8]) -> Option<&str> {
    let end = data.iter().rposition(|byte| *byte != 0)? + 1;
    let data = data.get(..end)?;
    if !data.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    std::str::from_utf8(data).ok()
}

/// Reads a value from an element whose data must be used up.
fn whole<'a, T>(
    data: &'a [u8],
    what: &'static str,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut r = Reader::new(data, what);
    let value = read(&mut r)?;
    r.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_kind_is_found_by_its_uri() {
        for kind in Kind::KNOWN {
            assert_eq!(Kind::from_uri(kind.uri().unwrap()), Some(kind));
        }
        assert_eq!(Kind::from_uri("urn:example"), None);
        assert_eq!(Kind::Other(3).uri(), None);
    }

    #[test]
    fn ids_are_looked_up_both_ways() {
        let mut ids = Ids::new();
        assert!(ids.insert(4, Kind::Mid) && ids.insert(255, Kind::Other(7)) && ids.insert(9, Kind::Mid));
        assert!(!ids.insert(0, Kind::Rid));
        assert_eq!((ids.kind(4), ids.kind(5), ids.kind(255)), (Some(Kind::Mid), None, Some(Kind::Other(7))));
        assert_eq!((ids.id(Kind::Mid), ids.id(Kind::Rid)), (Some(4), None));
        assert_eq!(ids.iter().count(), 3);
    }

    #[test]
    fn text_is_printable_and_may_be_padded() {
        assert_eq!(text(b"video0"), Some("video0"));
        assert_eq!(text(b"h\0\0"), Some("h"));
        assert_eq!((text(b""), text(b"\0"), text(b"a\0b"), text(b"\xff")), (None, None, None, None));
    }
}

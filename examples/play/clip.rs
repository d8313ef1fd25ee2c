//! What is played: the frames of a video and an audio file, with their times.

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sansrtc::payload::Codec;

use crate::common::annexb::access_units;
use crate::common::ivf::Ivf;
use crate::common::ogg::{self, Ogg};

/// One track of the clip.
pub(crate) struct Reel {
    /// What it is encoded with.
    pub(crate) codec: Codec,
    /// Units of time in a second.
    pub(crate) rate: u64,
    /// Frames with their times, in order.
    pub(crate) frames: Vec<(u64, Vec<u8>)>,
    /// The time behind the last frame.
    end: u64,
}

impl Reel {
    /// When a frame is due, from the start of the clip.
    pub(crate) fn due(&self, time: u64) -> Duration {
        Duration::from_micros(time.saturating_mul(1_000_000) / self.rate)
    }
}

/// A video and an audio track; at least one of them.
pub(crate) struct Clip {
    /// The pictures.
    pub(crate) video: Option<Reel>,
    /// The sound.
    pub(crate) audio: Option<Reel>,
}

impl Clip {
    /// Reads the files that are named; without any, those that come with the example.
    pub(crate) fn open(video: Option<&Path>, audio: Option<&Path>, fps: f64) -> Result<Self, Box<dyn Error>> {
        if video.is_none() && audio.is_none() {
            let video = include_bytes!("../../tests/data/media/vp8.ivf");
            let audio = include_bytes!("../../tests/data/media/tone.ogg");
            return Ok(Clip { video: Some(ivf(video)?), audio: Some(opus(audio)?) });
        }
        let named = |path: &Path, error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let read = |path: &Path| fs::read(path).map_err(|error| named(path, &error));
        let video = video.map(|path| {
            let bytes = read(path)?;
            let reel = match path.extension().and_then(|ending| ending.to_str()) {
                Some("h264" | "264" | "avc") => annexb(Codec::H264, &bytes, fps),
                Some("h265" | "265" | "hevc") => annexb(Codec::H265, &bytes, fps),
                _ => ivf(&bytes),
            };
            reel.map_err(|error| named(path, &error))
        });
        let audio = audio.map(|path| opus(&read(path)?).map_err(|error| named(path, &error)));
        Ok(Clip { video: video.transpose()?, audio: audio.transpose()? })
    }

    /// The tracks that there are.
    pub(crate) fn reels(&self) -> impl Iterator<Item = &Reel> {
        self.video.iter().chain(&self.audio)
    }

    /// How long it takes.
    pub(crate) fn length(&self) -> Duration {
        self.reels().map(|reel| reel.due(reel.end)).max().unwrap_or_default()
    }
}

impl fmt::Display for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reel in self.reels() {
            write!(f, "{} ({} frames), ", reel.codec.name(), reel.frames.len())?;
        }
        write!(f, "{:.1} s, over and over", self.length().as_secs_f64())
    }
}

fn ivf(bytes: &[u8]) -> Result<Reel, Box<dyn Error>> {
    let Ivf { codec, frames } = Ivf::read(bytes)?;
    // The last picture stays as long as they do on average.
    let (first, last) = (frames.first().map_or(0, |f| f.0), frames.last().ok_or("there are no frames")?.0);
    let each = last.saturating_sub(first) / (frames.len() as u64 - 1).max(1);
    let frames: Vec<_> =
        frames.into_iter().map(|(time, frame)| (time.saturating_sub(first), frame)).collect();
    if frames.windows(2).any(|pair| pair[0].0 > pair[1].0) {
        return Err("the times of the frames go back".into());
    }
    Ok(Reel { codec, rate: 90_000, frames, end: last.saturating_sub(first) + each.max(1) })
}

fn annexb(codec: Codec, bytes: &[u8], fps: f64) -> Result<Reel, Box<dyn Error>> {
    if !(1.0..=240.0).contains(&fps) {
        return Err("between 1 and 240 pictures a second, please".into());
    }
    let time = |at: usize| (at as f64 * 90_000.0 / fps) as u64;
    let frames: Vec<_> =
        access_units(codec, bytes).into_iter().enumerate().map(|(at, unit)| (time(at), unit)).collect();
    let end = time(frames.len());
    if frames.is_empty() {
        Err("there are no frames".into())
    } else {
        Ok(Reel { codec, rate: 90_000, frames, end })
    }
}

fn opus(bytes: &[u8]) -> Result<Reel, Box<dyn Error>> {
    let frames = Ogg::read(bytes)?.packets;
    let (time, packet) = frames.last().ok_or("there are no packets")?;
    let end = time + ogg::samples(packet).unwrap_or(0);
    Ok(Reel { codec: Codec::Opus, rate: ogg::RATE, frames, end })
}

/// Whether a frame can be decoded without others.
pub(crate) fn is_key(codec: Codec, frame: &[u8]) -> bool {
    let nal_types =
        |mask: fn(u8) -> u8| frame.windows(4).filter(|w| w[..3] == [0, 0, 1]).map(move |w| mask(w[3]));
    match codec {
        // RFC 6386 §9.1
        Codec::Vp8 => frame.first().is_some_and(|first| first & 1 == 0),
        // VP9 bitstream §6.2: marker, profile, show_existing_frame, frame_type.
        Codec::Vp9 => frame.first().is_some_and(|first| first & 0b1100_1100 == 0b1000_0000),
        // A sequence header comes with each key frame (AV1 bitstream §7.5).
        Codec::Av1 => frame.first().is_some_and(|first| first >> 3 & 0xf == 1),
        Codec::H264 => nal_types(|head| head & 0x1f).any(|kind| kind == 5),
        Codec::H265 => nal_types(|head| head >> 1 & 0x3f).any(|kind| (16..=21).contains(&kind)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_are_where_the_encoder_put_them() {
        let annexb = |codec, bytes: &[u8]| annexb(codec, bytes, 25.0).expect("a good file");
        let reels = [
            ivf(include_bytes!("../../tests/data/media/vp8.ivf")).expect("a good file"),
            ivf(include_bytes!("../../tests/data/media/vp9.ivf")).expect("a good file"),
            ivf(include_bytes!("../../tests/data/media/av1.ivf")).expect("a good file"),
            annexb(Codec::H264, include_bytes!("../../tests/data/media/clip.h264")),
            annexb(Codec::H265, include_bytes!("../../tests/data/media/clip.h265")),
        ];
        for reel in reels {
            let keys = reel.frames.iter().enumerate().filter(|(_, (_, frame))| is_key(reel.codec, frame));
            let keys: Vec<usize> = keys.map(|(at, _)| at).collect();
            assert_eq!(keys, [0, 50], "{}", reel.codec.name());
            assert_eq!(reel.due(reel.end), Duration::from_secs(4), "{}", reel.codec.name());
        }
    }
}

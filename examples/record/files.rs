//! The file of one track, in the form that suits its codec.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sansrtc::payload::Codec;

use crate::common::ivf::IvfWriter;
use crate::common::ogg::OggWriter;

type Out = BufWriter<File>;

enum Form {
    Ogg(OggWriter<Out>),
    Ivf(IvfWriter<Out>),
    /// H.264 and H.265: access units one after the other. There are no times in such a file.
    AnnexB(Out),
}

/// A file that grows.
pub(crate) struct TrackFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    codec: Codec,
    form: Form,
    /// The media time of the first frame.
    first: Option<u64>,
    /// Waiting for a frame that can be decoded without others.
    needs_key: bool,
    frames: u64,
    bytes: u64,
    gaps: u64,
    last: u64,
}

impl TrackFile {
    /// A new file in `dir`, for a codec that has a form here.
    pub(crate) fn create(dir: &Path, stem: &str, codec: Codec, channels: u8) -> io::Result<Self> {
        let ending = match codec {
            Codec::Opus => "ogg",
            Codec::Vp8 | Codec::Vp9 | Codec::Av1 => "ivf",
            Codec::H264 => "h264",
            Codec::H265 => "h265",
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "no kind of file for this codec")),
        };
        let path = dir.join(format!("{stem}.{ending}"));
        // Not over one that is there.
        let out = BufWriter::new(File::create_new(&path)?);
        let form = match codec {
            Codec::Opus => Form::Ogg(OggWriter::new(out, rand::random(), channels)?),
            Codec::H264 | Codec::H265 => Form::AnnexB(out),
            codec => Form::Ivf(IvfWriter::new(out, codec)?),
        };
        Ok(TrackFile {
            path,
            codec,
            form,
            first: None,
            needs_key: codec.is_video(),
            frames: 0,
            bytes: 0,
            gaps: 0,
            last: 0,
        })
    }

    /// Adds a frame with its media time, in units of the codec's clock. Says whether a key frame is needed to go on:
    /// what leans on a lost frame would only be garbage.
    pub(crate) fn write(
        &mut self,
        time: u64,
        is_key: bool,
        after_gap: bool,
        frame: &[u8],
    ) -> io::Result<bool> {
        if after_gap && self.first.is_some() {
            self.gaps += 1;
            self.needs_key = self.codec.is_video();
        }
        if self.needs_key && !is_key {
            return Ok(true);
        }
        self.needs_key = false;
        let time = time.saturating_sub(*self.first.get_or_insert(time));
        match &mut self.form {
            Form::Ogg(ogg) => ogg.write(time, frame)?,
            Form::Ivf(ivf) => ivf.write(time, frame)?,
            Form::AnnexB(out) => out.write_all(frame)?,
        }
        self.frames += 1;
        self.bytes += frame.len() as u64;
        self.last = time;
        Ok(false)
    }

    /// Writes out all that is there; the file is whole then.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match &mut self.form {
            Form::Ogg(ogg) => ogg.finish(),
            Form::Ivf(ivf) => ivf.finish(),
            Form::AnnexB(out) => out.flush(),
        }
    }

    /// How far it is, for a person.
    pub(crate) fn progress(&self) -> String {
        let rate = if self.codec.is_video() { 90_000.0 } else { 48_000.0 };
        let seconds = self.last as f64 / rate;
        let gaps = if self.gaps > 0 { format!(", {} gaps", self.gaps) } else { String::new() };
        format!(
            "{} {} frames, {seconds:.1} s, {} kB{gaps}",
            self.codec.name(),
            self.frames,
            self.bytes / 1000
        )
    }
}

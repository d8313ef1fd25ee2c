//! Who records what, on the media thread.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sansrtc::payload::Codec;
use sansrtc::{Event, Key, MediaConfig, MediaFrame, MediaLevel, ReceiverId};

use crate::common::net::{App, Net};
use crate::common::whip::{Ask, Created, Refusal, Role, Sessions};
use crate::files::TrackFile;

/// How often progress is told.
const TICK: Duration = Duration::from_secs(1);
/// Streams of one peer: audio, and some layers of video.
const MAX_STREAMS: usize = 8;

/// What one peer publishes.
struct Recording {
    /// The name of its files, without an ending.
    stem: String,
    streams: Vec<(ReceiverId, TrackFile)>,
}

/// All recordings.
pub(crate) struct Recorder {
    dir: PathBuf,
    sessions: Sessions,
    recordings: HashMap<Key, Recording>,
    next_tick: Option<Instant>,
}

impl App for Recorder {
    type Command = Ask;

    fn on_event(&mut self, net: &mut Net, key: Key, event: Event) {
        match event {
            Event::Frame(frame) => {
                if let Err(error) = self.on_frame(net, key, &frame) {
                    eprintln!("cannot go on recording: {error}");
                    net.close(key);
                }
            }
            Event::Closed(reason) => {
                tracing::info!(%reason, "a session ended");
                self.sessions.forget(key);
                self.finish(key);
            }
            other => tracing::debug!(event = ?other),
        }
    }

    fn on_command(&mut self, net: &mut Net, ask: Ask) {
        // Whoever asked may have gone: then nobody misses the answer.
        match ask {
            Ask::Offer { name, sdp, reply, .. } => {
                let _ = reply.send(self.start(net, &name, sdp));
            }
            Ask::Patch { id, etag, fragment, reply } => {
                let _ = reply.send(self.sessions.patch(net, &id, etag.as_deref(), &fragment));
            }
            Ask::Delete { id, reply } => {
                let _ = reply.send(self.sessions.delete(net, &id));
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    fn on_time(&mut self, _net: &mut Net, now: Instant) {
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        self.next_tick = (!self.recordings.is_empty()).then(|| now + TICK);
        for recording in self.recordings.values() {
            let files: Vec<String> = recording.streams.iter().map(|(_, file)| file.progress()).collect();
            println!(
                "{}: {}",
                recording.stem,
                if files.is_empty() { "waiting".into() } else { files.join("; ") }
            );
        }
    }

    fn on_stop(&mut self, _net: &mut Net) {
        let keys: Vec<Key> = self.recordings.keys().copied().collect();
        for key in keys {
            self.finish(key);
        }
    }
}

impl Recorder {
    /// Records into `dir`.
    pub(crate) fn new(net: &mut Net, dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        net.config.media = MediaConfig { level: MediaLevel::Frames, ..MediaConfig::browser() };
        Ok(Recorder { dir, sessions: Sessions::default(), recordings: HashMap::new(), next_tick: None })
    }

    fn start(&mut self, net: &mut Net, name: &str, sdp: String) -> Result<Created, Refusal> {
        let rtc = net.rtc().map_err(|error| Refusal::new(500, error))?;
        let (key, created) = self.sessions.create(net, Role::Publish, rtc, sdp)?;
        let stem = self.free_stem(name);
        println!("{stem}: begins");
        self.recordings.insert(key, Recording { stem, streams: Vec::new() });
        self.next_tick.get_or_insert(Instant::now() + TICK);
        Ok(created)
    }

    /// The first of `name-1`, `name-2` and so on that no file has.
    fn free_stem(&self, name: &str) -> String {
        let stems = (1..).map(|n| format!("{name}-{n}"));
        let is_taken = |stem: &String| {
            let exists = |ending: &str| self.dir.join(format!("{stem}.{ending}")).exists();
            self.recordings.values().any(|recording| recording.stem == *stem)
                || ["ogg", "ivf", "h264", "h265"].into_iter().any(exists)
        };
        stems.into_iter().find(|stem| !is_taken(stem)).unwrap_or_else(|| name.to_owned())
    }

    fn on_frame(&mut self, net: &mut Net, key: Key, frame: &MediaFrame) -> io::Result<()> {
        let Some(recording) = self.recordings.get_mut(&key) else { return Ok(()) };
        let known = recording.streams.iter().position(|(stream, _)| *stream == frame.receiver);
        let at = match known {
            Some(at) => at,
            None if recording.streams.len() >= MAX_STREAMS => return Ok(()),
            None => {
                let Some(codec) = Codec::from_name(frame.codec.name()) else { return Ok(()) };
                // Each layer of a simulcast is a file of its own.
                let layer = frame.rid.map(|rid| format!("-{rid}")).unwrap_or_default();
                // Browsers send Opus in mono or stereo as they like; decoders make two channels of either.
                let file = TrackFile::create(&self.dir, &format!("{}{layer}", recording.stem), codec, 2)?;
                println!("{}: writing {}", recording.stem, file.path.display());
                recording.streams.push((frame.receiver, file));
                recording.streams.len() - 1
            }
        };
        let (_, file) = &mut recording.streams[at];
        let needs_key = file.write(frame.timestamp, frame.key_frame, frame.after_gap, &frame.data)?;
        if needs_key && let Some(mut rtc) = net.connection(key) {
            rtc.request_key_frame(frame.transceiver, frame.rid);
        }
        Ok(())
    }

    fn finish(&mut self, key: Key) {
        let Some(recording) = self.recordings.remove(&key) else { return };
        for (_, mut file) in recording.streams {
            match file.finish() {
                Ok(()) => println!("{}: {}", file.path.display(), file.progress()),
                Err(error) => eprintln!("{}: {error}", file.path.display()),
            }
        }
    }
}

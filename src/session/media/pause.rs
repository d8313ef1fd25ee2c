//! Streams that fall silent and come back, here and there.
//!
//! ```text
//!  the peer's:  packets ── none for PAUSED_AFTER ──> StreamPaused ── a packet ──> StreamResumed
//!  ours:        pause_sending ──> packets are refused ── resume_sending ──> a key frame is asked for
//! ```
//!
//! No message says that a stream pauses: senders of a simulcast stop layers that nobody wants or that the path does
//! not carry, and a muted microphone may send nothing. So silence is all there is to tell by.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::session::event::Event;
use crate::session::negotiate::TransceiverId;
use crate::time::earliest;
use crate::types::codec::MediaType;
use crate::types::ids::Rid;

use super::packet::SendMediaError;
use super::sender::SendStream;
use super::{MAX_EVENTS, Media};

/// A stream of the peer without packets for so long is told to be paused. Longer than Opus is silent in its
/// discontinuous transmission (400 ms), and than a picture is waited for on a bad path.
pub const PAUSED_AFTER: Duration = Duration::from_millis(1500);

impl Media {
    /// Tells of streams that have fallen silent.
    pub(super) fn find_silent(&mut self, now: Instant, events: &mut VecDeque<Event>) {
        if self.control.silence.is_none_or(|at| at > now) {
            return;
        }
        let mut next = None;
        for (_, receiver) in &mut self.receivers {
            if !receiver.is_media() || receiver.is_paused {
                continue;
            }
            let mut due = receiver.heard + PAUSED_AFTER;
            if due <= now {
                if events.len() < MAX_EVENTS {
                    receiver.is_paused = true;
                    events.push_back(Event::StreamPaused { receiver: receiver.id, ssrc: receiver.ssrc });
                    continue;
                }
                // Nobody polls: it is told later, or found to have gone on.
                due = now + PAUSED_AFTER;
            }
            next = earliest([next, Some(due)]);
        }
        self.control.silence = next;
    }

    /// Nothing more is taken for the streams of a transceiver, or for that called `rid`, until they are resumed.
    pub(crate) fn pause_sending(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
    ) -> Result<(), SendMediaError> {
        self.each_stream(transceiver, rid, |stream, _| {
            stream.is_paused = true;
            // Whoever wanted a key frame gets one when the stream goes on.
            stream.key_frames.on_key_frame();
        })?;
        self.find_next_request();
        Ok(())
    }

    /// The streams go on; those of video with a key frame, which the application is asked for.
    pub(crate) fn resume_sending(
        &mut self,
        now: Instant,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        events: &mut VecDeque<Event>,
    ) -> Result<(), SendMediaError> {
        self.each_stream(transceiver, rid, |stream, kind| {
            let was_paused = std::mem::take(&mut stream.is_paused);
            if was_paused && kind == MediaType::Video && stream.reports.packets() > 0 {
                stream.key_frames.request(now);
            }
        })?;
        self.tell_key_frames(now, events);
        Ok(())
    }

    fn each_stream(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        mut work: impl FnMut(&mut SendStream, MediaType),
    ) -> Result<(), SendMediaError> {
        let line = self.lines.get_mut(transceiver.index()).and_then(Option::as_deref_mut);
        let line = line.ok_or(SendMediaError::UnknownTransceiver)?;
        let kind = line.agreed.kind;
        let mut is_any = false;
        for stream in line.streams.iter_mut().filter(|stream| rid.is_none() || stream.rid == rid) {
            is_any = true;
            work(stream, kind);
        }
        if is_any { Ok(()) } else { Err(SendMediaError::UnknownRid) }
    }
}

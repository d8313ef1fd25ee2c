//! What the server does with one peer's messages: it sends each back on its channel, as it came.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use sansrtc::{ChannelId, MessageKind, Rtc, SendError};

/// Bytes that a channel may have in its send buffer before we are told that there is room again.
const LOW: usize = 256 * 1024;
/// What waits to be echoed before reading stops, and where reading goes on.
const FULL: usize = 1 << 20;
const DRAINED: usize = 256 * 1024;

/// The echoes of one peer.
///
/// An echo that does not fit into the send buffer waits here. When much waits, the connection's messages are no
/// longer taken: they stay in its receive window, which closes, and the peer has to wait. So nothing is lost, and
/// a peer that sends without reading costs a bounded amount of memory.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    waiting: BTreeMap<ChannelId, VecDeque<(MessageKind, Bytes)>>,
    waiting_bytes: usize,
    is_paused: bool,
}

impl Echoes {
    /// A channel may be used.
    pub(crate) fn on_open(&mut self, rtc: &mut Rtc, channel: ChannelId) {
        rtc.set_buffered_amount_low_threshold(channel, LOW);
    }

    /// A channel has ended; what waits for it has nowhere to go.
    pub(crate) fn on_closed(&mut self, rtc: &mut Rtc, channel: ChannelId) {
        let gone = self.waiting.remove(&channel).unwrap_or_default();
        self.waiting_bytes -= gone.iter().map(cost).sum::<usize>();
        self.steer(rtc);
    }

    /// A message arrived.
    pub(crate) fn on_message(&mut self, rtc: &mut Rtc, channel: ChannelId, kind: MessageKind, data: Bytes) {
        let is_behind = self.waiting.contains_key(&channel);
        // Cloning counts a reference up: the bytes themselves are not copied.
        if !is_behind && is_taken(rtc.send(channel, kind, data.clone())) {
            return;
        }
        // What waits is copied, so that it does not hold the whole slab that it was received into.
        let message = (kind, Bytes::copy_from_slice(&data));
        self.waiting_bytes += cost(&message);
        self.waiting.entry(channel).or_default().push_back(message);
        self.steer(rtc);
    }

    /// There is room in the send buffer, which all channels share: they take turns.
    pub(crate) fn on_room(&mut self, rtc: &mut Rtc) {
        let mut is_full = false;
        while !is_full && !self.waiting.is_empty() {
            let waiting_bytes = &mut self.waiting_bytes;
            self.waiting.retain(|&channel, queue| {
                if let Some((kind, data)) = queue.front()
                    && !is_full
                {
                    is_full = !is_taken(rtc.send(channel, *kind, data.clone()));
                    if !is_full {
                        *waiting_bytes -= queue.pop_front().as_ref().map_or(0, cost);
                    }
                }
                !queue.is_empty()
            });
        }
        self.steer(rtc);
    }

    /// Stops or resumes reading, by what waits.
    fn steer(&mut self, rtc: &mut Rtc) {
        let pause = self.waiting_bytes > if self.is_paused { DRAINED } else { FULL };
        if pause != self.is_paused {
            self.is_paused = pause;
            rtc.pause_messages(pause);
        }
    }
}

/// What a waiting message counts: its bytes, and something for being one.
fn cost((_, data): &(MessageKind, Bytes)) -> usize {
    data.len() + 64
}

/// Whether a message is done with: sent, or on a channel that ended meanwhile.
fn is_taken(result: Result<sansrtc::MessageId, SendError>) -> bool {
    match result {
        Ok(_) => true,
        Err(SendError::WouldBlock) => false,
        Err(error) => {
            tracing::debug!(%error, "not echoed");
            true
        }
    }
}

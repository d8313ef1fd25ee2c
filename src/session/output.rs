//! What comes out of a session: datagrams, events, and when time alone will change something.
//!
//! Whoever polls goes on until nothing comes, so that each packet in costs several questions out. Two answers are kept
//! short: [`is_quiet`](Session::is_quiet) says that nothing is to be sent, without side effects, and [`Calm`] that
//! transport and association need not be asked at all. Whatever may change the latter forgets it; with debug assertions
//! it is compared with the truth whenever it is used.

use std::collections::VecDeque;
use std::time::Instant;

use super::event::Event;
use super::media::RunKind;
use super::tap::Direction;
use super::transport::Outbound;
use super::{Life, Reading, Session};
use crate::sctp;
use crate::time::earliest;

/// What transport and association said when they were asked last: nothing now, and when they will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Calm {
    next_timeout: Option<Instant>,
}

impl Session {
    /// True only when [`poll_transmit`](Self::poll_transmit) would give nothing, and do nothing: it is asked once for
    /// every event that is polled.
    fn is_quiet(&self) -> bool {
        self.life == Life::Live
            && self.association.is_silent()
            && self.transport.is_quiet()
            && self.media.as_ref().is_none_or(|media| !media.has_output(self.now))
    }

    /// The next datagram, in the order of what others wait for: checks, handshake, data.
    #[inline]
    pub(crate) fn poll_transmit(&mut self) -> Option<Outbound> {
        if self.is_quiet() { None } else { self.poll_transmit_in_order() }
    }

    fn poll_transmit_in_order(&mut self) -> Option<Outbound> {
        if self.life == Life::Closed {
            return None;
        }
        if self.calm.is_some() {
            debug_assert!(self.transport.poll_transmit().is_none(), "something was due without being told");
            return self.poll_media();
        }
        if let Some(outbound) = self.transport.poll_transmit() {
            return Some(outbound);
        }
        if let Some(outbound) = self.poll_media() {
            return Some(outbound);
        }
        self.poll_application()
    }

    /// The next report, or media.
    fn poll_media(&mut self) -> Option<Outbound> {
        let now = self.now;
        let media = self.media.as_mut().filter(|media| media.has_output(now))?;
        let (outbound, kind) = self.transport.poll_media(media, now, self.limits.max_segments)?;
        match kind {
            RunKind::Rtp => self.on_traffic(),
            // A report was given the room of a whole datagram.
            RunKind::Rtcp if !self.busy.is_armed() => self.transport.pool.shrink(),
            RunKind::Rtcp => {}
        }
        Some(outbound)
    }

    /// The next data; when all is over and said, what servers are told.
    fn poll_application(&mut self) -> Option<Outbound> {
        let now = self.now;
        let Session { association, tap, .. } = self;
        let is_silent = association.is_silent();
        let outbound = self.transport.poll_application(is_silent, self.limits.max_segments, |out| {
            let start = out.len();
            let is_written = association.poll_packet(now, out);
            tap.record(now, Direction::Sent, out.get(start..).unwrap_or_default());
            is_written
        });
        if outbound.is_some() {
            self.on_traffic();
        }
        if outbound.is_none() && self.life == Life::Leaving {
            return self.transport.poll_farewell();
        }
        outbound
    }

    /// The next event. A message leaves the receive window here.
    #[inline]
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        if self.calm.is_some() && self.events.is_empty() {
            return None;
        }
        self.calm = None;
        loop {
            if !self.events.is_empty() {
                return self.pop_event();
            }
            if self.life != Life::Live {
                return None;
            }
            let event = match self.reading {
                Reading::On => self.association.poll_event()?,
                Reading::Paused => self.association.poll_sending_event()?,
            };
            self.stirred = true;
            match event {
                // Most events are messages, which nothing stands before: they need not queue.
                sctp::Event::Message { stream, ppid, data } => {
                    let Session { now, association, channels, events, .. } = self;
                    let message = channels.on_message(*now, stream, ppid, data, association, events);
                    if message.is_some() {
                        return message;
                    }
                }
                event => self.on_sctp(event),
            }
        }
    }

    /// The next event of those that wait here.
    fn pop_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Some(media) = &mut self.media {
            media.on_polled(&event);
        }
        if self.events.is_empty() && !self.busy.is_armed() {
            // The room of four events, for the next report that an idle peer sends.
            self.events = VecDeque::new();
        }
        Some(event)
    }

    /// Whether [`poll_event`](Self::poll_event) took facts of the association since this was asked before: that may
    /// have made something due.
    pub(crate) fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred)
    }

    /// When time alone will change something; `None` once the connection is closed.
    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        if self.life != Life::Live {
            // Everything that was to be said has been polled.
            if self.life == Life::Leaving {
                self.life = Life::Closed;
                self.transport.shut();
                self.media.iter_mut().for_each(|media| media.shut());
            }
            return None;
        }
        // Without a path nothing could leave, whatever is due.
        let media = self.media.as_ref().filter(|_| self.transport.ice.send_path().is_some());
        let media = media.and_then(|media| media.next_timeout());
        let rest = self.calm.map_or_else(|| self.rest_timeout(), |calm| calm.next_timeout);
        debug_assert_eq!(rest, self.rest_timeout(), "a deadline changed without being told");
        if self.calm.is_none()
            && self.events.is_empty()
            && self.transport.is_silent()
            && self.association.is_silent()
        {
            self.calm = Some(Calm { next_timeout: rest });
        }
        earliest([rest, media, self.failed.deadline(), self.busy.deadline()])
    }

    /// When transport or association have something to do.
    fn rest_timeout(&self) -> Option<Instant> {
        earliest([self.transport.next_timeout(), self.association.next_timeout()])
    }
}

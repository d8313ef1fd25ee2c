//! One browser in a room: what it sends and sees, and where its descriptions stand.
//!
//! After the browser's first offer only the server offers: whenever what is to be seen differs from what was
//! offered, and no answer is outstanding. So offers never cross, and many changes at once become one offer.

use sansrtc::session::negotiate::Label;
use sansrtc::{
    Answer, ChannelId, Key, MediaDirection, MediaType, RtcMut, SignalingState, TransceiverConfig,
    TransceiverId,
};

use crate::common::socket::Outbox;
use crate::signal::{Flags, Shown, Source, ToBrowser, json};

/// A participant.
pub(crate) struct Member {
    pub(crate) socket: u64,
    pub(crate) outbox: Outbox,
    pub(crate) room: String,
    /// Names it to browsers.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) flags: Flags,
    pub(crate) chat: Option<ChannelId>,
    /// What it sends.
    pub(crate) sends: Vec<(Source, TransceiverId)>,
    /// What it sees and hears of others.
    pub(crate) sees: Vec<Seen>,
    /// What it saw so far, to count on.
    seen: u64,
    /// An answer is outstanding.
    is_offered: bool,
    /// There is something to offer.
    is_stale: bool,
}

/// A track that a member is sent.
pub(crate) struct Seen {
    /// Whose it is.
    pub(crate) from: Key,
    /// What it is.
    pub(crate) source: Source,
    /// Where it goes.
    pub(crate) transceiver: TransceiverId,
    /// Its browser has agreed to it.
    pub(crate) is_agreed: bool,
    /// Counts what this member sees, for the choice of layers.
    pub(crate) number: u64,
    /// Names the sender, in the descriptions.
    owner: String,
}

impl Member {
    /// A member with what its offer brought.
    pub(crate) fn new(socket: u64, outbox: Outbox, room: String, name: String, flags: Flags) -> Self {
        Member {
            socket,
            outbox,
            room,
            id: format!("{:016x}", rand::random::<u64>()),
            name,
            flags,
            chat: None,
            sends: Vec::new(),
            sees: Vec::new(),
            seen: 0,
            is_offered: false,
            is_stale: false,
        }
    }

    /// Sends a message to the browser.
    pub(crate) fn tell(&self, message: &ToBrowser<'_>) {
        self.outbox.send(json(message));
    }

    /// What a transceiver of its brings.
    pub(crate) fn source_of(&self, transceiver: TransceiverId) -> Option<Source> {
        self.sends.iter().find(|(_, id)| *id == transceiver).map(|(source, _)| *source)
    }

    /// What is seen through a transceiver.
    pub(crate) fn seen_through(&self, transceiver: TransceiverId) -> Option<&Seen> {
        self.sees.iter().find(|seen| seen.transceiver == transceiver)
    }

    /// Adds a track of another member. Says how it will be sent.
    pub(crate) fn see(
        &mut self,
        rtc: &mut RtcMut<'_>,
        from: Key,
        owner: &str,
        source: Source,
    ) -> Option<TransceiverId> {
        let kind = if source == Source::Microphone { MediaType::Audio } else { MediaType::Video };
        // Face and voice are played in step, a screen by itself.
        let stream = if source == Source::Screen { format!("{owner}-screen") } else { owner.to_owned() };
        let config = TransceiverConfig { stream: Label::new(&stream)?, ..TransceiverConfig::default() };
        match rtc.add_transceiver(kind, MediaDirection::SendOnly, config) {
            Ok(transceiver) => {
                let number = self.seen;
                self.seen += 1;
                self.sees.push(Seen {
                    from,
                    source,
                    transceiver,
                    is_agreed: false,
                    number,
                    owner: owner.to_owned(),
                });
                self.is_stale = true;
                Some(transceiver)
            }
            Err(error) => {
                tracing::warn!(%error, "a track is not shown");
                None
            }
        }
    }

    /// Takes away what `gone` says.
    pub(crate) fn unsee(&mut self, rtc: &mut RtcMut<'_>, mut gone: impl FnMut(&Seen) -> bool) {
        self.sees.retain(|seen| {
            let is_gone = gone(seen);
            if is_gone {
                self.is_stale = true;
                let _ = rtc.stop_transceiver(seen.transceiver);
            }
            !is_gone
        });
    }

    /// Looks for another way to the browser.
    pub(crate) fn restart(&mut self, rtc: &mut RtcMut<'_>) {
        rtc.restart_ice();
        self.is_stale = true;
    }

    /// Offers, if there is something to offer and no answer outstanding.
    pub(crate) fn negotiate(&mut self, rtc: &mut RtcMut<'_>) {
        if !self.is_stale || self.is_offered || rtc.signaling_state() != SignalingState::Stable {
            return;
        }
        match rtc.create_offer() {
            Ok(offer) => {
                (self.is_stale, self.is_offered) = (false, true);
                self.tell(&ToBrowser::Offer { sdp: offer.to_string() });
            }
            Err(error) => tracing::warn!(%error, "no offer"),
        }
    }

    /// Takes the browser's answer, and says what is in the sections that it agreed to.
    pub(crate) fn on_answer(&mut self, rtc: &mut RtcMut<'_>, sdp: &str) -> Result<(), String> {
        let answer: Answer = sdp.parse().map_err(|error| format!("{error}"))?;
        rtc.accept_answer(&answer).map_err(|error| error.to_string())?;
        self.is_offered = false;
        let tracks = self.sees.iter_mut().filter_map(|seen| {
            let mid = rtc.transceiver(seen.transceiver)?.mid?.to_string();
            seen.is_agreed = true;
            Some(Shown { mid, participant: &seen.owner, source: seen.source })
        });
        let message = json(&ToBrowser::Tracks { tracks: tracks.collect() });
        self.outbox.send(message);
        Ok(())
    }
}

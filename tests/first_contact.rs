//! Two connections in memory: the shortest whole story, from offer to echo to close.

// A test is a caller, and a caller has a clock.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use sansrtc::{
    Candidate, ChannelConfig, ChannelId, Clock, CloseReason, Datagram, Event, Input, MessageKind, Output,
    Rtc, RtcConfig,
};

/// One connection, and what it has told.
struct Peer {
    rtc: Rtc,
    events: Vec<Event>,
    wake: Option<Instant>,
}

impl Peer {
    fn new(seed: u8, address: &str, now: Instant) -> Peer {
        let clock = Clock { instant: now, unix: Duration::from_secs(1_700_000_000) };
        let mut rtc = Rtc::new(RtcConfig::default(), [seed; 32], clock).unwrap();
        rtc.add_local_candidate(Candidate::host(address.parse().unwrap()).unwrap()).unwrap();
        Peer { rtc, events: Vec::new(), wake: Some(now) }
    }

    /// Polls until dry; hands out the datagrams.
    fn drain(&mut self) -> Vec<Datagram> {
        let mut datagrams = Vec::new();
        loop {
            match self.rtc.poll_output() {
                Output::Transmit(t) => {
                    let (source, destination) = (t.source, t.destination);
                    datagrams.push(Datagram::udp(source, destination, t.contents.into_inner()));
                }
                Output::Event(event) => self.events.push(event),
                Output::Stream(_) => {}
                Output::Timeout(at) => {
                    self.wake = at;
                    return datagrams;
                }
            }
        }
    }

    fn opened(&self) -> Option<ChannelId> {
        self.events.iter().find_map(|e| if let Event::ChannelOpen(id) = e { Some(*id) } else { None })
    }

    fn message(&self) -> Option<(MessageKind, Vec<u8>)> {
        self.events.iter().find_map(|e| match e {
            Event::Message { kind, data, .. } => Some((*kind, data.to_vec())),
            _ => None,
        })
    }
}

/// Carries datagrams without delay, and lets time pass when there are none; until `done`.
fn run(now: &mut Instant, a: &mut Peer, b: &mut Peer, mut done: impl FnMut(&mut Peer, &mut Peer) -> bool) {
    for _ in 0..10_000 {
        let (from_a, from_b) = (a.drain(), b.drain());
        if done(a, b) {
            return;
        }
        if from_a.is_empty() && from_b.is_empty() {
            let Some(at) = a.wake.into_iter().chain(b.wake).min() else { break };
            *now = at.max(*now);
            a.rtc.handle_input(*now, Input::Timeout);
            b.rtc.handle_input(*now, Input::Timeout);
        }
        from_a.into_iter().for_each(|d| b.rtc.handle_input(*now, Input::Datagram(d)));
        from_b.into_iter().for_each(|d| a.rtc.handle_input(*now, Input::Datagram(d)));
    }
    panic!("nothing more happens: {:?} and {:?}", a.events, b.events);
}

#[test]
fn offer_answer_channel_message_close() {
    // A fixed point: only differences matter.
    let mut now = Instant::now();
    let mut a = Peer::new(1, "192.0.2.1:1000", now);
    let mut b = Peer::new(2, "192.0.2.2:2000", now);
    let channel = a.rtc.open_channel(ChannelConfig::labelled("chat")).unwrap();
    let offer = a.rtc.create_offer().unwrap();
    let answer = b.rtc.accept_offer(&offer).unwrap();
    a.rtc.accept_answer(&answer).unwrap();

    run(&mut now, &mut a, &mut b, |a, b| a.opened().is_some() && b.opened().is_some());
    let theirs = b.opened().unwrap();
    assert_eq!(b.rtc.channel(theirs).unwrap().config.label, "chat");

    a.rtc.send_text(channel, "hello").unwrap();
    run(&mut now, &mut a, &mut b, |_, b| b.message().is_some());
    assert_eq!(b.message().unwrap(), (MessageKind::Text, b"hello".to_vec()));

    let large = vec![7u8; 200_000];
    b.rtc.send(theirs, MessageKind::Binary, large.clone()).unwrap();
    run(&mut now, &mut a, &mut b, |a, _| a.message().is_some());
    assert_eq!(a.message().unwrap(), (MessageKind::Binary, large));

    a.rtc.close();
    let closed = |p: &mut Peer| p.events.iter().any(|e| matches!(e, Event::Closed(_)));
    run(&mut now, &mut a, &mut b, |a, b| closed(a) && closed(b));
    assert!(matches!(a.events.last(), Some(Event::Closed(CloseReason::Local))));
    assert!(matches!(b.events.last(), Some(Event::Closed(CloseReason::Remote))), "{:?}", b.events.last());
    a.drain();
    assert_eq!((a.wake, a.drain().len()), (None, 0));
}

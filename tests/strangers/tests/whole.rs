//! Whole connections: any two stacks, either side offering, clean and over a bad link.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use strangers::addresses;
use strangers::sctp::Delivery;
use strangers::sim::{HostId, Link, Loss, Random, Sim, base, config, for_each_seed};
use strangers::whole::{Channel, Event, Ours, RtcPeer, Str0m, WebrtcRs};

type Boxed = Box<dyn RtcPeer>;
type Make = fn(u64, Instant, SocketAddr) -> Boxed;

fn str0m(_: u64, now: Instant, local: SocketAddr) -> Boxed {
    Box::new(Str0m::new(now, local))
}

fn webrtc_rs(_: u64, now: Instant, local: SocketAddr) -> Boxed {
    Box::new(WebrtcRs::new(now, local))
}

fn ours(seed: u64, _: Instant, local: SocketAddr) -> Boxed {
    Box::new(Ours::new(seed, config(), local))
}

fn clean() -> Link {
    Link::with_delay(Duration::from_millis(25))
}

fn bad() -> Link {
    Link {
        loss: Loss::Independent(0.1),
        jitter: Duration::from_millis(5),
        reorder: 0.05,
        duplicate: 0.05,
        ..clean()
    }
}

/// Two connected peers with a channel open on both sides.
struct Call {
    sim: Sim<Boxed>,
    hosts: [HostId; 2],
    channels: [Channel; 2],
}

fn call(seed: u64, link: &Link, offerer: Make, answerer: Make) -> Call {
    let (a, b) = addresses();
    let offerer = offerer(seed, base(), a);
    let answerer = answerer(seed, base(), b);
    let (mut sim, a, b) = Sim::pair(seed, link, offerer, answerer);
    let own = sim.with(a, |peer, now| peer.open(now, "chat", Delivery::RELIABLE));
    let offer = sim.with(a, |peer, now| peer.create_offer(now));
    let answer = sim.with(b, |peer, now| peer.accept_offer(now, &offer));
    sim.with(a, |peer, now| peer.accept_answer(now, &answer));
    let mut opened = [None; 2];
    sim.must("the channel opens on both sides", Duration::from_secs(60), |sim| {
        for (host, opened) in [a, b].into_iter().zip(&mut opened) {
            while let Some((_, event)) = sim.event(host) {
                match event {
                    Event::Open { channel, label } => {
                        assert_eq!(label, "chat");
                        *opened = Some(channel);
                    }
                    Event::Closed(reason) => panic!("closed: {reason}\n{offer}\n{answer}"),
                    _ => {}
                }
            }
        }
        opened.iter().all(Option::is_some)
    });
    let channels = opened.map(|channel| channel.expect("it is open"));
    assert_eq!(channels[0], own);
    Call { sim, hosts: [a, b], channels }
}

/// Text, binary and empty messages, both ways, in order and whole.
fn talk(call: &mut Call, seed: u64) {
    let mut random = Random::new(seed);
    let mut messages = vec![
        (true, b"hello".to_vec()),
        (false, vec![0]),
        (true, Vec::new()),
        (false, Vec::new()),
        (true, "\u{e9}\u{4e2d}\u{1f600}".as_bytes().to_vec()),
    ];
    messages.extend([100, 1200, 16_384, 65_535].map(|len| (false, random.bytes(len))));
    for (from, to) in [(0, 1), (1, 0)] {
        let (sender, receiver) = (call.hosts[from], call.hosts[to]);
        let mut messages = messages.clone();
        if !call.sim.peer(sender).sends_empty() {
            messages.retain(|(_, data)| !data.is_empty());
        }
        for (text, data) in &messages {
            let channel = call.channels[from];
            assert!(call.sim.with(sender, |peer, now| peer.send(now, channel, *text, data)));
        }
        let mut arrived = Vec::new();
        let (expected, own) = (messages.len(), call.channels[to]);
        let done = call.sim.run_until(Duration::from_secs(120), |sim| {
            while let Some((_, event)) = sim.event(receiver) {
                match event {
                    Event::Message { channel, text, data } => {
                        assert_eq!(channel, own);
                        arrived.push((text, data));
                    }
                    Event::Closed(reason) => panic!("closed: {reason}"),
                    _ => {}
                }
            }
            arrived.len() == expected
        });
        let lengths: Vec<_> = arrived.iter().map(|(_, data)| data.len()).collect();
        assert!(done.is_some(), "of {expected} messages these arrived: {lengths:?}");
        assert!(arrived == messages, "what arrived differs from what was sent");
    }
}

/// A second channel, opened by the side that answered, and closed by it.
fn open_and_close(call: &mut Call) {
    let [a, b] = call.hosts;
    let late = call.sim.with(b, |peer, now| peer.open(now, "late", Delivery::UNORDERED));
    let mut opened = None;
    call.sim.must("a late channel opens", Duration::from_secs(60), |sim| {
        while let Some((_, event)) = sim.event(a) {
            if let Event::Open { channel, label } = event {
                assert_eq!(label, "late");
                opened = Some(channel);
            }
        }
        opened.is_some()
    });
    call.sim.must(
        "its opener knows",
        Duration::from_secs(60),
        |sim| matches!(sim.event(b), Some((_, Event::Open { channel, .. })) if channel == late),
    );
    call.sim.with(b, |peer, now| peer.close(now, late));
    call.sim.must(
        "its close is seen",
        Duration::from_secs(60),
        |sim| matches!(sim.event(a), Some((_, Event::ChannelClosed(channel))) if Some(channel) == opened),
    );
}

macro_rules! pairs {
    ($($name:ident: $offerer:expr => $answerer:expr, $setup:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn talk_on_a_clean_link() {
                let mut call = call(1, &clean(), $offerer, $answerer);
                talk(&mut call, 1);
                open_and_close(&mut call);
                talk(&mut call, 2);
            }

            #[test]
            fn talk_over_a_bad_link() {
                for_each_seed(10, |seed| {
                    let mut call = call(seed, &$setup(), $offerer, $answerer);
                    for host in call.hosts {
                        *call.sim.network.up(host) = bad();
                    }
                    talk(&mut call, seed);
                });
            }
        }
    )*};
}

// `rtc` gives up its own handshake under loss, so its connections are set up on a clean link.
pairs! {
    str0m_offers_str0m: str0m => str0m, bad;
    webrtc_rs_offers_webrtc_rs: webrtc_rs => webrtc_rs, clean;
    str0m_offers_webrtc_rs: str0m => webrtc_rs, clean;
    webrtc_rs_offers_str0m: webrtc_rs => str0m, clean;
    ours_offers_ours: ours => ours, bad;
    ours_offers_str0m: ours => str0m, bad;
    str0m_offers_ours: str0m => ours, bad;
    ours_offers_webrtc_rs: ours => webrtc_rs, clean;
    webrtc_rs_offers_ours: webrtc_rs => ours, clean;
}

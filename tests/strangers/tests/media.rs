//! Sound and pictures between two stacks: either side offering, frames both ways, over a clean path and one that
//! loses. Once connected, what is lost comes again because it is asked for, and that is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sansrtc::MediaLevel;
use strangers::addresses;
use strangers::media::{Event, Kind, MediaPeer, Ours, Str0m, WebrtcRs, frame, number};
use strangers::sim::{HostId, Link, Loss, Sim, base, config};

type Boxed = Box<dyn MediaPeer>;
type Make = fn(u64, Instant, SocketAddr, Kind) -> Boxed;

fn str0m(_: u64, now: Instant, local: SocketAddr, kind: Kind) -> Boxed {
    Box::new(Str0m::new(now, local, kind))
}

fn layers(_: u64, now: Instant, local: SocketAddr, _: Kind) -> Boxed {
    Box::new(Str0m::simulcast(now, local, &["q", "h", "f"]))
}

fn webrtc_rs(_: u64, now: Instant, local: SocketAddr, kind: Kind) -> Boxed {
    Box::new(WebrtcRs::new(now, local, kind))
}

fn packets(seed: u64, _: Instant, local: SocketAddr, kind: Kind) -> Boxed {
    Box::new(Ours::new(seed, config(), local, kind, MediaLevel::Packets))
}

fn frames(seed: u64, _: Instant, local: SocketAddr, kind: Kind) -> Boxed {
    Box::new(Ours::new(seed, config(), local, kind, MediaLevel::Frames))
}

fn clean() -> Link {
    Link::with_delay(Duration::from_millis(25))
}

fn bad() -> Link {
    Link { loss: Loss::Independent(0.03), jitter: Duration::from_millis(3), reorder: 0.01, ..clean() }
}

/// Two peers that are connected over a clean path, which then becomes `link`.
fn call(seed: u64, link: &Link, kind: Kind, offerer: Make, answerer: Make) -> (Sim<Boxed>, [HostId; 2]) {
    let (a, b) = addresses();
    let (offerer, answerer) = (offerer(seed, base(), a, kind), answerer(seed, base(), b, kind));
    let (mut sim, a, b) = Sim::pair(seed, &clean(), offerer, answerer);
    let offer = sim.with(a, |peer, now| peer.create_offer(now));
    let answer = sim.with(b, |peer, now| peer.accept_offer(now, &offer));
    sim.with(a, |peer, now| peer.accept_answer(now, &answer));
    let mut connected = [false; 2];
    sim.must("both are connected", Duration::from_secs(30), |sim| {
        for (host, connected) in [a, b].into_iter().zip(&mut connected) {
            while let Some((_, event)) = sim.event(host) {
                match event {
                    Event::Connected => *connected = true,
                    Event::Closed(reason) => panic!("closed: {reason}\n{offer}\n{answer}"),
                    Event::Frame(_) | Event::KeyFrameWanted => {}
                }
            }
        }
        connected == [true; 2]
    });
    for host in [a, b] {
        *sim.network.up(host) = link.clone();
    }
    (sim, [a, b])
}

/// What came out on one side.
#[derive(Debug, Default)]
struct Came {
    frames: BTreeMap<u32, usize>,
    key_frames_wanted: usize,
}

fn take(sim: &mut Sim<Boxed>, hosts: [HostId; 2], kind: Kind, came: &mut [Came; 2]) {
    for (host, came) in hosts.into_iter().zip(came) {
        while let Some((_, event)) = sim.event(host) {
            match event {
                Event::Frame(bytes) => {
                    let number = number(&bytes);
                    let before = came.frames.insert(number, bytes.len());
                    assert!(before.is_none(), "frame {number} came twice");
                    // The layer is in the number alone.
                    let of_all = number % 1_000_000;
                    let mut sent = frame(of_all, len(of_all, kind));
                    sent[10..14].copy_from_slice(&number.to_be_bytes());
                    assert_eq!(bytes, sent);
                }
                Event::KeyFrameWanted => came.key_frames_wanted += 1,
                Event::Closed(reason) => panic!("closed: {reason}"),
                Event::Connected => {}
            }
        }
    }
}

/// Frames of pictures have up to 4,000 bytes.
fn len(number: u32, kind: Kind) -> usize {
    let most = match kind {
        Kind::Audio => 200,
        Kind::Video => 4000,
    };
    (number as usize * 97) % most
}

/// Both send 25 frames a second; what came out on each side, all as it was sent.
fn exchange(sim: &mut Sim<Boxed>, hosts: [HostId; 2], count: u32, kind: Kind) -> [Came; 2] {
    let mut came: [Came; 2] = Default::default();
    let step = match kind {
        Kind::Audio => 1920,
        Kind::Video => 3600,
    };
    for n in 0..count + 50 {
        if n < count {
            for host in hosts {
                sim.with(host, |peer, now| peer.send(now, n * step, &frame(n, len(n, kind))));
            }
        }
        sim.run_for(Duration::from_millis(40));
        take(sim, hosts, kind, &mut came);
    }
    came
}

fn check(offerer: Make, answerer: Make) {
    let kind = Kind::Video;
    let (mut sim, hosts) = call(1, &clean(), kind, offerer, answerer);
    let came = exchange(&mut sim, hosts, 250, kind);
    let counts = came.each_ref().map(|came| came.frames.len());
    // The first frames may be on their way before the other side knows what they are.
    assert!(counts.iter().all(|came| *came >= 248), "{counts:?} of 250 on a clean path");
    for seed in 2..5 {
        let (mut sim, hosts) = call(seed, &bad(), kind, offerer, answerer);
        let came = exchange(&mut sim, hosts, 500, kind);
        let counts = came.each_ref().map(|came| came.frames.len());
        // Without repair one frame in twenty would be missing.
        assert!(counts.iter().all(|came| *came >= 497), "seed {seed}: {counts:?} of 500 on a bad path");
        for host in hosts {
            if let Some([sent, again]) = sim.peer(host).repaired() {
                println!("seed {seed}: {counts:?}, {sent} sent again, {again} came again");
                // Some 1,500 packets each way, 3 % of which are lost.
                assert!(sent >= 20 && again >= 20, "seed {seed}: {sent} sent again, {again} came again");
            }
        }
    }
}

#[test]
fn ours_offers_video_to_str0m() {
    check(packets, str0m);
}

#[test]
fn str0m_offers_video_to_ours() {
    check(str0m, packets);
}

#[test]
fn ours_offers_frames_to_str0m() {
    check(frames, str0m);
}

#[test]
fn str0m_offers_video_to_frames_of_ours() {
    check(str0m, frames);
}

#[test]
fn ours_offers_video_to_webrtc_rs() {
    check(packets, webrtc_rs);
}

#[test]
fn webrtc_rs_offers_video_to_frames_of_ours() {
    check(webrtc_rs, frames);
}

#[test]
fn ours_offers_frames_to_webrtc_rs() {
    check(frames, webrtc_rs);
}

#[test]
fn webrtc_rs_offers_video_to_ours() {
    check(webrtc_rs, packets);
}

#[test]
fn opus_goes_both_ways() {
    let pairs: [[Make; 2]; 6] = [
        [packets, str0m],
        [str0m, frames],
        [frames, str0m],
        [packets, webrtc_rs],
        [webrtc_rs, frames],
        [frames, webrtc_rs],
    ];
    for (seed, [offerer, answerer]) in (1..).zip(pairs) {
        let (mut sim, hosts) = call(seed, &clean(), Kind::Audio, offerer, answerer);
        let came = exchange(&mut sim, hosts, 250, Kind::Audio);
        let counts = came.each_ref().map(|came| came.frames.len());
        assert!(counts.iter().all(|came| *came >= 248), "{counts:?} of 250, case {seed}");
    }
}

#[test]
fn key_frames_are_asked_for_both_ways() {
    let pairs: [[Make; 2]; 4] =
        [[packets, str0m], [str0m, frames], [packets, webrtc_rs], [webrtc_rs, frames]];
    for [offerer, answerer] in pairs {
        let (mut sim, hosts) = call(1, &clean(), Kind::Video, offerer, answerer);
        let before = exchange(&mut sim, hosts, 50, Kind::Video);
        assert!(before.iter().all(|came| came.frames.len() >= 48));
        for host in hosts {
            sim.with(host, |peer, now| peer.request_key_frame(now));
        }
        let mut came: [Came; 2] = Default::default();
        sim.run_for(Duration::from_secs(1));
        take(&mut sim, hosts, Kind::Video, &mut came);
        // Told once, however often it is asked while no key frame comes.
        for (host, came) in hosts.into_iter().zip(&came) {
            let told = if sim.peer(host).tells_of_requests() { 1..=2 } else { 0..=0 };
            assert!(told.contains(&came.key_frames_wanted), "{came:?}");
        }
    }
}

#[test]
fn layers_of_a_simulcast_of_str0m_come_whole_over_a_bad_path() {
    let (mut sim, hosts) = call(1, &bad(), Kind::Video, layers, frames);
    let [_, came] = exchange(&mut sim, hosts, 250, Kind::Video);
    for layer in 0..3 {
        let of_layer = came.frames.range(layer * 1_000_000..(layer + 1) * 1_000_000).count();
        assert!(of_layer >= 243, "{of_layer} of 250 in layer {layer}");
    }
    let [_, again] = sim.peer(hosts[1]).repaired().unwrap();
    assert!(again >= 30, "{again} came again");
}

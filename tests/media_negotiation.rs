//! Transceivers that come, turn and go while a call goes on.

mod sim;

use std::time::Duration;

use sansrtc::{
    Answer, ChannelConfig, Event, Incoming, MediaConfig, MediaDirection, MediaType, Offer, OutgoingPacket,
    RtcConfig, SendMediaError, TransceiverConfig, TransceiverId,
};
use sim::{Call, Link, config};

const SECOND: Duration = Duration::from_secs(1);

fn with_media() -> RtcConfig {
    let media = MediaConfig { incoming: Incoming::SendAndReceive, ..MediaConfig::browser() };
    RtcConfig { media, ..config() }
}

fn add(call: &mut Call, side: usize, kind: MediaType, direction: MediaDirection) -> TransceiverId {
    let host = call.hosts[side];
    let config = TransceiverConfig::default();
    call.sim.with(host, |rtc, _| rtc.add_transceiver(kind, direction, config)).unwrap()
}

/// The offer of one side goes to the other, and its answer back.
fn exchange(call: &mut Call, from: usize) {
    let (host, other) = (call.hosts[from], call.hosts[1 - from]);
    let offer = call.sim.with(host, |rtc, _| rtc.create_offer()).unwrap();
    // As signalling carries it.
    let offer: Offer = offer.to_string().parse().unwrap();
    let answer = call.sim.with(other, |rtc, _| rtc.accept_offer(&offer)).unwrap();
    let answer: Answer = answer.to_string().parse().unwrap();
    call.sim.with(host, |rtc, _| rtc.accept_answer(&answer)).unwrap();
}

fn events(call: &mut Call, side: usize) -> Vec<Event> {
    let host = call.hosts[side];
    std::iter::from_fn(|| call.sim.event(host)).map(|(_, event)| event).collect()
}

/// Sends some packets; how many arrive.
fn flows(call: &mut Call, side: usize, id: TransceiverId, from: u64) -> usize {
    events(call, 1 - side);
    let host = call.hosts[side];
    for n in 0..10 {
        call.sim.with(host, |rtc, _| {
            let pt = rtc.transceiver(id).unwrap().formats[0].send;
            rtc.send_packet(id, None, &OutgoingPacket::new(pt, from + n, 0, b"payload")).unwrap();
        });
        call.sim.run_for(SECOND / 50);
    }
    call.sim.run_for(SECOND / 2);
    events(call, 1 - side).iter().filter(|event| matches!(event, Event::Packet(_))).count()
}

fn needed(call: &mut Call, side: usize) -> usize {
    events(call, side).iter().filter(|event| matches!(event, Event::NegotiationNeeded)).count()
}

#[test]
fn tracks_come_turn_and_go_while_others_go_on() {
    let mut call = Call::new(1, &Link::default(), &with_media());
    let [a, b] = call.hosts;
    let audio = add(&mut call, 0, MediaType::Audio, MediaDirection::SendRecv);
    assert_eq!(needed(&mut call, 0), 1);
    exchange(&mut call, 0);
    call.must_connect(10 * SECOND);
    assert_eq!(flows(&mut call, 0, audio, 1000), 10);
    // The other side sends back in the section that the offer has made.
    let theirs = call.sim.with(b, |rtc, _| rtc.transceivers().next()).unwrap();
    assert_eq!(flows(&mut call, 1, theirs, 1000), 10);

    // A second one, offered by the other side.
    let video = add(&mut call, 1, MediaType::Video, MediaDirection::SendOnly);
    assert_eq!(needed(&mut call, 1), 1);
    exchange(&mut call, 1);
    assert_eq!(needed(&mut call, 1), 0);
    assert_eq!(flows(&mut call, 1, video, 1000), 10);
    assert_eq!(flows(&mut call, 0, audio, 2000), 10);

    // It is turned off, and on again.
    call.sim.with(b, |rtc, _| rtc.set_direction(video, MediaDirection::Inactive)).unwrap();
    assert_eq!(needed(&mut call, 1), 1);
    exchange(&mut call, 1);
    call.sim.with(b, |rtc, _| {
        let pt = rtc.transceiver(video).unwrap().formats[0].send;
        let sent = rtc.send_packet(video, None, &OutgoingPacket::new(pt, 1100, 0, b"payload"));
        assert_eq!(sent, Err(SendMediaError::NotSending));
    });
    call.sim.with(b, |rtc, _| rtc.set_direction(video, MediaDirection::SendOnly)).unwrap();
    exchange(&mut call, 1);
    assert_eq!(flows(&mut call, 1, video, 2000), 10);

    // It ends: the peer is told, and the next one takes its place.
    call.sim.with(b, |rtc, _| rtc.stop_transceiver(video)).unwrap();
    exchange(&mut call, 1);
    call.sim.run_for(SECOND);
    let ended = events(&mut call, 0);
    assert_eq!(ended.iter().filter(|event| matches!(event, Event::StreamEnded { .. })).count(), 1);
    let again = add(&mut call, 0, MediaType::Video, MediaDirection::SendOnly);
    exchange(&mut call, 0);
    assert_eq!(flows(&mut call, 0, again, 1000), 10);
    assert_eq!(flows(&mut call, 0, audio, 3000), 10);
    let sections = call.sim.with(a, |rtc, _| rtc.create_offer()).unwrap().to_string().matches("\nm=").count();
    assert_eq!(sections, 2, "sections are used again");
}

#[test]
fn glare_is_rolled_back_and_both_offers_are_carried_out() {
    let mut call = Call::new(2, &Link::default(), &with_media());
    let [a, b] = call.hosts;
    let audio = add(&mut call, 0, MediaType::Audio, MediaDirection::SendOnly);
    exchange(&mut call, 0);
    call.must_connect(10 * SECOND);
    let (at_a, at_b) = (
        add(&mut call, 0, MediaType::Video, MediaDirection::SendOnly),
        add(&mut call, 1, MediaType::Audio, MediaDirection::SendOnly),
    );
    events(&mut call, 0);
    let of_a = call.sim.with(a, |rtc, _| rtc.create_offer()).unwrap();
    let of_b = call.sim.with(b, |rtc, _| rtc.create_offer()).unwrap();
    // The first is polite.
    assert!(call.sim.with(a, |rtc, _| rtc.accept_offer(&of_b)).is_err());
    call.sim.with(a, |rtc, _| rtc.rollback()).unwrap();
    let answer = call.sim.with(a, |rtc, _| rtc.accept_offer(&of_b)).unwrap();
    call.sim.with(b, |rtc, _| rtc.accept_answer(&answer)).unwrap();
    drop(of_a);
    assert!(needed(&mut call, 0) >= 1, "its own offer is still to be made");
    exchange(&mut call, 0);
    for (side, id) in [(0, audio), (0, at_a), (1, at_b)] {
        assert_eq!(flows(&mut call, side, id, 1000), 10);
    }
}

#[test]
fn media_and_data_share_a_connection_whichever_comes_first() {
    let mut call = Call::new(3, &Link::default(), &with_media());
    let video = add(&mut call, 0, MediaType::Video, MediaDirection::SendOnly);
    exchange(&mut call, 0);
    call.must_connect(10 * SECOND);
    assert_eq!(flows(&mut call, 0, video, 1000), 10);
    // Channels are asked for when the call has long begun.
    call.sim.run_for(30 * SECOND);
    let host = call.hosts[0];
    call.sim.with(host, |rtc, _| rtc.open_channel(ChannelConfig::labelled("late"))).unwrap();
    exchange(&mut call, 0);
    let other = call.hosts[1];
    let mut is_open = false;
    call.sim.must("the channel opens", 10 * SECOND, |sim| {
        while let Some((_, event)) = sim.event(other) {
            is_open |= matches!(event, Event::ChannelOpen(_));
        }
        is_open
    });
    assert_eq!(flows(&mut call, 0, video, 2000), 10);
}

#[test]
fn a_restart_and_a_refused_description_leave_media_alone() {
    let mut call = Call::new(4, &Link::default(), &with_media());
    let [a, b] = call.hosts;
    let video = add(&mut call, 0, MediaType::Video, MediaDirection::SendOnly);
    exchange(&mut call, 0);
    call.must_connect(10 * SECOND);
    call.sim.with(a, |rtc, _| rtc.restart_ice());
    exchange(&mut call, 0);
    assert_eq!(flows(&mut call, 0, video, 1000), 10);
    // R63: an offer that has lost a section contradicts what was agreed.
    let offer = call.sim.with(a, |rtc, _| rtc.create_offer()).unwrap().to_string();
    let cut: Offer = offer[..offer.find("m=").unwrap()].parse().unwrap();
    assert!(call.sim.with(b, |rtc, _| rtc.accept_offer(&cut)).is_err());
    call.sim.with(a, |rtc, _| rtc.rollback()).unwrap();
    assert_eq!(flows(&mut call, 0, video, 2000), 10);
}

#[test]
fn header_extensions_are_encrypted_where_both_sides_want_it() {
    for (ours, theirs) in [(true, true), (true, false)] {
        let with = |cryptex| {
            let media = MediaConfig { cryptex, ..MediaConfig::browser() };
            RtcConfig { media, ..config() }
        };
        let mut call = Call::new(5, &Link::default(), &with(ours));
        let [_, b] = call.hosts;
        if !theirs {
            let config = with(theirs);
            let address = (call.sim.network.ip(b), 5000).into();
            call.sim.with(b, |rtc, _| {
                *rtc = sansrtc::Rtc::new(config, [7; 32], sim::clock()).unwrap();
                rtc.add_local_candidate(sansrtc::Candidate::host(address).unwrap()).unwrap();
            });
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        call.sim.network.tap(move |seen| {
            // RTP with an extension block: its profile, when there is no CSRC.
            if let [0x90, second, ..] = seen.contents
                && *second & 0x7f >= 96
            {
                let _ = sender.send([seen.contents[12], seen.contents[13]]);
            }
        });
        let video = add(&mut call, 0, MediaType::Video, MediaDirection::SendOnly);
        exchange(&mut call, 0);
        call.must_connect(10 * SECOND);
        assert_eq!(flows(&mut call, 0, video, 1000), 10);
        let profiles: Vec<[u8; 2]> = receiver.try_iter().collect();
        assert!(profiles.len() >= 10);
        // RFC 9335 §5: 0xC0DE says that the elements are hidden.
        let expected = if theirs { [0xc0, 0xde] } else { [0xbe, 0xde] };
        assert!(profiles.iter().all(|profile| *profile == expected), "{profiles:x?}");
    }
}

#[test]
fn figures_tell_of_both_directions() {
    let mut call = Call::new(6, &Link::default(), &with_media());
    let [a, b] = call.hosts;
    let video = add(&mut call, 0, MediaType::Video, MediaDirection::SendOnly);
    exchange(&mut call, 0);
    call.must_connect(10 * SECOND);
    for round in 0..5 {
        flows(&mut call, 0, video, 1000 + 10 * round);
    }
    call.sim.run_for(5 * SECOND);
    let (sent, received) = (call.sim.peer(a).media_stats(), call.sim.peer(b).media_stats());
    let [outbound] = &sent.outbound[..] else { panic!("{sent:?}") };
    let [inbound] = &received.inbound[..] else { panic!("{received:?}") };
    assert_eq!((outbound.packets_sent, outbound.bytes_sent), (50, 350));
    assert_eq!((inbound.packets_received, inbound.bytes_received, inbound.packets_lost), (50, 350, 0));
    assert_eq!((inbound.ssrc, inbound.mid), (outbound.ssrc, outbound.mid));
    let told = inbound.remote.expect("a sender report came");
    assert_eq!((told.packets_sent, told.bytes_sent), (50, 350));
    let heard = outbound.remote.expect("a receiver report came");
    assert_eq!((heard.packets_lost, heard.fraction_lost), (0, 0.0));
    assert!(heard.round_trip_time.is_some() && sent.round_trip_time.is_some());
}

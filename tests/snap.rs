//! SCTP's INIT chunks in descriptions (draft-hancke-tsvwg-snap): the association is up when DTLS is.

mod sim;

use std::time::Duration;

use sansrtc::session::negotiate::{RemoteData, RemoteTransport};
use sansrtc::types::setup::{DtlsRole, IceRole};
use sansrtc::{Applied, ChannelConfig, ConnectionState, Event, MessageKind, Rtc, RtcConfig};
use sim::{Call, Link, Loss, config, for_each_seed};

const ROUND_TRIP: Duration = Duration::from_millis(100);

fn with_snap(snap: bool) -> RtcConfig {
    RtcConfig { snap, ..config() }
}

fn uses_snap(call: &Call) -> [bool; 2] {
    call.hosts.map(|host| call.sim.peer(host).stats().snap)
}

/// Opens a channel and sends a message on it before anything else, signals, and says when the other side has it.
fn first_message(call: &mut Call, opener: usize, signal: impl FnOnce(&mut Call)) -> Duration {
    let [own, other] = [call.hosts[opener], call.hosts[1 - opener]];
    call.sim.with(own, |rtc, _| {
        let channel = rtc.open_channel(ChannelConfig::labelled("first")).unwrap();
        rtc.send(channel, MessageKind::Binary, vec![7; 500]).unwrap();
    });
    signal(call);
    let mut arrived = None;
    call.sim.must("the message arrives", Duration::from_secs(60), |sim| {
        while let Some((at, event)) = sim.event(other) {
            if let Event::Message { data, .. } = event {
                assert_eq!(data[..], [7; 500]);
                arrived = Some(at);
            }
        }
        arrived.is_some()
    });
    arrived.unwrap()
}

#[test]
fn both_ends_save_a_round_trip_and_a_half() {
    for opener in [0, 1] {
        let took = [true, false].map(|snap| {
            let mut call = Call::new(1, &Link::with_delay(ROUND_TRIP / 2), &with_snap(snap));
            let took = first_message(&mut call, opener, Call::signal);
            assert_eq!(uses_snap(&call), [snap; 2]);
            took
        });
        println!("the message of {opener} arrives after {took:?}");
        // The client of DTLS has to wait for the server's Finished; the server's data follows its own.
        assert!(took[1] - took[0] >= ROUND_TRIP, "{took:?}");
    }
}

#[test]
fn one_end_without_it_connects_as_before() {
    for sides in [[true, false], [false, true]] {
        let configs = sides.map(with_snap);
        let link = Link::with_delay(ROUND_TRIP / 2);
        let mut call = Call::between(2, &link, configs.each_ref());
        let took = first_message(&mut call, 0, Call::signal);
        assert_eq!(uses_snap(&call), [false; 2]);
        assert!(took <= ROUND_TRIP * 9 / 2, "{took:?}");
        call.open(1, ChannelConfig::labelled("back"));
    }
}

#[test]
fn loss_and_reordering_do_no_harm() {
    let link = Link {
        loss: Loss::Independent(0.2),
        jitter: Duration::from_millis(40),
        duplicate: 0.1,
        ..Link::with_delay(Duration::from_millis(30))
    };
    for_each_seed(40, |seed| {
        let mut call = Call::new(seed, &link, &config());
        first_message(&mut call, (seed % 2) as usize, Call::signal);
        call.open(0, ChannelConfig::labelled("there"));
        call.open(1, ChannelConfig::labelled("back"));
        assert_eq!(uses_snap(&call), [true; 2]);
    });
}

#[test]
fn it_outlives_restarts_of_ice_and_offers_that_are_taken_back() {
    let mut call = Call::new(3, &Link::default(), &config());
    let [a, b] = call.hosts;
    // Glare: the first offer is given up for that of the other side.
    call.sim.with(a, |rtc, _| rtc.create_offer()).unwrap();
    let offer = call.sim.with(b, |rtc, _| rtc.create_offer()).unwrap();
    call.sim.with(a, |rtc, _| rtc.rollback()).unwrap();
    let answer = call.sim.with(a, |rtc, _| rtc.accept_offer(&offer)).unwrap();
    call.sim.with(b, |rtc, _| rtc.accept_answer(&answer)).unwrap();
    call.must_connect(Duration::from_secs(5));
    for opener in [0, 1] {
        call.sim.with(a, |rtc, _| rtc.restart_ice());
        call.signal();
        call.sim.run_for(Duration::from_secs(2));
        call.open(opener, ChannelConfig::labelled(format!("after {opener}")));
        assert_eq!(uses_snap(&call), [true; 2]);
    }
}

/// What the other end must know of this one, by hand.
fn applied(peer: &Rtc, dtls_role: DtlsRole, ice_role: IceRole) -> Applied {
    let known = peer.local_parameters();
    Applied {
        transport: Some(RemoteTransport {
            credentials: known.credentials,
            fingerprints: known.fingerprints,
            candidates: known.candidates,
            end_of_candidates: true,
            ice_lite: known.ice_lite,
            sped: known.sped,
            renomination: true,
            dtls_role,
            ice_role,
        }),
        ice_restart: false,
        data: Some(RemoteData {
            port: 5000,
            max_message_size: known.max_message_size as u64,
            init: known.sctp_init,
        }),
        media: Vec::new(),
    }
}

fn introduce(call: &mut Call, change: fn(Vec<u8>) -> Vec<u8>) {
    let [a, b] = call.hosts;
    let mut of_a = applied(call.sim.peer(a), DtlsRole::Client, IceRole::Controlled);
    let mut of_b = applied(call.sim.peer(b), DtlsRole::Server, IceRole::Controlling);
    for applied in [&mut of_a, &mut of_b] {
        let data = applied.data.as_mut().unwrap();
        data.init = data.init.take().map(change);
    }
    call.sim.with(a, |rtc, _| rtc.start(of_b));
    call.sim.with(b, |rtc, _| rtc.start(of_a));
}

#[test]
fn ends_that_are_introduced_without_descriptions_can_use_it() {
    let link = Link::with_delay(ROUND_TRIP / 2);
    let mut call = Call::new(4, &link, &config());
    let took = first_message(&mut call, 0, |call| introduce(call, |init| init));
    assert_eq!(uses_snap(&call), [true; 2]);
    let mut by_description = Call::new(4, &link, &config());
    assert_eq!(took, first_message(&mut by_description, 0, Call::signal));
}

#[test]
fn an_init_that_is_none_is_left_aside() {
    let mut call = Call::new(5, &Link::default(), &config());
    first_message(&mut call, 0, |call| introduce(call, |init| init[1..].to_vec()));
    assert_eq!(uses_snap(&call), [false; 2]);
    assert!(call.hosts.iter().all(|&host| call.sim.peer(host).state() == ConnectionState::Connected));
}

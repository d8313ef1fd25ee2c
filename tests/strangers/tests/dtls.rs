//! DTLS: any two stacks, both roles, clean and over loss.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sansrtc::crypto;
use strangers::addresses;
use strangers::dtls::{Dimpl, DtlsPeer, Event, Ours, Role, Versions};
use strangers::sim::{HostId, Link, Loss, Sim, base, for_each_seed};

type Boxed = Box<dyn DtlsPeer>;
type Make = fn(u64, Instant, Role, SocketAddr, SocketAddr) -> Boxed;

macro_rules! makers {
    ($($name:ident: $make:expr;)*) => {$(
        fn $name(seed: u64, now: Instant, role: Role, local: SocketAddr, remote: SocketAddr) -> Boxed {
            let make: fn(u64, Instant, Role, SocketAddr, SocketAddr) -> Boxed = $make;
            make(seed, now, role, local, remote)
        }
    )*};
}

makers! {
    dimpl: |_, now, role, a, b| Box::new(Dimpl::new(now, Versions::Only12, role, a, b));
    dimpl_13: |_, now, role, a, b| Box::new(Dimpl::new(now, Versions::Only13, role, a, b));
    dimpl_both: |_, now, role, a, b| Box::new(Dimpl::new(now, Versions::Both, role, a, b));
    ours: |seed, now, role, a, b| Box::new(Ours::new(seed, crypto::ring(), Versions::Only12, now, role, a, b));
    ours_13: |seed, now, role, a, b| Box::new(Ours::new(seed, crypto::ring(), Versions::Only13, now, role, a, b));
    ours_both: |seed, now, role, a, b| Box::new(Ours::new(seed, crypto::ring(), Versions::Both, now, role, a, b));
    ours_in_rust: |seed, now, role, a, b| Box::new(Ours::new(seed, crypto::rust(), Versions::Only12, now, role, a, b));
    ours_in_rust_13: |seed, now, role, a, b| Box::new(Ours::new(seed, crypto::rust(), Versions::Only13, now, role, a, b));
}

fn link(loss: f64) -> Link {
    Link {
        delay: Duration::from_millis(25),
        loss: if loss > 0.0 { Loss::Independent(loss) } else { Loss::None },
        ..Link::default()
    }
}

/// What one side has learned.
#[derive(Debug, Default)]
struct Learned {
    certificate: Option<Vec<u8>>,
    keys: Option<Vec<u8>>,
    connected: bool,
    data: Vec<Vec<u8>>,
    closed: Option<String>,
}

fn learn(sim: &mut Sim<Boxed>, host: HostId, learned: &mut Learned) {
    while let Some((_, event)) = sim.event(host) {
        match event {
            Event::Certificate(der) => learned.certificate = Some(der),
            Event::KeyingMaterial(keys) => learned.keys = Some(keys),
            Event::Connected => learned.connected = true,
            Event::Data(data) => learned.data.push(data),
            Event::Closed(reason) => learned.closed = Some(reason),
        }
    }
}

/// Connects, compares keys and certificates, sends datagrams both ways, and says goodbye.
fn meet(seed: u64, loss: f64, client: Make, server: Make) {
    let (a, b) = addresses();
    let mut client = client(seed, base(), Role::Client, a, b);
    let mut server = server(seed, base(), Role::Server, b, a);
    let certificates = [client.certificate(), server.certificate()];
    client.expect(&certificates[1]);
    server.expect(&certificates[0]);
    let (mut sim, a, b) = Sim::pair(seed, &link(loss), client, server);
    let mut learned = [Learned::default(), Learned::default()];
    sim.must("both connect", Duration::from_secs(60), |sim| {
        learn(sim, a, &mut learned[0]);
        learn(sim, b, &mut learned[1]);
        learned.iter().all(|side| side.connected)
    });
    assert_eq!(learned[0].certificate.as_ref(), Some(&certificates[1]));
    assert_eq!(learned[1].certificate.as_ref(), Some(&certificates[0]));
    assert!(learned[0].keys.as_ref().is_some_and(|keys| keys.len() >= 56));
    assert_eq!(learned[0].keys, learned[1].keys, "both export the same keys");

    sim.network.up(a).loss = Loss::None;
    sim.network.up(b).loss = Loss::None;
    // What the handshake left on the way is gone by then.
    sim.run_for(Duration::from_secs(5));
    let datagrams: Vec<Vec<u8>> = [1, 2, 100, 1000].map(|len| vec![len as u8; len]).into();
    for (from, to) in [(0, 1), (1, 0)] {
        for datagram in &datagrams {
            assert!(sim.with([a, b][from], |peer, _| peer.send(datagram)));
        }
        sim.run_for(Duration::from_secs(1));
        learn(&mut sim, [a, b][to], &mut learned[to]);
        assert_eq!(learned[to].data, datagrams);
    }
    sim.with(a, |peer, _| peer.close());
    sim.run_for(Duration::from_secs(1));
    learn(&mut sim, b, &mut learned[1]);
    assert!(learned[1].closed.is_some(), "the goodbye is heard");
}

macro_rules! pairs {
    ($($name:ident: $client:expr => $server:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn meet_on_a_clean_link() {
                meet(1, 0.0, $client, $server);
            }

            #[test]
            fn meet_over_loss() {
                for_each_seed(20, |seed| meet(seed, 0.2, $client, $server));
            }
        }
    )*};
}

pairs! {
    dimpl_calls_dimpl: dimpl => dimpl;
    ours_calls_dimpl: ours => dimpl;
    dimpl_calls_ours: dimpl => ours;
    ours_in_rust_calls_dimpl: ours_in_rust => dimpl;
    dimpl_calls_ours_in_rust: dimpl => ours_in_rust;
    ours_calls_ours: ours => ours;
    ours_calls_dimpl_in_13: ours_13 => dimpl_13;
    dimpl_calls_ours_in_13: dimpl_13 => ours_13;
    ours_in_rust_calls_dimpl_in_13: ours_in_rust_13 => dimpl_13;
    dimpl_calls_ours_in_rust_in_13: dimpl_13 => ours_in_rust_13;
    ours_of_both_calls_dimpl: ours_both => dimpl;
    dimpl_calls_ours_of_both: dimpl => ours_both;
    ours_of_both_calls_dimpl_of_both: ours_both => dimpl_both;
    dimpl_of_both_calls_ours_of_both: dimpl_both => ours_both;
    ours_calls_dimpl_of_both: ours => dimpl_both;
    dimpl_of_both_calls_ours: dimpl_both => ours;
}

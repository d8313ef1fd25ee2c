//! DTLS: any two stacks, both roles, every version, suite, group and certificate that both know, clean and over loss.

use std::time::Duration;

use sansrtc::crypto::NamedGroup;
use sansrtc::dtls::{CipherSuite, Version};
use strangers::addresses;
use strangers::dtls::{DtlsPeer, Event, Kind, Negotiated, Role, Stack, Terms, Versions};
use strangers::sim::{HostId, Link, Loss, Sim, base, for_each_seed};

type Boxed = Box<dyn DtlsPeer>;

/// Both directions between two stacks.
fn both_ways(a: Stack, b: Stack) -> [(Stack, Stack); 2] {
    [(a, b), (b, a)]
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

/// Two peers on a network.
struct Meeting {
    sim: Sim<Boxed>,
    hosts: [HostId; 2],
    learned: [Learned; 2],
    certificates: [Vec<u8>; 2],
    /// For messages of failure.
    what: String,
}

impl Meeting {
    fn new(seed: u64, loss: f64, stacks: (Stack, Stack), client: &Terms, server: &Terms) -> Meeting {
        let what = format!("seed {seed}, {stacks:?}\n client {client:?}\n server {server:?}");
        let (a, b) = addresses();
        let mut client = stacks.0.make(seed, base(), Role::Client, (a, b), client);
        let mut server = stacks.1.make(seed, base(), Role::Server, (b, a), server);
        let certificates = [client.certificate(), server.certificate()];
        client.expect(&certificates[1]);
        server.expect(&certificates[0]);
        let (sim, a, b) = Sim::pair(seed, &link(loss), client, server);
        Meeting { sim, hosts: [a, b], learned: Default::default(), certificates, what }
    }

    fn learn(&mut self) {
        for (host, learned) in self.hosts.into_iter().zip(&mut self.learned) {
            while let Some((_, event)) = self.sim.event(host) {
                match event {
                    Event::Certificate(der) => learned.certificate = Some(der),
                    Event::KeyingMaterial(keys) => learned.keys = Some(keys),
                    Event::Connected => learned.connected = true,
                    Event::Data(data) => learned.data.push(data),
                    Event::Closed(reason) => learned.closed = Some(reason),
                }
            }
        }
    }

    /// Goes on until both are connected, and compares certificates, keys and what both say was agreed on.
    fn connect(&mut self) -> Negotiated {
        let end = self.sim.elapsed() + Duration::from_secs(60);
        while !self.learned.iter().all(|side| side.connected) {
            let goes_on = self.sim.step(end);
            self.learn();
            let is_over = !goes_on || self.learned.iter().any(|side| side.closed.is_some());
            assert!(!is_over, "no connection: {:?}\n{}", self.learned, self.what);
        }
        let [client, server] = &self.learned;
        assert_eq!(client.certificate.as_ref(), Some(&self.certificates[1]), "{}", self.what);
        assert_eq!(server.certificate.as_ref(), Some(&self.certificates[0]), "{}", self.what);
        assert!(client.keys.as_ref().is_some_and(|keys| keys.len() >= 56), "{}", self.what);
        assert_eq!(client.keys, server.keys, "both export the same keys\n{}", self.what);
        let [a, b] = self.hosts.map(|host| self.sim.peer(host).negotiated().expect("it is connected"));
        assert_eq!(a.version, b.version, "{}", self.what);
        for told in [a.suite.zip(b.suite).map(|(a, b)| a == b), a.group.zip(b.group).map(|(a, b)| a == b)] {
            assert_ne!(told, Some(false), "{a:?} {b:?}\n{}", self.what);
        }
        Negotiated { version: a.version, suite: a.suite.or(b.suite), group: a.group.or(b.group) }
    }

    /// Sends datagrams both ways over a link without loss.
    fn talk(&mut self) {
        for host in self.hosts {
            self.sim.network.up(host).loss = Loss::None;
        }
        // What the handshake left on the way is gone by then.
        self.sim.run_for(Duration::from_secs(5));
        let datagrams: Vec<Vec<u8>> = [1, 2, 100, 1000].map(|len| vec![len as u8; len]).into();
        for (from, to) in [(0, 1), (1, 0)] {
            self.learned[to].data.clear();
            for datagram in &datagrams {
                assert!(self.sim.with(self.hosts[from], |peer, _| peer.send(datagram)), "{}", self.what);
            }
            self.sim.run_for(Duration::from_secs(1));
            self.learn();
            assert_eq!(self.learned[to].data, datagrams, "{}", self.what);
        }
    }

    /// One side says goodbye.
    fn part(&mut self, side: usize) {
        self.sim.with(self.hosts[side], |peer, _| peer.close());
        self.sim.run_for(Duration::from_secs(1));
        self.learn();
        assert!(self.learned[1 - side].closed.is_some(), "the goodbye is heard\n{}", self.what);
    }
}

/// Connects, talks and parts; what was agreed on.
fn meet(seed: u64, loss: f64, stacks: (Stack, Stack), client: &Terms, server: &Terms) -> Negotiated {
    let mut meeting = Meeting::new(seed, loss, stacks, client, server);
    let negotiated = meeting.connect();
    meeting.talk();
    meeting.part(usize::from(seed % 2 == 1));
    negotiated
}

/// Every version that both speak is agreed on, and without a common one nobody connects.
fn every_version(stacks: (Stack, Stack)) {
    for client in Versions::ALL {
        for server in Versions::ALL {
            let terms = [client, server].map(Terms::of);
            match client.common(server) {
                Some(version) => {
                    let negotiated = meet(1, 0.0, stacks, &terms[0], &terms[1]);
                    assert_eq!(negotiated.version, version, "{stacks:?} {client:?} {server:?}");
                }
                None => {
                    let mut meeting = Meeting::new(1, 0.0, stacks, &terms[0], &terms[1]);
                    meeting.sim.run_for(Duration::from_secs(60));
                    meeting.learn();
                    assert!(meeting.learned.iter().all(|side| !side.connected), "{}", meeting.what);
                    assert!(meeting.learned.iter().any(|side| side.closed.is_some()), "{}", meeting.what);
                }
            }
        }
    }
}

/// The suites that a certificate of this kind can serve.
fn suites_for(kind: Kind) -> impl Iterator<Item = CipherSuite> {
    use CipherSuite::*;
    CipherSuite::ALL.into_iter().filter(move |suite| match suite {
        EcdheRsaAes128Gcm | EcdheRsaAes256Gcm | EcdheRsaChaCha20Poly1305 => kind == Kind::Rsa,
        EcdheEcdsaAes128Gcm | EcdheEcdsaAes256Gcm | EcdheEcdsaChaCha20Poly1305 => kind != Kind::Rsa,
        _ => true,
    })
}

fn only(version: Version) -> Versions {
    if version == Version::Dtls12 { Versions::Only12 } else { Versions::Only13 }
}

/// Every suite is agreed on when the stranger knows all, and ours only this one.
fn every_suite(stacks: (Stack, Stack), kind: Kind) {
    for suite in suites_for(kind) {
        let all = Terms { certificate: kind, ..Terms::of(only(suite.version())) };
        let one = Terms { suites: vec![suite], ..all.clone() };
        let terms = if is_ours(stacks.0) { [&one, &all] } else { [&all, &one] };
        let negotiated = meet(1, 0.0, stacks, terms[0], terms[1]);
        assert_eq!(negotiated.suite, Some(suite), "{stacks:?}");
    }
}

fn is_ours(stack: Stack) -> bool {
    matches!(stack, Stack::Ours | Stack::OursInRust)
}

/// Every group is agreed on when the server knows no other, by a second hello where the first has no share of it; the
/// same with a cookie.
fn every_group(stacks: (Stack, Stack), version: Version, groups: &[NamedGroup]) {
    for group in groups {
        for cookie in [false, true] {
            let client = Terms::of(only(version));
            let server = Terms { groups: vec![*group], cookie, ..client.clone() };
            let negotiated = meet(1, 0.0, stacks, &client, &server);
            assert_eq!(negotiated.group, Some(*group), "{stacks:?} cookie {cookie}");
        }
    }
}

/// Every kind of certificate at either end.
fn every_certificate(stacks: (Stack, Stack), kinds: &[Kind]) {
    for version in [Version::Dtls12, Version::Dtls13] {
        for client in kinds {
            for server in kinds {
                let terms =
                    [client, server].map(|kind| Terms { certificate: *kind, ..Terms::of(only(version)) });
                meet(1, 0.0, stacks, &terms[0], &terms[1]);
            }
        }
    }
}

/// All of it while the links lose.
fn over_loss(stacks: (Stack, Stack), groups: &[NamedGroup]) {
    for_each_seed(12, |seed| {
        for versions in Versions::ALL {
            let client = Terms::of(versions);
            let group = groups[seed as usize % groups.len()];
            let has_12 = versions != Versions::Only13;
            let server_groups = if has_12 && group == NamedGroup::X25519MlKem768 {
                vec![group, NamedGroup::Secp256r1]
            } else {
                vec![group]
            };
            let server = Terms { groups: server_groups, ..client.clone() };
            let loss = [0.1, 0.2, 0.3][seed as usize % 3];
            let negotiated = meet(seed, loss, stacks, &client, &server);
            assert_eq!(Some(negotiated.version), versions.common(versions));
        }
    });
}

const CLASSICAL: [NamedGroup; 3] = [NamedGroup::X25519, NamedGroup::Secp256r1, NamedGroup::Secp384r1];

macro_rules! pairs {
    ($($name:ident: $stacks:expr, $kinds:expr, $groups:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn every_version_is_agreed_on() {
                $stacks.into_iter().for_each(every_version);
            }

            #[test]
            fn every_suite_is_agreed_on() {
                for kind in [Kind::P256, Kind::Rsa].into_iter().filter(|kind| $kinds.contains(kind)) {
                    $stacks.into_iter().for_each(|stacks| every_suite(stacks, kind));
                }
            }

            #[test]
            fn every_group_is_agreed_on_with_and_without_a_cookie() {
                for stacks in $stacks {
                    every_group(stacks, Version::Dtls12, &CLASSICAL);
                    every_group(stacks, Version::Dtls13, &$groups);
                }
            }

            #[test]
            fn every_certificate_is_taken() {
                $stacks.into_iter().for_each(|stacks| every_certificate(stacks, &$kinds));
            }

            #[test]
            fn they_meet_over_loss() {
                $stacks.into_iter().for_each(|stacks| over_loss(stacks, &$groups));
            }
        }
    )*};
}

pairs! {
    dimpl: both_ways(Stack::Ours, Stack::Dimpl), [Kind::P256, Kind::P384], CLASSICAL;
    dimpl_and_ours_in_rust: both_ways(Stack::OursInRust, Stack::Dimpl), [Kind::P256], [NamedGroup::X25519];
    boring: both_ways(Stack::Ours, Stack::Boring), Kind::ALL, NamedGroup::ALL;
    boring_and_ours_in_rust: both_ways(Stack::OursInRust, Stack::Boring), [Kind::P256], NamedGroup::ALL;
}

/// Where the stranger in this pair sits.
fn side_of(stacks: (Stack, Stack), stack: Stack) -> usize {
    usize::from(stacks.0 != stack)
}

#[test]
fn boring_takes_new_keys_and_asks_ours_for_the_same() {
    for stacks in both_ways(Stack::Ours, Stack::Boring) {
        let terms = Terms::of(Versions::Only13);
        let mut meeting = Meeting::new(1, 0.0, stacks, &terms, &terms);
        meeting.connect();
        meeting.talk();
        let stranger = meeting.hosts[side_of(stacks, Stack::Boring)];
        for round in 1..=3 {
            assert!(meeting.sim.with(stranger, |peer, _| peer.update_keys()), "{stacks:?}");
            meeting.sim.run_for(Duration::from_secs(1));
            meeting.talk();
            let epochs = meeting.sim.peer(stranger).epochs();
            assert_eq!(epochs, Some((3 + round, 3 + round)), "{stacks:?}");
        }
        meeting.part(0);
    }
}

#[test]
fn boring_follows_when_ours_takes_new_keys() {
    for stacks in both_ways(Stack::Ours, Stack::Boring) {
        // Four records of data in every talk.
        let terms = Terms { update_after: Some(3), ..Terms::of(Versions::Only13) };
        let mut meeting = Meeting::new(1, 0.0, stacks, &terms, &terms);
        meeting.connect();
        let stranger = meeting.hosts[side_of(stacks, Stack::Boring)];
        for round in 1..=3 {
            meeting.talk();
            let (read, _) = meeting.sim.peer(stranger).epochs().expect("it tells");
            assert!(read >= 3 + round, "{stacks:?}: {read}");
        }
        meeting.part(1);
    }
}

#[test]
fn small_datagrams_cut_every_flight_into_many() {
    for stacks in both_ways(Stack::Ours, Stack::Boring) {
        for versions in [Versions::Only12, Versions::Only13] {
            let terms = Terms { mtu: 400, certificate: Kind::Rsa, ..Terms::of(versions) };
            meet(1, 0.0, stacks, &terms, &terms);
            for_each_seed(6, |seed| {
                meet(seed, 0.1, stacks, &terms, &terms);
            });
        }
    }
}

#[test]
fn the_post_quantum_group_is_the_choice_of_both() {
    for stacks in both_ways(Stack::Ours, Stack::Boring) {
        let terms = Terms::of(Versions::Both);
        let negotiated = meet(1, 0.0, stacks, &terms, &terms);
        assert_eq!(negotiated.version, Version::Dtls13);
        assert_eq!(negotiated.group, Some(NamedGroup::X25519MlKem768));
    }
}

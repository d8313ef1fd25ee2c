//! Two connections joined in memory, over a link that may lose, reorder and duplicate.

mod handshake;
mod hostile;
mod impostor;
mod impostor13;
mod loss;
mod recorded;
mod v13;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Config, Connection, Fact, Version};
use crate::buffer::Pool;
use crate::crypto::Backend;
use crate::crypto::cert::Identity;
use crate::rng::{Rng, Stream};
use crate::types::fingerprint::FingerprintHash;
use crate::types::setup::DtlsRole;

/// Index of an end.
pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

/// Certificates that the tests use, of every kind of key that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

pub(super) const KINDS: [Kind; 4] = [Kind::P256, Kind::P384, Kind::Ed25519, Kind::Rsa];

pub(super) fn identity(backend: &dyn Backend, kind: Kind) -> Arc<Identity> {
    macro_rules! pem {
        ($name:literal) => {
            (
                include_str!(concat!("../../../tests/data/dtls/", $name, ".cert.pem")),
                include_str!(concat!("../../../tests/data/dtls/", $name, ".key.pem")),
            )
        };
    }
    let (certificate, key) = match kind {
        Kind::P256 => pem!("p256"),
        Kind::P384 => pem!("p384"),
        Kind::Ed25519 => pem!("ed25519"),
        Kind::Rsa => pem!("rsa2048"),
    };
    Arc::new(Identity::from_pem(backend, certificate, key).expect("a certificate made by openssl"))
}

/// Of 1.2, unless the test says otherwise.
pub(super) fn config(backend: &'static dyn Backend, kind: Kind) -> Config {
    Config::new(backend, identity(backend, kind)).only(Version::Dtls12)
}

impl Config {
    /// Only this version.
    pub(super) fn only(self, version: Version) -> Config {
        Config { min_version: version, max_version: version, ..self }
    }
}

/// A fixed point of the test process: only differences matter.
pub(super) fn base() -> Instant {
    crate::time::some_instant()
}

/// What the link does to a datagram, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) loss: u64,
    pub(super) duplication: u64,
    /// Held back for up to three one-way delays.
    pub(super) reordering: u64,
    pub(super) corruption: u64,
}

/// A connection with what came out of it.
pub(super) struct End {
    pub(super) connection: Connection,
    pub(super) received: Vec<Vec<u8>>,
    pub(super) facts: Vec<Fact>,
    pub(super) key_log: Vec<String>,
    /// Datagrams that the connection wrote, and their bytes.
    pub(super) sent: Vec<Vec<u8>>,
    pool: Pool,
}

impl End {
    fn new(config: Config, role: DtlsRole, seed: u8) -> Self {
        config.validate().expect("a configuration that works");
        let rng = Rng::new([seed; 32], Stream::Dtls);
        End {
            connection: Connection::new(Arc::new(config), role, rng),
            received: Vec::new(),
            facts: Vec::new(),
            key_log: Vec::new(),
            sent: Vec::new(),
            pool: Pool::new(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.facts.contains(&Fact::Connected)
    }

    /// A record of application data.
    pub(super) fn seal(&mut self, data: &[u8]) -> BytesMut {
        let overhead = self.connection.overhead();
        let mut record = BytesMut::zeroed(overhead.head);
        record.extend_from_slice(data);
        self.connection.seal_in_place(&mut record, 0).expect("a connected end");
        assert_eq!(record.len(), overhead.head + data.len() + overhead.tail);
        record
    }

    fn drain(&mut self, mtu: usize) -> Vec<Vec<u8>> {
        self.facts.extend(std::iter::from_fn(|| self.connection.poll_fact()));
        self.received.extend(std::iter::from_fn(|| self.connection.poll_received()).map(Vec::from));
        self.key_log.extend(std::iter::from_fn(|| self.connection.poll_key_log()));
        let mut out = Vec::new();
        while let Some(datagram) = self.connection.poll_datagram(&mut self.pool, mtu) {
            assert!(datagram.len() <= mtu, "{} bytes", datagram.len());
            out.push(datagram.to_vec());
        }
        self.sent.extend(out.iter().cloned());
        assert!(self.connection.poll_datagram(&mut self.pool, mtu).is_none());
        out
    }
}

/// A client, a server, and the way between them.
pub(super) struct Pair {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) ends: [End; 2],
    pub(super) faults: Faults,
    pub(super) one_way: Duration,
    pub(super) mtu: usize,
    rng: Rng,
    /// Datagrams on their way, by arrival and number: to whom, and what.
    on_the_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    numbers: u64,
}

impl Pair {
    /// Two ends that know each other's fingerprint, started at once.
    pub(super) fn new(client: Config, server: Config, seed: u8) -> Self {
        let fingerprints = [&server, &client].map(|c| vec![c.identity.fingerprint(FingerprintHash::Sha256)]);
        let mut pair = Self::unsignalled(client, server, seed);
        for (end, fingerprints) in pair.ends.iter_mut().zip(fingerprints) {
            end.connection.set_remote_fingerprints(fingerprints);
        }
        pair
    }

    /// Two ends that know nothing of each other.
    pub(super) fn unsignalled(client: Config, server: Config, seed: u8) -> Self {
        let now = base();
        let client = End::new(client, DtlsRole::Client, seed);
        let server = End::new(server, DtlsRole::Server, seed.wrapping_add(100));
        Pair {
            start: now,
            now,
            ends: [client, server],
            faults: Faults::default(),
            one_way: Duration::from_millis(50),
            mtu: 1200,
            rng: Rng::new([seed; 32], Stream::Session),
            on_the_way: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// Two ends with P-256 certificates over *ring*.
    pub(super) fn plain() -> Self {
        let config = || config(crate::crypto::ring(), Kind::P256);
        Pair::new(config(), config(), 1)
    }

    /// Two ends that speak 1.3 only, with P-256 certificates over *ring*.
    pub(super) fn plain_13() -> Self {
        let config = || config(crate::crypto::ring(), Kind::P256).only(Version::Dtls13);
        Pair::new(config(), config(), 1)
    }

    pub(super) fn started(mut self) -> Self {
        let rtt = Some(2 * self.one_way);
        for end in &mut self.ends {
            end.connection.start(self.now, rtt);
        }
        self
    }

    pub(super) fn connected(self) -> Self {
        let mut pair = self.started();
        pair.run(Duration::from_secs(10));
        assert!(pair.ends.iter().all(End::is_connected), "{:?}", pair.facts());
        pair
    }

    pub(super) fn facts(&self) -> [&[Fact]; 2] {
        [&self.ends[0].facts, &self.ends[1].facts]
    }

    /// Puts a datagram on the way to an end, through the faults of the link.
    pub(super) fn send(&mut self, to: usize, datagram: Vec<u8>) {
        let Faults { loss, duplication, reordering, corruption } = self.faults;
        let mut happens = |thousandths: u64| self.rng.below(1000) < thousandths;
        let copies = if happens(loss) { 0 } else { 1 + usize::from(happens(duplication)) };
        for _ in 0..copies {
            let mut datagram = datagram.clone();
            if self.rng.below(1000) < corruption {
                let at = self.rng.below(datagram.len() as u64) as usize;
                datagram[at] ^= 1 << self.rng.below(8);
            }
            let held_back = if self.rng.below(1000) < reordering { self.rng.below(3000) } else { 0 };
            let delay = self.one_way + self.one_way.mul_f64(held_back as f64 / 1000.0);
            self.numbers += 1;
            self.on_the_way.insert((self.now + delay, self.numbers), (to, datagram));
        }
    }

    /// Takes what the ends have to give.
    pub(super) fn drain(&mut self) {
        for from in [CLIENT, SERVER] {
            for datagram in self.ends[from].drain(self.mtu) {
                self.send(1 - from, datagram);
            }
        }
    }

    /// Gives a datagram to an end now.
    pub(super) fn deliver(&mut self, to: usize, datagram: &[u8]) {
        self.ends[to].connection.handle_datagram(self.now, BytesMut::from(datagram));
    }

    /// Goes to the next arrival or deadline; `false` when there is none until `end`.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        self.drain();
        let arrival = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.ends.iter().filter_map(|end| end.connection.next_timeout()).min();
        let Some(next) = [arrival, deadline].into_iter().flatten().min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = next.max(self.now);
        if arrival == Some(next) {
            let (_, (to, datagram)) = self.on_the_way.pop_first().expect("it was there");
            self.deliver(to, &datagram);
        } else {
            self.ends.iter_mut().for_each(|end| end.connection.handle_timeout(next));
            let still_due =
                self.ends.iter().any(|end| end.connection.next_timeout().is_some_and(|at| at <= next));
            assert!(!still_due, "a timeout that does not go away");
        }
        true
    }

    /// Runs until nothing happens any more, or for so long.
    pub(super) fn run(&mut self, at_most: Duration) {
        let end = self.now + at_most;
        while self.step(end) {}
    }
}

//! DTLS alone: a handshake, keys, and datagrams both ways.

mod boring;
mod dimpl;
mod ours;

use std::net::SocketAddr;
use std::time::Instant;

use sansrtc::crypto::{self, NamedGroup};
use sansrtc::dtls::{CipherSuite, Version};
use sansrtc::packet::Transmit;

pub use self::boring::Boring;
pub use self::dimpl::Dimpl;
pub use self::ours::Ours;
use crate::sim::Peer;
use crate::transmit;

/// What a DTLS peer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer's certificate, before or at the time of `Connected`.
    Certificate(Vec<u8>),
    /// What `use_srtp` exports.
    KeyingMaterial(Vec<u8>),
    /// The handshake is complete.
    Connected,
    /// A datagram, decrypted.
    Data(Vec<u8>),
    /// The connection is over.
    Closed(String),
}

/// What a peer says was agreed on; `None` for what its library does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    pub version: Version,
    pub suite: Option<CipherSuite>,
    pub group: Option<NamedGroup>,
}

/// A DTLS connection to one address.
pub trait DtlsPeer: Peer<Event = Event> {
    /// The certificate it shows, in DER.
    fn certificate(&self) -> Vec<u8>;

    /// Tells the certificate that signalling promised.
    fn expect(&mut self, certificate: &[u8]);

    /// What was agreed on, once connected.
    fn negotiated(&self) -> Option<Negotiated>;

    /// Sends one datagram of application data; false when it cannot.
    fn send(&mut self, data: &[u8]) -> bool;

    /// Takes new keys for sending and asks the peer for the same; false when the library offers no such thing.
    fn update_keys(&mut self) -> bool {
        false
    }

    /// The newest epochs that are read and written, where the library tells.
    fn epochs(&self) -> Option<(u64, u64)> {
        None
    }

    /// Lines of a key log since the last call, where they were asked for.
    fn take_key_log(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Says goodbye.
    fn close(&mut self);
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// Which versions of DTLS a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    Only12,
    Only13,
    Both,
}

impl Versions {
    pub const ALL: [Versions; 3] = [Versions::Only12, Versions::Only13, Versions::Both];

    /// The oldest and the newest.
    pub fn range(self) -> (Version, Version) {
        match self {
            Versions::Only12 => (Version::Dtls12, Version::Dtls12),
            Versions::Only13 => (Version::Dtls13, Version::Dtls13),
            Versions::Both => (Version::Dtls12, Version::Dtls13),
        }
    }

    /// The newest version that both speak.
    pub fn common(self, other: Versions) -> Option<Version> {
        let ((min, max), (other_min, other_max)) = (self.range(), other.range());
        let newest = max.min(other_max);
        (newest >= min.max(other_min)).then_some(newest)
    }
}

/// Kinds of keys in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::P256, Kind::P384, Kind::Ed25519, Kind::Rsa];

    /// A certificate and its key in PKCS#8, both in PEM.
    pub fn pem(self) -> (&'static str, &'static str) {
        macro_rules! files {
            ($name:literal) => {
                (
                    include_str!(concat!("../../../data/dtls/", $name, ".cert.pem")),
                    include_str!(concat!("../../../data/dtls/", $name, ".key.pem")),
                )
            };
        }
        match self {
            Kind::P256 => files!("p256"),
            Kind::P384 => files!("p384"),
            Kind::Ed25519 => files!("ed25519"),
            Kind::Rsa => files!("rsa2048"),
        }
    }
}

/// What a peer is willing to do.
#[derive(Debug, Clone)]
pub struct Terms {
    pub versions: Versions,
    pub certificate: Kind,
    /// By preference. Some stacks leave no choice in 1.3.
    pub suites: Vec<CipherSuite>,
    /// By preference.
    pub groups: Vec<NamedGroup>,
    /// The groups of which the first hello has a share, where the stack leaves that open.
    pub shares: Vec<NamedGroup>,
    /// Whether a server has the client prove its address.
    pub cookie: bool,
    /// How many records are sealed before new keys are taken, where that can be set.
    pub update_after: Option<u64>,
    /// The largest datagram in bytes.
    pub mtu: usize,
    /// Whether secrets are given out.
    pub key_log: bool,
}

impl Terms {
    /// All that is known, with a certificate on P-256.
    pub fn of(versions: Versions) -> Self {
        Terms {
            versions,
            certificate: Kind::P256,
            suites: CipherSuite::ALL.to_vec(),
            groups: NamedGroup::ALL.to_vec(),
            shares: vec![NamedGroup::X25519MlKem768, NamedGroup::X25519],
            cookie: false,
            update_after: None,
            mtu: 1200,
            key_log: false,
        }
    }
}

/// Whose code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    Ours,
    OursInRust,
    Dimpl,
    Boring,
}

impl Stack {
    /// A peer of this stack.
    pub fn make(
        self,
        seed: u64,
        now: Instant,
        role: Role,
        way: (SocketAddr, SocketAddr),
        terms: &Terms,
    ) -> Box<dyn DtlsPeer> {
        match self {
            Stack::Ours => Box::new(Ours::new(seed, crypto::ring(), now, role, way, terms)),
            Stack::OursInRust => Box::new(Ours::new(seed, crypto::rust(), now, role, way, terms)),
            Stack::Dimpl => Box::new(Dimpl::new(now, role, way, terms)),
            Stack::Boring => Box::new(Boring::new(now, role, way, terms)),
        }
    }
}

/// A datagram on its way, as `(from, to)`.
fn on_way((from, to): (SocketAddr, SocketAddr), contents: &[u8]) -> Transmit {
    transmit(from, to, contents)
}

/// The group of a number.
fn group_of(code: u16) -> Option<NamedGroup> {
    NamedGroup::ALL.into_iter().find(|group| group.code() == code)
}

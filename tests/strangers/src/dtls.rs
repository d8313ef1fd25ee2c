//! DTLS alone: a handshake, keys, and datagrams both ways.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use sansrtc::buffer::Pool;
use sansrtc::crypto::Backend;
use sansrtc::crypto::cert::{self, Identity};
use sansrtc::dtls::{Config, Connection, Fact, SrtpKeys, Version};
use sansrtc::packet::{Datagram, Transmit};
use sansrtc::rng::{Rng, Stream};
use sansrtc::types::fingerprint::FingerprintHash;
use sansrtc::types::setup::DtlsRole;
use sansrtc::types::srtp_profile::SrtpProfile;

use crate::sim::{Output, Peer, seed_bytes};
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

/// A DTLS connection to one address.
pub trait DtlsPeer: Peer<Event = Event> {
    /// The certificate it shows, in DER.
    fn certificate(&self) -> Vec<u8>;

    /// Tells the certificate that signalling promised.
    fn expect(&mut self, certificate: &[u8]);

    /// Sends one datagram of application data; false when it cannot.
    fn send(&mut self, data: &[u8]) -> bool;

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

/// `dimpl`.
pub struct Dimpl {
    inner: dimpl::Dtls,
    certificate: Vec<u8>,
    local: SocketAddr,
    remote: SocketAddr,
    buffer: Vec<u8>,
    failed: Option<String>,
    over: bool,
}

impl Dimpl {
    pub fn new(now: Instant, versions: Versions, role: Role, local: SocketAddr, remote: SocketAddr) -> Dimpl {
        let config = dimpl::Config::builder().mtu(1200).build().expect("a valid configuration");
        let identity = dimpl::certificate::generate_self_signed_certificate().expect("a certificate");
        let certificate = identity.certificate.clone();
        let config = Arc::new(config);
        let mut inner = match versions {
            Versions::Only12 => dimpl::Dtls::new_12(config, identity, now),
            Versions::Only13 => dimpl::Dtls::new_13(config, identity, now),
            Versions::Both => dimpl::Dtls::new_auto(config, identity, now),
        };
        inner.set_active(role == Role::Client);
        // Before its first packet it must know the time.
        let failed = inner.handle_timeout(now).err().map(|error| error.to_string());
        Dimpl { inner, certificate, local, remote, buffer: vec![0; 4096], failed, over: false }
    }

    fn note<T>(&mut self, result: Result<T, dimpl::Error>) -> bool {
        if let Err(error) = &result {
            self.failed = Some(error.to_string());
        }
        result.is_ok()
    }
}

impl Peer for Dimpl {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        if !self.over {
            let ticked = self.inner.handle_timeout(now);
            let handled = ticked.and_then(|()| self.inner.handle_packet(&datagram.contents));
            self.note(handled);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if !self.over {
            let handled = self.inner.handle_timeout(now);
            self.note(handled);
        }
    }

    fn poll(&mut self, _: Instant) -> Output<Event> {
        if let Some(error) = self.failed.take() {
            self.over = true;
            return Output::Event(Event::Closed(error));
        }
        if self.over {
            return Output::Timeout(None);
        }
        loop {
            let needed = match self.inner.poll_output(&mut self.buffer) {
                dimpl::Output::Packet(packet) => {
                    return Output::Transmit(transmit(self.local, self.remote, packet));
                }
                dimpl::Output::BufferTooSmall { needed } => needed,
                dimpl::Output::Timeout(at) => return Output::Timeout(Some(at)),
                dimpl::Output::Connected => return Output::Event(Event::Connected),
                dimpl::Output::PeerCert(der) => return Output::Event(Event::Certificate(der.to_vec())),
                dimpl::Output::KeyingMaterial(material, _) => {
                    return Output::Event(Event::KeyingMaterial(material.to_vec()));
                }
                dimpl::Output::ApplicationData(data) => return Output::Event(Event::Data(data.to_vec())),
                dimpl::Output::CloseNotify => return Output::Event(Event::Closed("close_notify".into())),
                _ => continue,
            };
            self.buffer.resize(needed, 0);
        }
    }
}

impl DtlsPeer for Dimpl {
    fn certificate(&self) -> Vec<u8> {
        self.certificate.clone()
    }

    /// It leaves the comparison to its user.
    fn expect(&mut self, _: &[u8]) {}

    fn send(&mut self, data: &[u8]) -> bool {
        !self.over && self.inner.send_application_data(data).is_ok()
    }

    fn close(&mut self) {
        let closed = self.inner.close();
        self.note(closed);
    }
}

// ---- sansrtc ------------------------------------------------------------------------------------------------

/// A bare `sansrtc::dtls::Connection`.
pub struct Ours {
    connection: Connection,
    identity: Arc<Identity>,
    role: Role,
    pool: Pool,
    local: SocketAddr,
    remote: SocketAddr,
    events: VecDeque<Event>,
    sealed: VecDeque<Transmit>,
}

impl Ours {
    pub fn new(
        seed: u64,
        backend: &'static dyn Backend,
        versions: Versions,
        now: Instant,
        role: Role,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Ours {
        let seed = seed_bytes(seed, role as u64);
        let identity =
            Identity::generate(backend, &mut Rng::new(seed, Stream::Certificate)).expect("an identity");
        let identity = Arc::new(identity);
        let mut config = Config::new(backend, identity.clone());
        (config.min_version, config.max_version) = match versions {
            Versions::Only12 => (Version::Dtls12, Version::Dtls12),
            Versions::Only13 => (Version::Dtls13, Version::Dtls13),
            Versions::Both => (Version::Dtls12, Version::Dtls13),
        };
        config.srtp_profiles = vec![SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80];
        let dtls_role = match role {
            Role::Client => DtlsRole::Client,
            Role::Server => DtlsRole::Server,
        };
        let mut connection = Connection::new(Arc::new(config), dtls_role, Rng::new(seed, Stream::Dtls));
        connection.start(now, Some(Duration::from_millis(50)));
        Ours {
            connection,
            identity,
            role,
            pool: Pool::new(),
            local: from,
            remote: to,
            events: VecDeque::new(),
            sealed: VecDeque::new(),
        }
    }

    /// The keys in the order of RFC 5764 §4.2: both keys, then both salts, the client's first.
    fn material(&self, keys: &SrtpKeys) -> Vec<u8> {
        let (client, server) = match self.role {
            Role::Client => (&keys.local, &keys.remote),
            Role::Server => (&keys.remote, &keys.local),
        };
        [&client.key, &server.key, &client.salt, &server.salt].map(|part| part.as_bytes()).concat()
    }
}

impl Peer for Ours {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.connection.handle_datagram(now, datagram.contents);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.connection.handle_timeout(now);
    }

    fn poll(&mut self, _: Instant) -> Output<Event> {
        if let Some(datagram) = self.connection.poll_datagram(&mut self.pool, 1200) {
            return Output::Transmit(transmit(self.local, self.remote, &datagram));
        }
        if let Some(sealed) = self.sealed.pop_front() {
            return Output::Transmit(sealed);
        }
        match self.connection.poll_fact() {
            Some(Fact::Connected) => {
                let details = self.connection.details().expect("it is connected");
                self.events.push_back(Event::Certificate(details.peer_certificate.to_vec()));
                if let Some(keys) = self.connection.srtp_keys() {
                    self.events.push_back(Event::KeyingMaterial(self.material(&keys)));
                }
                self.events.push_back(Event::Connected);
            }
            Some(Fact::Closed(reason)) => self.events.push_back(Event::Closed(format!("{reason:?}"))),
            None => {}
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        match self.connection.poll_received() {
            Some(data) => Output::Event(Event::Data(data.to_vec())),
            None => Output::Timeout(self.connection.next_timeout()),
        }
    }
}

impl DtlsPeer for Ours {
    fn certificate(&self) -> Vec<u8> {
        self.identity.certificate_der().to_vec()
    }

    fn expect(&mut self, certificate: &[u8]) {
        self.connection
            .set_remote_fingerprints(vec![cert::fingerprint(certificate, FingerprintHash::Sha256)]);
    }

    fn send(&mut self, data: &[u8]) -> bool {
        let mut record = BytesMut::new();
        record.put_bytes(0, self.connection.overhead().head);
        record.extend_from_slice(data);
        let sealed = self.connection.seal_in_place(&mut record, 0).is_ok();
        if sealed {
            self.sealed.push_back(transmit(self.local, self.remote, &record));
        }
        sealed
    }

    fn close(&mut self) {
        self.connection.close();
    }
}

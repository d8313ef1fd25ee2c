//! sansrtc.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use sansrtc::buffer::Pool;
use sansrtc::crypto::Backend;
use sansrtc::crypto::cert::{self, Identity};
use sansrtc::dtls::{Config, Connection, Fact, SrtpKeys};
use sansrtc::packet::{Datagram, Transmit};
use sansrtc::rng::{Rng, Stream};
use sansrtc::types::fingerprint::FingerprintHash;
use sansrtc::types::setup::DtlsRole;
use sansrtc::types::srtp_profile::SrtpProfile;

use super::{DtlsPeer, Event, Negotiated, Role, Terms, on_way};
use crate::sim::{Output, Peer, seed_bytes};

/// A bare `sansrtc::dtls::Connection`.
pub struct Ours {
    connection: Connection,
    identity: Arc<Identity>,
    role: Role,
    pool: Pool,
    way: (SocketAddr, SocketAddr),
    mtu: usize,
    events: VecDeque<Event>,
    sealed: VecDeque<Transmit>,
}

impl Ours {
    pub fn new(
        seed: u64,
        backend: &'static dyn Backend,
        now: Instant,
        role: Role,
        way: (SocketAddr, SocketAddr),
        terms: &Terms,
    ) -> Ours {
        let seed = seed_bytes(seed, role as u64);
        let (certificate, key) = terms.certificate.pem();
        let identity = Arc::new(Identity::from_pem(backend, certificate, key).expect("an identity"));
        let mut config = Config::new(backend, identity.clone());
        (config.min_version, config.max_version) = terms.versions.range();
        config.cipher_suites.clone_from(&terms.suites);
        config.groups.clone_from(&terms.groups);
        config.key_shares.clone_from(&terms.shares);
        config.cookie = terms.cookie;
        config.key_update_after = terms.update_after.unwrap_or(config.key_update_after);
        config.key_log = terms.key_log;
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
            way,
            mtu: terms.mtu,
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
        if let Some(datagram) = self.connection.poll_datagram(&mut self.pool, self.mtu) {
            return Output::Transmit(on_way(self.way, &datagram));
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

    fn negotiated(&self) -> Option<Negotiated> {
        let details = self.connection.details()?;
        Some(Negotiated {
            version: details.version,
            suite: Some(details.cipher_suite),
            group: Some(details.group),
        })
    }

    fn send(&mut self, data: &[u8]) -> bool {
        let mut record = BytesMut::new();
        record.put_bytes(0, self.connection.overhead().head);
        record.extend_from_slice(data);
        let sealed = self.connection.seal_in_place(&mut record, 0).is_ok();
        if sealed {
            self.sealed.push_back(on_way(self.way, &record));
        }
        sealed
    }

    fn take_key_log(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.connection.poll_key_log()).collect()
    }

    fn close(&mut self) {
        self.connection.close();
    }
}

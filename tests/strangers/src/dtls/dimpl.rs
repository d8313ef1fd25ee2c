//! `dimpl`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use dimpl::crypto::{Dtls12CipherSuite, Dtls13CipherSuite};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sansrtc::crypto::NamedGroup;
use sansrtc::dtls::{CipherSuite, Version};
use sansrtc::packet::Datagram;

use super::{DtlsPeer, Event, Negotiated, Role, Terms, Versions, on_way};
use crate::sim::{Output, Peer};

/// A connection of `dimpl`. It knows neither RSA nor Ed25519 nor the post-quantum group.
pub struct Dimpl {
    inner: dimpl::Dtls,
    certificate: Vec<u8>,
    way: (SocketAddr, SocketAddr),
    buffer: Vec<u8>,
    failed: Option<String>,
    over: bool,
}

impl Dimpl {
    pub fn new(now: Instant, role: Role, way: (SocketAddr, SocketAddr), terms: &Terms) -> Dimpl {
        let codes = |version: Version| {
            terms.suites.iter().filter(move |suite| suite.version() == version).map(|suite| suite.code())
        };
        let rsa = [CipherSuite::EcdheRsaAes128Gcm, CipherSuite::EcdheRsaAes256Gcm].map(CipherSuite::code);
        let is_known =
            |code: &u16| !rsa.contains(code) && *code != CipherSuite::EcdheRsaChaCha20Poly1305.code();
        let suites_of_12: Vec<_> =
            codes(Version::Dtls12).filter(is_known).map(Dtls12CipherSuite::from_u16).collect();
        let suites_of_13: Vec<_> = codes(Version::Dtls13).map(Dtls13CipherSuite::from_u16).collect();
        let groups: Vec<_> = terms
            .groups
            .iter()
            .filter(|group| **group != NamedGroup::X25519MlKem768)
            .map(|group| dimpl::NamedGroup::from_u16(group.code()))
            .collect();
        let config = dimpl::Config::builder()
            .mtu(terms.mtu)
            .use_server_cookie(terms.cookie)
            .dtls12_cipher_suites(&suites_of_12)
            .dtls13_cipher_suites(&suites_of_13)
            .kx_groups(&groups)
            .build()
            .expect("a valid configuration");
        let (certificate, key) = terms.certificate.pem();
        let certificate =
            CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate").to_vec();
        let private_key =
            PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).expect("a key").secret_pkcs8_der().to_vec();
        let identity = dimpl::DtlsCertificate { certificate: certificate.clone(), private_key };
        let config = Arc::new(config);
        let mut inner = match terms.versions {
            Versions::Only12 => dimpl::Dtls::new_12(config, identity, now),
            Versions::Only13 => dimpl::Dtls::new_13(config, identity, now),
            Versions::Both => dimpl::Dtls::new_auto(config, identity, now),
        };
        inner.set_active(role == Role::Client);
        // Before its first packet it must know the time.
        let failed = inner.handle_timeout(now).err().map(|error| error.to_string());
        Dimpl { inner, certificate, way, buffer: vec![0; 4096], failed, over: false }
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
                dimpl::Output::Packet(packet) => return Output::Transmit(on_way(self.way, packet)),
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

    fn negotiated(&self) -> Option<Negotiated> {
        let code = self.inner.protocol_version()?.as_u16();
        let version =
            [Version::Dtls12, Version::Dtls13].into_iter().find(|version| version.code() == code)?;
        Some(Negotiated { version, suite: None, group: None })
    }

    fn send(&mut self, data: &[u8]) -> bool {
        !self.over && self.inner.send_application_data(data).is_ok()
    }

    fn close(&mut self) {
        let closed = self.inner.close();
        self.note(closed);
    }
}

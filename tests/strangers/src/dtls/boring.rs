//! `boring`: BoringSSL, Chromium's TLS library.
//!
//! The safe binding has neither the timers of DTLS nor its clock, key updates and epochs: those calls go to the C
//! functions themselves.

#![allow(unsafe_code)] // For the C functions that the safe binding lacks. Each is given the live SSL of its peer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use boring::pkey::PKey;
use boring::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSignatureAlgorithm, SslStream,
    SslVerifyMode, SslVersion,
};
use boring::x509::X509;
use boring_sys as ffi;
use foreign_types::ForeignTypeRef as _;
use sansrtc::crypto::NamedGroup;
use sansrtc::dtls::{CipherSuite, Version};
use sansrtc::packet::Datagram;

use super::{DtlsPeer, Event, Negotiated, Role, Terms, group_of, on_way};
use crate::sim::{Output, Peer, base};

/// SRTP profiles by preference, the same as ours.
const PROFILES: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";

/// A connection of BoringSSL.
pub struct Boring {
    stream: SslStream<Wire>,
    certificate: Vec<u8>,
    way: (SocketAddr, SocketAddr),
    events: VecDeque<Event>,
    key_log: Arc<Mutex<Vec<String>>>,
    connected: bool,
    over: bool,
}

/// Datagrams to and from the library: it reads and writes one at a time.
#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        // As a socket does: what does not fit is lost.
        let len = datagram.len().min(out.len());
        out[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    /// Virtual time, for the library's clock, which knows no connection: a simulation lives in one thread.
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Sets the clock of this thread.
fn set_clock(now: Instant) {
    // Some day within the certificates' dates.
    let since = now.saturating_duration_since(base());
    CLOCK.set(Duration::from_secs(1_800_000_000) + since);
}

extern "C" fn clock(_: *const ffi::SSL, out: *mut ffi::timeval) {
    let now = CLOCK.get();
    let time = ffi::timeval { tv_sec: now.as_secs() as _, tv_usec: now.subsec_micros() as _ };
    // SAFETY: the library gives room for one `timeval`.
    unsafe { out.write(time) };
}

impl Boring {
    pub fn new(now: Instant, role: Role, way: (SocketAddr, SocketAddr), terms: &Terms) -> Boring {
        set_clock(now);
        let mut context = SslContext::builder(SslMethod::dtls()).expect("a context");
        configure(&mut context, terms);
        let key_log = Arc::new(Mutex::new(Vec::new()));
        if terms.key_log {
            let lines = key_log.clone();
            context.set_keylog_callback(move |_, line| lines.lock().expect("no panic").push(line.to_owned()));
        }
        let (certificate, key) = terms.certificate.pem();
        let certificate = X509::from_pem(certificate.as_bytes()).expect("a certificate");
        let key = PKey::private_key_from_pem(key.as_bytes()).expect("a key");
        context.set_certificate(&certificate).expect("a certificate");
        context.set_private_key(&key).expect("its key");
        let mut ssl = Ssl::new(&context.build()).expect("a connection");
        ssl.set_mtu(terms.mtu.try_into().expect("a small number")).expect("a valid MTU");
        // SAFETY: the connection is alive, and has not begun.
        unsafe {
            match role {
                Role::Client => ffi::SSL_set_connect_state(ssl.as_ptr()),
                Role::Server => ffi::SSL_set_accept_state(ssl.as_ptr()),
            }
        }
        let mut boring = Boring {
            stream: SslStream::new(ssl, Wire::default()).expect("a stream"),
            certificate: certificate.to_der().expect("a certificate"),
            way,
            events: VecDeque::new(),
            key_log,
            connected: false,
            over: false,
        };
        boring.drive();
        boring
    }

    fn ssl(&self) -> *mut ffi::SSL {
        self.stream.ssl().as_ptr()
    }

    fn fail(&mut self, reason: impl ToString) {
        self.over = true;
        self.events.push_back(Event::Closed(reason.to_string()));
    }

    /// Does what can be done without waiting.
    fn drive(&mut self) {
        if !self.connected && !self.over {
            match self.stream.do_handshake() {
                Ok(()) => self.on_connected(),
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(error) => self.fail(error),
            }
        }
        let mut buffer = [0; 2048];
        while self.connected && !self.over {
            match self.stream.ssl_read(&mut buffer) {
                Ok(len) => self.events.push_back(Event::Data(buffer[..len].to_vec())),
                Err(error) if error.code() == ErrorCode::WANT_READ => break,
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => self.fail("close_notify"),
                Err(error) => self.fail(error),
            }
        }
    }

    fn on_connected(&mut self) {
        self.connected = true;
        let ssl = self.stream.ssl();
        let certificate = ssl.peer_certificate().expect("it was asked for").to_der().expect("a certificate");
        self.events.push_back(Event::Certificate(certificate));
        if let Some(profile) = ssl.selected_srtp_profile() {
            // RFC 5764 §4.1.2, RFC 7714 §12: the key and the salt of each side.
            let len = match profile.name() {
                "SRTP_AEAD_AES_128_GCM" => 2 * (16 + 12),
                "SRTP_AES128_CM_SHA1_80" => 2 * (16 + 14),
                other => panic!("not offered: {other}"),
            };
            let mut keys = vec![0; len];
            ssl.export_keying_material(&mut keys, "EXTRACTOR-dtls_srtp", None).expect("keys");
            self.events.push_back(Event::KeyingMaterial(keys));
        }
        self.events.push_back(Event::Connected);
    }
}

fn configure(context: &mut SslContextBuilder, terms: &Terms) {
    let version = |version| match version {
        Version::Dtls12 => SslVersion::DTLS1_2,
        _ => SslVersion::DTLS1_3,
    };
    let (min, max) = terms.versions.range();
    context.set_min_proto_version(Some(version(min))).expect("a known version");
    context.set_max_proto_version(Some(version(max))).expect("a known version");
    context.set_options(SslOptions::NO_QUERY_MTU);
    // The certificate is compared by whoever uses this, as it is in WebRTC.
    context.set_custom_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_| Ok(()));
    context
        .set_verify_algorithm_prefs(&[
            SslSignatureAlgorithm::ECDSA_SECP256R1_SHA256,
            SslSignatureAlgorithm::ECDSA_SECP384R1_SHA384,
            SslSignatureAlgorithm::ED25519,
            SslSignatureAlgorithm::RSA_PSS_RSAE_SHA256,
            SslSignatureAlgorithm::RSA_PKCS1_SHA256,
        ])
        .expect("known algorithms");
    context.set_tlsext_use_srtp(PROFILES).expect("known profiles");
    let groups: Vec<&str> = terms.groups.iter().map(|group| group_name(*group)).collect();
    context.set_curves_list(&groups.join(":")).expect("known groups");
    // The suites of 1.3 are not open to choice.
    let suites: Vec<&str> = terms.suites.iter().filter_map(|suite| suite_name(*suite)).collect();
    if !suites.is_empty() {
        context.set_strict_cipher_list(&suites.join(":")).expect("known suites");
    }
    // SAFETY: the context is alive, and the callback has the signature that is asked for.
    unsafe { ffi::SSL_CTX_set_current_time_cb(context.as_ptr(), Some(clock)) };
}

fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::Secp256r1 => "P-256",
        NamedGroup::Secp384r1 => "P-384",
        NamedGroup::X25519MlKem768 => "X25519MLKEM768",
        other => panic!("not known: {other:?}"),
    }
}

/// The name of a suite of 1.2.
fn suite_name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::EcdheEcdsaAes128Gcm => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::EcdheRsaAes128Gcm => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::EcdheEcdsaAes256Gcm => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::EcdheRsaAes256Gcm => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::EcdheEcdsaChaCha20Poly1305 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::EcdheRsaChaCha20Poly1305 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return None,
    })
}

impl Peer for Boring {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        set_clock(now);
        self.stream.get_mut().incoming.push_back(datagram.contents.to_vec());
        self.drive();
    }

    fn handle_timeout(&mut self, now: Instant) {
        set_clock(now);
        if self.over {
            return;
        }
        // SAFETY: the connection is alive.
        let handled = unsafe { ffi::DTLSv1_handle_timeout(self.ssl()) };
        if handled < 0 {
            self.fail("no answer");
        }
        self.drive();
    }

    fn poll(&mut self, now: Instant) -> Output<Event> {
        set_clock(now);
        if let Some(datagram) = self.stream.get_mut().outgoing.pop_front() {
            return Output::Transmit(on_way(self.way, &datagram));
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        let mut left = ffi::timeval { tv_sec: 0, tv_usec: 0 };
        // SAFETY: the connection is alive, and there is room for the answer.
        let is_armed = !self.over && unsafe { ffi::DTLSv1_get_timeout(self.ssl(), &mut left) } == 1;
        let left = Duration::from_secs(left.tv_sec as u64) + Duration::from_micros(left.tv_usec as u64);
        Output::Timeout(is_armed.then(|| now + left))
    }
}

impl DtlsPeer for Boring {
    fn certificate(&self) -> Vec<u8> {
        self.certificate.clone()
    }

    /// It leaves the comparison to its user.
    fn expect(&mut self, _: &[u8]) {}

    fn negotiated(&self) -> Option<Negotiated> {
        let ssl = self.stream.ssl();
        let version = match ssl.version2()? {
            SslVersion::DTLS1_2 => Version::Dtls12,
            SslVersion::DTLS1_3 => Version::Dtls13,
            other => panic!("not offered: {other:?}"),
        };
        let suite = CipherSuite::from_code(ssl.current_cipher()?.protocol_id());
        Some(Negotiated { version, suite, group: ssl.curve().and_then(group_of) })
    }

    fn send(&mut self, data: &[u8]) -> bool {
        self.connected && !self.over && self.stream.ssl_write(data).is_ok()
    }

    fn update_keys(&mut self) -> bool {
        // SAFETY: the connection is alive. Nothing is written but what is due.
        let is_queued = unsafe { ffi::SSL_key_update(self.ssl(), ffi::SSL_KEY_UPDATE_REQUESTED as _) } == 1;
        // SAFETY: as before; no byte is read behind the pointer.
        is_queued
            && unsafe { ffi::SSL_write(self.ssl(), std::ptr::NonNull::<u8>::dangling().as_ptr().cast(), 0) }
                >= 0
    }

    fn epochs(&self) -> Option<(u64, u64)> {
        // SAFETY: the connection is alive.
        let (read, write) =
            unsafe { (ffi::SSL_get_dtls_read_epoch(self.ssl()), ffi::SSL_get_dtls_write_epoch(self.ssl())) };
        Some((read.into(), write.into()))
    }

    fn take_key_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.key_log.lock().expect("no panic"))
    }

    fn close(&mut self) {
        if self.connected && !self.over {
            // That the peer has not said goodbye yet is no error.
            let _ = self.stream.shutdown();
            self.over = true;
        }
    }
}

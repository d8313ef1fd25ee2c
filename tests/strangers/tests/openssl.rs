//! DTLS 1.2 with Debian's `openssl`, a process of its own, over UDP on loopback: both roles, every kind of certificate.
//! Its server sends a HelloVerifyRequest.
//!
//! Nothing here measures time: a case ends when both sides have said what is awaited, and fails when that takes absurdly
//! long.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sansrtc::dtls::{CipherSuite, Version};
use sansrtc::packet::Datagram;
use strangers::dtls::{DtlsPeer, Event, Kind, Role, Stack, Terms, Versions};
use strangers::sim::Output;

/// How long a case may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An `openssl` that runs, and what it has said. It is killed with the case.
struct OpenSsl {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl OpenSsl {
    fn start(command: &str, address: &[&str], kind: Kind, case: &str) -> OpenSsl {
        let (certificate, key) = kind.pem();
        let stem = std::env::temp_dir().join(format!("sansrtc-openssl-{}-{case}", std::process::id()));
        let paths = [("crt", certificate), ("key", key)].map(|(extension, text)| {
            let path = stem.with_extension(extension);
            std::fs::write(&path, text).expect("a file");
            path
        });
        let mut child = Command::new("openssl")
            .arg(command)
            .args(["-dtls1_2", "-use_srtp", "SRTP_AEAD_AES_128_GCM"])
            .args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "56"])
            .args(address)
            .arg("-cert")
            .arg(&paths[0])
            .arg("-key")
            .arg(&paths[1])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let said = Arc::new(Mutex::new(Vec::new()));
        let (mut stdout, heard) = (child.stdout.take().expect("a pipe"), said.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                heard.lock().expect("no panic").extend_from_slice(&buffer[..len]);
            }
        });
        OpenSsl { child, said }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().expect("no panic")).into_owned()
    }

    /// What stands behind `name` on a line that is complete.
    fn value(&self, name: &str) -> Option<String> {
        let said = self.said();
        let (_, rest) = said.split_once(name)?;
        Some(rest.split_once('\n')?.0.trim().to_owned())
    }

    /// The suite that it says was agreed on.
    fn suite(&self) -> Option<String> {
        // Its server shouts.
        self.value("CIPHER is ").or_else(|| self.value("Cipher is "))
    }

    fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("it listens");
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Our side, on a socket.
struct Side {
    peer: Box<dyn DtlsPeer>,
    socket: UdpSocket,
    remote: SocketAddr,
    keys: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    data: Vec<u8>,
    connected: bool,
    closed: Option<String>,
    /// The first so many datagrams are not sent.
    lost: usize,
    /// Datagrams that begin with a HelloVerifyRequest.
    verify_requests: usize,
}

/// Whether a datagram begins with a HelloVerifyRequest (RFC 6347 §4.2.1): a handshake record, with its message in clear.
fn is_verify_request(datagram: &[u8]) -> bool {
    const RECORD_HEADER: usize = 13;
    matches!((datagram.first(), datagram.get(RECORD_HEADER)), (Some(22), Some(3)))
}

impl Side {
    fn new(role: Role, socket: UdpSocket, remote: SocketAddr, terms: &Terms, lost: usize) -> Side {
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
        let way = (socket.local_addr().expect("it is bound"), remote);
        let peer = Stack::Ours.make(1, Instant::now(), role, way, terms);
        Side {
            peer,
            socket,
            remote,
            keys: None,
            certificate: None,
            data: Vec::new(),
            connected: false,
            closed: None,
            lost,
            verify_requests: 0,
        }
    }

    /// Sends what is due, and takes what comes within a moment.
    fn turn(&mut self) {
        let now = Instant::now();
        loop {
            match self.peer.poll(now) {
                Output::Transmit(_) if self.lost > 0 => self.lost -= 1,
                Output::Transmit(transmit) => {
                    self.socket.send_to(&transmit.contents, self.remote).expect("loopback takes it");
                }
                Output::Stream(_) => unreachable!("no streams"),
                Output::Event(event) => match event {
                    Event::Certificate(der) => self.certificate = Some(der),
                    Event::KeyingMaterial(keys) => self.keys = Some(keys),
                    Event::Connected => self.connected = true,
                    Event::Data(data) => self.data.extend(data),
                    Event::Closed(reason) => self.closed = Some(reason),
                },
                Output::Timeout(at) => {
                    if at.is_some_and(|at| at <= now) {
                        self.peer.handle_timeout(now);
                        continue;
                    }
                    break;
                }
            }
        }
        let mut buffer = [0; 2048];
        if let Ok((len, source)) = self.socket.recv_from(&mut buffer) {
            self.remote = source;
            self.verify_requests += usize::from(is_verify_request(&buffer[..len]));
            let local = self.socket.local_addr().expect("it is bound");
            let datagram = Datagram::udp(source, local, buffer[..len].into());
            self.peer.handle_datagram(Instant::now(), datagram);
        } else {
            self.peer.handle_timeout(Instant::now());
        }
    }

    /// Turns until `done` says so.
    #[track_caller]
    fn must(&mut self, what: &str, openssl: &OpenSsl, done: impl Fn(&Side) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "{what}: {:?}\n{}", self.closed, openssl.said());
            self.turn();
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The name that `openssl` has for a suite.
fn name_of(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::EcdheEcdsaAes128Gcm => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::EcdheRsaAes128Gcm => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::EcdheEcdsaAes256Gcm => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::EcdheRsaAes256Gcm => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::EcdheEcdsaChaCha20Poly1305 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::EcdheRsaChaCha20Poly1305 => "ECDHE-RSA-CHACHA20-POLY1305",
        other => panic!("not of 1.2: {other:?}"),
    }
}

/// Compares what both sides say, sends a line each way, and hears the goodbye.
fn talk(role: Role, mut side: Side, mut openssl: OpenSsl, expected: &[u8]) {
    side.must("both connect", &openssl, |side| {
        side.connected && openssl.value("Keying material:").is_some() && openssl.suite().is_some()
    });
    if role == Role::Client {
        assert!(side.verify_requests > 0, "its server asks for a cookie");
    }
    let negotiated = side.peer.negotiated().expect("it is connected");
    assert_eq!(negotiated.version, Version::Dtls12);
    assert_eq!(openssl.suite().as_deref(), negotiated.suite.map(name_of));
    assert_eq!(side.certificate.as_deref(), Some(expected));
    let keys = side.keys.clone().expect("SRTP was agreed on");
    assert_eq!(openssl.value("Keying material:"), Some(hex(&keys)), "both export the same keys");
    assert!(openssl.said().contains("SRTP Extension negotiated, profile=SRTP_AEAD_AES_128_GCM"));

    openssl.type_line("a line of theirs");
    side.must("their line arrives", &openssl, |side| side.data == b"a line of theirs\n");
    assert!(side.peer.send(b"a line of ours\n"));
    side.must("our line arrives", &openssl, |_| openssl.said().contains("a line of ours\n"));
    match role {
        // Its client says goodbye when a line begins like this.
        Role::Server => {
            openssl.type_line("Q");
            side.must("their goodbye is heard", &openssl, |side| side.closed.is_some());
        }
        // Its server closes the socket first, and so cannot; what it hears it says only at its end.
        Role::Client => {}
    }
}

fn terms(versions: Versions, certificate: Kind) -> Terms {
    Terms { certificate, ..Terms::of(versions) }
}

fn der(kind: Kind) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject as _;
    rustls_pki_types::CertificateDer::from_pem_slice(kind.pem().0.as_bytes()).expect("a certificate").to_vec()
}

/// We call its server, which sends a HelloVerifyRequest.
fn we_call(ours: Kind, theirs: Kind, versions: Versions, lost: usize) {
    let case = format!("we-call-{ours:?}-{theirs:?}-{versions:?}-{lost}");
    let openssl = OpenSsl::start("s_server", &["-accept", "127.0.0.1:0", "-Verify", "1"], theirs, &case);
    let end = Instant::now() + PATIENCE;
    let address = loop {
        assert!(Instant::now() < end, "it listens: {}", openssl.said());
        if let Some(address) = openssl.value("ACCEPT ") {
            break address.parse().expect("an address");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut side = Side::new(Role::Client, socket, address, &terms(versions, ours), lost);
    side.peer.expect(&der(theirs));
    talk(Role::Client, side, openssl, &der(theirs));
}

/// Its client calls us.
fn it_calls(ours: Kind, theirs: Kind, versions: Versions, lost: usize) {
    let case = format!("it-calls-{ours:?}-{theirs:?}-{versions:?}-{lost}");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let local = socket.local_addr().expect("it is bound");
    let openssl = OpenSsl::start("s_client", &["-connect", &local.to_string()], theirs, &case);
    let mut side = Side::new(Role::Server, socket, local, &terms(versions, ours), lost);
    side.peer.expect(&der(theirs));
    talk(Role::Server, side, openssl, &der(theirs));
}

#[test]
fn its_server_takes_every_certificate() {
    for ours in Kind::ALL {
        we_call(ours, Kind::P256, Versions::Only12, 0);
    }
}

/// Its server refuses every client when it has a key of Ed25519, its own client too.
#[test]
fn its_server_shows_every_certificate_that_it_can() {
    for theirs in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Ed25519) {
        we_call(Kind::P256, theirs, Versions::Both, 0);
    }
}

#[test]
fn its_client_takes_every_certificate() {
    for ours in Kind::ALL {
        it_calls(ours, Kind::P256, Versions::Both, 0);
    }
}

#[test]
fn its_client_shows_every_certificate() {
    for theirs in Kind::ALL {
        it_calls(Kind::P256, theirs, Versions::Only12, 0);
    }
}

#[test]
fn lost_datagrams_come_again() {
    we_call(Kind::Rsa, Kind::Rsa, Versions::Both, 2);
    it_calls(Kind::Rsa, Kind::Rsa, Versions::Both, 2);
}

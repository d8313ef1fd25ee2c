//! TURN servers as processes: Debian's coturn, and our own example.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use sansrtc::packet::Protocol;
use tempfile::TempDir;

use crate::process::{Process, example};

/// A TURN server on loopback, with the user `alice` and her password `secret`.
pub struct Server {
    process: Option<Process>,
    command: Command,
    /// For UDP and TCP.
    pub plain: SocketAddr,
    /// For TLS.
    pub tls: SocketAddr,
    /// The certificate of who signed the server's, as PEM.
    pub ca: String,
    files: Files,
}

/// A certificate for a server, and who signed it, in files.
struct Files {
    directory: TempDir,
    ca: String,
}

impl Files {
    fn new(ip: IpAddr) -> Self {
        let directory = tempfile::tempdir().expect("there is room for a certificate");
        let (ca, certificate, key) = certificates(ip);
        for (name, text) in [("certificate.pem", &certificate), ("key.pem", &key), ("ca.pem", &ca)] {
            fs::write(directory.path().join(name), text).expect("the directory is writable");
        }
        Files { directory, ca }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's coturn.
    Coturn,
    /// The `turn` example.
    Own,
}

impl Server {
    /// A coturn with these options besides.
    pub fn coturn(options: &[&str]) -> Self {
        Self::coturn_at(Ipv4Addr::LOCALHOST.into(), options)
    }

    /// The same on another local address.
    pub fn coturn_at(ip: IpAddr, options: &[&str]) -> Self {
        let files = Files::new(ip);
        let path = |name: &str| files.path(name);
        let (plain, tls) = (free_port(ip), free_port(ip));
        let mut command = Command::new("turnserver");
        command.args(["-n", "--no-cli", "--log-file", "stdout", "--simple-log", "--realm", "test"]);
        command.args(["--allow-loopback-peers", "--fingerprint", "--no-dtls", "--relay-threads", "2"]);
        command.args(["--listening-ip", &ip.to_string(), "--relay-ip", &ip.to_string()]);
        command.args(["--listening-port", &plain.to_string(), "--tls-listening-port", &tls.to_string()]);
        command.args(["--cert", &path("certificate.pem"), "--pkey", &path("key.pem")]);
        command.args(["--userdb", &path("users"), "--pidfile", &path("pid")]);
        if !options.contains(&"--use-auth-secret") {
            command.args(["--lt-cred-mech", "--user", "alice:secret", "--user", "bob:other"]);
        }
        command.args(options);
        let mut server = Server {
            process: None,
            command,
            plain: SocketAddr::new(ip, plain),
            tls: SocketAddr::new(ip, tls),
            ca: files.ca.clone(),
            files,
        };
        server.start();
        server
    }

    /// Our own example with these options besides.
    pub fn own(options: &[&str]) -> Self {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (port, tls) = (free_port(ip), SocketAddr::new(ip, free_port(ip)));
        let files = Files::new(ip);
        let mut command = Command::new(example("turn"));
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--realm", "test"]);
        command.args(["--user", "alice:secret", "--user", "bob:other", "--allow-peer", "127.0.0.0/8"]);
        command.args(["--tls", &tls.to_string()]);
        command.args(["--cert", &files.path("certificate.pem"), "--key", &files.path("key.pem")]);
        command.args(options);
        let plain = SocketAddr::new(ip, port);
        let mut server = Server { process: None, command, plain, tls, ca: files.ca.clone(), files };
        server.start();
        server
    }

    /// The one or the other at two addresses with two ports each, so that it can tell what a NAT is (RFC 5780).
    pub fn at_two_addresses(kind: Kind) -> Self {
        let second = IpAddr::from([127, 0, 0, 2]);
        let port = free_port(second).to_string();
        match kind {
            Kind::Coturn => Server::coturn(&["--listening-ip", "127.0.0.2", "--alt-listening-port", &port]),
            Kind::Own => Server::own(&["--alternate", &format!("{second}:{port}")]),
        }
    }

    /// The file of who signed the server's certificate.
    pub fn ca_file(&self) -> String {
        self.files.path("ca.pem")
    }

    /// The one or the other.
    pub fn of(kind: Kind, options: &[&str]) -> Self {
        match kind {
            Kind::Coturn => Server::coturn(options),
            Kind::Own => Server::own(options),
        }
    }

    /// Where it is spoken to over a protocol.
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        if protocol == Protocol::Tls { self.tls } else { self.plain }
    }

    /// Kills it: the allocations are gone, nobody says goodbye.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it, again.
    pub fn start(&mut self) {
        self.process = Some(Process::start(&mut self.command));
        self.wait_until_it_answers();
    }

    /// What it has said so far.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    fn wait_until_it_answers(&self) {
        let socket = UdpSocket::bind((self.plain.ip(), 0)).expect("there are ports");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("it is above zero");
        // A Binding request.
        let request = *b"\x00\x01\x00\x00\x21\x12\xa4\x42network-test";
        let start = Instant::now();
        loop {
            let _ = socket.send_to(&request, self.plain);
            if matches!(socket.recv(&mut [0; 600]), Ok(length) if length >= 20) {
                return;
            }
            assert!(start.elapsed() < crate::PATIENCE, "the server does not answer:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A port that is free for UDP and TCP.
pub fn free_port(ip: IpAddr) -> u16 {
    for _ in 0..100 {
        let listener = TcpListener::bind((ip, 0)).expect("there are ports");
        let port = listener.local_addr().expect("it is bound").port();
        if UdpSocket::bind((ip, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for UDP and TCP");
}

/// A certificate authority, and a certificate for `ip` and `localhost` with its key, all as PEM.
fn certificates(ip: IpAddr) -> (String, String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let ca = params.self_signed(&key).expect("a certificate");
    let issuer = rcgen::Issuer::new(params, key);
    let own_key = rcgen::KeyPair::generate().expect("a key");
    let own = rcgen::CertificateParams::new(vec!["localhost".to_owned(), ip.to_string()]).expect("names");
    let own = own.signed_by(&own_key, &issuer).expect("a certificate");
    (ca.pem(), own.pem(), own_key.serialize_pem())
}

/// Where the crate is.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

//! A small TURN and STUN server over UDP, TCP and TLS: the machine of `sansrtc::turn::server` on real sockets.
//!
//! ```text
//! cargo run --release --example turn -- --user alice:secret
//! ```
//!
//! prints where it listens. Without `--user` and `--secret` it is a STUN server. It relays to public addresses only,
//! unless `--allow-peer` or `--allow-private` says otherwise: a relay must be no door into the network it stands in.
//!
//! `--tls ADDR` takes clients under TLS (`turns:`), with a certificate from files, or with one that is made at the start
//! and that nobody vouches for.
//!
//! One thread owns everything (`relay.rs`); a client's stream is in `stream.rs`.

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod relay;
mod stream;
#[allow(dead_code)] // Shared with the other examples; only the certificate is made here.
#[path = "../common/tls.rs"]
mod tls;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sansrtc::turn::server::{Config, Network, PeerPolicy, Users, time_limited};

/// Relays for WebRTC clients (TURN), and tells them their addresses (STUN).
#[derive(Debug, Parser)]
struct Args {
    /// A local address to listen on. Repeatable. Without it: all of this machine, loopback only when there is
    /// nothing else.
    #[arg(long, value_name = "IP")]
    bind: Vec<IpAddr>,
    /// The UDP and TCP port on every address; 0 takes any free one for each.
    #[arg(long, value_name = "PORT", default_value_t = 3478)]
    port: u16,
    /// Do not listen on TCP.
    #[arg(long)]
    no_tcp: bool,
    /// An address to take clients at under TLS; by custom the port is 5349, or 443. Repeatable.
    #[arg(long, value_name = "ADDR")]
    tls: Vec<SocketAddr>,
    /// The certificate for TLS, and those between it and its authority, in PEM. Without it one is made.
    #[arg(long, value_name = "FILE", requires_all = ["tls", "key"])]
    cert: Option<PathBuf>,
    /// The key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The local address to relay from, one for IPv4 and one for IPv6. Without it: the first of each that is
    /// listened on.
    #[arg(long, value_name = "IP")]
    relay: Vec<IpAddr>,
    /// What the relay's address is called outside, when a 1:1 NAT stands before this machine; one for each IP version.
    #[arg(long, value_name = "IP")]
    public_ip: Vec<IpAddr>,
    /// The UDP ports to relay from.
    #[arg(long, value_name = "FIRST-LAST", default_value = "49152-65535", value_parser = ports)]
    ports: RangeInclusive<u16>,
    /// The realm of the users.
    #[arg(long, value_name = "NAME", default_value = "sansrtc")]
    realm: String,
    /// Who may relay. Repeatable.
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = user)]
    user: Vec<(String, String)>,
    /// Takes time-limited credentials made with this secret (draft-uberti-behave-turn-rest): the name is
    /// `UNIX-TIME:USER`, the password the HMAC-SHA1 of it in Base64.
    #[arg(long, value_name = "TEXT")]
    secret: Option<String>,
    /// Prints time-limited credentials for this user, made with --secret, and ends.
    #[arg(long, value_name = "USER", requires = "secret")]
    issue: Option<String>,
    /// Seconds that they are good for.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    ttl: u64,
    /// Relay to private and link-local addresses as well, but not to this machine.
    #[arg(long)]
    allow_private: bool,
    /// Relay to these addresses as well, even loopback. Repeatable.
    #[arg(long, value_name = "CIDR")]
    allow_peer: Vec<Network>,
    /// Seconds that an allocation lives between refreshes.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    lifetime: u64,
    /// Seconds that a client may ask for at the most.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    max_lifetime: u64,
    /// Seconds that a nonce is good for.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    nonce_lifetime: u64,
    /// Allocations in all.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_allocations: usize,
    /// Allocations of one user.
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_per_user: usize,
    /// Bytes per second of one allocation, both ways together.
    #[arg(long, value_name = "BYTES", default_value_t = 12_500_000)]
    max_rate: u64,
    /// A second address with another IP address and another port: clients can learn then how their NAT behaves
    /// (RFC 5780). The first address is the first of --bind.
    #[arg(long, value_name = "ADDR", requires = "bind")]
    alternate: Option<SocketAddr>,
    /// Log what happens. RUST_LOG chooses in detail.
    #[arg(long)]
    verbose: bool,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(&args) {
        eprintln!("turn: {error}");
        std::process::exit(1);
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    log(args.verbose);
    if let (Some(user), Some(secret)) = (&args.issue, &args.secret) {
        return issue(user, secret, args.ttl);
    }
    let bind = addresses(&args.bind)?;
    let mut users = Users::new(&*args.realm);
    for (name, password) in &args.user {
        users.add(name, password);
    }
    if let Some(secret) = &args.secret {
        users.set_secret(secret.as_bytes());
    }
    let of_version = |from: &[IpAddr], v4: bool| from.iter().copied().find(|ip| ip.is_ipv4() == v4);
    // Where relayed addresses are bound, and what they are called.
    let local = [true, false].map(|v4| of_version(&args.relay, v4).or_else(|| of_version(&bind, v4)));
    let named = [0, 1].map(|i| local[i].map(|ip| of_version(&args.public_ip, ip.is_ipv4()).unwrap_or(ip)));
    let config = Config {
        realm: args.realm.clone(),
        relay_v4: named[0],
        relay_v6: named[1],
        ports: args.ports.clone(),
        peers: if args.allow_private { PeerPolicy::Private } else { PeerPolicy::Public },
        allowed_peers: args.allow_peer.clone(),
        alternates: args.alternate.map(|other| (SocketAddr::new(bind[0], args.port), other)),
        lifetime: Duration::from_secs(args.lifetime),
        max_lifetime: Duration::from_secs(args.max_lifetime),
        nonce_lifetime: Duration::from_secs(args.nonce_lifetime),
        max_allocations: args.max_allocations,
        max_allocations_per_user: args.max_per_user,
        max_rate: args.max_rate,
        ..Config::default()
    };
    let renames = local.into_iter().zip(named).filter_map(|(local, named)| Some((named?, local?))).collect();
    let mut relay = relay::Relay::new(config, users, renames)?;
    for &ip in &bind {
        relay.listen_udp(SocketAddr::new(ip, args.port))?;
        if !args.no_tcp {
            relay.listen_tcp(SocketAddr::new(ip, args.port), None)?;
        }
    }
    if !args.tls.is_empty() {
        let tls = match (&args.cert, &args.key) {
            (Some(certificate), Some(key)) => certified(certificate, key)?,
            _ => tls::self_signed(&args.tls.iter().map(SocketAddr::ip).collect::<Vec<_>>())?,
        };
        for &address in &args.tls {
            relay.listen_tcp(address, Some(Arc::clone(&tls)))?;
        }
    }
    if let Some(other) = args.alternate {
        relay.listen_udp(other)?;
        relay.listen_udp(SocketAddr::new(bind[0], other.port()))?;
        relay.listen_udp(SocketAddr::new(other.ip(), args.port))?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let waker = relay.waker()?;
    ctrlc::set_handler({
        let stop = Arc::clone(&stop);
        move || {
            stop.store(true, Ordering::Relaxed);
            let _ = waker.wake();
        }
    })?;
    if args.user.is_empty() && args.secret.is_none() {
        println!("nobody may relay: this is a STUN server (--user and --secret make it a TURN server)");
    }
    println!("ready");
    relay.run(&stop)?;
    println!("stopped: {}", relay.summary());
    Ok(())
}

/// TLS with a certificate and a key from files.
fn certified(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let of = |path: &Path, error: &dyn Error| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| of(certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| of(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// Prints credentials for a client, as a web service would hand them out.
fn issue(user: &str, secret: &str, ttl: u64) -> Result<(), Box<dyn Error>> {
    let expiry = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(ttl);
    let credentials = time_limited(secret.as_bytes(), user, expiry);
    println!("{}\n{}", credentials.username, credentials.password());
    Ok(())
}

/// The addresses to listen on: a datagram's local address has to be known, so wildcards are spelt out.
fn addresses(wanted: &[IpAddr]) -> Result<Vec<IpAddr>, Box<dyn Error>> {
    let mut own: Vec<IpAddr> = if_addrs::get_if_addrs()?.iter().map(|interface| interface.ip()).collect();
    own.retain(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
    let outward: Vec<IpAddr> = own.iter().copied().filter(|ip| !ip.is_loopback()).collect();
    let mut chosen = Vec::new();
    for ip in wanted {
        match ip.is_unspecified() {
            true => chosen.extend(own.iter().copied().filter(|own| own.is_ipv4() == ip.is_ipv4())),
            false => chosen.push(*ip),
        }
    }
    if wanted.is_empty() {
        chosen = if outward.is_empty() { own } else { outward };
    }
    let mut seen = std::collections::HashSet::new();
    chosen.retain(|ip| seen.insert(*ip));
    if chosen.is_empty() {
        return Err("this machine has no address to listen on: name one with --bind".into());
    }
    Ok(chosen)
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let parsed =
        text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match parsed {
        Some((first, last)) if first > 0 && first <= last => Ok(first..=last),
        _ => Err("not a range of ports such as 49152-65535".to_owned()),
    }
}

fn user(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok((name.to_owned(), password.to_owned())),
        _ => Err("not a NAME:PASSWORD".to_owned()),
    }
}

fn log(verbose: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if verbose { "debug" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

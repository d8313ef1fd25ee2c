//! The flags that say how to be reached from anywhere: STUN and TURN servers, relays only, ICE over TCP.

use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sansrtc::{IceServer, IceTransportPolicy, Protocol, RtcConfig, ServerKind};

/// Where a Debian system keeps the certificates that it trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Servers and policy.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct IceArgs {
    /// A STUN server, as HOST:PORT or a stun: URL. Repeatable.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) stun: Vec<String>,
    /// A TURN server: turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT]. Repeatable.
    #[arg(long, value_name = "URL")]
    pub(crate) turn: Vec<String>,
    /// The user name for the TURN servers.
    #[arg(long, value_name = "NAME", requires = "turn")]
    pub(crate) turn_user: Option<String>,
    /// The password for the TURN servers.
    #[arg(long, value_name = "PASSWORD", requires = "turn")]
    pub(crate) turn_pass: Option<String>,
    /// The certificates that the TURN servers' are checked against, in PEM; the system's when it is not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Use relayed candidates only: peers learn no address of this machine.
    #[arg(long, requires = "turn")]
    pub(crate) relay_only: bool,
    /// Tell names in place of local addresses, for peers that resolve them by multicast.
    #[arg(long)]
    pub(crate) hide_addresses: bool,
    /// Listen for ICE over TCP on this address. Repeatable.
    #[arg(long, value_name = "ADDR")]
    pub(crate) tcp: Vec<SocketAddr>,
}

impl IceArgs {
    /// Puts servers and policy into a configuration. Names are resolved here.
    pub(crate) fn apply(&self, config: &mut RtcConfig) -> Result<(), Box<dyn Error>> {
        for stun in &self.stun {
            let url = if stun.starts_with("stun:") { stun.clone() } else { format!("stun:{stun}") };
            config.ice_servers.push(resolved(&url)?);
        }
        for turn in &self.turn {
            let (Some(user), Some(password)) = (&self.turn_user, &self.turn_pass) else {
                return Err("a TURN server needs --turn-user and --turn-pass".into());
            };
            config.ice_servers.push(resolved(turn)?.with_credentials(user, password));
        }
        if self.relay_only {
            config.ice_transport_policy = IceTransportPolicy::Relay;
        }
        config.mdns.hide_local = self.hide_addresses;
        Ok(())
    }

    /// How TLS to TURN servers is spoken.
    pub(crate) fn tls(&self) -> Result<Arc<rustls::ClientConfig>, Box<dyn Error>> {
        let mut roots = rustls::RootCertStore::empty();
        let file = self.ca.clone().unwrap_or_else(|| SYSTEM_ROOTS.into());
        match CertificateDer::pem_file_iter(&file) {
            Ok(certificates) => {
                let certificates: Result<Vec<_>, _> = certificates.collect();
                roots.add_parsable_certificates(
                    certificates.map_err(|error| format!("{}: {error}", file.display()))?,
                );
            }
            // Without a file of the system there is nobody to trust, which matters only when TLS is asked for.
            Err(error) if self.ca.is_some() => return Err(format!("{}: {error}", file.display()).into()),
            Err(_) => {}
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// Whether connections need sockets of their own: over UDP an allocation belongs to one pair of addresses.
pub(crate) fn needs_own_sockets(config: &RtcConfig) -> bool {
    let is_relay =
        |server: &IceServer| server.url.kind() == ServerKind::Turn && server.url.protocol() == Protocol::Udp;
    config.ice_servers.iter().any(is_relay)
}

fn resolved(url: &str) -> Result<IceServer, Box<dyn Error>> {
    let server = IceServer::new(url).map_err(|error| format!("{url}: {error}"))?;
    if !server.addresses.is_empty() {
        return Ok(server);
    }
    let name = (server.url.host(), server.url.port());
    let addresses: Vec<SocketAddr> =
        name.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?.take(8).collect();
    Ok(server.with_addresses(addresses))
}

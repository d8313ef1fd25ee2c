//! The configuration of a connection: plain values with defaults, checked once.

use std::sync::Arc;
use std::time::Duration;

use crate::crypto::{self, Backend, NamedGroup, cert::Identity};
use crate::session::gather::{self, CandidatePolicy, IceServer, IceTransportPolicy, MdnsConfig, NatMapping};
use crate::session::negotiate::MediaConfig;
use crate::types::setup::DtlsRole;
use crate::types::srtp_profile::SrtpProfile;
use crate::{dtls, ice, sctp};

/// How an [`Rtc`](crate::Rtc) behaves. Every field has a default that suits a browser at the other end.
#[derive(Debug, Clone)]
pub struct RtcConfig {
    /// The certificate and its key, shared among connections. `None` makes one from the seed: convenient, but it
    /// costs a key generation per connection.
    pub identity: Option<Arc<Identity>>,
    /// Who does the cryptography: [`crypto::ring()`] (the default), [`crypto::rust()`], with which the same seed,
    /// clock and inputs give the same bytes, or AWS-LC (`crypto::aws_lc()`, with the feature `aws-lc-rs`).
    pub crypto: &'static dyn Backend,
    /// Connectivity checks, consent, patience.
    pub ice: ice::Config,
    /// STUN and TURN servers, at most 16; by default none. A TURN server needs credentials.
    pub ice_servers: Vec<IceServer>,
    /// Which candidates may be used; by default all.
    pub ice_transport_policy: IceTransportPolicy,
    /// What the caller decides about single candidates: filters, and local preferences. By default nothing.
    pub candidate_policy: Option<Arc<dyn CandidatePolicy>>,
    /// 1:1 NATs before this host, at most 16: each host candidate at a local address is also signalled at the
    /// public one. By default none.
    pub nat_mappings: Vec<NatMapping>,
    /// Names in place of addresses: where to ask for those of the peer, and whether own ones are hidden. By default
    /// no socket to ask from.
    pub mdns: MdnsConfig,
    /// Whether servers are asked again while the connection lives, so that an address that a NAT changed is found
    /// and signalled. Off by default: they are asked until there is a path.
    pub continual_gathering: bool,
    /// How long a connection that was up, and whose ICE has failed, waits in
    /// [`Failed`](crate::ConnectionState::Failed) for an ICE restart before it is closed; by default 30 s. Zero closes
    /// it at once, and so ends one that never was up.
    pub restart_patience: Duration,
    /// How long the DTLS handshake may take once there is a path; by default 30 s.
    pub dtls_patience: Duration,
    /// The oldest version of DTLS that is spoken; by default 1.2.
    pub min_dtls_version: dtls::Version,
    /// The newest version of DTLS that is spoken, and preferred; by default 1.3.
    pub max_dtls_version: dtls::Version,
    /// Groups for the key exchange of DTLS, by preference; by default all, the post-quantum one (1.3 only) first.
    pub dtls_groups: Vec<NamedGroup>,
    /// The groups of which a DTLS client's first hello of 1.3 holds a share, so that a server that prefers one of them
    /// answers at once; by default the post-quantum one and X25519.
    pub dtls_key_shares: Vec<NamedGroup>,
    /// The DTLS role that an answer takes when the offer leaves the choice; by default the client, as RFC 8842 §5.3
    /// recommends.
    pub preferred_dtls_role: DtlsRole,
    /// Windows, message sizes, retransmission, congestion control.
    pub sctp: sctp::Config,
    /// The media that is spoken; by default none, and every section of audio and video is turned down.
    pub media: MediaConfig,
    /// The SRTP profiles that DTLS negotiates, the preferred one first; by default all, those with GCM first. They
    /// are offered whether media is configured or not: media may be agreed upon when the handshake is long over, and
    /// some peers refuse a handshake without.
    pub srtp_profiles: Vec<SrtpProfile>,
    /// Bytes of RTP that may wait to be sent: 65,536 to 67,108,864, by default 2 MiB. Nothing is set aside for it.
    pub media_send_buffer: usize,
    /// The largest UDP payload that is sent, in bytes: 576 to 65,507, by default 1,200. RTP packets that are handed
    /// over whole, with [`Rtc::send_packet`](crate::Rtc::send_packet), may be 80 bytes longer: those of a peer that are
    /// forwarded were made without the header extensions that are added here.
    pub datagram_size: usize,
    /// How many equal-sized datagrams may leave as one [`Transmit`](crate::Transmit) for UDP GSO: 1 (the
    /// default) to 64.
    pub max_segments: usize,
    /// How many data channels may exist at once, whoever opened them: 1 to 65,535, by default 1,024.
    pub max_channels: usize,
    /// Whether the SCTP association is signalled in descriptions (`a=sctp-init`, draft-hancke-tsvwg-snap), so that
    /// with a peer that does the same it is up as soon as DTLS is: one round trip less. On by default; peers that do
    /// not know it ignore it.
    pub snap: bool,
    /// Whether the DTLS handshake may travel in connectivity checks (ICE option `sped`, draft-hancke-webrtc-sped), so
    /// that with a peer that does the same it does not wait for ICE: one round trip less. On by default; peers that do
    /// not know it ignore it.
    pub sped: bool,
    /// Whether the secrets of the handshake are handed out as [`Event::KeyLog`](crate::Event::KeyLog), for
    /// Wireshark. Off by default: whoever has these lines can read the connection.
    pub key_log: bool,
    /// How many bytes of decrypted packets are kept for [`Rtc::poll_tap`](crate::Rtc::poll_tap); 0, the default,
    /// switches the tap off.
    pub tap_bytes: usize,
}

impl Default for RtcConfig {
    fn default() -> Self {
        RtcConfig {
            identity: None,
            crypto: crypto::ring(),
            ice: ice::Config::default(),
            ice_servers: Vec::new(),
            ice_transport_policy: IceTransportPolicy::All,
            candidate_policy: None,
            nat_mappings: Vec::new(),
            mdns: MdnsConfig::default(),
            continual_gathering: false,
            restart_patience: Duration::from_secs(30),
            dtls_patience: Duration::from_secs(30),
            min_dtls_version: dtls::Version::Dtls12,
            max_dtls_version: dtls::Version::Dtls13,
            dtls_groups: NamedGroup::ALL.to_vec(),
            dtls_key_shares: vec![NamedGroup::X25519MlKem768, NamedGroup::X25519],
            preferred_dtls_role: DtlsRole::Client,
            sctp: sctp::Config::default(),
            media: MediaConfig::default(),
            srtp_profiles: SrtpProfile::ALL.to_vec(),
            media_send_buffer: 2 * 1024 * 1024,
            datagram_size: 1200,
            max_segments: 1,
            max_channels: 1024,
            snap: true,
            sped: true,
            key_log: false,
            tap_bytes: 0,
        }
    }
}

/// A value of [`RtcConfig`] that does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is out of range: {allowed}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What it may be.
    pub allowed: &'static str,
}

impl RtcConfig {
    /// Checks every field; [`Rtc::new`](crate::Rtc::new) does so too.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, field, allowed| if ok { Ok(()) } else { Err(ConfigError { field, allowed }) };
        check((576..=65_507).contains(&self.datagram_size), "datagram_size", "576 to 65,507 bytes")?;
        check((1..=64).contains(&self.max_segments), "max_segments", "1 to 64")?;
        check(
            self.datagram_size * self.max_segments <= 65_507 || self.max_segments == 1,
            "max_segments",
            "datagram_size times max_segments is at most 65,507",
        )?;
        check((1..=65_535).contains(&self.max_channels), "max_channels", "1 to 65,535")?;
        check(
            (65_536..=67_108_864).contains(&self.media_send_buffer),
            "media_send_buffer",
            "65,536 to 67,108,864 bytes",
        )?;
        check(
            self.media.is_empty() || !self.srtp_profiles.is_empty(),
            "srtp_profiles",
            "at least one, when media is configured",
        )?;
        check(!self.dtls_patience.is_zero(), "dtls_patience", "more than zero")?;
        check(
            self.min_dtls_version <= self.max_dtls_version,
            "min_dtls_version",
            "no newer than max_dtls_version",
        )?;
        let speaks_12 = self.min_dtls_version == dtls::Version::Dtls12;
        let serves_12 = self.dtls_groups.iter().any(|group| *group != NamedGroup::X25519MlKem768);
        check(
            !self.dtls_groups.is_empty() && (serves_12 || !speaks_12),
            "dtls_groups",
            "at least one that each version knows",
        )?;
        check(self.ice.validate().is_ok(), "ice", "see ice::Config::validate")?;
        check(
            self.ice_servers.len() <= gather::MAX_SERVERS && self.ice_servers.iter().all(IceServer::is_valid),
            "ice_servers",
            "at most 16, each with 1 to 8 addresses, TURN servers with credentials",
        )?;
        check(
            self.nat_mappings.len() <= gather::MAX_SERVERS
                && self.nat_mappings.iter().all(|nat| nat.local.is_ipv4() == nat.public.is_ipv4()),
            "nat_mappings",
            "at most 16, each within one IP version",
        )?;
        check(self.mdns.sockets.len() <= gather::MAX_SERVERS, "mdns", "at most 16 sockets")?;
        check(self.sctp.validate().is_ok(), "sctp", "see sctp::Config::validate")
    }
}

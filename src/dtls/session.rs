//! What a finished handshake leaves behind.

use super::suite::{CipherSuite, Version};
use super::v12::keys::Master;
use super::v13::Secrets;
use crate::crypto::kdf::TooLong;
use crate::crypto::{NamedGroup, Secret};
use crate::types::setup::DtlsRole;
use crate::types::srtp_profile::SrtpProfile;

/// The label of the exporter for SRTP (RFC 5764 §4.2).
const SRTP_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// What was negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The version.
    pub version: Version,
    /// The cipher suite.
    pub cipher_suite: CipherSuite,
    /// The key exchange group.
    pub group: NamedGroup,
    /// The SRTP profile, if one was negotiated.
    pub srtp_profile: Option<SrtpProfile>,
    /// DER of the peer's certificate.
    pub peer_certificate: Box<[u8]>,
}

/// The secrets that stay behind the handshake.
#[derive(Debug)]
pub(crate) enum Keys {
    V12(Master),
    V13(Box<Secrets>),
}

/// A finished handshake.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) role: DtlsRole,
    pub(crate) details: Details,
    pub(crate) keys: Keys,
}

impl Session {
    pub(crate) fn peer_certificate(&self) -> &[u8] {
        &self.details.peer_certificate
    }

    /// RFC 5705 §4, RFC 8446 §7.5.
    pub(crate) fn export(&self, label: &str, context: Option<&[u8]>, out: &mut [u8]) -> Result<(), TooLong> {
        match &self.keys {
            Keys::V12(master) => master.export(label.as_bytes(), context, out),
            Keys::V13(secrets) => secrets.exporter.export(label, context.unwrap_or_default(), out)?,
        }
        Ok(())
    }

    /// RFC 5764 §4.2: client key, server key, client salt, server salt.
    pub(crate) fn srtp_keys(&self) -> Option<SrtpKeys> {
        let profile = self.details.srtp_profile?;
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        let mut material = Secret::zeroed(2 * (key_len + salt_len));
        self.export(SRTP_LABEL, None, material.as_mut_bytes()).ok()?;
        let (keys, salts) = material.as_bytes().split_at(2 * key_len);
        let (client_key, server_key) = keys.split_at(key_len);
        let (client_salt, server_salt) = salts.split_at(salt_len);
        let client = SrtpMaster { key: Secret::new(client_key), salt: Secret::new(client_salt) };
        let server = SrtpMaster { key: Secret::new(server_key), salt: Secret::new(server_salt) };
        let (local, remote) = match self.role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        Some(SrtpKeys { profile, local, remote })
    }
}

/// A master key and salt of SRTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpMaster {
    /// The key, of [`SrtpProfile::key_len`] bytes.
    pub key: Secret,
    /// The salt, of [`SrtpProfile::salt_len`] bytes.
    pub salt: Secret,
}

/// Keys for SRTP in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The profile negotiated.
    pub profile: SrtpProfile,
    /// Protects what this end sends.
    pub local: SrtpMaster,
    /// Protects what the peer sends.
    pub remote: SrtpMaster,
}

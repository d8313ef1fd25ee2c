//! Master keys from DTLS, and the session keys derived from them (RFC 5764 §4.2, RFC 3711 §4.3, RFC 6188).

use zeroize::Zeroizing;

use crate::crypto::cipher::{AesKey, BLOCK_LEN};
use crate::crypto::{Backend, InvalidKey, Secret};
use crate::types::srtp_profile::SrtpProfile;

use super::cipher::Cipher;
use super::{Cryptex, Inbound, Outbound};

/// The label of the TLS exporter (RFC 5764 §4.2); its context is empty.
pub const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// How many bytes the exporter gives for a profile (RFC 5764 §4.2).
pub fn exported_len(profile: SrtpProfile) -> usize {
    2 * (profile.key_len() + profile.salt_len())
}

/// A master key and salt for one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterKey {
    key: Secret,
    salt: Secret,
}

/// Which side of the DTLS handshake this one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It sent the ClientHello.
    Client,
    /// It answered.
    Server,
}

impl MasterKey {
    /// A master key from its parts.
    ///
    /// # Errors
    /// The lengths are not the profile's.
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, InvalidKey> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return Err(InvalidKey);
        }
        Ok(MasterKey { key: Secret::new(key), salt: Secret::new(salt) })
    }

    /// The master keys of both directions, ours to send with first, from what the exporter gave.
    ///
    /// # Errors
    /// `exported` does not have [`exported_len`] bytes.
    pub fn from_exporter(profile: SrtpProfile, side: Side, exported: &[u8]) -> Result<[Self; 2], InvalidKey> {
        if exported.len() != exported_len(profile) {
            return Err(InvalidKey);
        }
        // RFC 5764 §4.2: client key, server key, client salt, server salt.
        let (keys, salts) = exported.split_at_checked(2 * profile.key_len()).ok_or(InvalidKey)?;
        let (client_key, server_key) = keys.split_at_checked(profile.key_len()).ok_or(InvalidKey)?;
        let (client_salt, server_salt) = salts.split_at_checked(profile.salt_len()).ok_or(InvalidKey)?;
        let client = MasterKey::new(profile, client_key, client_salt)?;
        let server = MasterKey::new(profile, server_key, server_salt)?;
        Ok(match side {
            Side::Client => [client, server],
            Side::Server => [server, client],
        })
    }

    /// A context that seals with this key.
    ///
    /// # Errors
    /// The key is not one of this profile.
    pub fn outbound(
        &self,
        backend: &dyn Backend,
        profile: SrtpProfile,
        cryptex: Cryptex,
    ) -> Result<Outbound, InvalidKey> {
        let [rtp, rtcp] = self.ciphers(backend, profile)?;
        Ok(Outbound::new(rtp, rtcp, cryptex))
    }

    /// A context that opens with this key.
    ///
    /// # Errors
    /// The key is not one of this profile.
    pub fn inbound(
        &self,
        backend: &dyn Backend,
        profile: SrtpProfile,
        cryptex: Cryptex,
    ) -> Result<Inbound, InvalidKey> {
        let [rtp, rtcp] = self.ciphers(backend, profile)?;
        Ok(Inbound::new(rtp, rtcp, cryptex))
    }

    fn ciphers(&self, backend: &dyn Backend, profile: SrtpProfile) -> Result<[Cipher; 2], InvalidKey> {
        let derivation = Derivation::new(self.key.as_bytes(), self.salt.as_bytes())?;
        Ok([
            Cipher::derive(backend, profile, &derivation, &RTP_LABELS)?,
            Cipher::derive(backend, profile, &derivation, &RTCP_LABELS)?,
        ])
    }
}

/// The labels of the keys for one protocol (RFC 3711 §4.3.2).
pub(super) struct Labels {
    pub(super) encryption: u8,
    pub(super) authentication: u8,
    pub(super) salt: u8,
    pub(super) protocol: Protocol,
}

/// What a set of keys is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Rtp,
    Rtcp,
}

const RTP_LABELS: Labels = Labels { encryption: 0, authentication: 1, salt: 2, protocol: Protocol::Rtp };
const RTCP_LABELS: Labels = Labels { encryption: 3, authentication: 4, salt: 5, protocol: Protocol::Rtcp };

/// The pseudo-random function of one master key: AES in counter mode, with 128 or 256 bits.
pub(super) struct Derivation {
    aes: AesKey,
    salt: Zeroizing<[u8; BLOCK_LEN]>,
}

impl Derivation {
    pub(super) fn new(key: &[u8], salt: &[u8]) -> Result<Self, InvalidKey> {
        let mut padded = Zeroizing::new([0; BLOCK_LEN]);
        // RFC 3711 §4.3.3: the salt has 112 bits and is shifted by 16; GCM's 96 bits are filled up behind.
        padded.get_mut(..salt.len()).ok_or(InvalidKey)?.copy_from_slice(salt);
        Ok(Derivation { aes: AesKey::new(key)?, salt: padded })
    }

    /// The first `N` bytes of the key with this label (RFC 3711 §4.3.1, with a key derivation rate of 0).
    pub(super) fn derive<const N: usize>(&self, label: u8) -> Zeroizing<[u8; N]> {
        let mut iv = *self.salt;
        // The label stands above the 48 bits of the packet index, which is 0.
        let [.., place, _, _, _, _, _, _, _, _] = &mut iv;
        *place ^= label;
        let mut key = Zeroizing::new([0; N]);
        self.aes.apply_counter_mode(&iv, key.as_mut_slice());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::bytes;

    #[test]
    fn session_keys_are_those_of_rfc_3711() {
        // RFC 3711 appendix B.3.
        let key = bytes("e1f97a0d3e018be0d64fa32c06de4139");
        let salt = bytes("0ec675ad498afeebb6960b3aabe6");
        let derivation = Derivation::new(&key, &salt).unwrap();
        assert_eq!(derivation.derive::<16>(0)[..], bytes("c61e7a93744f39ee10734afe3ff7a087"));
        assert_eq!(derivation.derive::<14>(2)[..], bytes("30cbbc08863d8c85d49db34a9ae1"));
        let auth = "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbcee049646c43d9327ad175578ef7227098\
                    6371c10c9a369ac2f94a8c5fbcdddc256d6e919a48b610ef17c2041e474035766b68642c59bbfc2f34db60dbdfb2";
        assert_eq!(derivation.derive::<94>(1)[..], bytes(auth));
    }

    #[test]
    fn session_keys_are_those_of_rfc_6188() {
        // RFC 6188 §7.2.
        let key = bytes("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
        let salt = bytes("3b04803de51ee7c96423ab5b78d2");
        let derivation = Derivation::new(&key, &salt).unwrap();
        let cipher_key = "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4";
        assert_eq!(derivation.derive::<32>(0)[..], bytes(cipher_key));
        assert_eq!(derivation.derive::<14>(2)[..], bytes("fa31791685ca444a9e07c6c64e93"));
        assert_eq!(derivation.derive::<20>(1)[..], bytes("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
    }

    #[test]
    fn key_material_of_another_length_is_refused() {
        let profile = SrtpProfile::AeadAes128Gcm;
        assert!(MasterKey::new(profile, &[0; 16], &[0; 14]).is_err());
        assert!(MasterKey::from_exporter(profile, Side::Client, &[0; 55]).is_err());
        let exported: Vec<u8> = (0..56).collect();
        let [ours, theirs] = MasterKey::from_exporter(profile, Side::Server, &exported).unwrap();
        assert_eq!(ours, MasterKey::new(profile, &exported[16..32], &exported[44..56]).unwrap());
        assert_eq!(theirs, MasterKey::new(profile, &exported[..16], &exported[32..44]).unwrap());
    }
}

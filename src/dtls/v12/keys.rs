//! The key schedule of DTLS 1.2 (RFC 5246 §5, §6.3, §8.1; RFC 7627 §4; RFC 5705).

use zeroize::Zeroizing;

use crate::crypto::Backend;
use crate::crypto::InvalidKey;
use crate::crypto::hash::HashAlgorithm;
use crate::crypto::mac::HmacKey;
use crate::dtls::handshake::hello::Random;
use crate::dtls::protection::{Opener, Protection, Sealer};
use crate::dtls::suite::CipherSuite;
use crate::types::setup::DtlsRole;

/// Bytes in a Finished (RFC 5246 §7.4.9).
pub(crate) const VERIFY_DATA_LEN: usize = 12;

/// The pseudorandom function: P_hash over label and seeds (RFC 5246 §5).
pub(crate) fn prf(hash: HashAlgorithm, secret: &[u8], label: &[u8], seeds: [&[u8]; 3], out: &mut [u8]) {
    let key = HmacKey::new(hash, secret);
    let [s0, s1, s2] = seeds;
    let mut a = key.sign(&[label, s0, s1, s2]);
    for chunk in out.chunks_mut(hash.output_len()) {
        let block = key.sign(&[&a, label, s0, s1, s2]);
        chunk.copy_from_slice(&block[..chunk.len()]);
        a = key.sign(&[&a]);
    }
}

/// The master secret, and what every key is derived with it from. Wiped when dropped.
pub(crate) struct Master {
    hash: HashAlgorithm,
    secret: Zeroizing<[u8; 48]>,
    client_random: Random,
    server_random: Random,
}

impl Master {
    /// RFC 7627 §4: bound to the whole handshake up to the ClientKeyExchange by its hash.
    pub(crate) fn extended(
        suite: CipherSuite,
        premaster: &[u8],
        session_hash: &[u8],
        client_random: Random,
        server_random: Random,
    ) -> Self {
        let mut secret = Zeroizing::new([0; 48]);
        let seeds = [session_hash, &[], &[]];
        prf(suite.hash(), premaster, b"extended master secret", seeds, &mut *secret);
        Master { hash: suite.hash(), secret, client_random, server_random }
    }

    /// What a Finished of `sender` says about the handshake so far (RFC 5246 §7.4.9).
    pub(crate) fn verify_data(&self, sender: DtlsRole, handshake_hash: &[u8]) -> [u8; VERIFY_DATA_LEN] {
        let label: &[u8] = match sender {
            DtlsRole::Client => b"client finished",
            DtlsRole::Server => b"server finished",
        };
        let mut verify_data = [0; VERIFY_DATA_LEN];
        prf(self.hash, &*self.secret, label, [handshake_hash, &[], &[]], &mut verify_data);
        verify_data
    }

    /// The keys of epoch 1, as `role` uses them (RFC 5246 §6.3).
    pub(crate) fn protections(
        &self,
        backend: &dyn Backend,
        suite: CipherSuite,
        role: DtlsRole,
    ) -> Result<(Sealer, Opener), InvalidKey> {
        let (key_len, iv_len) = (suite.aead().key_len(), Protection::iv_len_v12(suite));
        let mut block = Zeroizing::new([0; 2 * (32 + 12)]);
        let block = &mut block[..2 * (key_len + iv_len)];
        let seeds = [&self.server_random[..], &self.client_random, &[]];
        prf(self.hash, &*self.secret, b"key expansion", seeds, block);
        // No MAC keys for an AEAD: two keys, then two nonces.
        let (keys, ivs) = block.split_at(2 * key_len);
        let (client_key, server_key) = keys.split_at(key_len);
        let (client_iv, server_iv) = ivs.split_at(iv_len);
        let client = Protection::v12(backend, suite, client_key, client_iv)?;
        let server = Protection::v12(backend, suite, server_key, server_iv)?;
        Ok(match role {
            DtlsRole::Client => (Sealer::new(client), Opener::new(server)),
            DtlsRole::Server => (Sealer::new(server), Opener::new(client)),
        })
    }

    /// Keying material for others (RFC 5705 §4). The context, if there is one, must stay below 2^16 bytes.
    pub(crate) fn export(&self, label: &[u8], context: Option<&[u8]>, out: &mut [u8]) {
        let mut tail = Vec::new();
        if let Some(context) = context {
            let length = u16::try_from(context.len()).unwrap_or(u16::MAX);
            tail.extend_from_slice(&length.to_be_bytes());
            tail.extend_from_slice(context);
        }
        let seeds = [&self.client_random[..], &self.server_random, &tail];
        prf(self.hash, &*self.secret, label, seeds, out);
    }

    /// The line of a key log in NSS format.
    pub(crate) fn key_log_line(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("CLIENT_RANDOM {} {}", hex(&self.client_random), hex(&*self.secret))
    }
}

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Master(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_prf_agrees_with_the_vector_of_the_tls_list() {
        // "Test vectors for the TLS 1.2 PRF", mailing list of the IETF TLS working group: P_SHA256.
        let expected = bytes(concat!(
            "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af",
            "0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701",
            "87347b66",
        ));
        let mut out = vec![0; expected.len()];
        let seed = bytes("a0ba9f936cda311827a6f796ffd5198c");
        let secret = bytes("9bbe436ba940f017b17652849a71db35");
        prf(HashAlgorithm::Sha256, &secret, b"test label", [&seed, &[], &[]], &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn an_empty_context_is_not_the_same_as_none() {
        // RFC 5705 §4.
        let master = Master::extended(CipherSuite::EcdheEcdsaAes128Gcm, &[1; 32], &[2; 32], [3; 32], [4; 32]);
        let (mut with, mut without) = ([0; 60], [0; 60]);
        master.export(b"EXTRACTOR-dtls_srtp", Some(&[]), &mut with);
        master.export(b"EXTRACTOR-dtls_srtp", None, &mut without);
        assert_ne!(with, without);
    }
}

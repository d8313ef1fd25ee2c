//! The key schedule of DTLS 1.3 (RFC 8446 §7, with the label prefix of RFC 9147 §5.9).
//!
//! ```text
//! zeros -> early -> handshake(shared secret) -> main -> application traffic, exporter
//!                        |
//!                        client's and server's handshake traffic -> key, iv, sn, finished
//! ```

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::hash::{Digest, HashAlgorithm};
use crate::crypto::kdf::{DTLS13, TooLong, derive_secret, hkdf_expand_label, hkdf_extract};
use crate::crypto::mac::HmacKey;
use crate::crypto::{Backend, InvalidKey, NONCE_LEN, Secret};
use crate::dtls::error::HandshakeError;
use crate::dtls::handshake::hello::Random;
use crate::dtls::protection::Protection;
use crate::dtls::record::Epoch;
use crate::dtls::suite::CipherSuite;

/// No label here is too long, and no key as long as 255 hashes.
impl From<TooLong> for HandshakeError {
    fn from(_: TooLong) -> Self {
        HandshakeError::Internal
    }
}

/// The handshake secret, and what is derived with it.
#[derive(Debug)]
pub(crate) struct Schedule {
    suite: CipherSuite,
    prefix: &'static str,
    secret: Secret,
}

impl Schedule {
    /// From the secret that the key exchange gave.
    pub(crate) fn new(suite: CipherSuite, shared: &Secret) -> Result<Self, TooLong> {
        Self::with_prefix(suite, DTLS13, shared)
    }

    fn with_prefix(suite: CipherSuite, prefix: &'static str, shared: &Secret) -> Result<Self, TooLong> {
        let hash = suite.hash();
        // No key is shared beforehand: zeros stand for it.
        let early = hkdf_extract(hash, &[], &[0; 64][..hash.output_len()]);
        let salt = derive_secret(hash, early.as_bytes(), prefix, "derived", &hash.digest(&[]))?;
        let secret = hkdf_extract(hash, salt.as_bytes(), shared.as_bytes());
        Ok(Schedule { suite, prefix, secret })
    }

    fn traffic(&self, label: &str, transcript: &Digest) -> Result<Traffic, TooLong> {
        let Schedule { suite, prefix, .. } = *self;
        let secret = derive_secret(suite.hash(), self.secret.as_bytes(), prefix, label, transcript)?;
        Ok(Traffic { suite, prefix, secret })
    }

    /// The client's and the server's secrets of the handshake, from the hash up to the ServerHello.
    pub(crate) fn handshake_traffic(&self, transcript: &Digest) -> Result<[Traffic; 2], TooLong> {
        Ok([self.traffic("c hs traffic", transcript)?, self.traffic("s hs traffic", transcript)?])
    }

    /// Goes on to the main secret.
    pub(crate) fn into_main(self) -> Result<Self, TooLong> {
        let Schedule { suite, prefix, secret } = self;
        let hash = suite.hash();
        let salt = derive_secret(hash, secret.as_bytes(), prefix, "derived", &hash.digest(&[]))?;
        let secret = hkdf_extract(hash, salt.as_bytes(), &[0; 64][..hash.output_len()]);
        Ok(Schedule { suite, prefix, secret })
    }

    /// The client's and the server's first secrets for data, from the hash up to the server's Finished.
    pub(crate) fn application_traffic(&self, transcript: &Digest) -> Result<[Traffic; 2], TooLong> {
        Ok([self.traffic("c ap traffic", transcript)?, self.traffic("s ap traffic", transcript)?])
    }

    /// The secret that keys are exported from, from the hash up to the server's Finished.
    pub(crate) fn exporter(&self, transcript: &Digest) -> Result<Exporter, TooLong> {
        let Schedule { suite, prefix, .. } = *self;
        let secret = derive_secret(suite.hash(), self.secret.as_bytes(), prefix, "exp master", transcript)?;
        Ok(Exporter { hash: suite.hash(), prefix, secret })
    }
}

/// The secret of one direction and epoch.
#[derive(Debug)]
pub(crate) struct Traffic {
    suite: CipherSuite,
    prefix: &'static str,
    secret: Secret,
}

impl Traffic {
    /// From a key log.
    #[cfg(test)]
    pub(crate) fn from_secret(suite: CipherSuite, secret: &[u8]) -> Self {
        Traffic { suite, prefix: DTLS13, secret: Secret::new(secret) }
    }

    fn expand(&self, label: &str, out: &mut [u8]) -> Result<(), TooLong> {
        hkdf_expand_label(self.suite.hash(), self.secret.as_bytes(), self.prefix, label, &[], out)
    }

    /// The keys of records (RFC 8446 §7.3, RFC 9147 §4.2.3).
    pub(crate) fn protection(&self, backend: &dyn Backend, epoch: Epoch) -> Result<Protection, InvalidKey> {
        let len = self.suite.aead().key_len();
        let (mut key, mut number_key) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        let (key, number_key) = (&mut key[..len], &mut number_key[..len]);
        let mut iv = [0; NONCE_LEN];
        self.expand("key", key).map_err(|_| InvalidKey)?;
        self.expand("iv", &mut iv).map_err(|_| InvalidKey)?;
        self.expand("sn", number_key).map_err(|_| InvalidKey)?;
        Protection::v13(backend, self.suite, epoch, key, iv, number_key)
    }

    /// What a Finished says about the handshake so far (RFC 8446 §4.4.4).
    pub(crate) fn verify_data(&self, transcript: &Digest) -> Result<Digest, TooLong> {
        let hash = self.suite.hash();
        let mut key = Secret::zeroed(hash.output_len());
        self.expand("finished", key.as_mut_bytes())?;
        Ok(HmacKey::new(hash, key.as_bytes()).sign(&[transcript]))
    }

    /// The secret behind a KeyUpdate (RFC 8446 §7.2).
    pub(crate) fn next(&self) -> Result<Self, TooLong> {
        let Traffic { suite, prefix, .. } = *self;
        let secret = derive_secret(suite.hash(), self.secret.as_bytes(), prefix, "traffic upd", &[])?;
        Ok(Traffic { suite, prefix, secret })
    }

    /// A line of a key log in NSS format.
    pub(crate) fn key_log_line(&self, label: &str, client_random: &Random) -> String {
        key_log_line(label, client_random, &self.secret)
    }
}

/// What keys are exported from (RFC 8446 §7.5).
pub(crate) struct Exporter {
    hash: HashAlgorithm,
    prefix: &'static str,
    secret: Secret,
}

impl Exporter {
    /// From a key log.
    #[cfg(test)]
    pub(crate) fn from_secret(suite: CipherSuite, secret: &[u8]) -> Self {
        Exporter { hash: suite.hash(), prefix: DTLS13, secret: Secret::new(secret) }
    }

    /// Fills `out`. No context is the same as an empty one.
    pub(crate) fn export(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), TooLong> {
        let Exporter { hash, prefix, .. } = *self;
        let secret = derive_secret(hash, self.secret.as_bytes(), prefix, label, &hash.digest(&[]))?;
        hkdf_expand_label(hash, secret.as_bytes(), prefix, "exporter", &hash.digest(&[context]), out)
    }

    /// A line of a key log in NSS format.
    pub(crate) fn key_log_line(&self, client_random: &Random) -> String {
        key_log_line("EXPORTER_SECRET", client_random, &self.secret)
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter(..)")
    }
}

fn key_log_line(label: &str, client_random: &Random, secret: &Secret) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{label} {} {}", hex(client_random), hex(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::kdf::TLS13;
    use crate::dtls::handshake::{HandshakeType, Message};
    use crate::dtls::transcript::Transcript;

    fn vector(file: &str, key: &str) -> Vec<u8> {
        let value: serde_json::Value = serde_json::from_str(file).unwrap();
        let hex = value.pointer(key).unwrap().as_str().unwrap();
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    /// RFC 8448 §3, a handshake of TLS 1.3: messages, secrets and the server's Finished.
    fn rfc8448(key: &str) -> Vec<u8> {
        vector(include_str!("../../../tests/data/dtls/rfc8448.json"), &format!("/{key}"))
    }

    /// Adds messages in TLS's form, until only `left` bytes are left.
    fn add(transcript: &mut Transcript, mut messages: &[u8], left: usize) {
        while messages.len() > left {
            let length = u32::from_be_bytes([0, messages[1], messages[2], messages[3]]) as usize;
            let body = &messages[4..4 + length];
            transcript.add(&Message { kind: HandshakeType(messages[0]), message_seq: 7, body });
            messages = &messages[4 + length..];
        }
    }

    #[test]
    fn the_schedule_and_the_transcript_give_the_secrets_of_rfc_8448() {
        let suite = CipherSuite::Aes128Gcm;
        let mut transcript = Transcript::default();
        add(&mut transcript, &rfc8448("client_hello"), 0);
        transcript.run(suite.hash());
        add(&mut transcript, &rfc8448("server_hello"), 0);
        assert_eq!(transcript.running_hash()[..], rfc8448("hash_ch_sh"));
        let schedule = Schedule::with_prefix(suite, TLS13, &Secret::new(&rfc8448("ecdhe"))).unwrap();
        assert_eq!(schedule.secret.as_bytes(), rfc8448("handshake_secret"));
        let [client, server] = schedule.handshake_traffic(&transcript.running_hash()).unwrap();
        assert_eq!(client.secret.as_bytes(), rfc8448("c_hs_traffic"));
        assert_eq!(server.secret.as_bytes(), rfc8448("s_hs_traffic"));

        let flight = rfc8448("server_flight");
        const FINISHED_LEN: usize = 4 + 32;
        add(&mut transcript, &flight, FINISHED_LEN);
        let verify_data = server.verify_data(&transcript.running_hash()).unwrap();
        assert_eq!(verify_data[..], rfc8448("s_finished"));
        add(&mut transcript, &flight[flight.len() - FINISHED_LEN..], 0);
        assert_eq!(transcript.running_hash()[..], rfc8448("hash_through_s_finished"));
        let main = schedule.into_main().unwrap();
        assert_eq!(main.secret.as_bytes(), rfc8448("master_secret"));
        let [client, server] = main.application_traffic(&transcript.running_hash()).unwrap();
        assert_eq!(client.secret.as_bytes(), rfc8448("c_ap_traffic"));
        assert_eq!(server.secret.as_bytes(), rfc8448("s_ap_traffic"));
    }

    #[test]
    fn the_labels_of_dtls_give_the_secrets_of_an_independent_computation() {
        // RFC 9147 §5.9. No values are published; these were computed apart from this code.
        let file = include_str!("../../../tests/data/dtls/dtls13.json");
        let expected = |key: &str| vector(file, key);
        let (suite, prefix) = (CipherSuite::Aes128Gcm, DTLS13);
        let schedule = Schedule::new(suite, &Secret::new(&rfc8448("ecdhe"))).unwrap();
        // The label "derived" differs, so the published secret is put in.
        let schedule = Schedule { secret: Secret::new(&expected("/handshake_secret")), ..schedule };
        let hash = &expected("/transcript_hash");
        let secret = derive_secret(suite.hash(), schedule.secret.as_bytes(), prefix, "c hs traffic", hash);
        let traffic = Traffic { suite, prefix, secret: secret.unwrap() };
        assert_eq!(traffic.secret.as_bytes(), expected("/c_hs_traffic"));
        assert_eq!(traffic.next().unwrap().secret.as_bytes(), expected("/key_update"));
        let exporter = Exporter { hash: suite.hash(), prefix, secret: schedule.secret.clone() };
        let mut out = [0; 60];
        exporter.export("EXTRACTOR-dtls_srtp", &[], &mut out).unwrap();
        assert_eq!(out[..], expected("/exporter/value"));
    }
}

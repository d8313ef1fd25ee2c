//! The server's half of the long-term credential mechanism (RFC 8489 §9.2.4), and its users.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Secret;
use crate::crypto::constant_time_eq;
use crate::crypto::hash::HashAlgorithm;
use crate::crypto::mac::{HmacKey, HmacSha1Key};
use crate::rng::Rng;
use crate::stun::PasswordAlgorithm;
use crate::stun::credentials::LongTermKey;
use zeroize::Zeroizing;

/// Who may have allocations.
///
/// Passwords are not kept, only the keys made of them (RFC 8656 §6).
#[derive(Default)]
pub struct Users {
    realm: String,
    fixed: BTreeMap<String, Keys>,
    /// Of time-limited credentials.
    secret: Option<Secret>,
}

#[derive(Clone)]
struct Keys {
    md5: Arc<LongTermKey>,
    sha256: Arc<LongTermKey>,
}

impl Users {
    /// Nobody yet, in this realm.
    pub fn new(realm: impl Into<String>) -> Self {
        Users { realm: realm.into(), ..Users::default() }
    }

    /// Adds a user, or changes a password.
    pub fn add(&mut self, username: impl Into<String>, password: &str) {
        let username = username.into();
        let derive = |algorithm| Arc::new(LongTermKey::derive(algorithm, &username, &self.realm, password));
        let keys = Keys { md5: derive(PasswordAlgorithm::Md5), sha256: derive(PasswordAlgorithm::Sha256) };
        self.fixed.insert(username, keys);
    }

    /// Removes a user. What is allocated lives on until it is to be refreshed.
    pub fn remove(&mut self, username: &str) {
        self.fixed.remove(username);
    }

    /// Takes time-limited credentials made with `secret`: see [`time_limited`].
    pub fn set_secret(&mut self, secret: &[u8]) {
        self.secret = Some(Secret::new(secret));
    }

    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// The key of a user at a Unix time; `None` for nobody.
    pub(super) fn key(
        &self,
        name: &str,
        algorithm: PasswordAlgorithm,
        unix: Duration,
    ) -> Option<Arc<LongTermKey>> {
        if let Some(keys) = self.fixed.get(name) {
            let key = if algorithm == PasswordAlgorithm::Md5 { &keys.md5 } else { &keys.sha256 };
            return Some(Arc::clone(key));
        }
        let secret = self.secret.as_ref()?;
        let expiry: u64 = name.split_once(':').map_or(name, |(expiry, _)| expiry).parse().ok()?;
        if expiry < unix.as_secs() {
            return None;
        }
        let password = password_of(secret.as_bytes(), name);
        Some(Arc::new(LongTermKey::derive(algorithm, name, &self.realm, &password)))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("realm", &self.realm)
            .field("fixed", &self.fixed.len())
            .finish_non_exhaustive()
    }
}

/// Credentials that are good until a Unix time, for a user that the server need not know
/// (draft-uberti-behave-turn-rest-00 §2.2): the name is `expiry:user`, the password the HMAC-SHA1 of it.
pub fn time_limited(secret: &[u8], user: &str, expiry: Duration) -> super::super::Credentials {
    let name = format!("{}:{user}", expiry.as_secs());
    let password = password_of(secret, &name);
    super::super::Credentials::new(name, password.as_str())
}

fn password_of(secret: &[u8], name: &str) -> Zeroizing<String> {
    Zeroizing::new(base64(&HmacSha1Key::new(secret).sign(&[name.as_bytes()])))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let sextet = usize::try_from(word >> (18 - 6 * i) & 63).unwrap_or(0);
            text.push(if i <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

/// Makes nonces and knows them again, without keeping any.
///
/// A nonce holds when it ends, and a MAC over that and the client's address: so no two clients have the same
/// (RFC 8489 §9.2.4), and nobody can use another's.
#[derive(Debug)]
pub(super) struct Nonces {
    key: HmacKey,
    lifetime: Duration,
    /// The nonce cookie with the security features (RFC 8489 §9.2); empty for a server of RFC 5389.
    cookie: &'static str,
}

impl Nonces {
    pub(super) fn new(rng: &mut Rng, lifetime: Duration, password_algorithms: bool) -> Self {
        let key = Zeroizing::new(rng.array::<32>());
        // RFC 8489 §18.1: bit 0, the first of 24 in Base64, says that there is a list.
        let cookie = if password_algorithms { "obMatJos2gAAA" } else { "" };
        Nonces { key: HmacKey::new(HashAlgorithm::Sha256, &*key), lifetime, cookie }
    }

    /// A nonce for a client. `now` counts from the server's start.
    pub(super) fn make(&self, client: SocketAddr, now: Duration) -> String {
        let expiry = now.saturating_add(self.lifetime).as_secs();
        format!("{}{expiry:08x}{}", self.cookie, self.mac(client, expiry))
    }

    /// Whether a nonce is this client's and not too old.
    pub(super) fn is_valid(&self, nonce: &[u8], client: SocketAddr, now: Duration) -> bool {
        let parsed = std::str::from_utf8(nonce).ok().and_then(|text| {
            let (expiry, mac) = text.strip_prefix(self.cookie)?.split_at_checked(8)?;
            Some((u64::from_str_radix(expiry, 16).ok()?, mac))
        });
        let Some((expiry, mac)) = parsed else { return false };
        constant_time_eq(mac.as_bytes(), self.mac(client, expiry).as_bytes()) && now.as_secs() <= expiry
    }

    fn mac(&self, client: SocketAddr, expiry: u64) -> String {
        let ip = match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let mac = self.key.sign(&[&expiry.to_be_bytes(), &ip, &client.port().to_be_bytes()]);
        mac.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use crate::stun::credentials::SecurityFeatures;

    #[test]
    fn base64_is_base64() {
        // RFC 4648 §10.
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn a_nonce_is_one_clients_and_ends() {
        let mut rng = Rng::new([1; 32], Stream::Turn);
        let nonces = Nonces::new(&mut rng, Duration::from_secs(60), true);
        let client: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let nonce = nonces.make(client, Duration::from_secs(10));
        assert!(SecurityFeatures::of_nonce(nonce.as_bytes()).unwrap().password_algorithms);
        assert!(nonces.is_valid(nonce.as_bytes(), client, Duration::from_secs(70)));
        assert!(!nonces.is_valid(nonce.as_bytes(), client, Duration::from_secs(71)));
        assert!(!nonces.is_valid(
            nonce.as_bytes(),
            "192.0.2.1:5001".parse().unwrap(),
            Duration::from_secs(10)
        ));
        for cut in 0..nonce.len() {
            assert!(!nonces.is_valid(&nonce.as_bytes()[..cut], client, Duration::from_secs(10)));
        }
        assert!(!nonces.is_valid(
            "obMatJos2gAAA\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}".as_bytes(),
            client,
            Duration::ZERO
        ));
    }

    #[test]
    fn a_time_limited_name_is_good_until_its_time() {
        let mut users = Users::new("realm");
        users.set_secret(b"secret");
        let name = time_limited(b"secret", "alice", Duration::from_secs(100)).username;
        assert_eq!(name, "100:alice");
        let at = |seconds| users.key(&name, PasswordAlgorithm::Md5, Duration::from_secs(seconds)).is_some();
        assert!(at(100) && !at(101));
        assert!(users.key("nobody", PasswordAlgorithm::Md5, Duration::ZERO).is_none());
        assert!(!format!("{users:?}").contains("secret"));
    }
}

//! The client's half of the long-term credential mechanism (RFC 8489 §9.2).

use super::config::Credentials;
use crate::stun::attributes::types;
use crate::stun::credentials::{LongTermKey, SecurityFeatures, userhash};
use crate::stun::{Builder, Message, PasswordAlgorithm};
use crate::wire::reader::Reader;

/// The longest PASSWORD-ALGORITHMS that is echoed.
const MAX_ALGORITHMS: usize = 64;

/// What a server's challenge was answered with; goes into every request that follows.
#[derive(Debug)]
pub(super) struct Login {
    realm: String,
    nonce: Vec<u8>,
    username: Name,
    /// The server's list as it came, and the choice; `None` for a server of RFC 5389.
    algorithms: Option<(Vec<u8>, PasswordAlgorithm)>,
    key: LongTermKey,
}

/// USERNAME, or USERHASH when the server takes it.
#[derive(Debug)]
enum Name {
    Clear(String),
    Hash([u8; 32]),
}

impl Login {
    /// Answers the challenge of a 401 or 438. `None` when it cannot be answered: no realm or nonce, or an offer
    /// that was tampered with.
    pub(super) fn new(
        challenge: &Message<'_>,
        credentials: &Credentials,
        former: Option<&Login>,
    ) -> Option<Self> {
        let nonce = challenge.nonce()?;
        // A 438 of an old server may come without a realm: it is the former one.
        let realm = challenge.realm().or(former.map(|login| login.realm.as_str()))?;
        let features = SecurityFeatures::of_nonce(nonce).unwrap_or_default();
        let list = challenge.attribute(types::PASSWORD_ALGORITHMS);
        // RFC 8489 §9.2.1, §9.2.5: the nonce promises a list, so a missing one was taken out on the way.
        if features.password_algorithms && list.is_none() {
            return None;
        }
        let algorithms = match list {
            Some(list) => Some((list.to_vec(), choose(list)?)),
            None => None,
        };
        let algorithm = algorithms.as_ref().map_or(PasswordAlgorithm::Md5, |(_, chosen)| *chosen);
        let name = &credentials.username;
        let username = match features.username_anonymity {
            true => Name::Hash(userhash(name, realm)),
            false => Name::Clear(name.clone()),
        };
        let key = LongTermKey::derive(algorithm, name, realm, credentials.password());
        Some(Login { realm: realm.to_owned(), nonce: nonce.to_vec(), username, algorithms, key })
    }

    /// Whether a second challenge asks for nothing new (RFC 8489 §9.2.5: then it is not answered).
    pub(super) fn is_same_question(&self, challenge: &Message<'_>) -> bool {
        challenge.realm().is_none_or(|realm| realm == self.realm)
    }

    /// Ends a request: who asks, and the integrity value.
    pub(super) fn sign(&self, builder: &mut Builder<'_>) {
        match &self.username {
            Name::Clear(name) => builder.username(&[name.as_bytes()]),
            Name::Hash(hash) => builder.attribute(types::USERHASH, hash),
        };
        builder.attribute(types::REALM, self.realm.as_bytes()).attribute(types::NONCE, &self.nonce);
        match &self.algorithms {
            // RFC 8489 §9.2.5: who got a list echoes it, and uses SHA-256 for the integrity from then on.
            Some((list, chosen)) => {
                builder.attribute(types::PASSWORD_ALGORITHMS, list).password_algorithm(*chosen);
                builder.integrity_sha256(&self.key.sha256);
            }
            None => {
                builder.integrity(&self.key.sha1);
            }
        }
    }

    /// Whether a response is from who knows the password (RFC 8489 §9.2.5).
    pub(super) fn is_authentic(&self, response: &Message<'_>) -> bool {
        match self.algorithms {
            Some(_) => response.verify_integrity_sha256(&self.key.sha256).is_ok(),
            None => response.verify_integrity(&self.key.sha1).is_ok(),
        }
    }
}

/// RFC 8656 §6: SHA-256 where it is offered, in place of the first known one of RFC 8489.
fn choose(list: &[u8]) -> Option<PasswordAlgorithm> {
    if list.len() > MAX_ALGORITHMS {
        return None;
    }
    let mut r = Reader::new(list, "STUN password algorithms");
    let mut chosen = None;
    while !r.is_empty() {
        let code = r.u16().ok()?;
        let parameters = usize::from(r.u16().ok()?);
        r.skip(parameters.next_multiple_of(4).min(r.remaining())).ok()?;
        for known in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
            if known.code() == code {
                chosen = chosen.max(Some(known));
            }
        }
    }
    chosen
}

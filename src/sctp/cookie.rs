//! The state cookie (RFC 9260 §5.1.3): what an INIT would have us remember, given to the peer to keep.
//!
//! ```text
//!  HMAC-SHA256 over all that follows      32 bytes
//!  creation time, ms since the start       8
//!  our tag, our initial TSN                8
//!  peer's tag, a_rwnd, streams, TSN       16
//!  tie tags: ours, peer's                  8   zero, or the association that existed
//!  peer's extensions                       1
//! ```

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::chunk::init::{Extensions, Offer};
use super::types::Tsn;
use crate::crypto::hash::HashAlgorithm;
use crate::crypto::mac::{HmacKey, hmac};
use crate::rng::Rng;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

const MAC_LEN: usize = 32;

/// The tags of an association that existed when the cookie was made (RFC 9260 §5.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TieTags {
    pub(super) local: u32,
    pub(super) peer: u32,
}

/// What the cookie remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) local_tag: u32,
    pub(super) local_tsn: Tsn,
    /// The peer's INIT.
    pub(super) peer: Offer,
    pub(super) ties: TieTags,
}

/// An authentic cookie, and its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) cookie: Cookie,
    pub(super) age: Duration,
}

/// Makes cookies and knows its own again.
pub(super) struct Jar {
    key: [u8; 32],
    /// Cookies carry the time since then.
    epoch: Instant,
}

impl Jar {
    pub(super) fn new(rng: &mut Rng, epoch: Instant) -> Self {
        Jar { key: rng.array(), epoch }
    }

    /// The cookie as bytes for an INIT ACK.
    pub(super) fn seal(&self, now: Instant, cookie: &Cookie) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(96);
        let mut w = Writer::new(&mut bytes);
        w.zeros(MAC_LEN);
        let age = now.saturating_duration_since(self.epoch).as_millis();
        w.u64(u64::try_from(age).unwrap_or(u64::MAX));
        w.u32(cookie.local_tag);
        w.u32(cookie.local_tsn.0);
        w.u32(cookie.peer.tag);
        w.u32(cookie.peer.a_rwnd);
        w.u16(cookie.peer.outbound_streams);
        w.u16(cookie.peer.inbound_streams);
        w.u32(cookie.peer.initial_tsn.0);
        w.u32(cookie.ties.local);
        w.u32(cookie.ties.peer);
        w.u8(cookie.peer.extensions.bits());
        if let Some((mac, body)) = w.as_mut_slice().split_first_chunk_mut::<MAC_LEN>() {
            mac.copy_from_slice(&hmac(HashAlgorithm::Sha256, &self.key, &[body]));
        }
        bytes
    }

    /// RFC 9260 §5.1.5 steps 1 and 2: the cookie, if it is one of ours and nobody touched it.
    pub(super) fn open(&self, now: Instant, bytes: &[u8]) -> Result<Opened, Malformed> {
        let mut r = Reader::new(bytes, "state cookie");
        let mac = r.take(MAC_LEN)?;
        if !HmacKey::new(HashAlgorithm::Sha256, &self.key).verify(&[r.peek()], mac) {
            return Err(r.malformed());
        }
        let created = Duration::from_millis(r.u64()?);
        let local_tag = r.u32()?;
        let local_tsn = Serial32(r.u32()?);
        let peer = Offer {
            tag: r.u32()?,
            a_rwnd: r.u32()?,
            outbound_streams: r.u16()?,
            inbound_streams: r.u16()?,
            initial_tsn: Serial32(r.u32()?),
            extensions: Extensions::default(),
        };
        let ties = TieTags { local: r.u32()?, peer: r.u32()? };
        let extensions = Extensions::from_bits(r.u8()?);
        r.finish()?;
        let age = now.saturating_duration_since(self.epoch).saturating_sub(created);
        Ok(Opened { cookie: Cookie { local_tag, local_tsn, peer: Offer { extensions, ..peer }, ties }, age })
    }
}

impl std::fmt::Debug for Jar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jar(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn jar(seed: u8) -> (Jar, Instant) {
        // A fixed point of the test process: only differences matter.
        let now = crate::time::some_instant();
        (Jar::new(&mut Rng::new([seed; 32], Stream::Sctp), now), now)
    }

    fn cookie() -> Cookie {
        let peer = Offer {
            tag: 3,
            a_rwnd: 4,
            outbound_streams: 5,
            inbound_streams: 6,
            initial_tsn: Serial32(7),
            extensions: Extensions::from_bits(0b1010),
        };
        Cookie { local_tag: 1, local_tsn: Serial32(2), peer, ties: TieTags { local: 8, peer: 9 } }
    }

    #[test]
    fn a_cookie_comes_back_with_its_age() {
        let (jar, now) = jar(1);
        let sealed = jar.seal(now + Duration::from_secs(1), &cookie());
        let opened = jar.open(now + Duration::from_secs(4), &sealed);
        assert_eq!(opened, Ok(Opened { cookie: cookie(), age: Duration::from_secs(3) }));
        // Time that went backwards makes no age.
        assert_eq!(jar.open(now, &sealed).unwrap().age, Duration::ZERO);
    }

    #[test]
    fn a_forged_cookie_is_refused() {
        // RFC 9260 §5.1.5 step 2, and HARDENING: cookies cannot be forged.
        let (jar, now) = jar(1);
        let sealed = jar.seal(now, &cookie());
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(jar.open(now, &forged).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(jar.open(now, &sealed[..len]).is_err(), "{len} bytes");
        }
        let (other, _) = self::jar(2);
        assert!(other.open(now, &sealed).is_err());
    }
}

//! Two DTLS connections over a link that the input steers: it loses, repeats, swaps, damages and cuts datagrams, and
//! lets time pass. Nothing panics; what arrives is what was sent; and nobody is connected to somebody else.
#![no_main]

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::buffer::Pool;
use sansrtc::crypto;
use sansrtc::crypto::cert::Identity;
use sansrtc::dtls::{Config, Connection, Version};
use sansrtc::rng::{Rng, Stream};
use sansrtc::types::fingerprint::FingerprintHash;
use sansrtc::types::setup::DtlsRole;

const MAX_DATAGRAM: usize = 1200;

fuzz_target!(|steps: &[u8]| {
    // The first byte says which versions the ends speak.
    let Some((versions, steps)) = steps.split_first() else { return };
    let (configs, start) = fixture();
    let config = &configs[usize::from(versions % 3)];
    let fingerprint = config.identity.fingerprint(FingerprintHash::Sha256);
    let mut ends = [DtlsRole::Client, DtlsRole::Server].map(|role| {
        let config = if role == DtlsRole::Server { &configs[usize::from(versions / 3 % 3)] } else { config };
        let mut connection = Connection::new(config.clone(), role, Rng::new([role as u8; 32], Stream::Dtls));
        connection.set_remote_fingerprints(vec![fingerprint]);
        connection.start(*start, Some(Duration::from_millis(50)));
        End { connection, pool: Pool::new(), outbox: VecDeque::new(), sent: 0 }
    });
    let mut now = *start;
    let mut steps = steps.iter().copied();
    while let Some(step) = steps.next() {
        let [one, other] = &mut ends;
        let (from, to) = if step & 1 == 0 { (one, other) } else { (other, one) };
        from.collect();
        match step >> 1 & 7 {
            0 | 1 => from.outbox.pop_front().into_iter().for_each(|d| to.connection.handle_datagram(now, d)),
            2 => drop(from.outbox.pop_front()),
            3 => from.outbox.extend(from.outbox.front().cloned()),
            4 => from.outbox.rotate_left(usize::from(from.outbox.len() > 1)),
            5 => from.damage(steps.next().unwrap_or(0), steps.next().unwrap_or(1)),
            6 => {
                now += Duration::from_millis(10 << (step >> 4));
                from.connection.handle_timeout(now);
            }
            _ => from.send(),
        }
        while let Some(data) = to.connection.poll_received() {
            assert!(data.starts_with(b"message "), "only what was sent arrives");
        }
        while to.connection.poll_fact().is_some() {}
    }
});

struct End {
    connection: Connection,
    pool: Pool,
    /// On the way to the other end.
    outbox: VecDeque<BytesMut>,
    sent: u32,
}

impl End {
    fn collect(&mut self) {
        while let Some(datagram) = self.connection.poll_datagram(&mut self.pool, MAX_DATAGRAM) {
            // Kept apart from the pool's slab, since damage is done in place.
            self.outbox.push_back(BytesMut::from(&datagram[..]));
        }
    }

    fn damage(&mut self, at: u8, how: u8) {
        let Some(datagram) = self.outbox.front_mut() else { return };
        let at = usize::from(at) * datagram.len() / 256;
        match how {
            0 => datagram.truncate(at),
            how => datagram[at..].iter_mut().take(1).for_each(|byte| *byte ^= how),
        }
    }

    fn send(&mut self) {
        if !self.connection.can_send() {
            return;
        }
        self.sent += 1;
        let mut record = BytesMut::zeroed(self.connection.overhead().head);
        record.extend_from_slice(format!("message {}", self.sent).as_bytes());
        if self.connection.seal_in_place(&mut record, 0).is_ok() {
            self.outbox.push_back(record);
        }
    }
}

/// One identity for both ends and all runs: the same input does the same thing every time.
fn fixture() -> &'static ([Arc<Config>; 3], Instant) {
    static FIXTURE: OnceLock<([Arc<Config>; 3], Instant)> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let mut rng = Rng::new([7; 32], Stream::Certificate);
        let identity = Identity::generate(crypto::rust(), &mut rng).expect("a key is made from the seed");
        let identity = Arc::new(identity);
        use Version::{Dtls12, Dtls13};
        let configs =
            [(Dtls13, Dtls13), (Dtls12, Dtls12), (Dtls12, Dtls13)].map(|(min_version, max_version)| {
                // Small enough that updates of keys happen.
                let key_update_after = 4;
                let own = Config::new(crypto::rust(), identity.clone());
                Arc::new(Config { min_version, max_version, key_update_after, ..own })
            });
        (configs, Instant::now())
    })
}

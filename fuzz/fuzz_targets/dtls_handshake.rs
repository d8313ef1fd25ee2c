//! Two DTLS connections over a link that the input steers: it loses, repeats, swaps, damages and cuts datagrams, and
//! lets time pass. What is in the clear it rewrites as one who knows the format: extensions of hellos are dropped,
//! doubled, renamed and moved, with lengths that fit again, and messages are cut into fragments that overlap. Nothing
//! panics; what arrives is what was sent; and nobody is connected to somebody else.
#![no_main]

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::buffer::Pool;
use sansrtc::crypto;
use sansrtc::crypto::cert::Identity;
use sansrtc::dtls::handshake::{Fragment, HandshakeType};
use sansrtc::dtls::record::{ContentType, Header};
use sansrtc::dtls::{Config, Connection, Version};
use sansrtc::rng::{Rng, Stream};
use sansrtc::types::fingerprint::FingerprintHash;
use sansrtc::types::setup::DtlsRole;
use sansrtc::wire::reader::Reader;
use sansrtc::wire::writer::Writer;

/// With the larger one even a hello with a post-quantum share is whole, and can be rewritten.
const MAX_DATAGRAM: [usize; 2] = [1200, 2000];

fuzz_target!(|steps: &[u8]| {
    // The first byte says which versions the ends speak, and how large datagrams are.
    let Some((versions, steps)) = steps.split_first() else { return };
    let (configs, start) = fixture();
    let config = &configs[usize::from(versions % 3)];
    let fingerprint = config.identity.fingerprint(FingerprintHash::Sha256);
    let mut ends = [DtlsRole::Client, DtlsRole::Server].map(|role| {
        let config = if role == DtlsRole::Server { &configs[usize::from(versions / 3 % 3)] } else { config };
        let mut connection = Connection::new(config.clone(), role, Rng::new([role as u8; 32], Stream::Dtls));
        connection.set_remote_fingerprints(vec![fingerprint]);
        connection.start(*start, Some(Duration::from_millis(50)));
        let size = MAX_DATAGRAM[usize::from(versions / 9 % 2)];
        End { connection, pool: Pool::new(), outbox: VecDeque::new(), sent: 0, size }
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
    /// Of its datagrams, at the most.
    size: usize,
}

impl End {
    fn collect(&mut self) {
        while let Some(datagram) = self.connection.poll_datagram(&mut self.pool, self.size) {
            // Kept apart from the pool's slab, since damage is done in place.
            self.outbox.push_back(BytesMut::from(&datagram[..]));
        }
    }

    fn damage(&mut self, at: u8, how: u8) {
        let Some(datagram) = self.outbox.front_mut() else { return };
        let place = usize::from(at) * datagram.len() / 256;
        match how {
            0 => datagram.truncate(place),
            1..128 => datagram[place..].iter_mut().take(1).for_each(|byte| *byte ^= how),
            128..224 => {
                if let Some(rewritten) = rewritten(datagram, at, how) {
                    *datagram = rewritten;
                }
            }
            224.. => {
                if let Some(cut) = cut(datagram, at, how) {
                    *datagram = cut;
                }
            }
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

/// The first message of a datagram that begins with one in the clear, if it is whole: its header and its body.
fn first_message(datagram: &[u8]) -> Option<(Header, Fragment<'_>)> {
    let mut r = Reader::new(datagram, "datagram");
    let header = Header::parse(&mut r).ok().filter(|header| header.epoch == 0)?;
    let mut record = Reader::new(r.take(usize::from(header.length)).ok()?, "record");
    let fragment = Fragment::parse(&mut record).ok()?;
    let is_handshake = header.content_type == ContentType::HANDSHAKE;
    (is_handshake && fragment.offset == 0 && fragment.body.len() as u32 == fragment.length)
        .then_some((header, fragment))
}

/// The datagram with these fragments, each in a record of its own, in place of what it begins with.
fn with_fragments(header: Header, fragments: &[Fragment<'_>], rest: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    for fragment in fragments {
        let mut body = BytesMut::new();
        fragment.emit(&mut Writer::new(&mut body));
        Header { length: body.len() as u16, ..header }.emit(&mut Writer::new(&mut out));
        out.extend_from_slice(&body);
    }
    out.extend_from_slice(rest);
    out
}

/// What follows the first record.
fn rest_of<'a>(datagram: &'a [u8], header: &Header) -> &'a [u8] {
    datagram.get(13 + usize::from(header.length)..).unwrap_or_default()
}

/// Another hello: something was done to one of its extensions, or to what stands before them.
fn rewritten(datagram: &[u8], at: u8, how: u8) -> Option<BytesMut> {
    let (header, fragment) = first_message(datagram)?;
    let (mut front, mut extensions) = hello(&fragment)?;
    let at = usize::from(at);
    let which = at % extensions.len().max(1);
    match how % 12 {
        0 => drop((!extensions.is_empty()).then(|| extensions.remove(which))),
        1 => extensions.push(extensions.get(which)?.clone()),
        2 => extensions.swap(which, 0),
        3 => extensions.get_mut(which)?.0 = [43, 51, 44, 10, 13, 14, 23, 11, 0xff01, 41, 42, 45][at % 12],
        4 => extensions.get_mut(which)?.1.clear(),
        5 => extensions.get_mut(which)?.1.push(how),
        6 => extensions.reverse(),
        7 => extensions.clear(),
        8..11 => {
            let content = &mut extensions.get_mut(which)?.1;
            let place = at.wrapping_mul(37) % content.len().max(1);
            *content.get_mut(place)? ^= how;
        }
        _ => *front.get_mut(at)? ^= how,
    }
    let mut body = front;
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, content)| {
            [&kind.to_be_bytes()[..], &(content.len() as u16).to_be_bytes(), content].concat()
        })
        .collect();
    body.extend((list.len() as u16).to_be_bytes());
    body.extend(list);
    let message = Fragment { length: body.len() as u32, body: &body, ..fragment };
    Some(with_fragments(header, &[message], rest_of(datagram, &header)))
}

/// A hello as what stands before its extensions, and those.
#[allow(clippy::type_complexity)] // Used once.
fn hello(fragment: &Fragment<'_>) -> Option<(Vec<u8>, Vec<(u16, Vec<u8>)>)> {
    let mut r = Reader::new(fragment.body, "hello");
    // Version and random, session, then cookie, suites and compression, or the chosen ones.
    r.take(34).ok()?;
    r.sub_u8().ok()?;
    match fragment.kind {
        HandshakeType::CLIENT_HELLO => {
            r.sub_u8().ok()?;
            r.sub_u16().ok()?;
            r.sub_u8().ok()?;
        }
        HandshakeType::SERVER_HELLO => drop(r.take(3).ok()?),
        _ => return None,
    }
    let front = fragment.body[..fragment.body.len() - r.remaining()].to_vec();
    let mut list = r.sub_u16().ok()?;
    let mut extensions = Vec::new();
    while !list.is_empty() {
        let kind = list.u16().ok()?;
        extensions.push((kind, list.sub_u16().ok()?.rest().to_vec()));
    }
    Some((front, extensions))
}

/// The same message in two fragments, that may overlap, miss something, and be the wrong way round.
fn cut(datagram: &[u8], at: u8, how: u8) -> Option<BytesMut> {
    let (header, fragment) = first_message(datagram)?;
    let body = fragment.body;
    let at = usize::from(at) * body.len() / 256;
    let begin = (at + 8).saturating_sub(usize::from(how & 15)).min(body.len());
    let mut fragments = [
        Fragment { body: &body[..at], ..fragment },
        Fragment { offset: begin as u32, body: &body[begin..], ..fragment },
    ];
    if how & 16 != 0 {
        fragments.reverse();
    }
    Some(with_fragments(header, &fragments, rest_of(datagram, &header)))
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

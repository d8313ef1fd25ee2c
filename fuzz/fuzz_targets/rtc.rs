//! One connection against any bytes: raw, and as checks that are authentic, so that DTLS gets to see what follows.
//! Nothing panics, `poll_output` comes to an end, and a timeout is never due at once again and again.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::crypto;
use sansrtc::crypto::cert::Identity;
use sansrtc::crypto::mac::HmacSha1Key;
use sansrtc::rng::{Rng, Stream};
use sansrtc::stun::attributes::types;
use sansrtc::stun::message::TransactionId;
use sansrtc::stun::{Builder, Class, Method};
use sansrtc::{Candidate, ChannelConfig, Clock, Datagram, Event, Input, Offer, Output, Rtc, RtcConfig};

const OFFER: &str = include_str!("../seeds/sdp/chromium-data.sdp");
/// Outputs that one input may draw.
const MAX_OUTPUTS: usize = 1000;

#[derive(Debug, Arbitrary)]
struct Run<'a> {
    has_offer: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Datagram {
        source: u8,
        bytes: &'a [u8],
    },
    /// A binding request with our credentials, and any attributes besides.
    Check {
        source: u8,
        nominate: bool,
        priority: u32,
        attributes: Vec<(u16, &'a [u8])>,
        /// A datagram of DTLS inside, and hashes of ours (draft-hancke-webrtc-sped).
        dtls: Option<&'a [u8]>,
        acks: Option<&'a [u8]>,
    },
    /// A DTLS record with right lengths.
    Record {
        source: u8,
        kind: u8,
        epoch: u8,
        sequence: u8,
        body: &'a [u8],
    },
    Time {
        milliseconds: u16,
    },
    Offer(&'a str),
    Answer(&'a str),
    Restart,
    Open,
    Close,
}

fuzz_target!(|run: Run<'_>| {
    let (config, start) = fixture();
    let mut now = *start;
    let local: SocketAddr = ([192, 0, 2, 1], 5000).into();
    let clock = Clock { instant: now, unix: Duration::from_secs(1_800_000_000) };
    let mut rtc = Rtc::new(config.clone(), [1; 32], clock).expect("the configuration is valid");
    rtc.add_local_candidate(Candidate::host(local).expect("a host address")).expect("it is the first");
    if run.has_offer {
        let offer: Offer = OFFER.parse().expect("it was recorded from a browser");
        rtc.accept_offer(&offer).expect("it can be answered");
    }
    drain(&mut rtc, now);
    for step in run.steps {
        let datagram = |source: u8, bytes: &[u8]| {
            let source = SocketAddr::from(([198, 51, 100, source & 3], 1000));
            Input::Datagram(Datagram::udp(source, local, BytesMut::from(bytes)))
        };
        match step {
            Step::Datagram { source, bytes } => rtc.handle_input(now, datagram(source, bytes)),
            Step::Check { source, nominate, priority, mut attributes, dtls, acks } => {
                attributes.truncate(14);
                attributes.extend(acks.map(|acks| (types::DTLS_IN_STUN_ACK, acks)));
                attributes.extend(dtls.map(|datagram| (types::DTLS_IN_STUN, datagram)));
                let check = check(&rtc, nominate, priority, &attributes);
                rtc.handle_input(now, datagram(source, &check));
            }
            Step::Record { source, kind, epoch, sequence, body } => {
                let mut record = vec![20 + kind % 5, 254, 253, 0, epoch & 1, 0, 0, 0, 0, 0, sequence];
                record.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
                record.extend(body);
                rtc.handle_input(now, datagram(source, &record));
            }
            Step::Time { milliseconds } => {
                now += Duration::from_millis(milliseconds.into());
                rtc.handle_input(now, Input::Timeout);
            }
            Step::Offer(text) => drop(text.parse().map(|offer| rtc.accept_offer(&offer))),
            Step::Answer(text) => drop(text.parse().map(|answer| rtc.accept_answer(&answer))),
            Step::Restart => rtc.restart_ice(),
            Step::Open => drop(rtc.open_channel(ChannelConfig::labelled("fuzz"))),
            Step::Close => rtc.close(),
        }
        drain(&mut rtc, now);
    }
});

/// Takes everything; a deadline that has come already is met by the next one being later, or by output.
fn drain(rtc: &mut Rtc, now: Instant) {
    let mut closed = false;
    for _ in 0..MAX_OUTPUTS {
        match rtc.poll_output() {
            Output::Timeout(None) => return,
            Output::Timeout(Some(at)) => {
                assert!(!closed, "a closed connection asks for no timeouts");
                if at > now {
                    return;
                }
                rtc.handle_input(now, Input::Timeout);
            }
            Output::Event(Event::Closed(_)) => closed = true,
            Output::Transmit(transmit) => assert!(transmit.segments().all(|segment| segment.len() <= 1200)),
            Output::Event(_) | Output::Stream(_) => {}
        }
    }
    panic!("output without end");
}

fn check(rtc: &Rtc, nominate: bool, priority: u32, attributes: &[(u16, &[u8])]) -> BytesMut {
    let credentials = rtc.local_parameters().credentials;
    let mut bytes = BytesMut::new();
    let mut builder = Builder::new(&mut bytes, Class::Request, Method::BINDING, TransactionId([3; 12]));
    builder.username(&[credentials.ufrag.as_bytes(), b":", b"JUmX"]).priority(priority);
    for (kind, value) in attributes.iter().take(16) {
        builder.attribute(*kind, &value[..value.len().min(512)]);
    }
    if nominate {
        builder.use_candidate();
    }
    builder.integrity(&HmacSha1Key::new(credentials.pwd.as_bytes())).fingerprint();
    builder.finish();
    bytes
}

/// One identity for all runs, and cryptography that repeats itself: the same input does the same thing every time.
fn fixture() -> &'static (RtcConfig, Instant) {
    static FIXTURE: OnceLock<(RtcConfig, Instant)> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let mut rng = Rng::new([7; 32], Stream::Certificate);
        let identity = Identity::generate(crypto::rust(), &mut rng).expect("a key is made from the seed");
        let config =
            RtcConfig { identity: Some(Arc::new(identity)), crypto: crypto::rust(), ..RtcConfig::default() };
        (config, Instant::now())
    })
}

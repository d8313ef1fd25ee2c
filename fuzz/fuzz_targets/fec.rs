//! Parity: any payloads among any packets recover packets or nothing, in bounded memory; and a lost packet comes back.
#![no_main]

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::fec::{Parity, Protector, ProtectorConfig, Recovery, Scheme};
use sansrtc::rtp::header::Packet;
use sansrtc::types::ids::Ssrc;
use sansrtc::wire::serial::Serial16;

const MEDIA: Ssrc = Ssrc(1);

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    flexfec: bool,
    packets: u8,
    parities: u8,
    steps: Vec<Step<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Packet { gap: u8, lost: bool, bytes: &'a [u8] },
    Parity(&'a [u8]),
}

fuzz_target!(|input: Input<'_>| {
    let scheme = if input.flexfec { Scheme::Flexfec } else { Scheme::Ulpfec };
    let config = ProtectorConfig { packets: input.packets.into(), parities: input.parities };
    let mut protector = Protector::new(scheme, MEDIA, config, &[3]);
    let mut recovery = Recovery::new(scheme, MEDIA, &[3]);
    let (mut sequence, mut out) = (Serial16(0), BytesMut::new());
    for step in &input.steps {
        match step {
            Step::Packet { gap, lost, bytes } => {
                sequence = sequence.add(1 + u16::from(*gap) / 32);
                protector.on_sent(sequence, bytes);
                if !lost {
                    recovery.handle_packet(sequence, bytes);
                }
            }
            Step::Parity(bytes) => {
                if let Ok(parity) = Parity::parse(scheme, bytes) {
                    assert!(parity.covered().count() <= usize::from(scheme.span()));
                }
                let _ = recovery.handle_parity(bytes);
            }
        }
        out.clear();
        while protector.poll_parity(&mut out) {
            let _ = recovery.handle_parity(&out);
            out.clear();
        }
        while recovery.poll_recovered(&mut out).is_some() {
            assert!(Packet::parse(&out).is_ok());
            out.clear();
        }
        assert!(recovery.memory() <= 1024 * 1024);
    }
});

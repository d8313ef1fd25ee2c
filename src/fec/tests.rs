use super::*;
use crate::rtp::elements::Form;
use crate::rtp::extended::short_sequence;
use crate::rtp::header::{Fields, Packet, pad};
use crate::types::ids::Pt;
use crate::wire::serial::Serial32;
use proptest::prelude::*;

const MEDIA: Ssrc = Ssrc(2);
/// The element that is not protected.
const MUTABLE: u8 = 5;

fn packet(sequence: u16, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let fields = Fields {
        marker,
        payload_type: Pt::new(payload_type).unwrap(),
        sequence: Serial16(sequence),
        timestamp: Serial32(timestamp),
        ssrc: MEDIA,
    };
    fields.emit(&mut out, &[], Form::OneByte, |_| {});
    out.extend_from_slice(payload);
    out.to_vec()
}

/// A packet with everything that a header may have.
fn rich(sequence: u16, payload: &[u8], mutable: u8, padding: u8) -> Vec<u8> {
    let mut out = BytesMut::new();
    let fields = Fields {
        marker: sequence.is_multiple_of(3),
        payload_type: Pt::new(96 + u8::try_from(sequence % 4).unwrap()).unwrap(),
        sequence: Serial16(sequence),
        timestamp: Serial32(u32::from(sequence) * 3000),
        ssrc: MEDIA,
    };
    let csrcs = [Ssrc(7), Ssrc(8)];
    let csrcs = &csrcs[..usize::from(sequence % 3).min(2)];
    fields.emit(&mut out, csrcs, Form::OneByte, |w| {
        if !sequence.is_multiple_of(5) {
            assert!(w.push(1, b"mid") && w.push(MUTABLE, &[mutable; 3]));
        }
    });
    out.extend_from_slice(payload);
    pad(&mut out, 0, padding);
    out.to_vec()
}

#[test]
fn the_example_of_the_rfc_is_written_and_read() {
    // RFC 5109 §10.1, figures 8 and 9.
    let packets = [
        packet(8, 11, true, 3, &[1; 200]),
        packet(9, 18, false, 5, &[2; 140]),
        packet(10, 11, true, 7, &[4; 100]),
        packet(11, 18, false, 9, &[8; 340]),
    ];
    let config = ProtectorConfig { packets: 4, parities: 1 };
    let mut protector = Protector::new(Scheme::Ulpfec, MEDIA, config, &[]);
    for (sequence, packet) in (8..).zip(&packets) {
        protector.on_sent(Serial16(sequence), packet);
    }
    let mut out = BytesMut::new();
    assert!(protector.poll_parity(&mut out) && !protector.poll_parity(&mut out));
    assert_eq!(out[..14], [0, 0, 0, 8, 0, 0, 0, 8, 0x01, 0x74, 0x01, 0x54, 0xf0, 0]);
    assert_eq!((out.len(), out[14], out[14 + 120], out[14 + 150], out[14 + 250]), (354, 15, 11, 9, 8));
    let parity = Parity::parse(Scheme::Ulpfec, &out).unwrap();
    assert_eq!(parity.covered().map(|n| n.0).collect::<Vec<_>>(), [8, 9, 10, 11]);
    assert_eq!(parity.bits, HeaderBits { flags: [0, 0], timestamp: 8, len: 372 });
}

#[test]
fn flexfec_masks_have_three_lengths() {
    // Draft 03 §4.2.2: 15, 46 and 109 packets; a set bit in front of each part says that it is the last.
    for (last, header_len) in [(0u32, 20), (14, 20), (15, 24), (45, 24), (46, 32), (108, 32)] {
        let mask = 1 << 127 | 1 << (127 - last);
        let bits = HeaderBits { flags: [0x15, 0xe0], timestamp: 9, len: 3 };
        let parity = Parity { ssrc: Some(MEDIA), base: Serial16(65_500), mask, bits, payload: b"parity" };
        let mut out = BytesMut::new();
        parity.emit(Scheme::Flexfec, &mut out);
        assert_eq!(out.len(), header_len + 6, "{last}");
        assert!(out.len() <= Scheme::Flexfec.overhead() + 6);
        assert_eq!(Parity::parse(Scheme::Flexfec, &out), Ok(parity));
        for len in 0..header_len {
            assert!(Parity::parse(Scheme::Flexfec, &out[..len]).is_err(), "{last} {len}");
        }
    }
    // The first packet is the bit behind the first k.
    let mut out = BytesMut::new();
    let parity = Parity {
        ssrc: Some(Ssrc(0x01020304)),
        base: Serial16(0x1234),
        mask: 1 << 127 | 1 << 125,
        bits: HeaderBits { flags: [0x90, 0x60], timestamp: 0x05060708, len: 0x0a0b },
        payload: &[0xff],
    };
    parity.emit(Scheme::Flexfec, &mut out);
    let expected = [0x10, 0x60, 0x0a, 0x0b, 5, 6, 7, 8, 1, 0, 0, 0, 1, 2, 3, 4, 0x12, 0x34, 0xd0, 0x00, 0xff];
    assert_eq!(out[..], expected);
}

#[test]
fn parity_that_is_not_for_us_or_covers_nothing_is_refused() {
    let bits = HeaderBits::default();
    let mut out = BytesMut::new();
    let parity = Parity { ssrc: Some(Ssrc(99)), base: Serial16(0), mask: 1 << 127, bits, payload: b"x" };
    parity.emit(Scheme::Flexfec, &mut out);
    let mut recovery = Recovery::new(Scheme::Flexfec, MEDIA, &[]);
    assert!(recovery.handle_parity(&out).is_err());
    for first in [0x80, 0x40] {
        let mut bad = out.clone();
        bad[0] |= first;
        assert!(Parity::parse(Scheme::Flexfec, &bad).is_err());
    }
    let mut two = out.clone();
    two[8] = 2;
    assert!(Parity::parse(Scheme::Flexfec, &two).is_err());
    two[8] = 1;
    two[18..20].copy_from_slice(&[0x80, 0]);
    assert!(Parity::parse(Scheme::Flexfec, &two).is_err());
    assert!(Parity::parse(Scheme::Ulpfec, &[0; 14]).is_err());
    assert_eq!(recovery.memory(), 0);
}

#[test]
fn nothing_is_held_until_parity_comes_and_then_no_more_than_its_bound() {
    let mut recovery = Recovery::new(Scheme::Ulpfec, MEDIA, &[]);
    for sequence in 0..1000 {
        recovery.handle_packet(Serial16(sequence), &packet(sequence, 96, false, 0, &[1; 1000]));
    }
    assert_eq!(recovery.memory(), 0);
    let mut out = BytesMut::new();
    for round in 0..3000u16 {
        let bits = HeaderBits { flags: [0; 2], timestamp: 0, len: 1000 };
        // Two packets that never come.
        let mask = 1 << 127 | 1 << 120;
        let base = Serial16(1000 + round * 20);
        let parity = Parity { ssrc: None, base, mask, bits, payload: &[7; 1200] };
        out.clear();
        parity.emit(Scheme::Ulpfec, &mut out);
        recovery.handle_parity(&out).unwrap();
        let sequence = 1001 + round * 20;
        recovery.handle_packet(Serial16(sequence), &packet(sequence, 96, false, 0, &[1; 1200]));
        assert_eq!(recovery.poll_recovered(&mut BytesMut::new()), None);
    }
    assert!(recovery.memory() <= 288 * 2200, "{}", recovery.memory());
}

/// Sends packets through a protector and a lossy path into a recovery; says what came out of it.
fn carry(
    scheme: Scheme,
    config: ProtectorConfig,
    packets: &[(u16, Vec<u8>, Vec<u8>)],
    is_lost: impl Fn(u16) -> bool,
) -> Vec<(u16, Vec<u8>)> {
    let mut protector = Protector::new(scheme, MEDIA, config, &[MUTABLE]);
    let mut recovery = Recovery::new(scheme, MEDIA, &[MUTABLE]);
    // An empty parity: packets are held from here on.
    let mut first = BytesMut::new();
    let bits = HeaderBits::default();
    let (ssrc, base) = (Some(MEDIA), Serial16(packets[0].0).add(0x8000));
    Parity { ssrc, base, mask: 3 << 126, bits, payload: &[] }.emit(scheme, &mut first);
    recovery.handle_parity(&first).unwrap();
    let mut recovered = Vec::new();
    for (sequence, as_sent, as_received) in packets {
        protector.on_sent(Serial16(*sequence), as_sent);
        if !is_lost(*sequence) {
            recovery.handle_packet(Serial16(*sequence), as_received);
        }
        let mut parity = BytesMut::new();
        while protector.poll_parity(&mut parity) {
            recovery.handle_parity(&parity).unwrap();
            parity.clear();
        }
        let mut out = BytesMut::new();
        while let Some(sequence) = recovery.poll_recovered(&mut out) {
            recovered.push((sequence.0, out.to_vec()));
            out.clear();
        }
    }
    assert_eq!(recovery.recovered(), recovered.len() as u64);
    recovered
}

proptest! {
    #[test]
    fn one_loss_in_each_group_is_made_good(
        start: u16,
        payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..100), 0u8..20), 60..61),
        flexfec: bool,
        parities in 1u8..4,
        lost in 0u16..10,
    ) {
        let scheme = if flexfec { Scheme::Flexfec } else { Scheme::Ulpfec };
        let config = ProtectorConfig { packets: 20, parities };
        let packets: Vec<_> = (0u64..).zip(&payloads).map(|(n, (payload, padding))| {
            let sequence = short_sequence(u64::from(start) + n).0;
            // The network's own elements change on the way.
            let (sent, received) = (rich(sequence, payload, 1, *padding), rich(sequence, payload, 77, *padding));
            (sequence, sent, received)
        }).collect();
        // As many in a row as there are parities, once in each block.
        let run = u16::from(parities);
        let is_lost = |sequence: u16| {
            let at = sequence.wrapping_sub(start) % 20;
            at >= lost && at < lost + run
        };
        let recovered = carry(scheme, config, &packets, is_lost);
        prop_assert_eq!(recovered.len(), 3 * usize::from(parities));
        for (sequence, bytes) in recovered {
            prop_assert!(is_lost(sequence));
            let at = usize::from(sequence.wrapping_sub(start));
            let (payload, padding) = &payloads[at];
            prop_assert_eq!(&bytes, &rich(sequence, payload, 0, *padding));
            prop_assert!(Packet::parse(&bytes).is_ok());
        }
    }

    #[test]
    fn any_payload_is_read_or_refused_and_recovers_only_packets(
        payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 1..60),
    ) {
        let mut recovery = Recovery::new(Scheme::Ulpfec, MEDIA, &[]);
        let mut out = BytesMut::new();
        for (sequence, (is_parity, mut payload)) in (0u16..).zip(payloads) {
            if is_parity {
                if payload.len() > 14 {
                    // Near enough to matter.
                    payload[2..4].copy_from_slice(&sequence.saturating_sub(9).to_be_bytes());
                    payload[10..12].copy_from_slice(&[0, 1]);
                }
                let _ = recovery.handle_parity(&payload);
            } else {
                recovery.handle_packet(Serial16(sequence), &payload);
            }
            while recovery.poll_recovered(&mut out).is_some() {
                prop_assert!(Packet::parse(&out).is_ok());
                out.clear();
            }
            let _ = Parity::parse(Scheme::Flexfec, &[0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        }
    }

    #[test]
    fn blanking_touches_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut blanked = bytes.clone();
        blank(&mut blanked, &[MUTABLE, 9]);
        prop_assert_eq!(blanked.len(), bytes.len());
        match Packet::parse(&bytes) {
            Ok(packet) => {
                let after = Packet::parse(&blanked).unwrap();
                prop_assert_eq!(packet.payload(), after.payload());
                for (before, after) in packet.elements().zip(after.elements()) {
                    let is_blank = [MUTABLE, 9].contains(&before.id);
                    prop_assert_eq!(before.id, after.id);
                    let zeros = vec![0; before.data.len()];
                    prop_assert_eq!(after.data, if is_blank { &zeros[..] } else { before.data });
                }
            }
            Err(_) => if crate::rtp::header::Header::parse(&bytes).is_err() { prop_assert_eq!(bytes, blanked) },
        }
    }
}

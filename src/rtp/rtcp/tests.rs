//! Vectors computed from RFC 3550, 4585, 5104, REMB and the transport-wide draft; properties of every type.

use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;

use super::report::*;
use super::source::*;
use super::*;
use crate::packet::Ecn;
use crate::rtp::ntp::NtpTime;
use crate::wire::serial::Serial16;

const A: Ssrc = Ssrc(0x902f9e2e);
const B: Ssrc = Ssrc(0xbc5e9a40);

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The only packet of a datagram.
fn only(datagram: &[u8]) -> Packet<'_> {
    let mut compound = Compound::new(datagram);
    let packet = compound.next().unwrap().unwrap();
    assert!(compound.next().is_none());
    packet
}

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::from(&b"before"[..]);
    write(&mut out);
    out.split_off(6)
}

/// Looks at everything that a packet can be asked: nothing may panic or go on for ever.
fn visit(packet: Packet<'_>) -> usize {
    match packet {
        Packet::SenderReport(p) => p.blocks.iter().count(),
        Packet::ReceiverReport(p) => p.blocks.iter().count(),
        Packet::Description(p) => p.chunks().map(|c| 1 + c.items().count()).sum(),
        Packet::Bye(p) => p.sources().count() + p.reason.len(),
        Packet::Application(p) => p.data.len(),
        Packet::Extended(p) => p
            .blocks()
            .map(|block| match block {
                ExtendedBlock::Delays(delays) => delays.iter().count(),
                ExtendedBlock::Unknown { body, .. } => body.len(),
                _ => 1,
            })
            .sum(),
        Packet::Nack(p) => p.lost().count(),
        Packet::MaxBitrate(p) => p.limits().count(),
        Packet::TransportWide(p) => p.statuses().count(),
        Packet::Congestion(p) => p.blocks().map(|block| block.metrics().count()).sum(),
        Packet::PictureLoss(_) => 1,
        Packet::FullIntra(p) => p.requests().count(),
        Packet::Remb(p) => p.streams().count(),
        Packet::Unknown(p) => p.body.len(),
    }
}

fn block() -> ReportBlock {
    ReportBlock {
        ssrc: B,
        fraction_lost: 0,
        lost: 0,
        highest_sequence: 18145,
        jitter: 273,
        last_sr: 166_945_842,
        delay_since_last_sr: 150_137,
    }
}

#[test]
fn a_receiver_report_is_read_and_written() {
    let hex = bytes("81c90007902f9e2ebc5e9a4000000000000046e10000011109f3643200024a79");
    let Packet::ReceiverReport(report) = only(&hex) else { panic!() };
    assert_eq!((report.sender, report.blocks.iter().collect::<Vec<_>>()), (A, vec![block()]));
    assert_eq!(written(|out| assert_eq!(ReceiverReport::emit(out, 32, A, &[block()]), Some(1))), hex);
    assert_eq!(written(|out| assert_eq!(ReceiverReport::emit(out, 31, A, &[block()]), Some(0))).len(), 8);
    assert!(written(|out| assert_eq!(ReceiverReport::emit(out, 7, A, &[]), None)).is_empty());
}

#[test]
fn a_nack_is_read_and_written() {
    let hex = bytes("81cd0003902f9e2ebc5e9a4001020005");
    let Packet::Nack(nack) = only(&hex) else { panic!() };
    assert_eq!((nack.sender, nack.media), (A, B));
    let lost = [258, 259, 261].map(Serial16);
    assert_eq!(nack.lost().collect::<Vec<_>>(), lost);
    assert_eq!(written(|out| assert_eq!(feedback::Nack::emit(out, 16, A, B, lost), 3)), hex);
    assert!(written(|out| assert_eq!(feedback::Nack::emit(out, 15, A, B, lost), 0)).is_empty());
}

#[test]
fn key_frame_requests_are_read_and_written() {
    let hex = bytes("81ce0002902f9e2ebc5e9a40");
    let Packet::PictureLoss(pli) = only(&hex) else { panic!() };
    assert_eq!(pli, feedback::PictureLoss { sender: A, media: B });
    assert_eq!(written(|out| assert!(pli.emit(out, 12) && !pli.emit(out, 11))), hex);

    let hex = bytes("84ce0004902f9e2e00000000bc5e9a4007000000");
    let Packet::FullIntra(fir) = only(&hex) else { panic!() };
    assert_eq!((fir.sender, fir.requests().collect::<Vec<_>>()), (A, vec![(B, 7)]));
    assert_eq!(written(|out| assert_eq!(feedback::FullIntra::emit(out, 20, A, &[(B, 7); 2]), 1)), hex);
}

#[test]
fn a_remb_is_read_and_written() {
    let hex = bytes("8fce0005000000010000000052454d42011a20df48116ff7");
    let Packet::Remb(remb) = only(&hex) else { panic!() };
    assert_eq!((remb.sender, remb.bitrate), (Ssrc(1), 8_927_168));
    let streams: Vec<_> = remb.streams().collect();
    assert_eq!(streams, [Ssrc(0x48116ff7)]);
    let again =
        written(|out| assert_eq!(feedback::Remb::emit(out, 24, Ssrc(1), 8_927_168, &streams), Some(1)));
    assert_eq!(again, hex);
    // Above 64 bits the rate saturates; a count beyond the packet is refused.
    let mut huge = hex.clone();
    huge[17..20].fill(0xff);
    let Packet::Remb(remb) = only(&huge) else { panic!() };
    assert_eq!(remb.bitrate, u64::MAX);
    huge[16] = 2;
    assert!(Compound::new(&huge).next().unwrap().is_err());
}

#[test]
fn a_goodbye_is_read_and_written() {
    let hex = bytes("81cb0003902f9e2e0663616d65726100");
    let Packet::Bye(bye) = only(&hex) else { panic!() };
    assert_eq!((bye.sources().collect::<Vec<_>>(), bye.reason), (vec![A], &b"camera"[..]));
    assert_eq!(written(|out| assert_eq!(Bye::emit(out, 16, &[A], "camera"), Some(1))), hex);
    assert_eq!(written(|out| assert_eq!(Bye::emit(out, 15, &[A], "camera"), Some(1))).len(), 8);
    // A reason longer than the packet.
    let mut long = hex.clone();
    long[8] = 8;
    assert!(Compound::new(&long).next().unwrap().is_err());
}

#[test]
fn sender_reports_descriptions_and_others_round_trip_in_one_compound() {
    let info = SenderInfo { ntp: NtpTime(0x0102030405060708), rtp: 9, packets: 10, octets: 11 };
    let delay = Delay { ssrc: B, last_rr: 7, delay: 8 };
    let app = Application { ssrc: A, subtype: 3, name: *b"name", data: b"data" };
    let blocks = [ReportBlock { lost: -5, ..block() }, ReportBlock { lost: i32::MAX, ..block() }];
    let datagram = written(|out| {
        assert_eq!(SenderReport::emit(out, 1200, A, &info, &blocks), Some(2));
        assert!(Description::emit(out, 1200, A, &[(CNAME, b"me"), (MID, b"0")]));
        assert_eq!(Extended::emit(out, 1200, A, Some(NtpTime(5)), &[delay]), Some(1));
        assert!(app.emit(out, 1200));
    });
    let packets: Vec<_> = Compound::new(&datagram).map(Result::unwrap).collect();
    let [Packet::SenderReport(sr), Packet::Description(sdes), Packet::Extended(xr), Packet::Application(a)] =
        packets[..]
    else {
        panic!("{packets:?}")
    };
    assert_eq!((sr.sender, sr.info), (A, info));
    assert_eq!(sr.blocks.iter().map(|b| b.lost).collect::<Vec<_>>(), [-5, (1 << 23) - 1]);
    let chunks: Vec<_> = sdes.chunks().collect();
    assert_eq!(chunks[0].items().collect::<Vec<_>>(), [(CNAME, &b"me"[..]), (MID, b"0")]);
    let blocks: Vec<_> = xr.blocks().collect();
    assert_eq!(blocks[0], ExtendedBlock::ReceiverTime(NtpTime(5)));
    let ExtendedBlock::Delays(delays) = blocks[1] else { panic!() };
    assert_eq!(delays.iter().collect::<Vec<_>>(), [delay]);
    assert_eq!(a, app);
}

#[test]
fn padding_is_taken_off_or_refused() {
    // RFC 3550 §6.4.1: a multiple of four, itself included.
    let with = |count: u8| {
        let mut packet = bytes("a1ce0003902f9e2ebc5e9a4000000000");
        packet[15] = count;
        Compound::new(&packet).next().unwrap().map(visit)
    };
    assert_eq!(with(4), Ok(1));
    assert!(with(0).is_err() && with(3).is_err() && with(8).is_err() && with(255).is_err());
}

#[test]
fn unknown_packets_and_blocks_are_kept() {
    let Packet::Unknown(unknown) = only(&[0x85, 222, 0, 1, 1, 2, 3, 4]) else { panic!() };
    assert_eq!(unknown, Unknown { packet_type: 222, count: 5, body: &[1, 2, 3, 4] });
    let Packet::Extended(xr) = only(&[0x80, 207, 0, 3, 0, 0, 0, 1, 77, 8, 0, 1, 1, 2, 3, 4]) else {
        panic!()
    };
    let expected = ExtendedBlock::Unknown { block_type: 77, specific: 8, body: &[1, 2, 3, 4] };
    assert_eq!(xr.blocks().collect::<Vec<_>>(), [expected]);
}

fn twcc(hex: &str) -> (i64, u8, Vec<twcc::Status>) {
    let datagram = bytes(hex);
    let Packet::TransportWide(feedback) = only(&datagram) else { panic!() };
    assert_eq!((feedback.sender, feedback.media), (Ssrc(0x11111111), Ssrc(0x22222222)));
    (feedback.reference_micros() / 1000, feedback.feedback_count, feedback.statuses().collect())
}

#[test]
fn transport_wide_vectors_are_read() {
    let (reference, count, all) =
        twcc("8fcd000811111111222222220064000a000010012007d800040404040404040440000000");
    assert_eq!((reference, count, all.len()), (1024, 1, 10));
    let came: Vec<_> =
        all.iter().map(|s| (s.sequence, s.arrival.map(|ticks| ticks * 250 - 1_024_000))).collect();
    assert_eq!(came[0], (100, Some(1000)));
    assert_eq!(came[7], (107, Some(8000)));
    assert_eq!(came[8], (108, Some(4_104_000)));
    assert_eq!(came[9], (109, None));

    let (reference, count, all) = twcc("8fcd00071111111122222222fffa000e800000ffaaaa00010203040506000000");
    assert_eq!((reference, count), (-536_870_912, 255));
    assert_eq!((all[0].sequence, all[13].sequence), (65530, 7));
    assert!(all.iter().enumerate().all(|(at, status)| status.arrival.is_some() == (at % 2 == 0)));

    let (_, _, all) = twcc("8fcd0005111111112222222200001fff000000001fff0000");
    assert!(all.len() == 8191 && all.iter().all(|status| status.arrival.is_none()));

    let (_, _, all) = twcc("8fcd000611111111222222220005000300000102400380007fff0000");
    let base = 64_000 / 250;
    let ticks: Vec<_> = all.iter().map(|status| status.arrival.unwrap() - base).collect();
    assert_eq!(ticks, [-32768, -1, -1]);
}

#[test]
fn reserved_statuses_and_missing_deltas_are_refused() {
    for chunk in ["6001", "f000"] {
        let packet = bytes(&format!("8fcd000511111111222222220000000100000000{chunk}0000"));
        assert!(Compound::new(&packet[..24]).next().unwrap().is_err(), "{chunk}");
    }
    // Three packets with small deltas, and two bytes left for them.
    let packet = bytes("8fcd000511111111222222220000000300000000 20030101".replace(' ', "").as_str());
    assert!(Compound::new(&packet).next().unwrap().is_err());
}

#[test]
fn feedback_about_65535_packets_is_walked_in_place() {
    let mut packet = bytes("8fcd0009111111112222222200 00ffff00000000".replace(' ', "").as_str());
    for _ in 0..10 {
        packet.extend([0x1f, 0xff]);
    }
    let Packet::TransportWide(feedback) = only(&packet) else { panic!() };
    assert_eq!(feedback.statuses().count(), 65_535);
}

#[test]
fn congestion_feedback_tells_what_came_and_what_did_not() {
    let at = Duration::from_millis;
    let packets = [
        Some(ccfb::Arrival { at: at(9_500), ecn: Ecn::Ce }),
        None,
        Some(ccfb::Arrival { at: at(1_000), ecn: Ecn::Ect1 }),
        Some(ccfb::Arrival { at: at(11_000), ecn: Ecn::NotEct }),
    ];
    let datagram = written(|out| {
        let mut w = ccfb::FeedbackWriter::new(out, 1200, A, at(10_000)).unwrap();
        assert_eq!(w.push(B, 0xffff, &packets), 4);
        assert_eq!(w.push(A, 5, &packets[..1]), 1);
        w.finish(77);
    });
    let Packet::Congestion(feedback) = only(&datagram) else { panic!() };
    assert_eq!((feedback.sender, feedback.timestamp), (A, 77));
    let blocks: Vec<_> = feedback.blocks().collect();
    let metrics: Vec<_> = blocks[0].metrics().collect();
    let metric = |ecn, before| Some(ccfb::Metric { ecn, before });
    // RFC 8888 §3.1: half a second is 512; too old and too new are not told.
    assert_eq!(metrics[0], (0xffff, metric(Ecn::Ce, Some(512))));
    assert_eq!(metrics[1], (0, None));
    assert_eq!(metrics[2], (1, metric(Ecn::Ect1, None)));
    assert_eq!(metrics[3], (2, metric(Ecn::NotEct, None)));
    assert_eq!((blocks[1].ssrc, blocks[1].metrics().count()), (A, 1));
}

#[test]
fn congestion_feedback_beyond_a_quarter_of_the_numbers_is_refused() {
    let mut packet = vec![0x8b, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0x40, 0x01];
    packet.resize(16 + 2 * 16_386 + 4, 0);
    let words = u16::try_from(packet.len() / 4 - 1).unwrap();
    packet[2..4].copy_from_slice(&words.to_be_bytes());
    assert!(Compound::new(&packet).next().unwrap().is_err());
}

#[test]
fn a_bitrate_limit_is_read() {
    let hex = bytes("83cd0004902f9e2e00000000bc5e9a4009f40028");
    let Packet::MaxBitrate(limits) = only(&hex) else { panic!() };
    let word = 0x09f40028u32;
    let expected = feedback::BitrateLimit {
        ssrc: B,
        bitrate: u64::from(word >> 9 & 0x1ffff) << (word >> 26),
        overhead: 0x28,
    };
    assert_eq!(limits.limits().collect::<Vec<_>>(), [expected]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        kind in 200u8..208,
        count in 0u8..32,
        mut body in prop::collection::vec(any::<u8>(), 0..200),
        length in prop::option::of(any::<u16>()),
    ) {
        let words = u16::try_from(body.len() / 4).unwrap();
        let [a, b] = length.unwrap_or(words).to_be_bytes();
        let mut datagram = vec![0x80 | count, kind, a, b];
        datagram.append(&mut body);
        for packet in Compound::new(&datagram).flatten() {
            visit(packet);
        }
    }

    #[test]
    fn a_compound_cut_anywhere_is_read_up_to_the_cut(cut in 0usize..200) {
        let info = SenderInfo { ntp: NtpTime(1), rtp: 9, packets: 10, octets: 11 };
        let datagram = written(|out| {
            SenderReport::emit(out, 1200, A, &info, &[block(); 2]);
            Description::emit(out, 1200, A, &[(CNAME, b"me")]);
            feedback::Nack::emit(out, 1200, A, B, (0..50).map(|n| Serial16(n * 3)));
        });
        let cut = &datagram[..cut.min(datagram.len())];
        for packet in Compound::new(cut).flatten() {
            visit(packet);
        }
    }

    #[test]
    fn nacks_fit_and_tell_all_in_turn(lost in prop::collection::btree_set(any::<u16>(), 1..300), room in 16usize..200) {
        let mut left: Vec<_> = lost.iter().copied().filter(|n| *n < 0x8000).map(Serial16).collect();
        let expected = left.clone();
        let mut told = Vec::new();
        while !left.is_empty() {
            let mut out = BytesMut::new();
            let count = feedback::Nack::emit(&mut out, room, A, B, left.iter().copied());
            prop_assert!(count > 0 && out.len() <= room);
            let Packet::Nack(nack) = only(&out) else { panic!() };
            told.extend(nack.lost());
            left.drain(..count);
        }
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn transport_feedback_fits_and_tells_all_in_turn(
        steps in prop::collection::vec((prop_oneof![8 => Just(1u64), 3 => 2u64..40, 1 => 40u64..9000],
            prop_oneof![8 => 0u64..60_000, 1 => 0u64..9_000_000, 1 => 0u64..40_000_000], any::<bool>()), 1..200),
        room in 40usize..300,
    ) {
        let (mut sequence, mut at) = (65_000u64, 5_000_000u64);
        let arrivals: Vec<_> = steps.iter().map(|(gap, micros, back)| {
            sequence += gap;
            at = if *back { at.saturating_sub(micros / 8) } else { at + micros };
            twcc::Arrival { sequence, at: Duration::from_micros(at) }
        }).collect();
        let (mut left, mut base, mut told) = (&arrivals[..], 65_001u64, Vec::new());
        while !left.is_empty() {
            let mut out = BytesMut::new();
            let Some(covered) = twcc::emit_feedback(&mut out, room, (A, B), 7, base, left) else {
                return Err(TestCaseError::fail("no progress"));
            };
            prop_assert!(out.len() <= room, "{} bytes in {}", out.len(), room);
            let Packet::TransportWide(feedback) = only(&out) else { panic!() };
            let told_base = covered.next_base - u64::from(feedback.count);
            prop_assert_eq!((told_base & 0xffff) as u16, feedback.base);
            for (offset, status) in (0u64..).zip(feedback.statuses()) {
                told.extend(status.arrival.map(|ticks| (told_base + offset, ticks)));
            }
            base = covered.next_base;
            left = &left[covered.arrivals..];
        }
        // The reference time has 24 bits; these times are far from their end.
        let expected: Vec<_> = arrivals.iter().map(|a| (a.sequence, (a.at.as_micros() / 250) as i64)).collect();
        prop_assert_eq!(told, expected);
    }
}

//! The machines of a stream, driven by any packets, times and feedback: bounded, and their counts stay true.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::packet::Ecn;
use sansrtc::rtp::ntp::NtpTime;
use sansrtc::rtp::rtcp::{Compound, Packet};
use sansrtc::rtp::stream::receive::{
    Arrivals, Congestion, NackConfig, Nacks, Reorder, ReorderConfig, Statistics,
};
use sansrtc::rtp::stream::round_trip::MAX_RTT;
use sansrtc::rtp::stream::send::{Answer, History, HistoryConfig, Reports, Transport};
use sansrtc::types::ids::Ssrc;
use sansrtc::wire::serial::{Serial16, Serial32};

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Wait(u16),
    Receive { sequence: u16, timestamp: u32, len: u16 },
    Send { gap: u8, bytes: &'a [u8] },
    Ask { sequence: u16, rtt: Option<u16> },
    Feedback(&'a [u8]),
    Report,
}

struct Machines {
    statistics: Statistics,
    nacks: Nacks,
    reorder: Reorder<u64>,
    arrivals: Arrivals,
    congestion: Congestion,
    history: History,
    reports: Reports,
    transport: Transport,
    sent: u64,
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut now = Instant::now();
    let mut machines = Machines {
        statistics: Statistics::new(90_000),
        nacks: Nacks::new(NackConfig { limit: 100, ..NackConfig::default() }),
        reorder: Reorder::new(ReorderConfig { max_packets: 50, ..ReorderConfig::default() }),
        arrivals: Arrivals::new(),
        congestion: Congestion::new(),
        history: History::new(HistoryConfig { max_bytes: 20_000, ..HistoryConfig::default() }),
        reports: Reports::new(90_000),
        transport: Transport::new(),
        sent: 1 << 16,
    };
    for step in steps {
        match step {
            Step::Wait(millis) => now += Duration::from_millis(millis.into()),
            step => machines.step(now, step),
        }
        assert!(machines.nacks.missing() <= 100 && machines.reorder.len() <= 51);
        assert!(machines.history.memory() <= 20_000 + 4096 * 32);
        assert!(machines.arrivals.len() <= 4097);
        assert!(machines.reports.round_trip().smoothed().unwrap_or_default() <= MAX_RTT);
    }
});

impl Machines {
    fn step(&mut self, now: Instant, step: Step<'_>) {
        match step {
            Step::Wait(_) => {}
            Step::Receive { sequence, timestamp, len } => {
                let (sequence, timestamp) = (Serial16(sequence), Serial32(timestamp));
                let verdict = self.statistics.handle_packet(now, sequence, timestamp, len.into());
                self.arrivals.handle_packet(now, sequence);
                self.congestion.handle_packet(now, Ssrc(timestamp.0 % 100), sequence, Ecn::Ect1);
                if let Some(long) = verdict.sequence() {
                    self.nacks.handle_packet(now, long);
                    let _ = self.reorder.handle_packet(now, long, len.into(), long);
                    while self.reorder.poll(now).is_some() {}
                }
            }
            Step::Send { gap, bytes } => {
                self.sent += u64::from(gap);
                self.history.push(now, self.sent, bytes);
                self.reports.on_sent(now, Serial32(u32::from(gap)), bytes.len());
                self.transport.on_sent(now, Ssrc(gap.into()), Serial16(gap.into()), bytes.len());
            }
            Step::Ask { sequence, rtt } => {
                let rtt = rtt.map(|millis| Duration::from_millis(millis.into()));
                if let Answer::Packet { sequence: long, bytes } =
                    self.history.take(now, Serial16(sequence), rtt)
                {
                    assert!(long % 65_536 == u64::from(sequence) && !bytes.is_empty());
                }
                self.nacks.handle_timeout(now);
                let count = self.nacks.due(now).count();
                self.nacks.on_asked(now, count, rtt);
            }
            Step::Feedback(bytes) => {
                for packet in Compound::new(bytes).flatten() {
                    match packet {
                        Packet::TransportWide(told) => {
                            let _ = self.transport.handle_transport_wide(&told).count();
                        }
                        Packet::Congestion(told) => drop(self.transport.handle_congestion(&told).count()),
                        Packet::ReceiverReport(report) => report.blocks.iter().for_each(|block| {
                            self.reports.on_report_block(now, NtpTime(1 << 40), &block);
                        }),
                        _ => {}
                    }
                }
            }
            Step::Report => {
                let mut out = BytesMut::new();
                while self.arrivals.emit(now, &mut out, 1200, Ssrc(1), Ssrc(2)) {}
                while self.congestion.emit(now, NtpTime(5 << 32), &mut out, 1200, Ssrc(1)) {}
                let _ = self.statistics.take_report(now, Ssrc(1));
                let _ = self.reports.sender_info(now, NtpTime(5 << 32));
                assert!(Compound::new(&out).all(|packet| packet.is_ok()));
            }
        }
    }
}

//! Session descriptions: text to model, model to text.
//!
//! `data-30-lines` is the measure of the project: a browser's data offer with candidates, 30 lines, to be read in
//! less than 1 µs and written in less than 500 ns. The full offers of browsers stand beside it.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sansrtc::sdp::{Description, Offer};

#[path = "cpu/mod.rs"]
mod cpu;

use cpu::CpuTime;

const OFFERS: [(&str, &str); 5] = [
    ("chromium-data", include_str!("../tests/data/sdp/chromium-data.sdp")),
    ("firefox-data", include_str!("../tests/data/sdp/firefox-data.sdp")),
    ("chromium-simulcast", include_str!("../tests/data/sdp/chromium-simulcast.sdp")),
    ("chromium-audio-video-data", include_str!("../tests/data/sdp/chromium-audio-video-data.sdp")),
    ("firefox-audio-video-data", include_str!("../tests/data/sdp/firefox-audio-video-data.sdp")),
];

/// Chromium's data offer with more candidates, 30 lines in all.
fn thirty_lines() -> String {
    let candidate =
        "a=candidate:1886140492 1 udp 2122194687 192.0.2.10 39119 typ host generation 0 network-id 1\r\n";
    let offer = OFFERS[0].1;
    let missing = 30 - offer.lines().count();
    offer.replacen(candidate, &candidate.repeat(1 + missing), 1)
}

fn descriptions(c: &mut Criterion<CpuTime>) {
    let thirty = thirty_lines();
    assert_eq!(thirty.lines().count(), 30);
    let mut group = c.benchmark_group("sdp");
    for (name, text) in std::iter::once(("data-30-lines", thirty.as_str())).chain(OFFERS) {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("parse/{name}"), |b| {
            b.iter(|| Description::parse(black_box(text)).unwrap())
        });
        group.bench_function(format!("parse-owned/{name}"), |b| {
            b.iter(|| black_box(text).parse::<Offer>().unwrap())
        });
        let description = Description::parse(text).unwrap();
        group.bench_function(format!("print/{name}"), |b| b.iter(|| black_box(&description).emit()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = descriptions
}
criterion_main!(benches);

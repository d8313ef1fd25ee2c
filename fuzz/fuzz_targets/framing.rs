//! Packets out of any byte stream, however it is cut: both framings agree with themselves, nothing grows.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::IncomingStream;
use sansrtc::wire::deframer::{Deframer, Framing};

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    for framing in [Framing::LengthPrefixed, Framing::Stun] {
        let whole = packets(framing, bytes, bytes.len().max(1));
        let pieces = packets(framing, bytes, usize::from(cut).max(1));
        assert_eq!(whole, pieces);
    }
    let mut stream = IncomingStream::new(([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
    for piece in bytes.chunks(usize::from(cut).max(1)) {
        let _ = stream.push(piece);
        let _ = stream.ufrag();
    }
});

fn packets(framing: Framing, bytes: &[u8], cut: usize) -> Vec<Vec<u8>> {
    let mut deframer = Deframer::new(framing, 2000);
    let mut found = Vec::new();
    for piece in bytes.chunks(cut) {
        deframer.push(BytesMut::from(piece));
        while let Ok(Some(packet)) = deframer.next_packet() {
            found.push(packet.to_vec());
        }
        assert!(deframer.pending() <= 2000 + cut);
    }
    found
}

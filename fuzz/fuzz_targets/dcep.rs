//! DCEP: an error, or a message that survives being written and read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::dcep::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Message::Open(open)) = Message::parse(bytes) {
        let mut out = BytesMut::new();
        open.emit(&mut out);
        assert_eq!(Message::parse(&out), Ok(Message::Open(open)));
    }
});

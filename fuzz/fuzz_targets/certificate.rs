//! A peer's certificate, and identities loaded from PEM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sansrtc::crypto::cert;

fuzz_target!(|der: &[u8]| {
    let _ = cert::public_key(der);
});

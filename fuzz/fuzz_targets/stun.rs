//! STUN messages: an error or a view, every attribute of which can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sansrtc::crypto::hash::HashAlgorithm;
use sansrtc::crypto::mac::{HmacKey, HmacSha1Key};
use sansrtc::stun::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    let _ = message.verify_integrity(&HmacSha1Key::new(b"password"));
    let _ = message.verify_integrity_sha256(&HmacKey::new(HashAlgorithm::Sha256, b"password"));
    for attribute in message.attributes() {
        let _ = message.xor_address(attribute.kind);
    }
    let _ = (message.username(), message.software(), message.realm(), message.nonce(), message.userhash());
    let _ =
        (message.priority(), message.use_candidate(), message.ice_controlling(), message.ice_controlled());
    let _ = (message.mapped_address(), message.alternate_server(), message.error_code());
    let _ = (message.unknown_attributes(), message.password_algorithm(), message.password_algorithms());
    let _ = message.unknown_required();
});

//! Candidates and fingerprints as text: an error or a value that survives being printed and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sansrtc::types::candidate::Candidate;
use sansrtc::types::fingerprint::Fingerprint;

fuzz_target!(|text: &str| {
    if let Ok(candidate) = text.parse::<Candidate>() {
        assert_eq!(candidate.to_string().parse(), Ok(candidate));
    }
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
});

//! Any text is an error or a description, and a description survives being printed and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sansrtc::sdp::Description;

fuzz_target!(|text: &str| {
    if let Ok(description) = Description::parse(text) {
        let printed = description.emit();
        let again = Description::parse(&printed).expect("what we print, we read");
        assert_eq!(description, again);
    }
});

//! NTP time as RTCP uses it (RFC 3550 §4): 32 bits of seconds since 1900, 32 bits of fraction.

use std::time::Duration;

/// Seconds from 1900 to 1970 (RFC 5905 §6, figure 4).
const UNIX_OFFSET: u64 = 2_208_988_800;

/// A moment in NTP format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NtpTime(
    /// Seconds in the upper half, fraction in the lower.
    pub u64,
);

impl NtpTime {
    /// The moment that lies `unix` after 1970. Wraps in 2036, as the format does.
    pub fn from_unix(unix: Duration) -> Self {
        let seconds = unix.as_secs().wrapping_add(UNIX_OFFSET) & 0xffff_ffff;
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        NtpTime(seconds << 32 | fraction)
    }

    /// Time since 1970 of a moment between 1968 and 2104 (RFC 5905 §6: a clear top bit is the next era).
    pub fn to_unix(self) -> Duration {
        let seconds = self.0 >> 32;
        let era = if seconds >> 31 == 0 { 1 << 32 } else { 0 };
        let nanos = ((self.0 & 0xffff_ffff) * 1_000_000_000) >> 32;
        Duration::from_secs((seconds + era).saturating_sub(UNIX_OFFSET)) + Duration::from_nanos(nanos)
    }

    /// The middle 32 bits: units of 1/65,536 s (RFC 3550 §4).
    pub fn middle(self) -> u32 {
        u32::try_from(self.0 >> 16 & 0xffff_ffff).unwrap_or(0)
    }
}

/// A duration in units of 1/65,536 s, saturating at 18 hours (RFC 3550 §6.4.1, DLSR).
pub fn to_short(duration: Duration) -> u32 {
    let units = (duration.as_nanos() << 16) / 1_000_000_000;
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// The duration that units of 1/65,536 s stand for.
pub fn from_short(units: u32) -> Duration {
    Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16)
}

/// The round trip time from a report (RFC 3550 §6.4.1): `now` minus delay minus last report, all in middle
/// form. `None` when no report was received by the other side; 0 when clocks disagree by a little.
pub fn round_trip(now: NtpTime, last_report: u32, delay: u32) -> Option<Duration> {
    if last_report == 0 {
        return None;
    }
    let units = now.middle().wrapping_sub(last_report).wrapping_sub(delay);
    // Half the range and more is a negative number.
    Some(if units >> 31 == 1 { Duration::ZERO } else { from_short(units) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_gives_its_round_trip() {
        // RFC 3550 §6.4.1, figure 2: A = 0xb710:8000, LSR = 0xb705:2000, DLSR = 5.25 s: 6.125 s.
        let now = NtpTime(0x0000_b710_8000_0000);
        assert_eq!(round_trip(now, 0xb705_2000, 0x0005_4000), Some(Duration::from_millis(6125)));
        assert_eq!(round_trip(now, 0, 0), None);
        assert_eq!(round_trip(now, 0xb710_8000, 5), Some(Duration::ZERO));
    }

    #[test]
    fn unix_time_round_trips_within_a_nanosecond() {
        for unix in
            [Duration::ZERO, Duration::new(1_700_000_000, 123_456_789), Duration::from_secs(3_000_000_000)]
        {
            let back = NtpTime::from_unix(unix).to_unix();
            assert!(back <= unix && unix - back <= Duration::from_nanos(1), "{unix:?} {back:?}");
        }
    }

    #[test]
    fn durations_saturate() {
        assert_eq!(to_short(Duration::from_millis(5250)), 0x0005_4000);
        assert_eq!(to_short(Duration::from_secs(1 << 20)), u32::MAX);
        assert_eq!(from_short(0x0005_4000), Duration::from_millis(5250));
    }
}

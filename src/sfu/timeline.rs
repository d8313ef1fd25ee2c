//! Time stamps across a change of encodings.
//!
//! Each encoding has a time line of its own: the same rate, another origin. Sender reports tell what wall-clock
//! time a stamp of each stands for (RFC 3550 §6.4.1); before there are any, the times of arrival must do.

use std::time::Instant;

use crate::rtp::ntp::NtpTime;

/// What a sender report said of an encoding: the same moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) ntp: NtpTime,
    pub(super) timestamp: u32,
}

/// A moment of an encoding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) encoding: u8,
    pub(super) timestamp: u32,
    pub(super) received: Instant,
    pub(super) report: Option<Report>,
}

/// The viewer's time line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    rate: u32,
    /// How much later than they should be the stamps are, in units of the clock: a change may not step back.
    drift: i64,
}

impl Timeline {
    /// A time line of `rate` units per second.
    pub(super) fn new(rate: u32) -> Self {
        Timeline { rate, drift: 0 }
    }

    /// How far the stamp of `next`, which begins a new run of pictures, lies behind that of `last`: at least 1.
    pub(super) fn step(&mut self, last: &Moment, next: &Moment) -> u32 {
        let second = i64::from(self.rate);
        let arrival = next.received.saturating_duration_since(last.received).as_micros();
        let arrival = i64::try_from(arrival).unwrap_or(i64::MAX).min(3_600_000_000) * second / 1_000_000;
        let true_step = if last.encoding == next.encoding {
            i64::from(next.timestamp.wrapping_sub(last.timestamp).cast_signed())
        } else {
            captured_apart(self.rate, last, next).unwrap_or(arrival)
        };
        // A report that lies moves a stamp by a second at most from what arrival says.
        let plausible = true_step.clamp(arrival - second, arrival + second);
        let step = (plausible - self.drift).clamp(1, i64::from(i32::MAX));
        let drift = self.drift + step - plausible;
        self.drift = if drift.abs() > second { 0 } else { drift };
        u32::try_from(step).unwrap_or(1)
    }
}

/// The time between the captures of two moments, when reports of both encodings are known.
fn captured_apart(rate: u32, last: &Moment, next: &Moment) -> Option<i64> {
    let (a, b) = (last.report?, next.report?);
    // 32 bits of fraction; the difference of two reports is small, or not to be believed.
    let apart = (i128::from(b.ntp.0.wrapping_sub(a.ntp.0).cast_signed()) * i128::from(rate)) >> 32;
    let since = |moment: &Moment, report: Report| {
        i128::from(moment.timestamp.wrapping_sub(report.timestamp).cast_signed())
    };
    i64::try_from(apart + since(next, b) - since(last, a)).ok()
}

// A test may look at the clock once, for a time to start from.
#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn moment(encoding: u8, timestamp: u32, received: Instant, report: Option<Report>) -> Moment {
        Moment { encoding, timestamp, received, report }
    }

    #[test]
    fn reports_tell_the_distance_between_encodings() {
        let now = crate::time::some_instant();
        let ntp = |millis: u64| NtpTime::from_unix(Duration::from_millis(1_700_000_000_000 + millis));
        let low = Report { ntp: ntp(0), timestamp: 90_000 };
        let high = Report { ntp: ntp(500), timestamp: 7_000_000 };
        let last = moment(0, 90_000 + 90_000, now, Some(low));
        // 1 s after the low report, so 500 ms after the high one; the next picture comes 100 ms later.
        let next = moment(1, 7_000_000 + 54_000, now + Duration::from_millis(80), Some(high));
        let step = Timeline::new(90_000).step(&last, &next);
        assert!((8_999..=9_001).contains(&step), "{step}");
        // Without a report the arrival counts.
        let next = moment(1, 5, now + Duration::from_millis(80), None);
        assert_eq!(Timeline::new(90_000).step(&last, &next), 7_200);
        // Within one encoding the stamps do.
        let next = moment(0, 180_000 + 3_000, now + Duration::from_millis(80), None);
        assert_eq!(Timeline::new(90_000).step(&last, &next), 3_000);
    }

    #[test]
    fn a_step_back_becomes_a_step_of_one_and_is_made_up_for_later() {
        let now = crate::time::some_instant();
        let mut timeline = Timeline::new(90_000);
        let last = moment(0, 10_000, now, None);
        assert_eq!(timeline.step(&last, &moment(0, 7_000, now, None)), 1);
        assert_eq!(timeline.step(&last, &moment(0, 16_000, now, None)), 6_000 - 3_001);
        assert_eq!(timeline.step(&last, &moment(0, 16_000, now, None)), 6_000);
    }

    #[test]
    fn a_report_that_lies_moves_a_stamp_by_a_second_at_most() {
        let now = crate::time::some_instant();
        let report = |ntp| Some(Report { ntp: NtpTime(ntp), timestamp: 0 });
        for ntp in [0, 1 << 40, 1 << 63, u64::MAX] {
            let step = Timeline::new(90_000).step(
                &moment(0, 0, now, report(0)),
                &moment(1, 0, now + Duration::from_secs(2), report(ntp)),
            );
            assert!((90_000..=270_000).contains(&step), "{ntp:x} {step}");
        }
    }
}

//! `profile-level-id` (RFC 6184 §8.1): three bytes that say more than they seem to.

use crate::sdp::Parameters;

/// What a `profile-level-id` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProfileLevel {
    pub(super) profile: Profile,
    level: Level,
}

/// A profile; several values of the first two bytes mean the same (RFC 6184 §8.1, table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    Extended,
    High,
    /// Any other, by its `profile_idc` and `profile-iop`.
    Other(u8, u8),
}

/// A level: ten times its number, doubled, so that level 1b has a place between 1 and 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Level(u16);

const LEVEL_1B: Level = Level(21);
/// `constraint_set3_flag`, which makes level 1.1 of the older profiles level 1b.
const SET3: u8 = 0x10;

impl ProfileLevel {
    /// The value of `profile-level-id`, or the default: baseline at level 1 (RFC 6184 §8.1).
    pub(super) fn of(parameters: Parameters<'_>) -> Option<Self> {
        let text = parameters.value_of("profile-level-id").unwrap_or("42000a");
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let [_, idc, iop, level] = u32::from_str_radix(text, 16).ok()?.to_be_bytes();
        let profile = Profile::of(idc, iop);
        let has_1b_by_flag = matches!(idc, 0x42 | 0x4d | 0x58);
        let level = match level {
            11 if has_1b_by_flag && iop & SET3 != 0 => LEVEL_1B,
            9 if !has_1b_by_flag => LEVEL_1B,
            level => Level(2 * u16::from(level)),
        };
        Some(ProfileLevel { profile, level })
    }
}

impl Profile {
    fn of(idc: u8, iop: u8) -> Self {
        // Each row: `profile_idc`, which bits of `profile-iop` count, and how they stand.
        const TABLE: [(u8, u8, u8, Profile); 8] = [
            (0x42, 0x4f, 0x40, Profile::ConstrainedBaseline),
            (0x4d, 0x8f, 0x80, Profile::ConstrainedBaseline),
            (0x58, 0xcf, 0xc0, Profile::ConstrainedBaseline),
            (0x42, 0x4f, 0x00, Profile::Baseline),
            (0x58, 0xcf, 0x80, Profile::Baseline),
            (0x4d, 0xaf, 0x00, Profile::Main),
            (0x58, 0xcf, 0x00, Profile::Extended),
            (0x64, 0xff, 0x00, Profile::High),
        ];
        let row = TABLE.iter().find(|(i, mask, bits, _)| *i == idc && iop & mask == *bits);
        row.map_or(Profile::Other(idc, iop), |(.., profile)| *profile)
    }
}

/// The parameters of an answer: the local ones, at the level that both can do (RFC 6184 §8.2.2).
pub(super) fn answer(ours: Parameters<'_>, theirs: Parameters<'_>) -> String {
    let is_asymmetric =
        |parameters: Parameters<'_>| parameters.value_of("level-asymmetry-allowed") == Some("1");
    let (Some(mine), Some(their)) = (ProfileLevel::of(ours), ProfileLevel::of(theirs)) else {
        return ours.0.to_owned();
    };
    // Without asymmetry the level of an answer is not above that of the offer. The profile is the same, so that
    // the offer's value can stand as it is.
    if (is_asymmetric(ours) && is_asymmetric(theirs)) || mine.level <= their.level {
        return ours.0.to_owned();
    }
    let pairs = ours.iter().map(|(key, value)| match key {
        "profile-level-id" => format!("{key}={}", theirs.value_of(key).unwrap_or("42000a")),
        _ => format!("{key}={value}"),
    });
    pairs.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<ProfileLevel> {
        ProfileLevel::of(Parameters(&format!("profile-level-id={text}")))
    }

    #[test]
    fn many_values_mean_one_profile() {
        // RFC 6184 §8.1, table 5.
        for text in ["42e01f", "42C01F", "42401f", "4d801f", "58c01f"] {
            assert_eq!(read(text).unwrap().profile, Profile::ConstrainedBaseline, "{text}");
        }
        for (text, profile) in [
            ("42001f", Profile::Baseline),
            ("58801f", Profile::Baseline),
            ("4d001f", Profile::Main),
            ("4d401f", Profile::Main),
            ("58001f", Profile::Extended),
            ("64001f", Profile::High),
            ("640c1f", Profile::Other(0x64, 0x0c)),
        ] {
            assert_eq!(read(text).unwrap().profile, profile, "{text}");
        }
    }

    #[test]
    fn level_1b_lies_between_1_and_1_1() {
        let level = |text| read(text).unwrap().level;
        assert!(level("42000a") < level("42100b") && level("42100b") < level("42000b"));
        assert_eq!(level("640009"), level("42100b"));
    }

    #[test]
    fn odd_values_are_none() {
        for text in ["", "42e0", "42e01f0", "42e01g", "+2e01f", "42é1f"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(ProfileLevel::of(Parameters("")), read("42000a"));
    }

    #[test]
    fn an_answer_is_not_above_the_offer_unless_both_allow_it() {
        let answered = |ours: &str, theirs: &str| answer(Parameters(ours), Parameters(theirs));
        let (high, low) = ("profile-level-id=42e01f", "profile-level-id=42c00b");
        assert_eq!(answered(high, low), low);
        assert_eq!(answered(low, high), low);
        let ours = format!("level-asymmetry-allowed=1;{high}");
        assert_eq!(answered(&ours, low), format!("level-asymmetry-allowed=1;{low}"));
        assert_eq!(answered(&ours, &format!("level-asymmetry-allowed=1;{low}")), ours);
    }
}

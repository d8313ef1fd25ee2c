//! Sequence numbers that wrap (RFC 1982), one type per width.
//!
//! Comparison is by distance: `a` is before `b` when walking forward from `a` reaches `b` within half the
//! number space. That is no total order, so the types do not implement `Ord`: use [`Serial32::is_before`] and
//! [`Serial32::distance_to`].

macro_rules! serial {
    ($(#[$doc:meta])* $name:ident, $unsigned:ty, $signed:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(
            /// The number as it stands on the wire.
            pub $unsigned,
        );

        impl $name {
            /// The number that follows this one.
            #[must_use]
            pub const fn next(self) -> Self {
                $name(self.0.wrapping_add(1))
            }

            /// The number before this one.
            #[must_use]
            pub const fn previous(self) -> Self {
                $name(self.0.wrapping_sub(1))
            }

            /// The number `n` steps forward.
            #[must_use]
            pub const fn add(self, n: $unsigned) -> Self {
                $name(self.0.wrapping_add(n))
            }

            /// Steps from this number to `other`: negative when `other` lies behind.
            ///
            /// Exactly half the number space apart counts as behind, in both directions.
            #[must_use]
            pub const fn distance_to(self, other: Self) -> $signed {
                other.0.wrapping_sub(self.0).cast_signed()
            }

            /// Whether this number comes before `other`.
            #[must_use]
            pub const fn is_before(self, other: Self) -> bool {
                self.distance_to(other) > 0
            }

            /// Whether this number comes after `other`.
            #[must_use]
            pub const fn is_after(self, other: Self) -> bool {
                other.distance_to(self) > 0
            }

            /// Of two numbers, the one that comes later.
            #[must_use]
            pub const fn later(self, other: Self) -> Self {
                if self.is_before(other) { other } else { self }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

serial! {
    /// A 16-bit sequence number (RTP, SCTP stream sequence numbers).
    Serial16, u16, i16
}
serial! {
    /// A 32-bit sequence number (SCTP TSN, RTP time stamps).
    Serial32, u32, i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_survives_the_wrap() {
        assert!(Serial32(u32::MAX).is_before(Serial32(0)));
        assert!(Serial16(2).is_after(Serial16(u16::MAX)));
        assert_eq!(Serial16(u16::MAX).distance_to(Serial16(1)), 2);
        assert_eq!(Serial32(0).previous(), Serial32(u32::MAX));
        assert_eq!(Serial32(u32::MAX).later(Serial32(3)), Serial32(3));
    }

    #[test]
    fn half_the_space_away_is_neither_before_nor_after() {
        assert!(!Serial16(0).is_before(Serial16(0x8000)));
        assert!(!Serial16(0).is_after(Serial16(0x8000)));
    }

    proptest! {
        #[test]
        fn stepping_forward_is_undone_by_distance(start: u32, steps in 0u32..0x8000_0000) {
            let end = Serial32(start).add(steps);
            prop_assert_eq!(i64::from(Serial32(start).distance_to(end)), i64::from(steps));
        }
    }
}

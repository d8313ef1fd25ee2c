//! Which protocol a datagram speaks, told by its first byte (RFC 7983 §7, RFC 9443, RFC 5761 §4).

/// What a datagram is, before anything of it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stun,
    /// A TURN ChannelData message (RFC 8656 §12.4).
    Channel,
    Dtls,
    Rtp,
    Rtcp,
    /// Empty, or of a range that WebRTC does not use (ZRTP, QUIC, reserved).
    Unknown,
}

/// Classifies `packet` by its first byte, and RTP from RTCP by its second.
pub(crate) fn classify(packet: &[u8]) -> Kind {
    match packet {
        // RFC 7983 §7: the ranges of the first byte.
        [0..=3, ..] => Kind::Stun,
        // DTLS content types, and the unified header of DTLS 1.3 (RFC 9147 §4.1: 001xxxxx).
        [20..=63, ..] => Kind::Dtls,
        [64..=79, ..] => Kind::Channel,
        // RFC 5761 §4: RTCP packet types 192 to 223 take the place of RTP payload types 64 to 95 with the
        // marker bit set.
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, ..] => Kind::Rtp,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_follow_the_table_of_rfc_7983() {
        for byte in 0..=255u8 {
            let expected = match byte {
                0..=3 => Kind::Stun,
                20..=63 => Kind::Dtls,
                64..=79 => Kind::Channel,
                128..=191 => Kind::Rtp,
                _ => Kind::Unknown,
            };
            assert_eq!(classify(&[byte, 96]), expected, "first byte {byte}");
        }
        assert_eq!(classify(&[]), Kind::Unknown);
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_packet_type() {
        for second in 0..=255u8 {
            let rtcp = (192..=223).contains(&second);
            assert_eq!(classify(&[0x80, second]) == Kind::Rtcp, rtcp, "second byte {second}");
        }
    }
}

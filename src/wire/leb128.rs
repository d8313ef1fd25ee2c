//! Little-endian base 128 numbers, as AV1 writes sizes (AV1 §4.10.5): seven bits a byte, the lowest first.

use super::Malformed;
use super::reader::Reader;
use super::writer::Writer;

/// Reads a number of at most 32 bits. Longer than 8 bytes or above 32 bits is refused (AV1 §4.10.5).
pub fn read(r: &mut Reader<'_>) -> Result<u32, Malformed> {
    let mut value = 0u64;
    for at in 0..8 {
        let byte = r.u8()?;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| r.malformed());
        }
    }
    Err(r.malformed())
}

/// Writes a number in as few bytes as it takes, at most 5.
pub fn write(w: &mut Writer<'_>, mut value: u32) {
    while value >= 0x80 {
        w.u8(low_seven(value) | 0x80);
        value >>= 7;
    }
    w.u8(low_seven(value));
}

/// How many bytes [`write()`] takes for `value`: 1 to 5.
pub fn len(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

fn low_seven(value: u32) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    #[test]
    fn numbers_that_do_not_end_or_do_not_fit_are_refused() {
        assert!(read(&mut Reader::new(&[0x80; 9], "test")).is_err());
        assert!(read(&mut Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f], "test")).is_err());
        assert_eq!(read(&mut Reader::new(&[0x80, 0x80, 0x00], "test")), Ok(0));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value: u32) {
            let mut out = BytesMut::new();
            write(&mut Writer::new(&mut out), value);
            prop_assert_eq!(out.len(), len(value));
            prop_assert_eq!(read(&mut Reader::new(&out, "test")), Ok(value));
        }
    }
}

//! The one bounds-checked reader: every parser of the crate goes through it.
//!
//! A reader only moves forward. A length field is turned into a [`sub`](Reader::sub)-reader at once, so that
//! what it covers cannot be read past, and [`finish`](Reader::finish) refuses trailing bytes.

use super::Malformed;

/// A forward-only view of bytes in network order.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    buf: &'a [u8],
    /// Names the format in errors.
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `buf`; `what` names the format in [`Malformed`].
    pub fn new(buf: &'a [u8], what: &'static str) -> Self {
        Reader { buf, what }
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[b]| b)
    }

    /// The next two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next three bytes, big-endian.
    pub fn u24(&mut self) -> Result<u32, Malformed> {
        self.array::<3>().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// The next four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next six bytes, big-endian (a DTLS sequence number).
    pub fn u48(&mut self) -> Result<u64, Malformed> {
        self.array::<6>().map(|[a, b, c, d, e, f]| u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// The next eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.buf.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.buf = tail;
                Ok(*head)
            }
            None => Err(Malformed(self.what)),
        }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        match self.buf.split_at_checked(n) {
            Some((head, tail)) => {
                self.buf = tail;
                Ok(head)
            }
            None => Err(Malformed(self.what)),
        }
    }

    /// Skips `n` bytes.
    pub fn skip(&mut self, n: usize) -> Result<(), Malformed> {
        self.take(n).map(|_| ())
    }

    /// A reader over the next `n` bytes, which this one then stands behind.
    pub fn sub(&mut self, n: usize) -> Result<Reader<'a>, Malformed> {
        let what = self.what;
        self.take(n).map(|buf| Reader { buf, what })
    }

    /// A reader over as many bytes as the next byte says.
    pub fn sub_u8(&mut self) -> Result<Reader<'a>, Malformed> {
        let n = self.u8()?;
        self.sub(usize::from(n))
    }

    /// A reader over as many bytes as the next two bytes say.
    pub fn sub_u16(&mut self) -> Result<Reader<'a>, Malformed> {
        let n = self.u16()?;
        self.sub(usize::from(n))
    }

    /// A reader over as many bytes as the next three bytes say.
    pub fn sub_u24(&mut self) -> Result<Reader<'a>, Malformed> {
        let n = self.u24()?;
        self.sub(usize::try_from(n).map_err(|_| Malformed(self.what))?)
    }

    /// All that is left; the reader is empty afterwards.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.buf)
    }

    /// What is left, without moving.
    pub fn peek(&self) -> &'a [u8] {
        self.buf
    }

    /// Number of bytes left.
    pub fn remaining(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// The error that names this reader's format.
    pub fn malformed(&self) -> Malformed {
        Malformed(self.what)
    }

    /// Ends reading: trailing bytes are malformed.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.buf.is_empty() { Ok(()) } else { Err(Malformed(self.what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_big_endian_and_move_forward() {
        let bytes: Vec<u8> = (1..=24).collect();
        let mut r = Reader::new(&bytes, "test");
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.u16(), Ok(0x0203));
        assert_eq!(r.u24(), Ok(0x040506));
        assert_eq!(r.u32(), Ok(0x0708090a));
        assert_eq!(r.u48(), Ok(0x0b0c0d0e0f10));
        assert_eq!(r.u64(), Ok(0x1112131415161718));
        assert_eq!(r.finish(), Ok(()));
    }

    #[test]
    fn a_failed_read_takes_nothing() {
        let mut r = Reader::new(&[1, 2, 3], "test");
        assert_eq!(r.u32(), Err(Malformed("test")));
        assert_eq!(r.take(4), Err(Malformed("test")));
        assert_eq!(r.remaining(), 3);
        assert_eq!(r.rest(), &[1, 2, 3]);
        assert!(r.is_empty());
    }

    #[test]
    fn a_sub_reader_ends_where_its_length_says() {
        let mut r = Reader::new(&[0, 2, 7, 8, 9], "test");
        let mut inner = r.sub_u16().unwrap();
        assert_eq!(inner.u16(), Ok(0x0708));
        assert!(inner.u8().is_err());
        assert_eq!(r.peek(), &[9]);
        assert!(r.finish().is_err());
    }

    #[test]
    fn a_length_beyond_its_container_is_refused() {
        assert!(Reader::new(&[3, 1, 2], "test").sub_u8().is_err());
        assert!(Reader::new(&[0, 0, 3, 1, 2], "test").sub_u24().is_err());
        assert!(Reader::new(&[0xff, 0xff], "test").sub_u16().is_err());
    }
}

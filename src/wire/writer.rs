//! The one writer: every format of the crate is emitted through it.
//!
//! It appends to a [`BytesMut`], usually the tail of a pooled buffer. Lengths are back-patched: a
//! [`nested_u16`](Writer::nested_u16) body is written first and its length filled in afterwards, so a length
//! field cannot disagree with what it covers.

use bytes::{BufMut, BytesMut};

/// Appends integers in network order, slices, nested lengths and padding.
#[derive(Debug)]
pub struct Writer<'a> {
    buf: &'a mut BytesMut,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Appends behind what `buf` already holds; [`written`](Writer::written) counts from here.
    pub fn new(buf: &'a mut BytesMut) -> Self {
        let start = buf.len();
        Writer { buf, start }
    }

    /// Appends a byte.
    #[inline]
    pub fn u8(&mut self, v: u8) {
        self.slice(&[v]);
    }

    /// Appends two bytes, big-endian.
    #[inline]
    pub fn u16(&mut self, v: u16) {
        self.slice(&v.to_be_bytes());
    }

    /// Appends the low three bytes, big-endian.
    pub fn u24(&mut self, v: u32) {
        debug_assert!(v < 1 << 24, "a 24-bit field holds {v}");
        self.buf.put_uint(u64::from(v & 0x00ff_ffff), 3);
    }

    /// Appends four bytes, big-endian.
    #[inline]
    pub fn u32(&mut self, v: u32) {
        self.slice(&v.to_be_bytes());
    }

    /// Appends the low six bytes, big-endian (a DTLS sequence number).
    pub fn u48(&mut self, v: u64) {
        debug_assert!(v < 1 << 48, "a 48-bit field holds {v}");
        self.buf.put_uint(v & 0xffff_ffff_ffff, 6);
    }

    /// Appends eight bytes, big-endian.
    #[inline]
    pub fn u64(&mut self, v: u64) {
        self.slice(&v.to_be_bytes());
    }

    /// Appends bytes as they are.
    #[inline]
    pub fn slice(&mut self, bytes: &[u8]) {
        // Unlike the trait's way it is inlined: what is short and of known length costs a few instructions.
        self.buf.extend_from_slice(bytes);
    }

    /// Appends `n` zero bytes.
    #[inline]
    pub fn zeros(&mut self, n: usize) {
        match [0; 4].get(..n) {
            Some(few) => self.slice(few),
            None => self.buf.put_bytes(0, n),
        }
    }

    /// Appends zeros until the bytes written by this writer are a multiple of `align`.
    pub fn pad_to(&mut self, align: usize) {
        self.zeros(self.written().next_multiple_of(align) - self.written());
    }

    /// Appends a one-byte length and the body that it counts. The body must stay within 255 bytes.
    pub fn nested_u8<R>(&mut self, body: impl FnOnce(&mut Writer<'_>) -> R) -> R {
        self.nested::<1, R>(body)
    }

    /// Appends a two-byte length and the body that it counts. The body must stay within 65,535 bytes.
    pub fn nested_u16<R>(&mut self, body: impl FnOnce(&mut Writer<'_>) -> R) -> R {
        self.nested::<2, R>(body)
    }

    /// Appends a three-byte length and the body that it counts. The body must stay within 2^24 - 1 bytes.
    pub fn nested_u24<R>(&mut self, body: impl FnOnce(&mut Writer<'_>) -> R) -> R {
        self.nested::<3, R>(body)
    }

    fn nested<const N: usize, R>(&mut self, body: impl FnOnce(&mut Writer<'_>) -> R) -> R {
        let at = self.buf.len();
        self.buf.put_bytes(0, N);
        let result = body(&mut Writer::new(self.buf));
        let len = self.buf.len() - at - N;
        let bytes = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        debug_assert!(len < 1 << (8 * N), "a body of {len} bytes does not fit its {N}-byte length");
        self.buf[at..at + N].copy_from_slice(&bytes[4 - N..]);
        result
    }

    /// Overwrites two bytes at offset `at` from this writer's start (a checksum or count known late).
    ///
    /// Does nothing when `at` lies beyond what was written.
    pub fn patch_u16(&mut self, at: usize, v: u16) {
        self.patch(at, &v.to_be_bytes());
    }

    /// Overwrites four bytes at offset `at` from this writer's start.
    ///
    /// Does nothing when `at` lies beyond what was written.
    pub fn patch_u32(&mut self, at: usize, v: u32) {
        self.patch(at, &v.to_be_bytes());
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        let at = self.start + at;
        match self.buf.get_mut(at..at + bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => debug_assert!(false, "patch at {at} behind the end"),
        }
    }

    /// Bytes written since this writer was made.
    #[inline]
    pub fn written(&self) -> usize {
        self.buf.len() - self.start
    }

    /// What this writer has written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    /// What this writer has written so far, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reader::Reader;
    use proptest::prelude::*;

    #[test]
    fn nested_lengths_count_their_bodies() {
        let mut buf = BytesMut::from(&b"head"[..]);
        let mut w = Writer::new(&mut buf);
        w.nested_u16(|w| {
            w.nested_u8(|w| w.slice(b"ab"));
            w.nested_u24(|w| w.u8(7));
        });
        w.pad_to(4);
        assert_eq!(w.written(), 12);
        assert_eq!(&buf[..], b"head\x00\x07\x02ab\x00\x00\x01\x07\x00\x00\x00");
    }

    #[test]
    fn patches_count_from_the_writers_start() {
        let mut buf = BytesMut::from(&b"head"[..]);
        let mut w = Writer::new(&mut buf);
        w.zeros(6);
        w.patch_u16(0, 0x0102);
        w.patch_u32(2, 0x03040506);
        assert_eq!(w.as_slice(), &[1, 2, 3, 4, 5, 6]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(a: u8, b: u16, c in 0u32..1 << 24, d: u32, e in 0u64..1 << 48, f: u64) {
            let mut buf = BytesMut::new();
            let mut w = Writer::new(&mut buf);
            w.u8(a);
            w.u16(b);
            w.u24(c);
            w.u32(d);
            w.u48(e);
            w.u64(f);
            let mut r = Reader::new(&buf, "test");
            prop_assert_eq!((r.u8(), r.u16(), r.u24()), (Ok(a), Ok(b), Ok(c)));
            prop_assert_eq!((r.u32(), r.u48(), r.u64()), (Ok(d), Ok(e), Ok(f)));
            prop_assert!(r.finish().is_ok());
        }
    }
}

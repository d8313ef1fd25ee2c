//! Sealing what is sent.

use bytes::{BufMut, BytesMut};

use crate::rtp::elements::Form;
use crate::rtp::header::{Block, EXTENSION_HEADER_LEN, FIXED_LEN, Header};
use crate::types::ids::Ssrc;

use super::cipher::Cipher;
use super::streams::{RtpIndexes, Streams, rollover};
use super::{CannotSeal, Cryptex};

/// The profiles of encrypted extensions (RFC 9335 §5).
pub(super) const CRYPTEX_ONE_BYTE: u16 = 0xc0de;
pub(super) const CRYPTEX_TWO_BYTE: u16 = 0xc2de;

/// Bytes of an RTCP packet that stay clear: its header and its sender (RFC 3711 §3.4).
pub(super) const RTCP_CLEAR_LEN: usize = 8;

/// The flag in front of an SRTCP index that says "encrypted".
pub(super) const ENCRYPTED: u32 = 1 << 31;

/// The sending half: seals RTP and RTCP of one connection.
#[derive(Debug)]
pub struct Outbound {
    rtp: Cipher,
    rtcp: Cipher,
    cryptex: Cryptex,
    streams: Streams<RtpIndexes>,
    /// The index of the next RTCP packet. One for all of our SSRCs, so it is never used twice with one.
    next_rtcp: u32,
}

impl Outbound {
    pub(super) fn new(rtp: Cipher, rtcp: Cipher, cryptex: Cryptex) -> Self {
        Outbound { rtp, rtcp, cryptex, streams: Streams::default(), next_rtcp: 0 }
    }

    /// Turns Cryptex on or off, from the next packet on.
    pub fn set_cryptex(&mut self, cryptex: Cryptex) {
        self.cryptex = cryptex;
    }

    /// What [`protect_rtp`](Self::protect_rtp) appends, in bytes; Cryptex may add 4 to packets with CSRCs.
    pub fn rtp_overhead(&self) -> usize {
        self.rtp.tag_len()
    }

    /// What [`protect_rtcp`](Self::protect_rtcp) appends, in bytes.
    pub fn rtcp_overhead(&self) -> usize {
        self.rtcp.tag_len() + 4
    }

    /// Seals the RTP packet that is `out[start..]`, in place; its tag is appended. Allocates nothing when
    /// `out` has room for [`MAX_RTP_OVERHEAD`](super::MAX_RTP_OVERHEAD) more bytes.
    ///
    /// The roll-over counter follows the sequence numbers of the stream. Each stream is known from its first
    /// packet on; there is no bound, as they are ours.
    ///
    /// # Errors
    /// The packet is left as it was: see [`CannotSeal`].
    pub fn protect_rtp(&mut self, out: &mut BytesMut, start: usize) -> Result<(), CannotSeal> {
        let packet = out.get(start..).ok_or(CannotSeal::Malformed)?;
        let header = Header::parse(packet).map_err(|_| CannotSeal::Malformed)?;
        let place = self.streams.find_own(header.ssrc);
        let indexes = self.streams.at_mut(header.ssrc, place).ok_or(CannotSeal::Malformed)?;
        let nowhere = if indexes.is_last_turn() { CannotSeal::Exhausted } else { CannotSeal::Reused };
        let index = indexes.estimate(header.sequence).ok_or(nowhere)?;
        // RFC 7714 §8.4: an index is used once.
        if !indexes.is_fresh(index) {
            return Err(CannotSeal::Reused);
        }
        indexes.mark(index);
        match self.cryptex {
            Cryptex::On if prepare_cryptex(out, start, &header) => {
                self.seal_cryptex(out, start, index, &header)
            }
            _ => self.seal(out, start, header.len(), header.ssrc, index),
        }
        Ok(())
    }

    /// Encrypts from `clear` on and appends the tag.
    fn seal(&self, out: &mut BytesMut, start: usize, clear: usize, ssrc: Ssrc, index: u64) {
        let packet = out.get_mut(start..).unwrap_or_default();
        match &self.rtp {
            Cipher::CounterMode(cipher) => {
                cipher.apply(ssrc, index, packet.get_mut(clear..).unwrap_or_default());
                let tag = cipher.tag(packet, &rollover(index));
                out.put_slice(tag.get(..self.rtp.tag_len()).unwrap_or(&tag));
            }
            Cipher::Aead(cipher) => {
                let (aad, body) = packet.split_at_mut(clear.min(packet.len()));
                let tag = cipher.seal(ssrc, index, aad, body);
                out.put_slice(&tag);
            }
        }
    }

    /// RFC 9335 §6.2: the CSRCs and the elements are encrypted with the payload, as if the extension's header
    /// stood before the CSRCs.
    fn seal_cryptex(&self, out: &mut BytesMut, start: usize, index: u64, header: &Header) {
        let moved = swap_range(header);
        let packet = out.get_mut(start..).unwrap_or_default();
        packet.get_mut(moved.clone()).unwrap_or_default().rotate_right(EXTENSION_HEADER_LEN);
        let clear = FIXED_LEN + EXTENSION_HEADER_LEN;
        match &self.rtp {
            // The tag covers the packet as it is sent, so all is put back first.
            Cipher::CounterMode(cipher) => {
                cipher.apply(header.ssrc, index, packet.get_mut(clear..).unwrap_or_default());
                packet.get_mut(moved).unwrap_or_default().rotate_left(EXTENSION_HEADER_LEN);
                let tag = cipher.tag(packet, &rollover(index));
                out.put_slice(tag.get(..self.rtp.tag_len()).unwrap_or(&tag));
            }
            Cipher::Aead(_) => {
                self.seal(out, start, clear, header.ssrc, index);
                let packet = out.get_mut(start..).unwrap_or_default();
                packet.get_mut(moved).unwrap_or_default().rotate_left(EXTENSION_HEADER_LEN);
            }
        }
    }

    /// Seals the RTCP compound that is `out[start..]`, in place; index and tag are appended. Allocates nothing
    /// when `out` has room for [`MAX_RTCP_OVERHEAD`](super::MAX_RTCP_OVERHEAD) more bytes.
    ///
    /// # Errors
    /// The packet is left as it was: see [`CannotSeal`].
    pub fn protect_rtcp(&mut self, out: &mut BytesMut, start: usize) -> Result<(), CannotSeal> {
        let packet = out.get_mut(start..).unwrap_or_default();
        let ssrc = rtcp_sender(packet).ok_or(CannotSeal::Malformed)?;
        // RFC 3711 §3.4: 31 bits, starting at 0 or 1, never used twice.
        let index = Some(self.next_rtcp).filter(|index| *index < ENCRYPTED).ok_or(CannotSeal::Exhausted)?;
        self.next_rtcp = index + 1;
        let trailer = (index | ENCRYPTED).to_be_bytes();
        match &self.rtcp {
            Cipher::CounterMode(cipher) => {
                cipher.apply(ssrc, u64::from(index), packet.get_mut(RTCP_CLEAR_LEN..).unwrap_or_default());
                let tag = cipher.tag(packet, &trailer);
                out.put_slice(&trailer);
                out.put_slice(tag.get(..self.rtcp.tag_len()).unwrap_or(&tag));
            }
            Cipher::Aead(cipher) => {
                let aad = rtcp_aad(packet, trailer);
                let body = packet.get_mut(RTCP_CLEAR_LEN..).unwrap_or_default();
                let tag = cipher.seal(ssrc, u64::from(index), &aad, body);
                // RFC 7714 §9.2: the tag stands before the index.
                out.put_slice(&tag);
                out.put_slice(&trailer);
            }
        }
        Ok(())
    }

    /// Leaves one RTCP index.
    #[cfg(test)]
    pub(super) fn exhaust_rtcp(&mut self) {
        self.next_rtcp = ENCRYPTED - 1;
    }

    /// Forgets a stream that ended. Its SSRC must not be used with this context again.
    pub fn forget(&mut self, ssrc: Ssrc) {
        self.streams.forget(ssrc);
    }
}

/// The sender of an RTCP packet's first part, when there is one.
pub(super) fn rtcp_sender(packet: &[u8]) -> Option<Ssrc> {
    let [_, _, _, _, a, b, c, d] = packet.first_chunk::<RTCP_CLEAR_LEN>()?;
    Some(Ssrc(u32::from_be_bytes([*a, *b, *c, *d])))
}

/// RFC 7714 §9.2: header and sender, then the index with its flag.
pub(super) fn rtcp_aad(packet: &[u8], trailer: [u8; 4]) -> [u8; RTCP_CLEAR_LEN + 4] {
    let mut aad = [0; RTCP_CLEAR_LEN + 4];
    aad.iter_mut().zip(packet.iter().take(RTCP_CLEAR_LEN).chain(&trailer)).for_each(|(to, from)| *to = *from);
    aad
}

/// The bytes that change places: the CSRCs and the extension's header behind them.
pub(super) fn swap_range(header: &Header) -> std::ops::Range<usize> {
    FIXED_LEN..FIXED_LEN + header.csrc_len() + EXTENSION_HEADER_LEN
}

/// RFC 9335 §5.1: marks the extension as encrypted, adding an empty one to CSRCs that have none. False when
/// there is nothing to hide, or an extension of another kind.
fn prepare_cryptex(out: &mut BytesMut, start: usize, header: &Header) -> bool {
    match header.extension {
        Some(Block { profile, start: elements, .. }) => {
            let Some(form) = Form::of_profile(profile) else { return false };
            set_profile(out.get_mut(start..).unwrap_or_default(), elements, encrypted_profile(form));
            true
        }
        None if header.csrc_len() > 0 => {
            let at = start + FIXED_LEN + header.csrc_len();
            let end = out.len();
            out.put_bytes(0, EXTENSION_HEADER_LEN);
            out.copy_within(at..end, at + EXTENSION_HEADER_LEN);
            let block = out.get_mut(at..at + EXTENSION_HEADER_LEN).unwrap_or_default();
            block.fill(0);
            let packet = out.get_mut(start..).unwrap_or_default();
            set_profile(packet, at - start + EXTENSION_HEADER_LEN, CRYPTEX_ONE_BYTE);
            packet.iter_mut().take(1).for_each(|first| *first |= 0x10);
            true
        }
        None => false,
    }
}

fn encrypted_profile(form: Form) -> u16 {
    match form {
        Form::OneByte => CRYPTEX_ONE_BYTE,
        Form::TwoByte => CRYPTEX_TWO_BYTE,
    }
}

/// Writes the profile of the extension whose elements start at `elements`.
pub(super) fn set_profile(packet: &mut [u8], elements: usize, profile: u16) {
    let block = elements.checked_sub(EXTENSION_HEADER_LEN).and_then(|at| packet.get_mut(at..));
    if let Some([a, b]) = block.and_then(|block| block.first_chunk_mut::<2>()) {
        [*a, *b] = profile.to_be_bytes();
    }
}

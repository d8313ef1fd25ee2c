//! Opening what is received.

use bytes::BytesMut;

use crate::rtp::elements::{ONE_BYTE, TWO_BYTE};
use crate::rtp::header::{EXTENSION_HEADER_LEN, FIXED_LEN, Header};
use crate::types::ids::Ssrc;

use super::cipher::Cipher;
use super::outbound::{
    CRYPTEX_ONE_BYTE, CRYPTEX_TWO_BYTE, ENCRYPTED, RTCP_CLEAR_LEN, rtcp_aad, rtcp_sender, set_profile,
    swap_range,
};
use super::streams::{Place, RtcpIndexes, RtpIndexes, Streams, rollover};
use super::{Cryptex, Refused};

/// The receiving half: opens RTP and RTCP of one connection.
#[derive(Debug)]
pub struct Inbound {
    rtp: Cipher,
    rtcp: Cipher,
    cryptex: Cryptex,
    streams: Streams<RtpIndexes>,
    pub(super) senders: Streams<RtcpIndexes>,
}

/// A packet that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The header, which describes the clear packet.
    pub header: Header,
    /// The packet's index: the roll-over counter above the sequence number, 48 bits.
    pub index: u64,
}

impl Inbound {
    pub(super) fn new(rtp: Cipher, rtcp: Cipher, cryptex: Cryptex) -> Self {
        Inbound { rtp, rtcp, cryptex, streams: Streams::default(), senders: Streams::default() }
    }

    /// Accepts Cryptex, or stops to, from the next packet on.
    pub fn set_cryptex(&mut self, cryptex: Cryptex) {
        self.cryptex = cryptex;
    }

    /// Takes a stream that the signalling announced: it does not count against
    /// [`MAX_UNSIGNALLED`](super::MAX_UNSIGNALLED).
    pub fn announce(&mut self, ssrc: Ssrc) {
        self.streams.announce(ssrc);
        self.senders.announce(ssrc);
    }

    /// Forgets a stream that ended. Should its SSRC come again, it starts anew, replays of old packets included:
    /// call this only when the signalling took the stream away.
    pub fn forget(&mut self, ssrc: Ssrc) {
        self.streams.forget(ssrc);
        self.senders.forget(ssrc);
    }

    /// RTP streams with state.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Opens an RTP packet in place and cuts its tag off. Padding is yet to be checked:
    /// [`rtp::header::Packet::new`](crate::rtp::header::Packet::new).
    ///
    /// # Errors
    /// Nothing changed but the packet's bytes, which are of no use any more.
    pub fn unprotect_rtp(&mut self, packet: &mut BytesMut) -> Result<Opened, Refused> {
        let body_len = packet.len().checked_sub(self.rtp.tag_len()).ok_or(Refused::Malformed)?;
        // All that the header counts lies before the tag.
        let clear = packet.get(..body_len).ok_or(Refused::Malformed)?;
        let header = Header::parse(clear).map_err(|_| Refused::Malformed)?;
        let place = self.streams.find(header.ssrc);
        if matches!(place, Place::Full) {
            return Err(Refused::TooManyStreams);
        }
        let index = match self.streams.at(place) {
            Some(indexes) => {
                let index = indexes.estimate(header.sequence).ok_or(Refused::Replayed)?;
                if !indexes.is_fresh(index) {
                    return Err(Refused::Replayed);
                }
                index
            }
            None => u64::from(header.sequence.0),
        };
        let header = match self.plain_profile(&header) {
            Some(profile) => self.open_cryptex(packet, header, index, profile)?,
            None => {
                self.open(packet, header.len(), header.ssrc, index)?;
                header
            }
        };
        packet.truncate(body_len);
        // RFC 3711 §3.3: the packet is authentic; only now is it remembered.
        if let Some(indexes) = self.streams.at_mut(header.ssrc, place) {
            indexes.mark(index);
        }
        Ok(Opened { header, index })
    }

    /// The profile that an encrypted extension has when it is clear; `None` when it is not encrypted.
    fn plain_profile(&self, header: &Header) -> Option<u16> {
        match (self.cryptex, header.extension?.profile) {
            (Cryptex::On, CRYPTEX_ONE_BYTE) => Some(ONE_BYTE),
            (Cryptex::On, CRYPTEX_TWO_BYTE) => Some(TWO_BYTE),
            _ => None,
        }
    }

    /// Checks the tag at the end and decrypts what lies between it and the first `clear` bytes.
    fn open(&self, packet: &mut [u8], clear: usize, ssrc: Ssrc, index: u64) -> Result<(), Refused> {
        match &self.rtp {
            Cipher::CounterMode(cipher) => {
                let at = packet.len().checked_sub(self.rtp.tag_len()).ok_or(Refused::Malformed)?;
                let (packet, tag) = packet.split_at_mut(at);
                cipher.verify(packet, &rollover(index), tag)?;
                cipher.apply(ssrc, index, packet.get_mut(clear..).ok_or(Refused::Malformed)?);
                Ok(())
            }
            Cipher::Aead(cipher) => {
                let (aad, body) = packet.split_at_mut_checked(clear).ok_or(Refused::Malformed)?;
                cipher.open(ssrc, index, aad, body)
            }
        }
    }

    /// RFC 9335 §6.3: as [`open`](Self::open), the extension's header standing before the CSRCs meanwhile.
    fn open_cryptex(
        &self,
        packet: &mut [u8],
        header: Header,
        index: u64,
        profile: u16,
    ) -> Result<Header, Refused> {
        let moved = swap_range(&header);
        let clear = FIXED_LEN + EXTENSION_HEADER_LEN;
        let swap = |packet: &mut [u8]| {
            packet.get_mut(moved.clone()).unwrap_or_default().rotate_right(EXTENSION_HEADER_LEN);
        };
        match &self.rtp {
            // The tag covers the packet as it came.
            Cipher::CounterMode(cipher) => {
                let at = packet.len().checked_sub(self.rtp.tag_len()).ok_or(Refused::Malformed)?;
                let (packet, tag) = packet.split_at_mut(at);
                cipher.verify(packet, &rollover(index), tag)?;
                swap(packet);
                cipher.apply(header.ssrc, index, packet.get_mut(clear..).ok_or(Refused::Malformed)?);
            }
            Cipher::Aead(_) => {
                swap(packet);
                self.open(packet, clear, header.ssrc, index)?;
            }
        }
        packet.get_mut(moved.clone()).unwrap_or_default().rotate_left(EXTENSION_HEADER_LEN);
        let mut header = header;
        if let Some(block) = &mut header.extension {
            block.profile = profile;
            set_profile(packet, block.start, profile);
        }
        Ok(header)
    }

    /// Opens an RTCP compound in place and cuts index and tag off.
    ///
    /// # Errors
    /// Nothing changed but the packet's bytes, which are of no use any more.
    pub fn unprotect_rtcp(&mut self, packet: &mut BytesMut) -> Result<(), Refused> {
        let overhead = self.rtcp.tag_len() + 4;
        let body_len = packet.len().checked_sub(overhead).ok_or(Refused::Malformed)?;
        let ssrc = rtcp_sender(packet.get(..body_len).unwrap_or_default()).ok_or(Refused::Malformed)?;
        let trailer = self.rtcp_trailer(packet, body_len).ok_or(Refused::Malformed)?;
        let (index, encrypted) =
            (u32::from_be_bytes(trailer) & !ENCRYPTED, u32::from_be_bytes(trailer) & ENCRYPTED != 0);
        let index = u64::from(index);
        let place = self.senders.find(ssrc);
        if matches!(place, Place::Full) {
            return Err(Refused::TooManyStreams);
        }
        if self.senders.at(place).is_some_and(|window| !window.is_fresh(index)) {
            return Err(Refused::Replayed);
        }
        self.open_rtcp(packet, body_len, ssrc, index, trailer, encrypted)?;
        packet.truncate(body_len);
        if let Some(window) = self.senders.at_mut(ssrc, place) {
            window.mark(index);
        }
        Ok(())
    }

    /// The index with its flag: before the tag, or with AEAD behind it (RFC 7714 §9.2).
    fn rtcp_trailer(&self, packet: &[u8], body_len: usize) -> Option<[u8; 4]> {
        match &self.rtcp {
            Cipher::CounterMode(_) => packet.get(body_len..)?.first_chunk().copied(),
            Cipher::Aead(_) => packet.last_chunk().copied(),
        }
    }

    fn open_rtcp(
        &self,
        packet: &mut [u8],
        body_len: usize,
        ssrc: Ssrc,
        index: u64,
        trailer: [u8; 4],
        encrypted: bool,
    ) -> Result<(), Refused> {
        match &self.rtcp {
            Cipher::CounterMode(cipher) => {
                let (packet, tail) = packet.split_at_mut_checked(body_len).ok_or(Refused::Malformed)?;
                let (_, tag) = tail.split_at_checked(4).ok_or(Refused::Malformed)?;
                cipher.verify(packet, &trailer, tag)?;
                if encrypted {
                    cipher.apply(ssrc, index, packet.get_mut(RTCP_CLEAR_LEN..).unwrap_or_default());
                }
                Ok(())
            }
            Cipher::Aead(cipher) if encrypted => {
                let aad = rtcp_aad(packet, trailer);
                let end = packet.len().checked_sub(4).ok_or(Refused::Malformed)?;
                let body = packet.get_mut(RTCP_CLEAR_LEN..end).ok_or(Refused::Malformed)?;
                cipher.open(ssrc, index, &aad, body)
            }
            Cipher::Aead(cipher) => {
                // RFC 7714 §9.3: all is associated data, the index included, and the tag stands between them.
                let tail = packet.get_mut(body_len..).ok_or(Refused::Malformed)?;
                tail.rotate_right(4);
                let (aad, tag) = packet.split_at_mut_checked(body_len + 4).ok_or(Refused::Malformed)?;
                cipher.open(ssrc, index, aad, tag)
            }
        }
    }
}

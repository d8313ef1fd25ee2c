//! sansrtc: a sans-I/O WebRTC library.
#![forbid(unsafe_code)]

pub mod buffer;
pub mod crypto;
pub mod dcep;
pub mod dtls;
pub mod ice;
pub mod packet;
pub mod payload;
pub mod rng;
pub mod rtp;
pub mod sctp;
pub mod sdp;
pub mod session;
pub mod srtp;
pub mod stun;
pub mod time;
pub mod types;
pub mod wire;

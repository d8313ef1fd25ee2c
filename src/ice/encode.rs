//! Messages that were decided on, and how they are written.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::embedding::Embedding;
use super::generation::{Generation, GenerationId};
use crate::packet::Protocol;
use crate::stun::message::UnknownAttributes;
use crate::stun::{Builder, Class, ErrorCode, Method, TransactionId};
use crate::types::setup::IceRole;

/// The largest message written here, without user name fragments and without a DTLS handshake inside.
pub(super) const MAX_MESSAGE: usize = 160;

/// A message to be written when it is polled.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) generation: GenerationId,
    pub(super) transaction: TransactionId,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// A connectivity or consent check (RFC 8445 §7.2.4).
    Check {
        priority: u32,
        role: IceRole,
        tie_breaker: u64,
        nominates: bool,
        /// The number of the nomination, where the peer counts them.
        nomination: Option<u32>,
    },
    /// The answer to one (RFC 8445 §7.3.1.2).
    Success,
    /// The refusal of one.
    Refusal { error: ErrorCode<'static>, unknown: UnknownAttributes },
}

impl Outgoing {
    /// Writes the message, with the keys of its generation, and what of a DTLS handshake travels with it; nothing
    /// when it has no peer any more. Says which datagram of the handshake is inside.
    pub(super) fn write(
        &self,
        generation: &Generation,
        embedding: Option<&mut Embedding>,
        buf: &mut BytesMut,
    ) -> Option<Option<u32>> {
        let mut embedded = None;
        match &self.body {
            Body::Check { priority, role, tie_breaker, nominates, nomination } => {
                let peer = generation.remote.as_ref()?;
                let (theirs, ours) = (&peer.credentials.ufrag, &generation.local.credentials.ufrag);
                let mut builder = Builder::new(buf, Class::Request, Method::BINDING, self.transaction);
                // RFC 8445 §7.2.2: the peer's fragment first.
                builder.username(&[theirs.as_bytes(), b":", ours.as_bytes()]);
                match role {
                    IceRole::Controlling => builder.ice_controlling(*tie_breaker),
                    IceRole::Controlled => builder.ice_controlled(*tie_breaker),
                };
                builder.priority(*priority);
                if *nominates {
                    builder.use_candidate();
                }
                if let Some(number) = nomination {
                    builder.nomination(*number);
                }
                embedded = embedding.and_then(|embedding| embedding.write(&mut builder));
                builder.integrity(&peer.key).fingerprint();
                builder.finish();
            }
            Body::Success => {
                let mut builder = Builder::new(buf, Class::Success, Method::BINDING, self.transaction);
                builder.xor_mapped_address(self.remote);
                embedded = embedding.and_then(|embedding| embedding.write(&mut builder));
                builder.integrity(&generation.local.key).fingerprint();
                builder.finish();
            }
            Body::Refusal { error, unknown } => {
                let mut builder = Builder::new(buf, Class::Error, Method::BINDING, self.transaction);
                builder.error_code(*error);
                if !unknown.is_empty() {
                    builder.unknown_attributes(unknown.as_slice());
                }
                builder.integrity(&generation.local.key).fingerprint();
                builder.finish();
            }
        }
        Some(embedded)
    }
}

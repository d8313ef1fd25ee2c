//! How answers are written and signed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::*;

impl Server {
    pub(super) fn answer(
        &mut self,
        now: Instant,
        from: FiveTuple,
        request: &Message<'_>,
        signer: Option<&Signer>,
        outcome: Result<Grant, Refusal>,
    ) -> Option<()> {
        // What nobody vouches for is answered at a bounded rate: the answer may go to a victim.
        if signer.is_none() && !self.unauthenticated.take(now, 1) {
            return None;
        }
        let class = if outcome.is_ok() { Class::Success } else { Class::Error };
        self.stats.refused += u64::from(outcome.is_err());
        let mut message = BytesMut::with_capacity(MAX_ANSWER.min(256));
        let mut builder = Builder::new(&mut message, class, request.method(), request.transaction());
        match outcome {
            Ok(grant) => write_grant(&mut builder, &grant, from.client),
            Err(Refusal::Error(error)) => {
                builder.error_code(error);
            }
            Err(Refusal::Unknown(kind)) => {
                builder.error_code(ErrorCode::UNKNOWN_ATTRIBUTE).unknown_attributes(&[kind]);
            }
            Err(Refusal::Challenge(error)) => {
                let nonce = self.nonces.make(from.client, self.uptime(now));
                builder.error_code(error).attribute(types::REALM, self.users.realm().as_bytes());
                builder.attribute(types::NONCE, nonce.as_bytes());
                if self.config.password_algorithms {
                    builder.password_algorithms(&ALGORITHMS);
                }
            }
        }
        match signer {
            Some(Signer { key, sha256: true, .. }) => builder.integrity_sha256(&key.sha256),
            Some(Signer { key, .. }) => builder.integrity(&key.sha1),
            None => &mut builder,
        };
        if request.has_fingerprint() {
            builder.fingerprint();
        }
        builder.finish();
        self.outbox.push(message.len(), Outgoing::Answer { to: from, message }).ok()
    }
}

fn write_grant(builder: &mut Builder<'_>, grant: &Grant, client: SocketAddr) {
    let seconds = |lifetime: &Duration| u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
    match grant {
        Grant::Nothing => {}
        Grant::Mapped { origin } => {
            builder.xor_mapped_address(client);
            if let Some((origin, other)) = origin {
                builder.address(types::MAPPED_ADDRESS, client);
                builder.address(types::RESPONSE_ORIGIN, *origin).address(types::OTHER_ADDRESS, *other);
            }
        }
        Grant::Lifetime(lifetime) => {
            builder.attribute(types::LIFETIME, &seconds(lifetime));
        }
        Grant::Allocated { relays, lifetime, missing } => {
            for relay in relays {
                builder.xor_address(types::XOR_RELAYED_ADDRESS, *relay);
            }
            builder.attribute(types::LIFETIME, &seconds(lifetime)).xor_mapped_address(client);
            if let Some((family, code)) = missing {
                // RFC 8656 §18.12: family, reserved, class and number.
                let class = u8::try_from(code / 100).unwrap_or(5);
                let number = u8::try_from(code % 100).unwrap_or(0);
                builder.attribute(types::ADDRESS_ERROR_CODE, &[family.code(), 0, class, number]);
            }
        }
    }
}

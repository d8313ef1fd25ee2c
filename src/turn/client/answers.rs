//! What the server's messages mean: data, answers, challenges, redirections, refusals.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};

use super::{Allocation, Client, MAX_EVENTS, State};
use crate::packet::Protocol;
use crate::stun::attributes::types;
use crate::stun::{Class, ErrorCode, Message, Method, TransactionId};
use crate::time::Timer;
use crate::turn::channel;
use crate::turn::config::{Families, Family};
use crate::turn::event::{Dropped, Event, Failure, Handled, Relayed};
use crate::turn::login::Login;
use crate::turn::transaction::{MAX_STALE, Request, Transaction};

impl Client {
    pub(super) fn handle_message(&mut self, now: Instant, packet: BytesMut) -> Handled {
        if channel::is_channel_data(&packet) {
            return self.on_channel_data(packet);
        }
        let Ok(message) = Message::parse(&packet) else { return Handled::Dropped(Dropped::Malformed) };
        match (message.class(), message.method()) {
            (Class::Indication, Method::DATA) => self.on_data_indication(packet),
            (Class::Success | Class::Error, _) => self.on_response(now, &message),
            _ => Handled::Dropped(Dropped::Unexpected),
        }
    }

    fn on_channel_data(&mut self, mut packet: BytesMut) -> Handled {
        // RFC 8656 §12.6.
        let Some((number, length)) = channel::parse(&packet) else {
            return Handled::Dropped(Dropped::Malformed);
        };
        let Some(peer) = self.peers.peer_of(number) else { return Handled::Dropped(Dropped::NotPermitted) };
        packet.advance(channel::HEADER_LEN);
        packet.truncate(length);
        // A bound channel is a permission, and one that is asked for may be answered by data first.
        self.data(peer, packet)
    }

    fn on_data_indication(&mut self, mut packet: BytesMut) -> Handled {
        let Ok(message) = Message::parse(&packet) else { return Handled::Dropped(Dropped::Malformed) };
        // RFC 8656 §11.4: a peer, and one that the client asked for.
        let Some(peer) = message.xor_address(types::XOR_PEER_ADDRESS) else {
            return Handled::Dropped(Dropped::Malformed);
        };
        if !self.peers.is_permitted(peer.ip()) {
            return Handled::Dropped(Dropped::NotPermitted);
        }
        if let Some(data) = message.attribute(types::DATA) {
            let at = data.as_ptr().addr() - packet.as_ptr().addr();
            let length = data.len();
            packet.advance(at);
            packet.truncate(length);
            return self.data(peer, packet);
        }
        // RFC 8656 §11.6, §18.13: two reserved bytes, type, code, and the error's data.
        match message.attribute(types::ICMP) {
            Some(&[_, _, kind, code, ..]) => {
                if self.events.len() < MAX_EVENTS / 2 {
                    self.event(Event::Unreachable { peer, kind, code });
                }
                Handled::Consumed
            }
            _ => Handled::Dropped(Dropped::Malformed),
        }
    }

    fn data(&mut self, peer: SocketAddr, contents: BytesMut) -> Handled {
        let relayed = self.relayed().and_then(|relayed| relayed.of(Family::of(peer.ip())));
        let Some(relayed) = relayed else { return Handled::Dropped(Dropped::NoAllocation) };
        self.stats.packets_received += 1;
        self.stats.bytes_received += contents.len() as u64;
        Handled::Data { peer, relayed, contents }
    }

    fn on_response(&mut self, now: Instant, message: &Message<'_>) -> Handled {
        let fits = |t: &Transaction| t.id == message.transaction() && t.request.method() == message.method();
        let Some(at) = self.transactions.iter().position(fits) else {
            return Handled::Dropped(Dropped::Unexpected);
        };
        if !message.unknown_required().is_empty() {
            // RFC 8489 §6.3.3, §6.3.4: the transaction has failed. It is silence, whoever wrote it.
            return Handled::Dropped(Dropped::Malformed);
        }
        let error = match (message.class(), message.error_code()) {
            (Class::Error, Some(error)) => Some(error),
            (Class::Error, None) => return Handled::Dropped(Dropped::Malformed),
            _ => None,
        };
        if !self.is_vouched_for(at, message, error) {
            return self.on_forged(now, at);
        }
        let transaction = self.transactions.swap_remove(at);
        self.stats.responses += 1;
        match error {
            None => self.on_success(now, transaction, message),
            Some(error) => self.on_error(now, transaction, message, error),
        }
        self.settle(now);
        Handled::Consumed
    }

    /// RFC 8489 §9.2.5: an answer to a signed request is signed, but for a challenge; the answer to an unsigned
    /// one cannot be.
    fn is_vouched_for(&self, at: usize, message: &Message<'_>, error: Option<ErrorCode<'_>>) -> bool {
        let signed = self.transactions.get(at).is_some_and(|transaction| transaction.signed);
        match (signed, error.map(|error| error.code)) {
            (_, Some(401 | 438)) | (false, Some(300)) => true,
            // RFC 8489 §9.2.5: a 400 without integrity is as if it never came.
            (false, Some(400)) => false,
            (false, _) => true,
            (true, _) => self.login.as_ref().is_some_and(|login| login.is_authentic(message)),
        }
    }

    /// RFC 8489 §9.2.5: over UDP it is as if it never came; over a stream the transaction ends.
    fn on_forged(&mut self, now: Instant, at: usize) -> Handled {
        if self.config.protocol == Protocol::Udp {
            self.transactions[at].forged = true;
        } else {
            let transaction = self.transactions.swap_remove(at);
            self.on_unanswered(now, &transaction.request, Failure::Unauthentic);
        }
        Handled::Dropped(Dropped::Unauthentic)
    }

    fn on_success(&mut self, now: Instant, transaction: Transaction, message: &Message<'_>) {
        let asked = transaction.started;
        match transaction.request {
            Request::Allocate => self.on_allocated(now, asked, message),
            Request::Refresh => match (&mut self.state, lifetime(message)) {
                (State::Allocated(allocation), Some(lifetime)) if !lifetime.is_zero() => {
                    allocation.keep(asked, now, lifetime);
                }
                _ => self.lose(now, Failure::Nonsense),
            },
            Request::Delete { then_allocate: false } => self.end(Event::Closed),
            Request::Delete { then_allocate: true } if self.former.is_some() => self.begin(now),
            Request::Delete { then_allocate: true } => self.request(now, Request::Allocate, 0),
            Request::Permit(batch) => {
                for peer in batch {
                    self.on_permitted(now, asked, peer);
                }
            }
            Request::Bind(number, peer) => {
                // RFC 8656 §12.3: the permission comes with the channel.
                self.on_permitted(now, asked, peer.ip());
                if self.peers.on_bound(asked, now, number) {
                    self.event(Event::Bound(peer));
                }
            }
        }
    }

    fn on_permitted(&mut self, now: Instant, asked: Instant, peer: IpAddr) {
        if self.peers.on_permitted(asked, now, peer) {
            self.event(Event::Permitted(peer));
        }
    }

    /// RFC 8656 §7.3.
    fn on_allocated(&mut self, now: Instant, asked: Instant, message: &Message<'_>) {
        let mut relayed = Relayed { mapped: message.mapped_address(), ..Relayed::default() };
        let addresses = message.attributes().filter(|a| a.kind == types::XOR_RELAYED_ADDRESS);
        for attribute in addresses.take(2) {
            let address = xored(attribute.value, message.transaction());
            let usable = |a: &SocketAddr| a.port() != 0 && !a.ip().is_unspecified() && !a.ip().is_multicast();
            match address.filter(usable) {
                Some(address) if address.is_ipv4() => relayed.v4 = relayed.v4.or(Some(address)),
                Some(address) => relayed.v6 = relayed.v6.or(Some(address)),
                None => {}
            }
        }
        let wanted = match self.config.families {
            Families::Any | Families::Both => relayed.v4.is_some() || relayed.v6.is_some(),
            Families::Only(family) => relayed.of(family).is_some(),
        };
        let lifetime = lifetime(message).filter(|lifetime| !lifetime.is_zero());
        let (true, Some(lifetime)) = (wanted, lifetime) else {
            // RFC 8656 §7.3: an allocation that is of no use is deleted, and not asked for again.
            let failure = if wanted { Failure::Nonsense } else { Failure::Family };
            self.event(Event::Failed(failure));
            self.state = State::Closing;
            self.request(now, Request::Delete { then_allocate: false }, 0);
            return;
        };
        let mut allocation = Allocation { relayed, since: now, refresh: Timer::new(), expiry: Timer::new() };
        allocation.keep(asked, now, lifetime);
        self.state = State::Allocated(allocation);
        self.had_allocation = true;
        self.spoke = false;
        self.keepalive.arm(now + self.config.keepalive);
        self.event(Event::Allocated { relayed, lifetime });
        for peer in self.peers.keep_only(|ip| relayed.of(Family::of(ip)).is_some()) {
            self.event(Event::NotPermitted { peer, code: 443 });
        }
    }

    fn on_error(
        &mut self,
        now: Instant,
        transaction: Transaction,
        message: &Message<'_>,
        error: ErrorCode<'_>,
    ) {
        match error.code {
            401 | 438 => self.on_challenge(now, transaction, message, error.code),
            300 => self.on_redirect(now, message),
            // RFC 8656 §8.3: it is gone, which is what was wanted; or it was never ours, and the next try tells.
            437 if transaction.request == (Request::Delete { then_allocate: false }) => {
                self.end(Event::Closed)
            }
            _ => self.on_refusal(now, transaction, error.code),
        }
    }

    /// RFC 8489 §9.2.5: answers a challenge; each request at most three times when only the nonce was stale, and
    /// once when the credentials were asked for.
    fn on_challenge(&mut self, now: Instant, transaction: Transaction, message: &Message<'_>, code: u16) {
        self.stats.stale_nonces += u64::from(code == 438);
        let answered = code == 401 && transaction.signed;
        // A realm that changes with every answer is a nonce that is always stale.
        let stale = transaction.stale + u32::from(code == 438 || answered);
        let refused = answered && self.login.as_ref().is_none_or(|login| login.is_same_question(message));
        let credentials = self.former.as_ref().unwrap_or(&self.config.credentials);
        let login = Login::new(message, credentials, self.login.as_ref());
        match login {
            _ if refused => self.on_unauthorised(now, &transaction.request, Failure::Credentials),
            _ if stale > MAX_STALE => self.on_unauthorised(now, &transaction.request, Failure::StaleNonce),
            None => self.on_unauthorised(now, &transaction.request, Failure::Credentials),
            Some(login) => {
                self.login = Some(login);
                self.request(now, transaction.request, stale);
            }
        }
    }

    /// The server does not know the client any more: it is not asked again before the caller gives other
    /// credentials, unless there was an allocation that may come again.
    fn on_unauthorised(&mut self, now: Instant, request: &Request, failure: Failure) {
        self.login = None;
        match request {
            Request::Delete { then_allocate: false } => self.end(Event::Closed),
            Request::Delete { then_allocate: true } if self.former.is_some() => self.begin(now),
            Request::Allocate | Request::Delete { .. } => self.fail(failure),
            Request::Refresh | Request::Permit(_) | Request::Bind(..) => self.lose(now, failure),
        }
    }

    /// RFC 8489 §10: to another server, of the same IP version, where the client has not been, so many times.
    fn on_redirect(&mut self, now: Instant, message: &Message<'_>) {
        let alternate = message.alternate_server().filter(|address| {
            let same_family = address.is_ipv4() == self.server().is_ipv4();
            let ip = address.ip();
            let inwards = ip.is_loopback() && !self.server().ip().is_loopback();
            same_family && address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !inwards
        });
        match alternate {
            Some(server)
                if matches!(self.state, State::Allocating { .. })
                    && self.servers.len() <= self.config.max_redirects
                    && !self.servers.contains(&server) =>
            {
                self.servers.push(server);
                self.stats.redirects += 1;
                // The credentials stay; the challenge was the former server's.
                self.login = None;
                self.transactions.clear();
                self.begin(now);
            }
            _ => self.fail(Failure::Redirects),
        }
    }

    fn on_refusal(&mut self, now: Instant, transaction: Transaction, code: u16) {
        match transaction.request {
            Request::Allocate => self.on_not_allocated(now, code),
            Request::Delete { then_allocate: false } => self.end(Event::Closed),
            Request::Delete { then_allocate: true } if self.former.is_some() => self.begin(now),
            Request::Delete { then_allocate: true } => self.fail(Failure::Mismatch),
            Request::Refresh => self.lose(now, Failure::from_code(code)),
            // RFC 8656 §5: any 437 says that there is no allocation; a 441, that it is someone else's.
            Request::Permit(_) | Request::Bind(..) if matches!(code, 437 | 441) => {
                self.lose(now, Failure::from_code(code));
            }
            Request::Permit(batch) => {
                let with_others = batch.len() > 1;
                for peer in batch {
                    if self.peers.on_refused(now, peer, with_others) {
                        self.event(Event::NotPermitted { peer, code });
                    }
                }
            }
            Request::Bind(number, peer) => {
                // RFC 8656 §12.3: both ends disagree about their channels, so all starts afresh.
                if self.peers.on_unbound(number) && code == 400 {
                    self.lose(now, Failure::Refused { code });
                } else {
                    self.event(Event::NotBound { peer, code });
                }
            }
        }
    }

    /// RFC 8656 §7.4.
    fn on_not_allocated(&mut self, now: Instant, code: u16) {
        match &mut self.state {
            // What is in the way may be our own, from before a crash or a lost answer.
            State::Allocating { cleared }
                if code == 437 && self.config.reclaim && !*cleared && self.login.is_some() =>
            {
                *cleared = true;
                self.request(now, Request::Delete { then_allocate: true }, 0);
            }
            _ if matches!(code, 437 | 486 | 508) && self.had_allocation => {
                self.lose(now, Failure::from_code(code));
            }
            _ => self.fail(Failure::from_code(code)),
        }
    }
}

impl Failure {
    fn from_code(code: u16) -> Self {
        match code {
            401 | 441 => Failure::Credentials,
            437 => Failure::Mismatch,
            440 => Failure::Family,
            486 | 508 => Failure::Capacity,
            code => Failure::Refused { code },
        }
    }
}

fn lifetime(message: &Message<'_>) -> Option<Duration> {
    let seconds = message.attribute(types::LIFETIME)?.try_into().ok().map(u32::from_be_bytes)?;
    Some(Duration::from_secs(seconds.into()))
}

fn xored(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    crate::stun::address::parse_xor(value, transaction).ok()
}

//! What clients ask for, and whether they get it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::*;

impl Server {
    pub(super) fn on_message(&mut self, now: Instant, from: FiveTuple, packet: BytesMut) -> Option<()> {
        let message = Message::parse(&packet).ok()?;
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => self.on_send(now, from, packet),
            // A keepalive.
            (Class::Indication, Method::BINDING) => Some(()),
            (Class::Request, _) => self.on_request(now, from, &message),
            _ => None,
        }
    }

    fn on_request(&mut self, now: Instant, from: FiveTuple, message: &Message<'_>) -> Option<()> {
        self.stats.requests += 1;
        if message.method() == Method::BINDING {
            let (from, outcome) = self.on_binding(from, message);
            return self.answer(now, from, message, None, outcome);
        }
        let (signer, outcome) = match self.authenticate(now, from, message) {
            Ok(signer) => {
                let outcome = self.perform(now, from, message, &signer.username);
                (Some(signer), outcome)
            }
            Err(refusal) => (None, Err(refusal)),
        };
        self.answer(now, from, message, signer.as_ref(), outcome)
    }

    /// RFC 8489 §6.3.1; and RFC 5780 §6.1, where there are addresses for it: then the answer may leave from another
    /// address than the request came to.
    fn on_binding(&self, from: FiveTuple, message: &Message<'_>) -> (FiveTuple, Result<Grant, Refusal>) {
        let other = self.other_address(from);
        let is_known = |kind: u16| kind == CHANGE_REQUEST && other.is_some();
        if let Some(kind) = message.unknown_required().as_slice().iter().find(|kind| !is_known(**kind)) {
            return (from, Err(Refusal::Unknown(*kind)));
        }
        let Some(other) = other else { return (from, Ok(Grant::Mapped { origin: None })) };
        let flags = match message.attribute(CHANGE_REQUEST) {
            None => 0,
            Some(&[_, _, _, flags]) => flags,
            Some(_) => return (from, Err(BAD_REQUEST)),
        };
        // RFC 5780 §7.2: 4 changes the IP address, 2 the port.
        let ip = if flags & 4 != 0 { other.ip() } else { from.server.ip() };
        let port = if flags & 2 != 0 { other.port() } else { from.server.port() };
        let origin = SocketAddr::new(ip, port);
        (FiveTuple { server: origin, ..from }, Ok(Grant::Mapped { origin: Some((origin, other)) }))
    }

    /// The address with another IP address and another port than the one that a datagram came to
    /// (RFC 5780 §6.1, table 1).
    fn other_address(&self, from: FiveTuple) -> Option<SocketAddr> {
        let (a, b) = self.config.alternates.filter(|_| from.protocol == Protocol::Udp)?;
        let opposite = |own, one, two| if own == one { Some(two) } else { (own == two).then_some(one) };
        let ip = opposite(from.server.ip(), a.ip(), b.ip())?;
        let port = if from.server.port() == a.port() { b.port() } else { a.port() };
        let known = [a.port(), b.port()].contains(&from.server.port());
        known.then_some(SocketAddr::new(ip, port))
    }

    /// RFC 8489 §9.2.4, in its order.
    fn authenticate(&self, now: Instant, from: FiveTuple, message: &Message<'_>) -> Result<Signer, Refusal> {
        let challenge = || Refusal::Challenge(ErrorCode::UNAUTHENTICATED);
        if !message.has_integrity() {
            return Err(challenge());
        }
        let (Some(name), Some(_), Some(nonce)) = (message.username(), message.realm(), message.nonce())
        else {
            return Err(BAD_REQUEST);
        };
        let echoed = message.attribute(types::PASSWORD_ALGORITHMS);
        let chosen = message.attribute(types::PASSWORD_ALGORITHM).map(|_| message.password_algorithm());
        let (algorithm, sha256) = match (echoed, chosen) {
            (None, None) => (PasswordAlgorithm::Md5, false),
            (Some(list), Some(Some(chosen)))
                if self.config.password_algorithms && list == ALGORITHMS_VALUE =>
            {
                (chosen, true)
            }
            _ => return Err(BAD_REQUEST),
        };
        let name = std::str::from_utf8(name).map_err(|_| challenge())?;
        let key = self.users.key(name, algorithm, self.clock.unix_at(now)).ok_or_else(challenge)?;
        let authentic = match sha256 {
            true => message.verify_integrity_sha256(&key.sha256),
            false => message.verify_integrity(&key.sha1),
        };
        authentic.map_err(|_| challenge())?;
        if !self.nonces.is_valid(nonce, from.client, self.uptime(now)) {
            return Err(Refusal::Challenge(ErrorCode { code: 438, reason: "Stale Nonce" }));
        }
        Ok(Signer { username: name.to_owned(), key, sha256 })
    }

    fn perform(
        &mut self,
        now: Instant,
        from: FiveTuple,
        message: &Message<'_>,
        user: &str,
    ) -> Result<Grant, Refusal> {
        if let [kind, ..] = message.unknown_required().as_slice() {
            return Err(Refusal::Unknown(*kind));
        }
        if message.method() == Method::ALLOCATE {
            return self.on_allocate(now, from, message, user);
        }
        // RFC 8656 §5: the allocation of this path, by who made it.
        let allocation = self.allocations.get(&from).filter(|a| a.expiry > now).ok_or(MISMATCH)?;
        if allocation.username != user {
            return Err(error(441, "Wrong Credentials"));
        }
        match message.method() {
            Method::REFRESH => self.on_refresh(now, from, message),
            Method::CREATE_PERMISSION => self.on_create_permission(now, from, message),
            Method::CHANNEL_BIND => self.on_channel_bind(now, from, message),
            _ => Err(BAD_REQUEST),
        }
    }

    /// RFC 8656 §7.2, in its order.
    fn on_allocate(
        &mut self,
        now: Instant,
        from: FiveTuple,
        message: &Message<'_>,
        user: &str,
    ) -> Result<Grant, Refusal> {
        self.handle_timeout(now);
        if let Some(allocation) = self.allocations.get(&from) {
            // RFC 8656 §7.2: a repeated request gets its answer again.
            if allocation.transaction != message.transaction() {
                return Err(MISMATCH);
            }
            let lifetime = allocation.expiry.saturating_duration_since(now);
            return Ok(Grant::Allocated { relays: allocation.relays.clone(), lifetime, missing: None });
        }
        match message.attribute(types::REQUESTED_TRANSPORT) {
            Some(&[17, _, _, _]) => {}
            Some(&[_, _, _, _]) => return Err(error(442, "Unsupported Transport Protocol")),
            _ => return Err(BAD_REQUEST),
        }
        if message.attribute(types::DONT_FRAGMENT).is_some() {
            return Err(Refusal::Unknown(types::DONT_FRAGMENT));
        }
        let families = wanted_families(message)?;
        let per_user = self.per_user.get(user).copied().unwrap_or(0);
        if per_user >= self.config.max_allocations_per_user {
            return Err(error(486, "Allocation Quota Reached"));
        }
        if self.allocations.len() >= self.config.max_allocations {
            return Err(CAPACITY);
        }
        let even = message.attribute(types::EVEN_PORT).is_some();
        let mut relays = Vec::new();
        let mut missing = None;
        for family in families.iter().copied() {
            match self.choose_relay(family, even) {
                Ok(relay) => relays.push(relay),
                // RFC 8656 §7.2, point 9: half of a dual allocation is better than none.
                Err(code) => missing = Some((family, code)),
            }
        }
        if relays.is_empty() {
            return Err(match missing {
                Some((_, 440)) => error(440, "Address Family not Supported"),
                _ => CAPACITY,
            });
        }
        let lifetime = self.lifetime(message)?.max(Duration::from_secs(1));
        self.insert(now, from, message.transaction(), user, &relays, lifetime);
        Ok(Grant::Allocated { relays, lifetime, missing })
    }

    /// A free relayed address, at random (RFC 8656 §7.2, RFC 6056); else the error's code.
    fn choose_relay(&mut self, family: Family, even: bool) -> Result<SocketAddr, u16> {
        let ip = match family {
            Family::V4 => self.config.relay_v4,
            Family::V6 => self.config.relay_v6,
        };
        let ip = ip.ok_or(440u16)?;
        let (first, last) = (*self.config.ports.start(), *self.config.ports.end());
        let count = u64::from(last - first) + 1;
        let start = self.rng.below(count);
        let ports = (0..count.min(PORT_TRIES)).filter_map(|step| {
            let offset = u16::try_from((start + step) % count).ok()?;
            first.checked_add(offset)
        });
        let free = |port: &u16| {
            !self.relays.contains_key(&SocketAddr::new(ip, *port)) && (!even || port.is_multiple_of(2))
        };
        ports.into_iter().find(free).map(|port| SocketAddr::new(ip, port)).ok_or(508)
    }

    fn insert(
        &mut self,
        now: Instant,
        from: FiveTuple,
        transaction: TransactionId,
        user: &str,
        relays: &[SocketAddr],
        lifetime: Duration,
    ) {
        let bucket = Bucket::new(now, self.config.max_rate);
        let (permissions, channels) = (self.config.max_permissions, self.config.max_channels);
        let expiry = now + lifetime;
        let mut allocation =
            Allocation::new(user.to_owned(), transaction, expiry, bucket, permissions, channels);
        allocation.relays = relays.to_vec();
        for relay in relays {
            self.relays.insert(*relay, from);
            self.events.push_back(Event::OpenRelay(*relay));
        }
        *self.per_user.entry(user.to_owned()).or_default() += 1;
        self.expiries.insert((expiry, from));
        self.allocations.insert(from, allocation);
    }

    /// RFC 8656 §8.2.
    fn on_refresh(&mut self, now: Instant, from: FiveTuple, message: &Message<'_>) -> Result<Grant, Refusal> {
        let family = requested_family(message, types::REQUESTED_ADDRESS_FAMILY)?;
        let has = |family| self.allocations.get(&from).is_some_and(|a| a.relay(family).is_some());
        if family.is_some_and(|family| !has(family)) {
            return Err(PEER_FAMILY);
        }
        let lifetime = self.lifetime(message)?;
        let whole = family.is_none_or(|family| {
            let relays = self.allocations.get(&from).map_or(&[][..], |a| &a.relays);
            relays.iter().all(|relay| Family::of(relay.ip()) == family)
        });
        match (lifetime.is_zero(), whole, family) {
            (true, true, _) | (true, _, None) => self.remove(from),
            (true, false, Some(family)) => self.remove_relay(from, family),
            (false, ..) => {
                if let Some(allocation) = self.allocations.get_mut(&from) {
                    self.expiries.remove(&(allocation.expiry, from));
                    allocation.expiry = now + lifetime;
                    self.expiries.insert((allocation.expiry, from));
                }
            }
        }
        Ok(Grant::Lifetime(lifetime))
    }

    /// RFC 8656 §10.2: all or none.
    fn on_create_permission(
        &mut self,
        now: Instant,
        from: FiveTuple,
        message: &Message<'_>,
    ) -> Result<Grant, Refusal> {
        let transaction = message.transaction();
        let mut peers = Vec::new();
        for attribute in message.attributes().filter(|a| a.kind == types::XOR_PEER_ADDRESS) {
            let peer =
                crate::stun::address::parse_xor(attribute.value, transaction).map_err(|_| BAD_REQUEST)?;
            peers.push(peer.ip());
            if peers.len() > MAX_BATCH {
                return Err(CAPACITY);
            }
        }
        if peers.is_empty() {
            return Err(BAD_REQUEST);
        }
        self.check_peers(from, &peers)?;
        let limit = self.config.max_permissions;
        let allocation = self.allocations.get_mut(&from).ok_or(MISMATCH)?;
        if !allocation.has_room(now, &peers, limit) {
            return Err(CAPACITY);
        }
        peers.into_iter().for_each(|peer| {
            allocation.permit(now, peer);
        });
        Ok(Grant::Nothing)
    }

    /// RFC 8656 §12.2.
    fn on_channel_bind(
        &mut self,
        now: Instant,
        from: FiveTuple,
        message: &Message<'_>,
    ) -> Result<Grant, Refusal> {
        let number = match message.attribute(types::CHANNEL_NUMBER) {
            Some(&[high, low, _, _]) => ChannelNumber::new(u16::from_be_bytes([high, low])),
            _ => None,
        };
        let peer = message.xor_address(types::XOR_PEER_ADDRESS);
        let (Some(number), Some(peer)) = (number, peer) else { return Err(BAD_REQUEST) };
        self.check_peers(from, &[peer.ip()])?;
        if !self.may_reach(from, peer) {
            return Err(Refusal::Error(ErrorCode::FORBIDDEN));
        }
        let limit = self.config.max_permissions;
        let allocation = self.allocations.get_mut(&from).ok_or(MISMATCH)?;
        if !allocation.has_room(now, &[peer.ip()], limit) {
            return Err(CAPACITY);
        }
        allocation.bind(now, number, peer).map_err(|e| match e {
            BindError::Conflict => BAD_REQUEST,
            BindError::Full => CAPACITY,
        })?;
        allocation.permit(now, peer.ip());
        Ok(Grant::Nothing)
    }

    fn check_peers(&self, from: FiveTuple, peers: &[IpAddr]) -> Result<(), Refusal> {
        let allocation = self.allocations.get(&from).ok_or(MISMATCH)?;
        if peers.iter().any(|peer| allocation.relay(Family::of(*peer)).is_none()) {
            return Err(PEER_FAMILY);
        }
        if !peers.iter().all(|peer| self.may_permit(*peer)) {
            return Err(Refusal::Error(ErrorCode::FORBIDDEN));
        }
        Ok(())
    }

    /// RFC 8656 §7.2, §8.2: at least the default, at most the maximum; zero stays zero.
    fn lifetime(&self, message: &Message<'_>) -> Result<Duration, Refusal> {
        let Some(value) = message.attribute(types::LIFETIME) else { return Ok(self.config.lifetime) };
        let seconds = u32::from_be_bytes(value.try_into().map_err(|_| BAD_REQUEST)?);
        if seconds == 0 && message.method() == Method::REFRESH {
            return Ok(Duration::ZERO);
        }
        let wanted = Duration::from_secs(seconds.into()).min(self.config.max_lifetime);
        Ok(wanted.max(self.config.lifetime))
    }
}

/// RFC 8656 §7.2, points 5 to 9.
fn wanted_families(message: &Message<'_>) -> Result<&'static [Family], Refusal> {
    let requested = requested_family(message, types::REQUESTED_ADDRESS_FAMILY)?;
    let additional = requested_family(message, types::ADDITIONAL_ADDRESS_FAMILY)?;
    let even = message.attribute(types::EVEN_PORT);
    let token = message.attribute(types::RESERVATION_TOKEN).is_some();
    let reserves = even.is_some_and(|value| value.first().is_some_and(|bits| bits & 0x80 != 0));
    match (requested, additional) {
        _ if token && (even.is_some() || requested.is_some() || additional.is_some()) => Err(BAD_REQUEST),
        // Ports are not reserved here, so no token is good and none is given.
        _ if token => Err(CAPACITY),
        (Some(_), Some(_)) | (_, Some(Family::V4)) => Err(BAD_REQUEST),
        (_, Some(Family::V6)) if reserves => Err(BAD_REQUEST),
        _ if reserves => Err(CAPACITY),
        (_, Some(Family::V6)) => Ok(&[Family::V4, Family::V6]),
        (Some(Family::V6), None) => Ok(&[Family::V6]),
        (Some(Family::V4) | None, None) => Ok(&[Family::V4]),
    }
}

fn requested_family(message: &Message<'_>, kind: u16) -> Result<Option<Family>, Refusal> {
    match message.attribute(kind) {
        None => Ok(None),
        Some(value) if value.len() != 4 => Err(BAD_REQUEST),
        Some(value) => match Family::from_attribute(value) {
            Some(family) => Ok(Some(family)),
            None => Err(error(440, "Address Family not Supported")),
        },
    }
}

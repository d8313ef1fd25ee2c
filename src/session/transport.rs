//! One path for everything: ICE finds it, DTLS protects what goes over it.
//!
//! A datagram that is not STUN is asked for at the agent first: nothing from an address that no authentic
//! connectivity check came from reaches the DTLS machine (RFC 8445 §12, RFC 5763 §6.7).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::buffer::Pool;
use crate::dtls;
use crate::ice::{self, LastFlight, SourceState};
use crate::packet::{Datagram, Ecn, Protocol, StreamOutput, Transmit};
use crate::rng::Rng;
use crate::session::gather::{Gatherer, Way as Route};
use crate::session::media::{Media, RunKind};
use crate::time::earliest;
use crate::turn;
use crate::types::candidate::CandidateKind;
use crate::types::fingerprint::Fingerprint;
use crate::types::setup::DtlsRole;

/// The pair of addresses that data flows over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathInfo {
    /// Our address, as the caller knows it.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// How it is reached.
    pub protocol: Protocol,
    /// What the local candidate is.
    pub local_kind: CandidateKind,
    /// What the remote candidate is.
    pub remote_kind: CandidateKind,
    /// The last measured round-trip time, if any check was answered on this pair.
    pub rtt: Option<Duration>,
}

impl From<&ice::Path> for PathInfo {
    fn from(path: &ice::Path) -> Self {
        PathInfo {
            local: path.local,
            remote: path.remote,
            protocol: path.protocol,
            local_kind: path.local_kind,
            remote_kind: path.remote_kind,
            rtt: path.rtt,
        }
    }
}

/// Datagrams that were dropped before any protocol saw their content, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DroppedDatagrams {
    /// Empty, or of a protocol that WebRTC does not speak (RFC 7983).
    pub unknown: u64,
    /// DTLS, RTP or RTCP from an address without an authentic connectivity check.
    pub unvalidated: u64,
    /// DTLS before the remote description is known.
    pub early: u64,
    /// RTP or RTCP before any media is agreed upon.
    pub media: u64,
    /// TURN ChannelData without an allocation.
    pub channel_data: u64,
    /// Anything after the connection was closed.
    pub closed: u64,
}

/// What leaves: a datagram, or something for a stream.
#[derive(Debug)]
pub(crate) enum Outbound {
    Transmit(Transmit),
    Stream(StreamOutput),
}

/// ICE and DTLS of a connection.
#[derive(Debug)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub(crate) struct Transport {
    pub(crate) pool: Pool,
    /// Servers, streams and names; most connections have none.
    pub(crate) gather: Option<Box<Gatherer>>,
    pub(crate) bytes_sent: u64,
    pub(crate) datagrams_sent: u64,
    pub(crate) ice: ice::Agent,
    /// `None` until the DTLS role is settled.
    dtls: Option<dtls::Connection>,
    role: Option<DtlsRole>,
    pub(crate) dropped: DroppedDatagrams,
    pub(crate) bytes_received: u64,
    pub(crate) datagrams_received: u64,
    /// A sealed packet that was longer than the run that it was to end.
    held: Option<(Route, BytesMut)>,
    /// The largest UDP payload that is sent.
    datagram_size: usize,
    way: Way,
}

/// The most that a relay puts around a packet.
const RELAY_OVERHEAD: usize = turn::Overhead::MAX.head + turn::Overhead::MAX.tail;

/// How the handshake travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It has not begun.
    Idle,
    /// It has, inside connectivity checks, and there is no path for it yet (draft-hancke-webrtc-sped).
    Carried,
    /// Over a path, and inside checks as well while both ends do so.
    Path,
}

impl Transport {
    pub(crate) fn new(ice: ice::Agent, datagram_size: usize) -> Self {
        Transport {
            ice,
            dtls: None,
            role: None,
            gather: None,
            pool: Pool::new(),
            dropped: DroppedDatagrams::default(),
            bytes_sent: 0,
            bytes_received: 0,
            datagrams_sent: 0,
            datagrams_received: 0,
            held: None,
            datagram_size,
            way: Way::Idle,
        }
    }

    /// The DTLS role and the peer's fingerprints are known: the handshake may run as soon as there is a path.
    pub(crate) fn start_dtls(
        &mut self,
        now: Instant,
        config: Arc<dtls::Config>,
        role: DtlsRole,
        fingerprints: Vec<Fingerprint>,
        rng: Rng,
    ) {
        self.role = Some(role);
        let mut connection = dtls::Connection::new(config, role, rng);
        connection.set_remote_fingerprints(fingerprints);
        self.dtls = Some(connection);
        self.on_path(now);
        if self.way == Way::Idle && self.ice.embedding().is_some() {
            self.begin_carried(now);
        }
        self.exchange_embedded(now);
    }

    /// The peer's fingerprints were signalled again: a live connection must still fit them.
    pub(crate) fn set_fingerprints(&mut self, fingerprints: Vec<Fingerprint>) {
        if let Some(dtls) = &mut self.dtls {
            dtls.set_remote_fingerprints(fingerprints);
            self.load_flight();
        }
    }

    /// A first pair works: the client's hello leaves over it, nominated or not. What travelled in checks before is timed
    /// by the path from now on.
    pub(crate) fn on_path(&mut self, now: Instant) {
        if self.way != Way::Path
            && let (Some(dtls), Some(path)) = (&mut self.dtls, self.ice.send_path())
        {
            dtls.start(now, path.rtt);
            self.way = Way::Path;
            self.load_flight();
        }
    }

    /// The handshake begins inside checks. Until there is a path, the checks decide when it is sent again.
    fn begin_carried(&mut self, now: Instant) {
        if let Some(dtls) = &mut self.dtls {
            dtls.start(now, None);
            self.way = Way::Carried;
        }
    }

    /// Gives DTLS what came in checks, and puts what it answers into the next ones.
    pub(crate) fn exchange_embedded(&mut self, now: Instant) {
        if self.ice.embedding().is_some() && self.dtls.is_some() && self.way == Way::Idle {
            // The peer was the first to speak of it.
            self.begin_carried(now);
        }
        if let Some(dtls) = &mut self.dtls {
            while let Some(datagram) = self.ice.poll_embedded() {
                dtls.handle_datagram(now, datagram);
            }
        }
        self.load_flight();
    }

    /// A flight that is due is written once, to be carried in checks, and sent as it is when there is a path.
    fn load_flight(&mut self) {
        let (Some(dtls), Some(overhead)) = (&mut self.dtls, self.ice.embedding()) else { return };
        if let Some(details) = dtls.details() {
            // The draft's "Completion of the DTLS handshake". It is told before the last flight takes the place of
            // what was pending.
            let is_old = details.version == dtls::Version::Dtls12;
            let is_client = self.role == Some(DtlsRole::Client);
            self.ice.on_handshake_complete(if is_client == is_old {
                LastFlight::Theirs
            } else {
                LastFlight::Ours
            });
        }
        if !dtls.has_pending_datagram() {
            return;
        }
        // Checks go every way at once, relayed ones too.
        let relay = if self.gather.is_some() { RELAY_OVERHEAD } else { 0 };
        let size = self.datagram_size.saturating_sub(overhead + relay);
        let mut flight = Vec::new();
        while let Some(datagram) = dtls.poll_datagram(&mut self.pool, size) {
            flight.push(Bytes::copy_from_slice(&datagram));
        }
        self.ice.embed_flight(flight.into_iter());
    }

    /// Whether the handshake has begun, or its parameters are known.
    pub(crate) fn is_begun(&self) -> bool {
        self.dtls.is_some() || self.way != Way::Idle
    }

    /// A STUN packet: the agent's.
    pub(crate) fn handle_stun(&mut self, now: Instant, datagram: &Datagram) {
        let Datagram { source, destination, protocol, contents, .. } = datagram;
        self.ice.handle_packet(now, *source, *destination, *protocol, contents);
    }

    /// A DTLS datagram: opened in place. Application data is then taken with [`poll_received`](Self::poll_received).
    pub(crate) fn handle_dtls(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { source, destination, protocol, contents, .. } = datagram;
        if self.ice.accepts_from(source, destination, protocol) == SourceState::Unknown {
            self.dropped.unvalidated += 1;
            tracing::debug!(%source, "DTLS from an address that ICE does not know");
            return;
        }
        match &mut self.dtls {
            Some(dtls) => {
                if !dtls.can_send() {
                    self.ice.on_plain_flight(&contents);
                }
                dtls.handle_datagram(now, contents);
                self.load_flight();
            }
            None => self.dropped.early += 1,
        }
    }

    /// Application data that arrived, decrypted.
    pub(crate) fn poll_received(&mut self) -> Option<BytesMut> {
        self.dtls.as_mut()?.poll_received()
    }

    /// What DTLS found out.
    pub(crate) fn poll_dtls_fact(&mut self) -> Option<dtls::Fact> {
        self.dtls.as_mut()?.poll_fact()
    }

    /// The next line of the key log.
    pub(crate) fn poll_key_log(&mut self) -> Option<String> {
        self.dtls.as_mut()?.poll_key_log()
    }

    /// DTLS, once the roles are settled.
    pub(crate) fn dtls(&self) -> Option<&dtls::Connection> {
        self.dtls.as_ref()
    }

    /// Whether DTLS is done.
    pub(crate) fn is_secured(&self) -> bool {
        self.dtls.as_ref().is_some_and(dtls::Connection::can_send)
    }

    /// What a datagram has room for inside its DTLS record.
    pub(crate) fn application_size(&self) -> usize {
        let overhead = self.dtls.as_ref().map_or(0, |dtls| dtls.overhead().head + dtls.overhead().tail);
        self.inner_size() - overhead
    }

    /// What a datagram has room for on its way to the peer: a relay takes some of it.
    fn inner_size(&self) -> usize {
        let is_relayed = self.ice.send_path().is_some_and(|path| path.local_kind == CandidateKind::Relayed);
        let relay = if is_relayed { RELAY_OVERHEAD } else { 0 };
        self.datagram_size - relay
    }

    /// The connection is over: DTLS says so to the peer, ICE stays to carry that.
    pub(crate) fn close(&mut self) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close();
        }
    }

    /// Gives back memory that only busy times need.
    pub(crate) fn slim(&mut self) {
        self.pool.shrink();
        if let Some(dtls) = &mut self.dtls {
            dtls.slim();
        }
    }

    /// Everything was said: nothing is sent, and memory is given back.
    pub(crate) fn shut(&mut self) {
        self.ice.close();
        self.gather = None;
        self.dtls = None;
        self.pool = Pool::new();
        self.held = None;
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.handle_ice_timeout(now);
        // While the handshake is carried in checks their timer is its timer, too.
        if let Some(dtls) = self.dtls.as_mut().filter(|_| self.way != Way::Carried) {
            dtls.handle_timeout(now);
            self.load_flight();
        }
    }

    /// What candidates made due leaves now.
    pub(crate) fn handle_ice_timeout(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
        if let Some(gather) = &mut self.gather {
            // RFC 8445 §14: all transactions share one pace.
            gather.yield_to(now, self.ice.last_check());
            gather.handle_timeout(now);
            if gather.take_begun() {
                self.ice.on_other_transaction(now);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let dtls = self.dtls.as_ref().filter(|_| self.way != Way::Carried);
        let gather = self.gather.as_ref().and_then(|gather| gather.next_timeout());
        earliest([self.ice.next_timeout(), dtls.and_then(dtls::Connection::next_timeout), gather])
    }

    /// True only when there is nothing to send but what others bring: no check, no handshake, nothing held back.
    /// With servers it is never sure.
    pub(crate) fn is_quiet(&self) -> bool {
        let has_handshake = self.dtls.as_ref().is_some_and(|dtls| dtls.has_pending_datagram());
        self.gather.is_none()
            && self.held.is_none()
            && !has_handshake
            && !self.ice.has_transmit()
            && !self.ice.may_have_plain_flight()
    }

    /// The next connectivity check or handshake datagram.
    pub(crate) fn poll_transmit(&mut self) -> Option<Outbound> {
        loop {
            let transmit = match self.ice.poll_transmit(&mut self.pool) {
                Some(transmit) => transmit,
                None => match self.poll_dtls() {
                    Some(transmit) => transmit,
                    None => return self.poll_gather(),
                },
            };
            // One that cannot leave now is lost, and the next one's turn has come.
            if let Some(outbound) = self.carried(transmit) {
                return Some(outbound);
            }
        }
    }

    /// Whether neither servers nor a packet that was held back may have something to send by themselves.
    pub(crate) fn is_silent(&self) -> bool {
        self.gather.is_none() && self.held.is_none()
    }

    fn poll_gather(&mut self) -> Option<Outbound> {
        let outbound = self.gather.as_mut()?.poll_transmit(&mut self.pool)?;
        self.count_sent(&outbound);
        Some(outbound)
    }

    /// What servers are told when everything else was said: allocations are given back.
    pub(crate) fn poll_farewell(&mut self) -> Option<Outbound> {
        self.gather.as_mut()?.close();
        self.poll_gather()
    }

    /// A packet without room around it goes out, whichever way.
    #[inline]
    fn carried(&mut self, transmit: Transmit) -> Option<Outbound> {
        let outbound = match &mut self.gather {
            None => Outbound::Transmit(transmit),
            Some(gather) => gather.carry(transmit, &mut self.pool)?,
        };
        self.count_sent(&outbound);
        Some(outbound)
    }

    fn poll_dtls(&mut self) -> Option<Transmit> {
        let dtls = self.dtls.as_ref()?;
        if !dtls.has_pending_datagram() && !self.ice.may_have_plain_flight() {
            return None;
        }
        let size = self.inner_size();
        let dtls = self.dtls.as_mut()?;
        let path = self.ice.handshake_path()?;
        let contents = match self.ice.poll_plain_flight() {
            Some(datagram) => {
                let tail = self.pool.tail(datagram.len());
                tail.extend_from_slice(&datagram);
                tail.split()
            }
            None => dtls.poll_datagram(&mut self.pool, size)?,
        };
        Some(plain(path.local, path.remote, path.protocol, contents))
    }

    /// The next datagram of media, or run of them. Nothing is asked for while there is no path.
    #[inline]
    pub(crate) fn poll_media(
        &mut self,
        media: &mut Media,
        now: Instant,
        max_segments: usize,
    ) -> Option<(Outbound, RunKind)> {
        let path = self.ice.send_path()?;
        let (local, remote, protocol) = (path.local, path.remote, path.protocol);
        // What cannot leave now is lost, and the next one's turn has come.
        while let Some(run) = media.poll_transmit(now, &mut self.pool, max_segments) {
            let mut transmit = plain(local, remote, protocol, run.contents);
            transmit.segment_size = run.segment_size;
            self.count_data(&transmit);
            if let Some(outbound) = self.carried(transmit) {
                return Some((outbound, run.kind));
            }
        }
        None
    }

    /// Seals what `write` appends, again and again until it appends nothing or `max_segments` are written: equal
    /// in size, but for a last one that may be shorter. Nothing is asked for while there is no path.
    ///
    /// `write` returns whether it appended a packet; when `is_silent`, it is known to append none, and no memory is
    /// asked for. A packet longer than the ones before it ends the run and
    /// opens the next, which is handed back by the next call.
    pub(crate) fn poll_application(
        &mut self,
        is_silent: bool,
        max_segments: usize,
        mut write: impl FnMut(&mut BytesMut) -> bool,
    ) -> Option<Outbound> {
        if is_silent && self.held.is_none() {
            return None;
        }
        let dtls = self.dtls.as_mut().filter(|dtls| dtls.can_send())?;
        let path = *self.ice.send_path()?;
        let (way, room) = match &self.gather {
            Some(gather) => {
                let way = gather.way(path.local, path.remote, path.protocol)?;
                (way, gather.room(way, path.remote))
            }
            None => (Route::Direct, (0, 0)),
        };
        if let Some((held, contents)) = self.held.take()
            && held == way
        {
            return self.outbound(way, plain(path.local, path.remote, path.protocol, contents));
        }
        let overhead = dtls.overhead();
        let tail = self.pool.tail((self.datagram_size + room.0 + room.1) * max_segments);
        let mut first = None;
        let mut run = 0;
        for _ in 0..max_segments {
            let start = tail.len();
            tail.resize(start + room.0 + overhead.head, 0);
            if !write(tail) {
                tail.truncate(start);
                break;
            }
            let is_sealed = dtls.seal_in_place(tail, start + room.0).is_ok();
            let enclosed = match &mut self.gather {
                Some(gather) if is_sealed => gather.enclose(way, path.remote, tail, start),
                _ => is_sealed,
            };
            if !enclosed {
                tail.truncate(start);
                break;
            }
            let len = tail.len() - start;
            let segment_size = *first.get_or_insert(len);
            if len <= segment_size {
                run = tail.len();
            }
            if len != segment_size {
                break;
            }
        }
        let segment_size = first?;
        let contents = tail.split_to(run);
        self.held = (!tail.is_empty()).then(|| (way, tail.split()));
        let mut transmit = plain(path.local, path.remote, path.protocol, contents);
        if transmit.contents.len() > segment_size {
            transmit.segment_size = Some(segment_size);
        }
        self.outbound(way, transmit)
    }

    /// What is enclosed for its way goes out.
    fn outbound(&mut self, way: Route, transmit: Transmit) -> Option<Outbound> {
        self.count_data(&transmit);
        let outbound = match &self.gather {
            Some(gather) => gather.send(way, transmit)?,
            None => Outbound::Transmit(transmit),
        };
        self.count_sent(&outbound);
        Some(outbound)
    }

    fn count_data(&mut self, transmit: &Transmit) {
        let length = transmit.contents.len();
        let packets = transmit.segment_size.map_or(1, |size| length.div_ceil(size.max(1)));
        self.ice.on_data_sent(packets as u64, length as u64);
    }

    #[inline]
    fn count_sent(&mut self, outbound: &Outbound) {
        let transmit = match outbound {
            Outbound::Transmit(transmit) => transmit,
            Outbound::Stream(StreamOutput::Write { contents, .. }) => {
                self.bytes_sent += contents.len() as u64;
                return;
            }
            Outbound::Stream(_) => return,
        };
        self.bytes_sent += transmit.contents.len() as u64;
        self.datagrams_sent += match transmit.segment_size {
            Some(size) => transmit.contents.len().div_ceil(size) as u64,
            None => 1,
        };
    }
}

#[inline]
fn plain(source: SocketAddr, destination: SocketAddr, protocol: Protocol, contents: BytesMut) -> Transmit {
    Transmit {
        contents: contents.into(),
        destination,
        source,
        protocol,
        ecn: Ecn::NotEct,
        segment_size: None,
    }
}

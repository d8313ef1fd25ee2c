//! UDP sockets for a loop that owns them all: batches in, segmented runs out (GRO and GSO where the system has
//! them), and the ECN field both ways.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::BytesMut;
use mio::{Interest, Registry, Token};
use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use sansrtc::packet::{Datagram, Ecn, Protocol, Transmit};
use socket2::{Domain, Socket, Type};

/// What the kernel is asked to hold for us; it may give less.
const SOCKET_BUFFER: usize = 4 << 20;
/// Transmits kept while a socket cannot be written. What comes on top is dropped, as any full queue on the way
/// would do; the protocols above recover.
const MAX_PENDING: usize = 256;
/// Messages that one system call may bring.
const BATCH: usize = 16;
/// One of them: with GRO it holds many datagrams.
const MESSAGE: usize = 64 * 1024;
/// Datagrams are handed out as pieces of slabs of this size.
const SLAB: usize = 256 * 1024;
/// Where names are asked for and told (RFC 6762 §3).
const MDNS: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);

/// A socket bound to one local address.
pub(crate) struct Udp {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    protocol: Protocol,
    pending: VecDeque<Transmit>,
    dropped: u64,
}

impl Udp {
    /// Binds to `ip`, which must not be a wildcard: a datagram's local address has to be known.
    pub(crate) fn bind(ip: IpAddr, port: u16) -> io::Result<Self> {
        let address = SocketAddr::new(ip, port);
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Self::around(socket, local, Protocol::Udp)
    }

    /// A socket for Multicast DNS on the interface that has this address. Others on this machine may have theirs.
    pub(crate) fn multicast(ip: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        let (group, port) = MDNS;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        socket.join_multicast_v4(&group, &ip)?;
        // Without it, what comes to the other interfaces would come here as well.
        #[cfg(target_os = "linux")]
        socket.set_multicast_all_v4(false)?;
        socket.set_multicast_if_v4(&ip)?;
        // RFC 6762 §11; and who is asked may be a browser on this machine.
        socket.set_multicast_ttl_v4(255)?;
        socket.set_multicast_loop_v4(true)?;
        Self::around(socket, SocketAddr::from((ip, port)), Protocol::Mdns)
    }

    fn around(socket: Socket, local: SocketAddr, protocol: Protocol) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket: std::net::UdpSocket = socket.into();
        let state = UdpSocketState::new((&socket).into())?;
        // Best effort: small buffers only cost speed.
        let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER);
        let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER);
        Ok(Udp {
            socket: mio::net::UdpSocket::from_std(socket),
            state,
            local,
            protocol,
            pending: VecDeque::new(),
            dropped: 0,
        })
    }

    /// Asks the poll to tell of this socket under `token`.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// The address that the socket is bound to, or, of a multicast socket, that of its interface.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// What it is for.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Datagrams that one transmit may hold.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Transmits that a full queue refused.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Sends, or keeps until the socket can be written.
    pub(crate) fn send(&mut self, transmit: Transmit) {
        if !self.pending.is_empty() || self.is_blocked_by(&transmit) {
            if self.pending.len() < MAX_PENDING {
                self.pending.push_back(transmit);
            } else {
                self.dropped += 1;
            }
        }
    }

    /// Sends what was kept. Call when the socket is writable.
    pub(crate) fn flush(&mut self) {
        while let Some(transmit) = self.pending.pop_front() {
            if self.is_blocked_by(&transmit) {
                self.pending.push_front(transmit);
                return;
            }
        }
    }

    /// Tries to send; other errors than a full socket are those of the way there, and count as loss.
    fn is_blocked_by(&self, transmit: &Transmit) -> bool {
        let out = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: EcnCodepoint::from_bits(transmit.ecn as u8),
            contents: &transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: None,
        };
        match self.socket.try_io(|| self.state.try_send((&self.socket).into(), &out)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => {
                tracing::debug!(%error, local = %self.local, to = %transmit.destination, "not sent");
                false
            }
            Ok(()) => false,
        }
    }
}

/// Memory to receive into, shared by all sockets of a thread.
pub(crate) struct Inbox {
    /// Where the system writes. Safe code cannot hand out unwritten memory, and clearing it again and again
    /// would cost more than the copy from here into the slab.
    scratch: Vec<u8>,
    /// Datagrams lie side by side in it and are split off: no allocation per datagram.
    slab: BytesMut,
}

impl Inbox {
    /// An empty inbox.
    pub(crate) fn new() -> Self {
        Inbox { scratch: vec![0; BATCH * MESSAGE], slab: BytesMut::with_capacity(SLAB) }
    }

    /// Receives one batch and gives each datagram to `take`. Says whether there may be more.
    pub(crate) fn receive(&mut self, udp: &Udp, mut take: impl FnMut(Datagram)) -> io::Result<bool> {
        let mut meta = [RecvMeta::default(); BATCH];
        let received = {
            let mut messages = self.scratch.chunks_mut(MESSAGE);
            let mut slices: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| IoSliceMut::new(messages.next().unwrap_or_default()));
            udp.socket.try_io(|| udp.state.recv((&udp.socket).into(), &mut slices, &mut meta))
        };
        let count = match received {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // An ICMP answer to something sent earlier: it says nothing of what is still to be read.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(true),
            Err(error) => return Err(error),
        };
        for (meta, message) in meta.iter().zip(self.scratch.chunks(MESSAGE)).take(count) {
            let bytes = &message[..meta.len];
            if self.slab.capacity() < bytes.len() {
                // Takes the same memory again when every piece of it has been dropped.
                self.slab.reserve(SLAB);
            }
            self.slab.extend_from_slice(bytes);
            take(Datagram {
                contents: self.slab.split(),
                source: meta.addr,
                destination: udp.local,
                protocol: udp.protocol,
                ecn: Ecn::from_bits(meta.ecn.map_or(0, |ecn| ecn as u8)),
                segment_size: (meta.stride < meta.len).then_some(meta.stride),
            });
        }
        Ok(true)
    }
}

/// The addresses to bind: the given ones, with wildcards spelt out, or else every address of this machine,
/// loopback only when there is nothing else.
pub(crate) fn addresses(wanted: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    let mut own: Vec<IpAddr> = if_addrs::get_if_addrs()?.iter().map(|i| i.ip()).collect();
    // A link-local address means nothing without its zone, which a candidate cannot carry (RFC 8839 §5.1).
    own.retain(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
    let mut chosen: Vec<IpAddr> = Vec::new();
    if wanted.is_empty() {
        let outward: Vec<IpAddr> = own.iter().copied().filter(|ip| !ip.is_loopback()).collect();
        chosen = if outward.is_empty() { own } else { outward };
    } else {
        for ip in wanted {
            if ip.is_unspecified() {
                chosen.extend(own.iter().filter(|o| o.is_ipv4() == ip.is_ipv4()));
            } else {
                chosen.push(*ip);
            }
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

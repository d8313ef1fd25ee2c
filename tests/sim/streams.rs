//! TCP between hosts: streams that lose nothing, come in order, and know only open, bytes and close.
//!
//! A connection goes out through NATs and firewalls as datagrams do, and never in through them. What the network
//! does to single packets is TCP's business; a stream is only as slow as the links' delay.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use sansrtc::packet::{Protocol, StreamKey, StreamOutput};

use super::network::{HostId, Network, Reach};

/// How long a connection is tried into the void.
const PATIENCE: Duration = Duration::from_secs(20);
/// Keys of accepted streams start here; those of opened ones are the opener's.
const ACCEPTED: u64 = 1 << 40;

/// What happens at one end of a stream.
#[derive(Debug)]
pub(super) enum Happening {
    /// Somebody connects.
    Accept { local: SocketAddr, remote: SocketAddr },
    /// Our connection is there.
    Opened { local: SocketAddr },
    /// Bytes.
    Received(BytesMut),
    /// The end.
    Closed,
}

/// All streams.
#[derive(Default)]
pub(super) struct Streams {
    /// Both ends, the opener first.
    streams: Vec<Stream>,
    ends: BTreeMap<(HostId, StreamKey), (usize, usize)>,
    queue: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    /// The end that each scheduled happening is for.
    pending: Vec<Option<(usize, usize, Happening)>>,
}

struct Stream {
    ends: [(HostId, StreamKey); 2],
    /// Their own addresses; what the acceptor sees of the opener is another one behind a NAT.
    locals: [SocketAddr; 2],
    seen: SocketAddr,
    delay: Duration,
    is_open: bool,
}

impl Streams {
    /// Does what a host asks for.
    pub(super) fn command(&mut self, network: &mut Network, host: HostId, command: StreamOutput) {
        let now = network.elapsed();
        match command {
            StreamOutput::Open { key, local, remote, protocol, .. } => {
                assert_ne!(protocol, Protocol::Tls, "TLS is the caller's business, and there is none here");
                self.open(network, host, key, local, remote);
            }
            StreamOutput::Write { key, contents } => {
                let Some(&(index, side)) = self.ends.get(&(host, key)) else { return };
                if self.streams[index].is_open
                    && network.has_address(host, self.streams[index].locals[side].ip())
                {
                    let at = now + self.streams[index].delay;
                    self.schedule(at, index, 1 - side, Happening::Received(BytesMut::from(&contents[..])));
                }
            }
            StreamOutput::Close { key } => {
                let Some((index, side)) = self.ends.remove(&(host, key)) else { return };
                self.schedule(now + self.streams[index].delay, index, 1 - side, Happening::Closed);
            }
            other => panic!("{host:?} wants what is not simulated: {other:?}"),
        }
    }

    fn open(
        &mut self,
        network: &mut Network,
        host: HostId,
        key: StreamKey,
        from: Option<IpAddr>,
        remote: SocketAddr,
    ) {
        let now = network.elapsed();
        let index = self.streams.len();
        let port = 32_768 + (index % 28_000) as u16;
        let reach = network.connect(host, from, port, remote);
        let (acceptor, local, seen, delay) = match reach {
            Reach::Host { host, local, seen, delay } => (Some(host), local, seen, delay),
            Reach::Silence { local } => (None, local, local, PATIENCE),
        };
        let other = (acceptor.unwrap_or(host), StreamKey(ACCEPTED + index as u64));
        let locals = [local, remote];
        self.streams.push(Stream { ends: [(host, key), other], locals, seen, delay, is_open: false });
        self.ends.insert((host, key), (index, 0));
        match acceptor {
            Some(_) => {
                self.schedule(now + delay, index, 1, Happening::Accept { local: remote, remote: seen })
            }
            None => self.schedule(now + delay, index, 0, Happening::Closed),
        }
    }

    /// An accepted stream is taken, or not.
    pub(super) fn answer(&mut self, now: Duration, host: HostId, key: StreamKey, is_taken: bool) {
        let index = (key.0 - ACCEPTED) as usize;
        let stream = &mut self.streams[index];
        let at = now + stream.delay;
        stream.is_open = is_taken;
        let local = stream.locals[0];
        if is_taken {
            self.ends.insert((host, key), (index, 1));
            self.schedule(at, index, 0, Happening::Opened { local });
        } else {
            self.schedule(at, index, 0, Happening::Closed);
        }
    }

    /// The streams of an address are gone, and their host knows it; the other ends hear nothing.
    pub(super) fn cut(&mut self, now: Duration, host: HostId, ip: IpAddr) {
        for index in 0..self.streams.len() {
            for side in 0..2 {
                let stream = &self.streams[index];
                if stream.is_open && stream.ends[side].0 == host && stream.locals[side].ip() == ip {
                    self.streams[index].is_open = false;
                    self.schedule(now, index, side, Happening::Closed);
                }
            }
        }
    }

    /// When something happens next.
    pub(super) fn next_time(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// What is due.
    pub(super) fn step(&mut self, now: Duration) -> Option<(HostId, StreamKey, Happening)> {
        loop {
            let &Reverse((at, _, slot)) = self.queue.peek()?;
            if at > now {
                return None;
            }
            self.queue.pop();
            let (index, side, what) = self.pending[slot].take()?;
            let (host, key) = self.streams[index].ends[side];
            let is_known = self.ends.contains_key(&(host, key));
            match what {
                Happening::Accept { .. } => {}
                // Whoever closed it hears nothing more.
                _ if !is_known => continue,
                Happening::Closed => {
                    self.ends.remove(&(host, key));
                    self.streams[index].is_open = false;
                }
                _ => {}
            }
            return Some((host, key, what));
        }
    }

    fn schedule(&mut self, at: Duration, index: usize, side: usize, what: Happening) {
        self.pending.push(Some((index, side, what)));
        let slot = self.pending.len() - 1;
        self.queue.push(Reverse((at, slot as u64, slot)));
    }
}

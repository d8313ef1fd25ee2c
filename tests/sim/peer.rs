//! What the simulator asks of a machine.

use std::net::SocketAddr;
use std::time::Instant;

use sansrtc::packet::{Datagram, StreamInput, StreamKey, StreamOutput, Transmit};

/// What a peer gives when it is polled.
#[derive(Debug)]
pub enum Output<E> {
    /// A datagram, or a segmented run of them, to be sent.
    Transmit(Transmit),
    /// Something to be done to a TCP stream.
    Stream(StreamOutput),
    /// Something for the application.
    Event(E),
    /// Nothing more now. When to come back at the latest; `None`: only when a datagram arrives.
    Timeout(Option<Instant>),
}

/// A machine that lives on a host: it takes datagrams and time, and is polled until it is dry.
pub trait Peer {
    /// What it tells the application.
    type Event;

    /// A datagram arrived.
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram);

    /// Something happened to a stream that the peer opened or took.
    fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        panic!("nobody asked for streams: {input:?} at {now:?}");
    }

    /// Somebody connects to `local`; whether the stream is taken, under this key.
    fn handle_accepted(
        &mut self,
        now: Instant,
        key: StreamKey,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> bool {
        let _ = (now, key, local, remote);
        false
    }

    /// The deadline that the last [`Output::Timeout`] named has come.
    fn handle_timeout(&mut self, now: Instant);

    /// The next thing to do; called until it gives [`Output::Timeout`].
    fn poll(&mut self, now: Instant) -> Output<Self::Event>;
}

impl<T: Peer + ?Sized> Peer for Box<T> {
    type Event = T::Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        (**self).handle_datagram(now, datagram);
    }

    fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        (**self).handle_stream(now, input);
    }

    fn handle_accepted(
        &mut self,
        now: Instant,
        key: StreamKey,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> bool {
        (**self).handle_accepted(now, key, local, remote)
    }

    fn handle_timeout(&mut self, now: Instant) {
        (**self).handle_timeout(now);
    }

    fn poll(&mut self, now: Instant) -> Output<Self::Event> {
        (**self).poll(now)
    }
}

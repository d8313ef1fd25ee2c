//! What the simulator asks of a machine.

use std::time::Instant;

use sansrtc::packet::{Datagram, Transmit};

/// What a peer gives when it is polled.
#[derive(Debug)]
pub enum Output<E> {
    /// A datagram, or a segmented run of them, to be sent.
    Transmit(Transmit),
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

    fn handle_timeout(&mut self, now: Instant) {
        (**self).handle_timeout(now);
    }

    fn poll(&mut self, now: Instant) -> Output<Self::Event> {
        (**self).poll(now)
    }
}

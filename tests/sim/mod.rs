//! One deterministic network in virtual time: what tests, benches, examples and fuzz targets run peers over.
//!
//! ```text
//!             Sim<P>: peers, their deadlines, their events
//!                |  Transmit                       ^  Datagram
//!                v                                 |
//!   host --> [up link] --> realm, NATs --> [down link] --> host      Network
//! ```
//!
//! * Time is virtual: it jumps from one event to the next. All randomness comes from one seed, so a run repeats
//!   byte for byte; [`Network::digest`] covers every byte and time on the wire.
//! * A [`Peer`] is anything with `handle_datagram`, `handle_timeout` and `poll`: an `Rtc`, an `Endpoint`, a bare
//!   protocol machine, or another library.
//! * Each interface of a host has a [`Link`] up and one down: delay, jitter, loss (independent or in bursts),
//!   reordering, duplication, corruption, rate, queue, MTU, ECN marks. They can change at any time.
//! * [`Nat`]s map and filter as RFC 4787 names it, and can be nested. TCP streams go out through them.
//! * A [`TurnServer`] is a host that tells addresses and relays.
//! * A peer that spins (a timeout that is always due, output without end) fails the run with a message.
//! * A failing run prints its seed; `SANSRTC_SEED=n` replays it alone, `SANSRTC_SEEDS=n` sets how many seeds
//!   [`for_each_seed`] runs, `SANSRTC_TRACE=1` prints every datagram.
//!
//! Include it with `mod sim;` from `tests/`, or with `#[path = "../tests/sim/mod.rs"] mod sim;` from elsewhere.

// Every includer uses its own part of this.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod call;
mod digest;
mod link;
mod matrix;
mod nat;
mod network;
mod peer;
mod random;
mod seeds;
mod server;
mod streams;
mod world;

pub use call::{Call, clock, config, identity};
pub use digest::Digest;
pub use link::{EcnPath, Link, LinkStats, Loss};
pub use matrix::Matrix;
pub use nat::{Behaviour, Nat, NatId};
pub use network::{HostId, Network, NetworkStats, Realm, Seen, base};
pub use peer::{Output, Peer};
pub use random::Random;
pub use seeds::{for_each_seed, seed_bytes};
pub use server::{TurnServer, USER};
pub use world::{Limits, Sim};

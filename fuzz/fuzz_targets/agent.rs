//! Two ICE agents over a network that the input steers: loss, duplication, delay, commands in any order. Nothing
//! panics, nobody spins, and what is sent is bounded by time.
#![no_main]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sansrtc::buffer::Pool;
use sansrtc::ice::{Agent, Config, Embed, LastFlight, LocalId};
use sansrtc::packet::Protocol;
use sansrtc::rng::{Rng, Stream};
use sansrtc::types::candidate::{Candidate, TcpType};
use sansrtc::types::setup::IceRole;

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Deliver {
        count: u8,
    },
    Lose {
        count: u8,
    },
    Duplicate,
    Replay {
        side: bool,
        port: u8,
    },
    Noise {
        side: bool,
        port: u8,
        bytes: &'a [u8],
    },
    Time(u16),
    AddLocal {
        side: bool,
        port: u8,
        tcp: bool,
    },
    RemoveLocal {
        side: bool,
        which: u8,
    },
    AddRemote {
        side: bool,
        text: &'a str,
    },
    Tell {
        side: bool,
    },
    Restart {
        side: bool,
    },
    StreamLost {
        side: bool,
        port: u8,
    },
    Role {
        side: bool,
    },
    End {
        side: bool,
    },
    Close {
        side: bool,
    },
    /// Whether a DTLS handshake may travel in checks (draft-hancke-webrtc-sped).
    Embed {
        side: bool,
        how: u8,
    },
    /// A flight of it, opaque to the agents.
    Flight {
        side: bool,
        datagrams: Vec<&'a [u8]>,
    },
    /// The handshake is over at this side.
    Complete {
        side: bool,
        ours: bool,
    },
}

type Packet = (SocketAddr, SocketAddr, Protocol, Vec<u8>);

struct World {
    agents: [Agent; 2],
    locals: [Vec<LocalId>; 2],
    air: VecDeque<Packet>,
    last: Option<Packet>,
    /// What each side was given to carry.
    flights: [Vec<Vec<u8>>; 2],
    sent: u64,
    now: Instant,
}

fn address(side: usize, port: u8) -> SocketAddr {
    ([192, 0, 2, 1 + side as u8], 5000 + u16::from(port & 7)).into()
}

fuzz_target!(|input: (bool, bool, Vec<Step<'_>>)| {
    let (backup, renomination, steps) = input;
    let now = Instant::now();
    let config = Config { keep_backup: backup, ..Config::default() };
    let agent = |role, seed| {
        let mut agent = Agent::new(config.clone(), role, Rng::new([seed; 32], Stream::Ice));
        agent.set_renomination(renomination);
        agent
    };
    let mut world = World {
        agents: [agent(IceRole::Controlling, 1), agent(IceRole::Controlled, 2)],
        locals: [Vec::new(), Vec::new()],
        air: VecDeque::new(),
        last: None,
        flights: [Vec::new(), Vec::new()],
        sent: 0,
        now,
    };
    for side in [0, 1] {
        world.add(side, 0, false);
    }
    world.tell(0);
    world.tell(1);
    let count = steps.len() as u64;
    for step in steps {
        world.step(step);
        world.drain();
    }
    let elapsed = (world.now - now).as_millis() as u64;
    // A check every 5 ms at the most, both ways, with its answer; and what commands and deliveries draw.
    assert!(
        world.sent <= elapsed * 4 + 600 * (count + 4),
        "{} in {elapsed} ms and {count} steps",
        world.sent
    );
});

impl World {
    fn add(&mut self, side: usize, port: u8, tcp: bool) {
        let candidate = match tcp {
            false => Candidate::host(address(side, port)),
            true if port & 8 == 0 => Candidate::host_tcp(address(side, port), TcpType::Passive),
            true => Candidate::host_tcp(address(side, port), TcpType::Active),
        };
        if let Ok(candidate) = candidate
            && let Ok(id) = self.agents[side].add_local_candidate(self.now, candidate)
        {
            self.locals[side].push(id);
        }
    }

    /// What signalling does: credentials and candidates of one side become known to the other.
    fn tell(&mut self, to: usize) {
        let from = 1 - to;
        let credentials = self.agents[from].local_credentials().clone();
        let _ = self.agents[to].set_remote_credentials(self.now, credentials);
        let candidates: Vec<Candidate> =
            self.agents[from].local_candidates().map(|(_, c)| c.clone()).collect();
        for candidate in candidates {
            let _ = self.agents[to].add_remote_candidate(self.now, &candidate);
        }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Deliver { count } => (0..count).for_each(|_| self.deliver()),
            Step::Lose { count } => drop(self.air.drain(..usize::from(count).min(self.air.len()))),
            Step::Duplicate => self.air.extend(self.air.front().cloned()),
            Step::Replay { side, port } => {
                if let Some((_, to, protocol, bytes)) = self.last.clone() {
                    self.hand(address(usize::from(side), port), to, protocol, &bytes);
                }
            }
            Step::Noise { side, port, bytes } => {
                let (from, to) = (address(usize::from(!side), port), address(usize::from(side), port));
                self.hand(from, to, Protocol::Udp, bytes);
            }
            Step::Time(milliseconds) => {
                self.now += Duration::from_millis(milliseconds.into());
                for agent in &mut self.agents {
                    agent.handle_timeout(self.now);
                }
            }
            Step::AddLocal { side, port, tcp } => self.add(usize::from(side), port, tcp),
            Step::RemoveLocal { side, which } => {
                let locals = &mut self.locals[usize::from(side)];
                if !locals.is_empty() {
                    let id = locals.swap_remove(usize::from(which) % locals.len());
                    let _ = self.agents[usize::from(side)].remove_local_candidate(self.now, id);
                }
            }
            Step::AddRemote { side, text } => {
                if let Ok(candidate) = text.parse::<Candidate>() {
                    let _ = self.agents[usize::from(side)].add_remote_candidate(self.now, &candidate);
                }
            }
            Step::Tell { side } => self.tell(usize::from(side)),
            Step::Restart { side } => drop(self.agents[usize::from(side)].restart(self.now).clone()),
            Step::StreamLost { side, port } => {
                let (local, remote) = (address(usize::from(side), port), address(usize::from(!side), port));
                self.agents[usize::from(side)].on_stream_lost(self.now, local, remote);
            }
            Step::Role { side } => self.agents[usize::from(side)].set_role(IceRole::Controlling),
            Step::End { side } => self.agents[usize::from(side)].end_of_remote_candidates(self.now),
            Step::Close { side } => self.agents[usize::from(side)].close(),
            Step::Embed { side, how } => {
                let how = [Embed::Off, Embed::Follow, Embed::Begin][usize::from(how % 3)];
                self.agents[usize::from(side)].set_embed(how);
            }
            Step::Flight { side, datagrams } => {
                let side = usize::from(side);
                let flight: Vec<_> =
                    datagrams.iter().take(40).map(|datagram| &datagram[..datagram.len().min(1200)]).collect();
                self.flights[side].extend(flight.iter().map(|datagram| datagram.to_vec()));
                self.agents[side].embed_flight(flight.into_iter().map(Bytes::copy_from_slice));
            }
            Step::Complete { side, ours } => {
                let last = if ours { LastFlight::Ours } else { LastFlight::Theirs };
                self.agents[usize::from(side)].on_handshake_complete(last);
            }
        }
    }

    fn deliver(&mut self) {
        if let Some((from, to, protocol, bytes)) = self.air.pop_front() {
            self.hand(from, to, protocol, &bytes);
            self.last = Some((from, to, protocol, bytes));
            self.drain();
        }
    }

    fn hand(&mut self, from: SocketAddr, to: SocketAddr, protocol: Protocol, bytes: &[u8]) {
        let side = usize::from(to.ip() == address(1, 0).ip());
        self.agents[side].handle_packet(self.now, from, to, protocol, bytes);
    }

    fn drain(&mut self) {
        let mut pool = Pool::new();
        for (side, agent) in self.agents.iter_mut().enumerate() {
            // Nothing comes out that the other side was not given.
            while let Some(datagram) = agent.poll_embedded() {
                assert!(self.flights[1 - side].iter().any(|given| given[..] == datagram[..]));
            }
            if agent.handshake_path().is_some() {
                while let Some(datagram) = agent.poll_plain_flight() {
                    assert!(self.flights[side].iter().any(|given| given[..] == datagram[..]));
                }
            }
            for _ in 0..100 {
                while let Some(transmit) = agent.poll_transmit(&mut pool) {
                    self.sent += 1;
                    if self.air.len() < 1000 {
                        let packet = transmit.contents.to_vec();
                        self.air.push_back((
                            transmit.source,
                            transmit.destination,
                            transmit.protocol,
                            packet,
                        ));
                    }
                }
                while agent.poll_fact().is_some() {}
                if agent.next_timeout().is_none_or(|at| at > self.now) {
                    break;
                }
                agent.handle_timeout(self.now);
            }
            assert!(agent.next_timeout().is_none_or(|at| at > self.now), "it spins");
            assert!(agent.pairs().count() <= 100);
        }
    }
}
